"""``dico label``: its options, and who does the work when nobody says. What is heavy is imported when needed."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dico.command_line import exit_code_of_run, positive

if TYPE_CHECKING:
    from dico.executors import Executor

FEW_IMAGES = 16
"""For fewer, starting processes takes longer than it saves."""


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command to its parser."""
    sub.add_argument("input", metavar="INPUT", help="a folder, an image, a .txt list of paths, or a quoted pattern")
    sub.add_argument("output", metavar="OUTPUT", help="the store: a new folder, or one that this command made")
    sub.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings, such as select.max_masks=100"
    )
    sub.add_argument("--config", metavar="FILE", help="YAML file with what differs from the defaults")
    sub.add_argument("--limit", type=positive, metavar="N", help="only the first N images of the listing")
    sub.add_argument("--quiet", action="store_true", help="no progress and no summary; warnings and errors only")

    who = sub.add_argument_group("who does the work")
    who.add_argument(
        "--executor",
        choices=("auto", "inline", "pool", "ray"),
        default="auto",
        help="this process, processes of this machine, or a Ray cluster; auto: ray with --ray-address, inline under"
        f" {FEW_IMAGES} images unless --num-workers or --timeout ask for workers or the last run died, else pool",
    )
    who.add_argument(
        "--num-workers", type=positive, metavar="N", help="processes; by default as many as cores and memory allow"
    )
    who.add_argument(
        "--ray-address", metavar="ADDRESS", help="auto or HOST:PORT joins a running cluster; local starts one here"
    )
    who.add_argument(
        "--gpus-per-actor", type=_share, metavar="F", help="GPUs of each Ray actor that extracts features (1)"
    )
    who.add_argument(
        "--batch-size", type=positive, metavar="N", help="short for extractor.batch_size=N: bounds a GPU's memory"
    )

    big = sub.add_argument_group("large runs")
    big.add_argument("--shard-size", type=positive, metavar="N", help="images a shard of the store")
    big.add_argument(
        "--shard-range", type=_shard_range, metavar="A:B", help="only shards A to B - 1: several runs share the work"
    )
    big.add_argument(
        "--timeout",
        type=_seconds,
        metavar="S",
        help="seconds after which an image has failed (600); 0: never",
    )
    big.add_argument(
        "--max-crashes", type=positive, metavar="N", help="an image has failed when N workers died over it (2)"
    )
    big.add_argument("--max-failures", type=positive, metavar="N", help="stop when N images failed in this run")
    big.add_argument("--retry-failed", action="store_true", help="try the images that failed before again")


def label(args: argparse.Namespace) -> int:
    """Labels images into a store."""
    if words := [word for word in args.overrides if "=" not in word]:
        raise ValueError(
            f"unexpected argument {words[0]!r}: settings look like select.max_masks=100, and a pattern must be quoted,"
            " such as 'photos/*.jpg', so that the shell leaves it alone"
        )
    from dico.config import PipelineConfig, load_config

    if re.split(r"[.=]", args.output)[0] in PipelineConfig().to_dict() and "=" in args.output:
        raise ValueError(f"OUTPUT must be a folder, got the setting {args.output!r}: settings follow INPUT and OUTPUT")
    config = load_config(args.config, args.overrides)
    if args.batch_size is not None:
        config = replace(config, extractor=replace(config.extractor, batch_size=args.batch_size))

    from dico.compiled import any_kept
    from dico.job import PipelineJob
    from dico.labelling import manifest_of, shard_size_of
    from dico.run import RunOptions, run
    from dico.store import MaskStore
    from dico.store.guard import LOCKS

    manifest = manifest_of(args.input, config, shard_size=args.shard_size or shard_size_of(args.output))
    options = RunOptions(
        limit=args.limit,
        shards=_within(args.shard_range, manifest.shards),
        retry_failed=args.retry_failed,
        max_failures=args.max_failures,
        show_progress=not args.quiet,
        **_given(max_crashes=args.max_crashes),
    )
    job = PipelineJob(config)
    job.check()  # before there is a store
    images = min(len(manifest.entries), args.limit or len(manifest.entries))
    # A lock that is there was left by a run that died, perhaps over an image (or is of one that shares the work).
    died = any((Path(args.output) / LOCKS).glob("*.lock"))
    executor = _executor(args, images, watched=died)
    store = MaskStore.create(args.output, manifest, retry_failed=args.retry_failed)
    elsewhere = args.executor == "ray" or args.ray_address is not None
    if not (args.quiet or elsewhere or any_kept()):
        print("dico: loops are compiled, this once: the first image takes up to a minute longer", file=sys.stderr)
    return exit_code_of_run("dico", run(job, store, options, executor=executor), quiet=args.quiet)


def _executor(args: argparse.Namespace, images: int, *, watched: bool) -> Executor:
    name = args.executor
    if args.ray_address is not None and name not in ("auto", "ray"):
        raise ValueError(f"--ray-address is for --executor ray, got --executor {name}")
    if name == "auto" and args.ray_address is not None:
        name = "ray"
    elif name == "auto":
        watched = watched or args.timeout is not None or (args.num_workers or 1) > 1
        name = "pool" if watched or images >= FEW_IMAGES else "inline"
    if args.gpus_per_actor is not None and name != "ray":
        raise ValueError(f"--gpus-per-actor is for --executor ray, got --executor {name}")
    limits = _given(timeout_s=args.timeout)
    if name == "ray":
        from dico.cluster.executor import RayExecutor

        return RayExecutor(args.ray_address, args.num_workers, **limits, **_given(gpus_per_actor=args.gpus_per_actor))
    if name == "pool":
        from dico.executors.pool import PoolExecutor

        return PoolExecutor(args.num_workers, **limits)
    if args.timeout or (args.num_workers or 1) > 1:
        raise ValueError("--timeout and --num-workers need workers of their own: use --executor pool or ray")
    from dico.executors import InlineExecutor

    return InlineExecutor()


def _given(**values: Any) -> dict[str, Any]:
    """Those that were given: the others have their defaults where they are defined."""
    return {name: value for name, value in values.items() if value is not None}


def _seconds(text: str) -> float:
    if not 0 <= (seconds := _number(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds, or 0 for no limit, got {text!r}")
    return seconds


def _share(text: str) -> float:
    if not 0 < (share := _number(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of GPUs above 0, such as 0.5, got {text!r}")
    return share


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _shard_range(text: str) -> range:
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        raise argparse.ArgumentTypeError(f"must be A:B with A < B, such as 0:40 for the first 40 shards, got {text!r}")
    return range(int(start), int(stop))


def _within(shards: range | None, count: int) -> range | None:
    if shards is None or shards.start < count:
        return shards if shards is None else range(shards.start, min(shards.stop, count))
    raise ValueError(f"--shard-range must start below {count}, the number of shards, got {shards.start}:{shards.stop}")
