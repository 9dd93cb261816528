"""The table of a suite: Felzenszwalb segmentation, labels and trained models, all through ``tools/evaluate.py``.

Each subject is evaluated on the same images of every data set, and a row of Markdown is printed for each. Without
--store, the embedded default labels the images first. What was made and evaluated before in the output folder is kept,
so that a run that was stopped goes on.

Example:
    python -m benchmarks.suite_table
    python -m benchmarks.suite_table --images 0 --store labels=out/labels --model model=out/model_final.pth
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.dev_sets import MissingDataError, data_folder
from benchmarks.felzenszwalb import felzenszwalb_masks
from benchmarks.measure import figure, print_figures, skipped
from benchmarks.quality_report import markdown_table, with_interval
from dico.atomic import atomic_file
from dico.ground_truth import load_annotations
from dico.image import load_image
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from training.data.catalog import expand_suites, locate
from training.evaluation.coco import evenly_spaced
from training.records import images_folder

REPOSITORY = Path(__file__).resolve().parent.parent
REFERENCE = "Felzenszwalb, 8 scales"
LABELS = "labels, default"
BUDGETS = (1000, 100, 10)


@dataclass(frozen=True)
class Subject:
    """What is evaluated: its name, and the option of ``tools/evaluate.py`` that says where it is."""

    name: str
    option: str
    place: Path


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        os.environ.setdefault("DICO_DATA", str(data_folder()))
    except MissingDataError as error:
        return skipped(str(error))
    # Files of some images are not taken for those of others.
    output: Path = arguments.output / (f"{arguments.images} images" if arguments.images else "all images")
    names = expand_suites(arguments.datasets)
    subjects = [Subject(REFERENCE, "--predictions", output / "felzenszwalb")]
    makers = {subjects[0].place: cache(lambda path: felzenszwalb_masks(load_image(path)))}
    subjects += [Subject(name, "--store", place) for name, place in arguments.store]
    if not arguments.store:
        labeler = PseudoLabeler.from_config()
        subjects.append(Subject(LABELS, "--predictions", output / "labels"))
        makers[subjects[-1].place] = cache(lambda path: labeler(load_image(path)))
    subjects += [Subject(name, "--model", place) for name, place in arguments.model]
    for folder, make in makers.items():
        for name in names:
            write_results(name, make, folder / f"{name}.json", images=arguments.images)
    reports = {subject: evaluated(subject, names, output, arguments) for subject in subjects}
    rows, figures = [], []
    for name in names:
        reference = recall(reports[subjects[0]][name], BUDGETS[0])
        for subject, by_set in reports.items():
            rows.append(cells(name, subject.name, by_set[name]))
            if subject is not subjects[0]:
                ours = recall(by_set[name], BUDGETS[0])
                figures.append(figure(f"AR1000, {name}, {subject.name}", ours, reference, "%", higher_is_better=True))
    header = ["data set", "masks from", "images", "masks an image", *(f"AR{n}" for n in BUDGETS)]
    print(f"\n{markdown_table([*header, 'small / medium / large', 'AP', 'AP50'], rows)}\n")
    print_figures(figures)
    return 0


def write_results(name: str, make: Callable[[Path], MaskSet], path: Path, *, images: int) -> None:
    """A results file of what a function makes of the images of a data set, on one core; one that exists is kept."""
    if path.exists():
        return
    found = locate(name)
    chosen = evenly_spaced(load_annotations(found.annotations), images)
    root = found.images or images_folder(found.annotations, [image.file_name for image in chosen])
    path.parent.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1), atomic_file(path) as temporary, open(temporary, "w", encoding="ascii") as stream:
        before = "["
        for image in tqdm(chosen, desc=f"{path.parent.name}, {name}", unit=" images", disable=None):
            for entry in entries(make(root / image.file_name), image.image_id):
                stream.write(f"{before}\n{json.dumps(entry)}")
                before = ","
        stream.write("]\n" if before == "," else "[]\n")


def entries(masks: MaskSet, image_id: int) -> Iterator[dict[str, Any]]:
    """What a results file holds of an image's masks."""
    for entry in masks.to_coco(image_id=image_id):
        yield {key: entry[key] for key in ("image_id", "category_id", "segmentation", "score", "level")}


def evaluated(
    subject: Subject, names: Sequence[str], output: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """The report of each data set."""
    output = output / "reports" / subject.name.replace("/", "_")
    command = [sys.executable, str(REPOSITORY / "tools" / "evaluate.py"), "--datasets", *names]
    command += [subject.option, str(subject.place), "--output", str(output)]
    command += ["--images", str(arguments.images)] if arguments.images else []
    command += ["--max-dets", ",".join(map(str, BUDGETS)), "--processes", str(arguments.processes)]
    if output.exists():
        command.append("--resume")
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if done not in (0, 1):  # 1: some images have no masks; it has said so
        raise RuntimeError(f"{' '.join(command)} ended with {done}")
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return {one["name"]: one for one in report["sets"]}


def budget_of(report: dict[str, Any], max_masks: int) -> dict[str, Any]:
    """The figures of one mask budget."""
    found: dict[str, Any] = next(one for one in report["figures"]["budgets"] if one["max_masks"] == max_masks)
    return found


def recall(report: dict[str, Any], max_masks: int) -> float:
    """Average recall at a mask budget, in percent."""
    return float(budget_of(report, max_masks)["ar"])


def cells(name: str, subject: str, report: dict[str, Any]) -> list[str]:
    """A row of the table."""
    most = budget_of(report, BUDGETS[0])
    recalls = [budget_of(report, n) for n in BUDGETS]
    sizes = (most[f"ar_{size}"] for size in ("small", "medium", "large"))
    return [
        name,
        subject,
        str(report["figures"]["n_images"]),
        f"{report['figures']['masks_per_image']:.0f}",
        *(with_interval(one["ar"], tuple(one["ar_interval"])) for one in recalls),
        " / ".join("-" if size is None else f"{size:.1f}" for size in sizes),
        with_interval(most["ap"], tuple(most["ap_interval"])),
        f"{most['ap50']:.1f}",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["dev"], metavar="NAME", help="data sets or suites (dev)")
    parser.add_argument("--images", type=int, default=4, metavar="N", help="of each, evenly spaced; 0: all (4)")
    for option, what in (("--store", "of labels"), ("--model", "of weights")):
        parser.add_argument(option, type=named_place, action="append", default=[], metavar="NAME=PLACE", help=what)
    parser.add_argument("--output", type=Path, default=Path("out/suite"), help="folder (out/suite)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="of each evaluation (1)")
    return parser


def named_place(text: str) -> tuple[str, Path]:
    """The type of an option: a name and a place, joined by ``=``."""
    name, _, place = text.partition("=")
    if not name or not place:
        raise argparse.ArgumentTypeError(f"must be NAME=PLACE, got {text!r}")
    return name, Path(place)


if __name__ == "__main__":
    sys.exit(main())
