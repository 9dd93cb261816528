"""Trains a model from masks: ``python tools/train_net.py --config-file configs/training/whole_image_tiny.yaml``."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from training.build import evaluate, train_attempt
from training.config import TrainConfig, load_train_config
from training.device import device_type
from training.engine.checkpoint import Checkpoints
from training.engine.launch import STOPPED, Group, launch
from training.engine.run_log import ProgressLine

EXAMPLE = """example:
  dico label photos/ labels/
  python tools/train_net.py --config-file configs/training/whole_image_tiny.yaml data.train=[labels] output=out/tiny

and, where that was stopped, the same with --resume
"""
FAILED, WRONG = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Arguments; None for those of the process.

    Returns:
        0 when training (or the evaluation) is done, 1 when it failed on the way, 2 for a configuration or data that
        cannot work, 130 when it was stopped with Ctrl-C, after a checkpoint.
    """
    args = _parser().parse_intermixed_args(argv)
    logging.basicConfig(level=logging.INFO, format="train_net: %(message)s", stream=sys.stderr)
    try:
        config = load_train_config(args.config_file, args.overrides)
        if args.eval_only:
            return _evaluate(config)
        return _train(config, args)
    except (FloatingPointError, RuntimeError) as error:
        print(f"train_net: {error}", file=sys.stderr)
        return FAILED
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        print(f"train_net: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return WRONG


def _train(config: TrainConfig, args: argparse.Namespace) -> int:
    work = partial(train_attempt, config=config, resume=args.resume)
    if config.engine == "ray":
        from training.engine.ray_train import train_on_ray

        try:
            train_on_ray(
                work,
                num_workers=args.num_gpus * args.num_machines,
                folder=Path(config.output),
                address=args.ray_address,
                gpus=device_type(config.device) == "cuda",
                tell=ProgressLine(config.optim.steps),
            )
        except KeyboardInterrupt:
            print("train_net: stopped; --resume goes on from the last checkpoint", file=sys.stderr)
            return STOPPED
        return 0
    group = Group(
        processes=args.num_gpus,
        machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        device=device_type(config.device),
    )
    return launch(work, group)


def _evaluate(config: TrainConfig) -> int:
    weights = config.weights or Checkpoints(Path(config.output), {}, keep=1).last()
    if weights is None:
        raise FileNotFoundError(f"{config.output} has no checkpoint to evaluate; name one with weights=FILE")
    for report in evaluate(replace(config, weights=str(weights), backbone_weights="")):
        print(report.table())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_net.py",
        description="Trains a whole-image or a promptable segmenter from masks: a store of dico label, COCO, LVIS or "
        "SA-1B.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as optim.lr=1e-4")
    parser.add_argument("--config-file", metavar="FILE", help="YAML file with what differs from the defaults")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the output")
    parser.add_argument(
        "--eval-only", action="store_true", help="measure weights=FILE, or the newest checkpoint in the output"
    )
    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="processes of this machine, each with a GPU of its own or on the CPU",
    )
    group.add_argument("--num-machines", type=int, default=1, metavar="M", help="machines, each with N processes")
    group.add_argument("--machine-rank", type=int, default=0, metavar="R", help="the number of this one, from 0")
    group.add_argument(
        "--dist-url", default="auto", metavar="URL", help="tcp://HOST:PORT of machine 0, when there are several"
    )
    group.add_argument(
        "--ray-address", metavar="ADDRESS", help="for engine=ray: auto or HOST:PORT joins a running cluster"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
