"""The command line: one function a command. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dico.command_line import DONE, SOME_FAILED, exit_code, positive
from dico.label_command import add_arguments, label
from dico.version import dico_version

EPILOG = """\
example:
  dico label photos/ labels/
  dico view labels/ --output gallery.html
  dico export labels/ --format coco --output annotations.json

exit codes: 0 done; 1 done, but images failed (now, or before and not tried again), or a store is damaged;
2 wrong usage; 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 1 some images failed (or a store is damaged), 2 wrong usage, 130 interrupted.
    """
    return exit_code("dico", lambda: _run(_arguments(argv)))


def _run(args: argparse.Namespace) -> int:
    run_command: Callable[[argparse.Namespace], int] = args.run
    told = "left at once; the same command goes on from here"
    return exit_code(f"dico {args.command}", lambda: run_command(args), when_stopped=told)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    args, rest = _parser().parse_known_args(argv)
    if hasattr(args, "overrides"):
        # argparse gives up on positional arguments that come after options.
        args.overrides += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        flags = re.findall(r"--[a-z-]+", args.parser.format_usage())
        near = difflib.get_close_matches(rest[0].partition("=")[0], flags, n=1)
        hint = f"did you mean {near[0]}?" if near else f"see dico {args.command} --help"
        args.parser.error(f"unknown argument {rest[0]}; {hint}")
    return args


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


def merge(args: argparse.Namespace) -> int:
    """Puts stores together."""
    from dico.store import MaskStore
    from dico.store.merge import merge_stores

    print(merge_stores([MaskStore.open(source) for source in args.stores], args.output), file=sys.stderr)
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
    parser.add_argument("--version", action="version", version=f"dico {dico_version()}")
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
    add_arguments(sub)

    sub = command("view", view, "write a gallery that opens in a browser", "dico view labels/ --output gallery.html")
    _add_store(sub)
    sub.add_argument("--output", type=Path, default=Path("gallery.html"), metavar="FILE", help="gallery.html")
    sub.add_argument("--limit", type=positive, metavar="N", help="only the first N images")

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

    example = "dico merge labels-a/ labels-b/ --output labels/"
    sub = command("merge", merge, "put stores of one configuration together", example)
    sub.add_argument("stores", nargs="+", type=Path, metavar="STORE", help="folders that dico label made")
    sub.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the store to write")

    _add_store(command("verify", verify, "check a store byte by byte", "dico verify labels/"))
    _add_store(command("info", info, "say what a store holds", "dico info labels/"))
    return parser


def _add_store(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("store", type=Path, metavar="STORE", help="a folder that dico label made")
