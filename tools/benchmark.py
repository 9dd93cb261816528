"""Measures this machine: how fast it labels, trains, predicts and answers clicks, and the memory that each takes.

Inputs are drawn, or come with scikit-image, and are the same everywhere; nothing is fetched. Each part is measured in
a process of its own. Figures and versions are written to benchmark.json, and a table to benchmark.md.

Example:
    python tools/benchmark.py --output here
    python tools/benchmark.py --only training --config-file FILE optim.batch_size=4
    python tools/benchmark.py --compare here/ there/
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dico.atomic import atomic_file
from dico.command_line import DONE, SOME_FAILED, exit_code, positive
from training.benchmarking.report import FILE, compared, markdown, read_report
from training.benchmarking.run import PARTS, run_benchmark
from training.benchmarking.settings import QUICK, BenchmarkSettings
from training.config import load_train_config

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "training"
WHOLE_IMAGE, PROMPTABLE = CONFIGS / "whole_image_tiny.yaml", CONFIGS / "promptable_tiny.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 1 a part could not be measured, 2 wrong usage, 130 interrupted.
    """
    return exit_code(
        "benchmark", lambda: _measure(_parser().parse_intermixed_args(argv)), when_stopped="stopped; nothing is kept"
    )


def _measure(args: argparse.Namespace) -> int:
    if args.compare:
        first, second = args.compare
        print(compared(read_report(first), read_report(second), _names(first, second)), end="")
        return DONE
    if (args.output / FILE).exists():
        raise FileExistsError(f"{args.output} has a benchmark already; choose another --output, or remove {FILE}")
    settings = _settings(args)
    parts = [part for part in PARTS if part in args.only]
    report = run_benchmark(settings, parts, tell=lambda part: print(f"benchmark: {part} ...", file=sys.stderr))
    page = markdown(report)
    for name, text in ((FILE, report.to_json()), ("benchmark.md", page)):
        with atomic_file(args.output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(page, end="")
    print(f"benchmark: written to {args.output}/benchmark.json and benchmark.md", file=sys.stderr)
    return SOME_FAILED if report.failed else DONE


def _settings(args: argparse.Namespace) -> BenchmarkSettings:
    """What is measured; what is wrong with it is found before anything is."""
    config_file = args.config_file or WHOLE_IMAGE
    config = load_train_config(config_file, args.overrides)
    for path in (args.checkpoint, args.images):
        if path is not None and not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    from training.device import choose_device  # torch, which takes seconds

    choose_device(args.device)
    return BenchmarkSettings(
        whole_image_config=str(config_file if config.task == "whole_image" else WHOLE_IMAGE),
        promptable_config=str(config_file if config.task == "promptable" else PROMPTABLE),
        training_config=str(config_file),
        overrides=tuple(args.overrides),
        checkpoint="" if args.checkpoint is None else str(args.checkpoint),
        images="" if args.images is None else str(args.images),
        device=args.device,
        **({"workers": args.num_workers} if args.num_workers else {}),
        **(QUICK if args.quick else {}),
    )


def _names(first: Path, second: Path) -> tuple[str, str]:
    """What tells two files apart in few words: their own names, or those of their folders."""
    for names in ((first.stem, second.stem), (first.parent.name, second.parent.name)):
        if names[0] != names[1]:
            return names
    return str(first), str(second)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings, such as optim.batch_size=4"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("out/benchmark"), metavar="DIR", help="where the files go (out/benchmark)"
    )
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="only these parts")
    parser.add_argument(
        "--config-file", type=Path, metavar="FILE", help="what is trained, and asked (whole_image_tiny.yaml)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="a trained network, in place of random weights of its kind"
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="photographs to label (five that come with scikit-image)"
    )
    parser.add_argument(
        "--num-workers", type=positive, metavar="N", help="processes that label (as many as there is room for)"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="of networks: auto, cpu, cuda or mps (auto)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; says nothing of speed")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("A", "B"),
        help="print two benchmark.json, or folders of one, side by side",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
