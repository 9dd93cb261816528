"""How well masks find ground truth, whatever its classes.

--task masks (the default): COCO's average recall and precision at several mask budgets. The masks are those that a
checkpoint predicts now, or those that a store holds.

--task point: one click in the middle of each ground truth. "Max IoU" is that of the mask which the model thinks best,
"Oracle IoU" that of the best of its six, NoC the number of clicks until an IoU is reached. With a store of labels, the
labels under the click stand for the six masks.

Example:
    python tools/evaluate.py coco/annotations.json --checkpoint out/train/model_final.pth --output report.json
    python tools/evaluate.py coco/annotations.json --store predictions/ --images 50
    python tools/evaluate.py panoptic_val2017.json --task point --checkpoint clicks.pth inference.short_side=800
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dico.atomic import atomic_file
from dico.cli import WRONG_USAGE, message_of
from dico.evaluate import evaluate_store
from dico.ground_truth import load_annotations
from dico.label_command import DONE, INTERRUPTED, positive
from dico.store import MaskStore
from training.data.catalog import Located, locate
from training.device import choose_device
from training.evaluation.base import Report
from training.evaluation.coco import CocoEvaluator, data_set_name, evenly_spaced
from training.evaluation.point_iou import MOST_CLICKS
from training.evaluation.report import CocoReport
from training.evaluators import point_evaluator
from training.prompt_predictor import PromptPredictor
from training.trained import load_trained


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 2 wrong usage, 130 interrupted.
    """
    logging.basicConfig(format="evaluate: %(levelname)s: %(message)s", level=logging.WARNING)
    try:
        args = _parser().parse_intermixed_args(argv)
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    try:
        if args.task == "point":
            report = _of_clicks(args)
        else:
            report = _of_store(args) if args.store is not None else _of_checkpoint(args)
        print(report.table())
        if args.output is not None:
            with atomic_file(args.output) as temporary:
                temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    except KeyboardInterrupt:
        print("evaluate: stopped; nothing is kept", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        print(f"evaluate: error: {message_of(error)}", file=sys.stderr)
        return WRONG_USAGE
    return DONE


def _of_checkpoint(args: argparse.Namespace) -> Report:
    found = _located(args)
    evaluator = CocoEvaluator(
        found.annotations,
        images_root=args.images_root or found.images,
        images=args.images,
        max_dets=args.max_dets,
        name=found.name,
    )
    trained = load_trained(
        args.checkpoint, config_file=args.config_file, overrides=args.overrides, device=choose_device(args.device)
    )
    predictions = evaluator.predictions(trained.predict)
    # A bar on terminals only.
    return evaluator.report(tqdm(predictions, total=len(evaluator.images), unit=" images", disable=None))


def _of_clicks(args: argparse.Namespace) -> Report:
    images_root = None if args.images_root is None else Path(args.images_root)
    evaluator = point_evaluator(args.annotations, images_root=images_root, images=args.images, most_clicks=args.clicks)
    if args.store is not None:
        _require_no_settings(args)
        predictions = evaluator.predictions_of_labels(MaskStore.open(args.store))
    else:
        predictor = PromptPredictor.from_checkpoint(
            args.checkpoint, config_file=args.config_file, overrides=args.overrides, device=choose_device(args.device)
        )
        predictions = evaluator.predictions(predictor)
    return evaluator.report(tqdm(predictions, total=len(evaluator.records), unit=" images", disable=None))


def _require_no_settings(args: argparse.Namespace) -> None:
    for option in ("overrides", "config_file"):
        if getattr(args, option):
            raise ValueError(f"{option.replace('_', ' ')} are for --checkpoint; a store holds the masks themselves")


def _of_store(args: argparse.Namespace) -> Report:
    _require_no_settings(args)
    if args.images_root:
        raise ValueError("images root are for --checkpoint; a store holds the masks themselves")
    found = _located(args)
    images = evenly_spaced(load_annotations(found.annotations), args.images)
    figures = evaluate_store(MaskStore.open(args.store), images, max_dets=args.max_dets)
    return CocoReport(found.name or data_set_name(found.annotations), figures)


def _located(args: argparse.Namespace) -> Located:
    found = locate(args.annotations)
    if found.format != "coco":
        raise ValueError(f"ANNOTATIONS must be in COCO's format, {args.annotations} is of format {found.format}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "annotations", metavar="ANNOTATIONS", help="ground truth: a COCO json, or the name of a data set in datasets/"
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings, such as inference.max_masks=100"
    )
    parser.add_argument("--task", choices=("masks", "point"), default="masks", help="what is measured (masks)")
    masks = parser.add_mutually_exclusive_group(required=True)
    masks.add_argument("--checkpoint", metavar="CHECKPOINT", help="a file of weights, or a Hugging Face folder")
    masks.add_argument("--store", metavar="STORE", help="a folder that predict.py or dico label made")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures here as JSON, too")
    parser.add_argument("--images", type=int, default=0, metavar="N", help="only N images, evenly spaced; 0: all (0)")
    parser.add_argument(
        "--max-dets", type=_budgets, default=(100, 1000), metavar="N,N", help="mask budgets an image (100,1000)"
    )
    parser.add_argument(
        "--clicks",
        type=positive,
        default=MOST_CLICKS,
        metavar="N",
        help=f"with --task point, at most so many clicks; 1 for the first alone ({MOST_CLICKS})",
    )
    parser.add_argument(
        "--images-root",
        metavar="FOLDER",
        help="where the images are; by default images/ beside the json, or its folder",
    )
    parser.add_argument(
        "--config-file", metavar="FILE", help="YAML file with a section inference; by default the checkpoint's own"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps (auto)")
    return parser


def _budgets(text: str) -> tuple[int, ...]:
    return tuple(positive(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
