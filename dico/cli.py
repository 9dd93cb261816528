"""The command line: one function a command. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

DONE, SOME_FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

EPILOG = """\
example:
  dico label photos/ labels/
  dico view labels/ --output gallery.html
  dico export labels/ --format coco --output annotations.json

exit codes: 0 done; 1 done, but images failed or a store is damaged; 2 wrong usage; 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 1 some images failed (or a store is damaged), 2 wrong usage, 130 interrupted.
    """
    logging.basicConfig(format="dico: %(levelname)s: %(message)s", level=logging.WARNING)
    parser = _parser()
    try:
        args, rest = parser.parse_known_args(argv)
        if hasattr(args, "overrides"):
            # argparse gives up on positional arguments that come after options.
            args.overrides += [word for word in rest if not word.startswith("-")]
            rest = [word for word in rest if word.startswith("-")]
        if rest:
            flags = re.findall(r"--[a-z-]+", args.parser.format_usage())
            near = difflib.get_close_matches(rest[0].partition("=")[0], flags, n=1)
            hint = f"did you mean {near[0]}?" if near else f"see dico {args.command} --help"
            args.parser.error(f"unknown argument {rest[0]}; {hint}")
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    try:
        run_command: Callable[[argparse.Namespace], int] = args.run
        return run_command(args)
    except KeyboardInterrupt:
        print("dico: left at once; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        print(f"dico {args.command}: error: {_message(error)}", file=sys.stderr)
        return WRONG_USAGE
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        print(
            f"dico {args.command}: error: compiled loops have nowhere to be kept, as neither the package nor the home"
            " folder can be written; set NUMBA_CACHE_DIR to a folder that can",
            file=sys.stderr,
        )
        return WRONG_USAGE


def label(args: argparse.Namespace) -> int:
    """Labels images into a store."""
    if args.num_workers > 1:
        raise ValueError(
            f"--num-workers {args.num_workers}: this version labels in one process (--executor inline); leave the"
            " option out, or label parts of the images into several stores at once"
        )
    if words := [word for word in args.overrides if "=" not in word]:
        raise ValueError(
            f"unexpected argument {words[0]!r}: settings look like select.max_masks=100, and a pattern must be quoted,"
            " such as 'photos/*.jpg', so that the shell leaves it alone"
        )
    from dico.config import PipelineConfig, load_config

    if re.split(r"[.=]", args.output)[0] in PipelineConfig().to_dict() and "=" in args.output:
        raise ValueError(f"OUTPUT must be a folder, got the setting {args.output!r}: settings follow INPUT and OUTPUT")
    config = load_config(args.config, args.overrides)

    from dico.inputs import list_images
    from dico.labeler import PseudoLabeler
    from dico.run import run
    from dico.store import Manifest, MaskStore
    from dico.store.manifest import SHARD_SIZE

    manifest = Manifest.of_files(
        list_images(args.input),
        root=Path(args.input) if Path(args.input).is_dir() else None,
        config=config.to_dict(),
        config_hash=config.hash(),
        shard_size=args.shard_size or SHARD_SIZE,
    )
    # Before the store: a configuration that cannot be used must not leave a store that refuses the mended one.
    labeler = PseudoLabeler.from_config(config)
    store = MaskStore.create(args.output, manifest)
    summary = run(labeler, store, max_pixels=config.image.max_pixels, limit=args.limit)
    print(f"dico: {summary.sentence()}", file=sys.stderr)
    if summary.interrupted:
        return INTERRUPTED
    return SOME_FAILED if summary.failed_in_store else DONE


def view(args: argparse.Namespace) -> int:
    """Writes a gallery."""
    from dico.gallery import write_gallery
    from dico.store import MaskStore

    write_gallery(MaskStore.open(args.store), args.output, limit=args.limit)
    print(f"dico: wrote {args.output}; open it in a browser", file=sys.stderr)
    return DONE


def export(args: argparse.Namespace) -> int:
    """Writes the masks in another format."""
    from dico.export import export_store
    from dico.store import MaskStore

    print(export_store(MaskStore.open(args.store), args.format, args.output), file=sys.stderr)
    return DONE


def evaluate(args: argparse.Namespace) -> int:
    """Compares masks with ground truth."""
    from dico.atomic import atomic_file
    from dico.evaluate import evaluate_store
    from dico.store import MaskStore

    report = evaluate_store(MaskStore.open(args.store), args.gt)
    print(report.table())
    if args.json is not None:
        with atomic_file(args.json) as temporary:
            temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    return DONE


def verify(args: argparse.Namespace) -> int:
    """Checks a store byte by byte."""
    from dico.store import MaskStore

    report = MaskStore.open(args.store).verify()
    for problem in report.problems:
        print(f"dico: {problem}", file=sys.stderr)
    verdict = "damaged" if report.problems else "sound"
    print(
        f"{args.store}: {verdict}; {report.images} images: {report.done} done with {report.masks} masks,"
        f" {report.failed} failed, {report.pending} to do"
    )
    return SOME_FAILED if report.problems else DONE


def info(args: argparse.Namespace) -> int:
    """Says what a store holds."""
    import yaml

    from dico.store import MaskStore

    store = MaskStore.open(args.store)
    status = store.status()
    print(f"store     {args.store}")
    print(f"images    {status.images} of {store.manifest.root}")
    print(f"          {status.done} done, {status.failed} failed, {status.pending} to do")
    print(f"shards    {status.shards_done} of {status.shards} complete, {status.bytes / 1e6:.1f} MB")
    for failure in store.failures()[:3]:
        print(f"failed    {failure.path} ({failure.kind}): {failure.error.splitlines()[0]}")
    if status.failed > 3:
        print(f"          ... and {status.failed - 3} more in {store.failures_path}")
    print(f"config    {store.manifest.config_hash}")
    text = yaml.safe_dump(dict(store.manifest.config), sort_keys=False, default_flow_style=None)
    print("".join(f"  {line}\n" for line in text.splitlines()), end="")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dico",
        description="Multi-granular masks from unlabelled photographs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run_command: Callable[[argparse.Namespace], int], summary: str, example: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.set_defaults(run=run_command, parser=sub)
        return sub

    sub = command(
        "label",
        label,
        "label images; goes on where an earlier run stopped",
        "dico label photos/ labels/ select.max_masks=100",
    )
    sub.add_argument("input", metavar="INPUT", help="a folder, an image, a .txt list of paths, or a quoted pattern")
    sub.add_argument("output", metavar="OUTPUT", help="the store: a new folder, or one that this command made")
    sub.add_argument("--config", metavar="FILE", help="YAML file with what differs from the defaults")
    sub.add_argument("--num-workers", type=_positive, default=1, metavar="N", help="processes; this version has 1")
    sub.add_argument("--executor", choices=("auto", "inline"), default="auto", help="who does the work")
    sub.add_argument("--limit", type=_positive, metavar="N", help="only the first N images of the listing")
    sub.add_argument("--shard-size", type=_positive, metavar="N", help="images a shard of the store")
    sub.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings, such as select.max_masks=100"
    )

    sub = command("view", view, "write a gallery that opens in a browser", "dico view labels/ --output gallery.html")
    _add_store(sub)
    sub.add_argument("--output", type=Path, default=Path("gallery.html"), metavar="FILE", help="gallery.html")
    sub.add_argument("--limit", type=_positive, metavar="N", help="only the first N images")

    example = "dico export labels/ --format coco --output annotations.json"
    sub = command("export", export, "write the masks in another format", example)
    _add_store(sub)
    sub.add_argument("--format", required=True, metavar="NAME", help="coco, sa1b, yolo-seg, labelstudio or parquet")
    sub.add_argument("--output", type=Path, required=True, metavar="PATH", help="the file or folder to write")

    example = "dico eval labels/ --gt annotations.json --json figures.json"
    sub = command("eval", evaluate, "compare the masks with ground truth", example)
    _add_store(sub)
    sub.add_argument("--gt", type=Path, required=True, metavar="FILE", help="ground truth as COCO json")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")

    _add_store(command("verify", verify, "check a store byte by byte", "dico verify labels/"))
    _add_store(command("info", info, "say what a store holds", "dico info labels/"))
    return parser


def _add_store(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("store", type=Path, metavar="STORE", help="a folder that dico label made")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
