"""How well masks find ground truth, whatever its classes, on one data set or on many.

What is evaluated is a trained model, the labels in a store, or a results file in COCO's format of any tool. A store and
a results file can be named for all data sets; or a folder that has one for each of them, such as labels/coco, or
predictions/coco.json.

--task whole-image (the default): COCO's average recall and precision at several mask budgets.

--task point: one click in the middle of each ground truth. "Max IoU" is that of the mask which the model thinks best,
"Oracle IoU" that of the best of its six, NoC the number of clicks until an IoU is reached: up to 20, which takes many
times as long as --clicks 1, the first alone. With a store of labels, the labels under the click stand for the six
masks.

The folder of --output gets report.json, report.md and report.html. What was found on each image is kept in it, too:
with --resume, an evaluation that was ended goes on. A data set that is not there is skipped, with what prepares it.

Exit codes: 0 done; 1 data sets were skipped, or images not answered; 2 wrong usage, or nothing to evaluate; 130
interrupted.

Example:
    python tools/evaluate.py --datasets coco lvis --model out/train/model_final.pth --output out/evaluation
    python tools/evaluate.py --datasets seven --predictions predictions/ --output out/evaluation --resume
    python tools/evaluate.py --datasets photos/annotations.json --store labels/ --output out/evaluation --images 50
    python tools/evaluate.py --datasets coco_panoptic --task point --model clicks.pth --output out/clicks
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dico.command_line import DONE, SOME_FAILED, exit_code, positive
from training.evaluation.running.processes import WorkerError
from training.evaluation.suite_report import PointSetReport, SetReport, SuiteReport
from training.suite.evaluate import evaluate_suite
from training.suite.masks import VerificationError
from training.suite.plan import BUDGETS, SuiteOptions
from training.suite.subjects import Clicks, ModelSubject, ResultsSubject, StoreSubject, Subject


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code.
    """
    return exit_code(
        "evaluate",
        lambda: _evaluated(_parser().parse_intermixed_args(argv)),
        when_stopped="stopped; the same command with --resume goes on from here",
        also=(VerificationError, WorkerError),
    )


def _evaluated(args: argparse.Namespace) -> int:
    settings = [word for word in args.datasets if _is_setting(word)]
    args.overrides += settings
    args.datasets = [word for word in args.datasets if word not in settings]
    try:
        report = _report(args)
    except WorkerError as error:
        raise WorkerError(f"{error}; what was done is kept: --resume goes on from here") from error
    _tell(report, args.output)
    return SOME_FAILED if report.skipped or any(_has_faults(one) for one in report.sets) else DONE


def _is_setting(word: str) -> bool:
    """Whether a word behind --datasets, which takes all that follow it, is no data set but key=value."""
    return re.match(r"[A-Za-z_]\w*(\.\w+)*=", word) is not None and not Path(word).exists()


def _has_faults(one: SetReport | PointSetReport) -> bool:
    return bool(one.unanswered or one.left_out)


def _report(args: argparse.Namespace) -> SuiteReport:
    processes = args.processes or _default_processes(args)
    options = SuiteOptions(
        task=args.task,
        output=args.output,
        images=args.images,
        max_dets=args.max_dets or BUDGETS,
        clicks=Clicks(args.clicks) if args.clicks else Clicks(),
        processes=processes,
        resume=args.resume,
        verify=args.verify,
    )
    if args.task == "point" and (args.verify or args.max_dets):
        raise ValueError("--verify and --max-dets are about average recall and precision; --task point has none")
    if args.clicks and args.task != "point":
        raise ValueError("--clicks are for --task point")
    return evaluate_suite(args.datasets, _subject(args, processes), options)


def _subject(args: argparse.Namespace, processes: int) -> Subject:
    if args.model is None:
        for option in ("overrides", "config_file"):
            if getattr(args, option):
                raise ValueError(f"{option.replace('_', ' ')} are for --model; the others hold the masks themselves")
        return StoreSubject(args.store) if args.store is not None else ResultsSubject(args.predictions)
    from training.device import device_of_command  # torch, without which the processes that read a store start

    device = device_of_command(args.device, processes)
    subject = ModelSubject(args.model, config_file=args.config_file, overrides=args.overrides, device=str(device))
    if args.overrides or args.config_file:
        subject.check_settings()  # before data sets are looked for: who mistyped both mends both at once
    return subject


def _default_processes(args: argparse.Namespace) -> int:
    if args.model is not None:
        return 1  # a model keeps all cores, or the GPU, busy
    from dico.executors.machine import usable_workers

    return usable_workers()


def _tell(report: SuiteReport, output: Path) -> None:
    for one in report.sets:
        print(f"{one.name}: {one.figures.table()}\n" if report.task == "whole-image" else f"{one.figures.table()}\n")
    if report.verified:
        print(f"{report.verified}\n")
    for skipped in report.skipped:
        print(f"evaluate: {skipped.name} was skipped: {skipped.reason}", file=sys.stderr)
        if skipped.command:
            print(f"    {skipped.command}", file=sys.stderr)
    print(f"report: {output / 'report.html'} (also report.md and report.json)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        required=True,
        metavar="DATASET",
        help="names of data sets or suites in datasets/, such as coco or seven; or COCO jsons",
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--model", metavar="CHECKPOINT", help="a file of weights, or a Hugging Face folder")
    subject.add_argument("--store", type=Path, metavar="STORE", help="a folder that predict.py or dico label made")
    subject.add_argument(
        "--predictions", type=Path, metavar="FILE", help="a JSON array of COCO results, masks with scores"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="settings of the model, such as inference.max_masks=100",
    )
    parser.add_argument(
        "--task", choices=("whole-image", "point"), default="whole-image", help="what is measured (whole-image)"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder for the report")
    parser.add_argument("--resume", action="store_true", help="go on with the evaluation that is in the output")
    parser.add_argument("--processes", type=positive, metavar="N", help="(1 for a model, else one a core)")
    parser.add_argument(
        "--images", type=positive, default=0, metavar="N", help="only N images of each set, evenly spaced"
    )
    parser.add_argument("--max-dets", type=_budgets, metavar="N,N", help="mask budgets an image (10,100,1000)")
    parser.add_argument(
        "--clicks", type=positive, metavar="N", help="with --task point, at most so many; 1 for the first alone (20)"
    )
    parser.add_argument(
        "--verify", action="store_true", help="compute the figures with stock COCO tools, too, and compare"
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
