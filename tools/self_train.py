"""Makes the next round of labels from a store of labels, to train on as on any other.

``round`` asks a trained model: masks that it is sure of are kept, and the labels of what it did not find. ``human``
takes what people drew, and the labels of what they left out. What stopped goes on with the same command.

Example:
    python tools/self_train.py round out/train/model_final.pth labels/ labels2/
    python tools/self_train.py human annotations.json labels/ labels-plus/
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dico.command_line import exit_code, exit_code_of_run, positive
from dico.config_loading import plain_hash
from dico.executors import Executor, InlineExecutor
from dico.executors.pool import PoolExecutor
from dico.ground_truth import AnnotatedImage, image_ids_of_paths
from dico.job import RevisionJob
from dico.run import RunOptions, run
from dico.run_summary import RunSummary
from dico.store import MaskStore, StoreError
from dico.store.row_reader import RowReader
from dico.store.shards import ShardFiles
from dico.task import Revision
from training.data.coco_source import CocoSource
from training.device import device_of_command
from training.digest import sha256_of
from training.fusion import MAX_IOU, MAX_IOU_WITH_HUMAN, MIN_SCORE
from training.rounds import SelfTraining, WithHuman
from training.trained import load_trained

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 1 some images failed, 2 wrong usage, 130 interrupted.
    """
    return exit_code(
        "self_train",
        lambda: _filled(_parser().parse_args(argv)),
        when_stopped="left at once; the same command goes on from here",
    )


def _filled(args: argparse.Namespace) -> int:
    return exit_code_of_run("self_train", args.fill(args), quiet=args.quiet)


def _round(args: argparse.Namespace) -> RunSummary:
    device = device_of_command(args.device, args.num_workers)
    trained = load_trained(
        args.checkpoint,
        # Masks that would not be kept are not traced either; who asks for fewer still may.
        overrides=[f"inference.min_score={args.min_score}", *args.overrides],
        device=device,
        threads=1 if args.num_workers > 1 else None,
    )
    settings = {"min_score": args.min_score, "max_iou": args.max_iou}
    return _fill(args, SelfTraining(trained.predict, **settings), {**trained.identity(), "self_training": settings})


def _human(args: argparse.Namespace) -> RunSummary:
    human = CocoSource(args.annotations)
    paths = [entry.path for entry in MaskStore.open(args.labels).manifest.entries]
    images = [AnnotatedImage(i, human[i].path.as_posix(), (1, 1), ()) for i in range(len(human))]
    place_by_path = image_ids_of_paths(images, paths)
    if not args.quiet:
        print(f"self_train: people annotated {len(place_by_path):,} of {len(paths):,} images", file=sys.stderr)
    identity = {"annotations_sha256": sha256_of(args.annotations), "with_human": {"max_iou": args.max_iou}}
    return _fill(args, WithHuman(human, place_by_path, args.max_iou), identity)


def _fill(args: argparse.Namespace, revise: Revision, identity: Mapping[str, Any]) -> RunSummary:
    labels = MaskStore.open(args.labels)
    if Path(args.output).resolve() == labels.path.resolve():
        raise ValueError(f"OUTPUT must be another folder than STORE, got {args.output} for both")
    config = {**identity, "labels": {"config_hash": labels.manifest.config_hash, "sha256": rows_sha256(labels)}}
    manifest = replace(labels.manifest, config=config, config_hash=plain_hash(config))
    options = RunOptions(limit=args.limit, retry_failed=args.retry_failed, show_progress=not args.quiet)
    store = MaskStore.create(args.output, manifest, retry_failed=args.retry_failed)
    executor: Executor = PoolExecutor(args.num_workers) if args.num_workers > 1 else InlineExecutor()
    return run(RevisionJob(revise, RowReader(labels)), store, options, executor=executor)


def rows_sha256(store: MaskStore) -> str:
    """A digest of all rows of a store, hexadecimal.

    Raises:
        StoreError: when the store is not complete, as its rows are not settled then.
    """
    digest = hashlib.sha256()
    for shard in range(store.manifest.shards):
        meta = ShardFiles.of(store.path, shard).done_meta()
        if meta is None:
            pending = store.status().pending
            raise StoreError(f"{store.path} is not complete, {pending:,} images are to do: go on with what makes it")
        digest.update(f"{meta.sha256}\n".encode())
    return digest.hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    sub = commands.add_parser("round", help="a model's masks, and the labels of what it missed", allow_abbrev=False)
    sub.set_defaults(fill=_round)
    sub.add_argument("checkpoint", metavar="CHECKPOINT", help="a file of weights, or a Hugging Face folder")
    _add_store(sub)
    sub.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings, such as inference.short_side=512"
    )
    sub.add_argument(
        "--min-score",
        type=float,
        default=MIN_SCORE,
        metavar="P",
        help=f"predictions that score more are kept ({MIN_SCORE})",
    )
    _add_max_iou(sub, "prediction that is kept", MAX_IOU)
    sub.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps (auto)")

    sub = commands.add_parser("human", help="human masks, and the labels of what they miss", allow_abbrev=False)
    sub.set_defaults(fill=_human)
    sub.add_argument("annotations", type=Path, metavar="ANNOTATIONS", help="human masks as COCO or LVIS json")
    _add_store(sub)
    _add_max_iou(sub, "human mask", MAX_IOU_WITH_HUMAN)

    for sub in commands.choices.values():
        sub.add_argument(
            "--num-workers", type=positive, default=1, metavar="N", help="processes on the CPU, one core each (1)"
        )
        sub.add_argument("--limit", type=positive, metavar="N", help="only the first N images of the store")
        sub.add_argument("--retry-failed", action="store_true", help="try the images that failed before again")
        sub.add_argument("--quiet", action="store_true", help="no progress and no summary; warnings and errors only")
    return parser


def _add_store(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("labels", metavar="STORE", help="the labels so far: a complete store")
    sub.add_argument("output", metavar="OUTPUT", help="the store to write: a new folder, or one that this command made")


def _add_max_iou(sub: argparse.ArgumentParser, other: str, default: float) -> None:
    told = f"a label whose IoU with any {other} is larger is left out ({default})"
    sub.add_argument("--max-iou", type=float, default=default, metavar="F", help=told)


if __name__ == "__main__":
    sys.exit(main())
