"""Finds the masks of images with a trained model and writes them into a store, as ``dico label`` does with labels.

What stopped goes on with the same command. The store can be viewed, exported, measured and trained on. A promptable
model is asked with a grid of clicks.

Example:
    python tools/predict.py out/train/model_final.pth photos/ predictions/ inference.max_masks=100
    python tools/predict.py out/clicks/model_final.pth photos/ predictions/ automatic.min_iou=0.7
    dico view predictions/ --output predictions.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dico.command_line import exit_code, exit_code_of_run, positive
from dico.config_loading import plain_hash
from dico.executors import Executor, InlineExecutor
from dico.executors.pool import PoolExecutor
from dico.inputs import list_image_names
from dico.job import LabelerJob
from dico.labelling import shard_size_of
from dico.run import RunOptions, run
from dico.run_summary import RunSummary
from dico.store import MaskStore
from dico.store.manifest import Manifest
from training.device import device_of_command
from training.trained import Trained, load_trained


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 1 some images failed, 2 wrong usage, 130 interrupted.
    """
    return exit_code(
        "predict",
        lambda: _predict(_parser().parse_intermixed_args(argv)),
        when_stopped="left at once; the same command goes on from here",
    )


def predict_images(
    trained: Trained,
    images: str | Path,
    output: str | Path,
    options: RunOptions | None = None,
    *,
    executor: Executor | None = None,
) -> RunSummary:
    """Masks of images into a store, or goes on where an earlier call stopped.

    Args:
        trained: The model.
        images: A folder, an image, a ``.txt`` list or a pattern; see :func:`dico.inputs.list_images`.
        output: The store: a new folder, or one that is about the same images, settings and model.
        options: What to do, and when to give up; None for the defaults.
        executor: Who does the work; None for this process.

    Raises:
        FileNotFoundError: when there are no such images.
        StoreError: when the store is about something else, or is being written.
    """
    options = options or RunOptions()
    manifest = Manifest.of_files(
        list_image_names(images),
        root=Path(images) if Path(images).is_dir() else None,
        config=trained.identity(),
        config_hash=plain_hash(trained.identity()),
        shard_size=shard_size_of(output),
    )
    store = MaskStore.create(output, manifest, retry_failed=options.retry_failed)
    return run(LabelerJob(trained.predict), store, options, executor=executor)


def _predict(args: argparse.Namespace) -> int:
    device = device_of_command(args.device, args.num_workers)
    trained = load_trained(
        args.checkpoint,
        config_file=args.config_file,
        overrides=args.overrides,
        device=device,
        threads=1 if args.num_workers > 1 else None,
    )
    options = RunOptions(limit=args.limit, retry_failed=args.retry_failed, show_progress=not args.quiet)
    executor = PoolExecutor(args.num_workers) if args.num_workers > 1 else InlineExecutor()
    summary = predict_images(trained, args.images, args.output, options, executor=executor)
    return exit_code_of_run("predict", summary, quiet=args.quiet)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file of weights, or a Hugging Face folder")
    parser.add_argument(
        "images", metavar="IMAGES", help="a folder, an image, a .txt list of paths, or a quoted pattern"
    )
    parser.add_argument("output", metavar="OUTPUT", help="the store: a new folder, or one that this command made")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings, such as inference.max_masks=100"
    )
    parser.add_argument(
        "--config-file", metavar="FILE", help="YAML file with a section inference; by default the checkpoint's own"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps (auto)")
    parser.add_argument(
        "--num-workers", type=positive, default=1, metavar="N", help="processes on the CPU, one core each (1)"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N images of the listing")
    parser.add_argument("--retry-failed", action="store_true", help="try the images that failed before again")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary; warnings and errors only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
