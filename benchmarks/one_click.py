"""What one click finds, by the size of what is clicked: trained models beside the labels of the same photographs.

One click in the middle of each ground truth, as in ``tools/evaluate.py --task point``: "Oracle" is the best of the six
masks that come back, "Max" the surest of them, both mean IoU in percent. Labels have three rows: the six nearest to the
ground truth in size, which nobody who clicks tells them; six distinct ones from part to whole, at even steps of area,
which takes no knowledge of the ground truth; and all under the click.

Without --store, the embedded default labels the photographs first.

Example:
    python -m benchmarks.one_click
    python -m benchmarks.one_click --images 0 --store labels/ --model ours=out/clicks/model_final.pth
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.dev_sets import MissingDataError, data_folder
from benchmarks.measure import figure, print_figures, skipped
from benchmarks.quality_report import markdown_table, with_interval
from benchmarks.suite_table import named_place
from dico.command_line import exit_code
from dico.image import load_image
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.rle import masks_at
from dico.selection import suppress
from training.data.catalog import expand_suites, open_source
from training.evaluation.coco import evenly_spaced
from training.evaluation.point_report import PointOutcome, report_of
from training.evaluation.running.point_work import LABELS_A_CLICK, Ask, AskLabels, LabelsOfStore, PointWork
from training.evaluation.simulated_clicks import first_click
from training.records import ImageRecord
from training.suite.subjects import Clicks, ModelSubject, StoreSubject

SHIPPED = Path(__file__).resolve().parent.parent / "weights" / "promptable_tiny.safetensors"
NEAREST, CHOSEN, ALL = "labels, six nearest in size", "labels, six from part to whole", "labels, all under the click"
MAX_IOU = 0.7
"""Of two labels that overlap more than this, the better-scored one is distinct."""
SIZES_PX = (0, 32**2, 96**2, np.inf)
"""Small, medium and large, as in COCO's evaluation."""


def main(argv: Sequence[str] | None = None) -> int:
    return exit_code("one_click", lambda: _compared(_parser().parse_args(argv)))


def _compared(arguments: argparse.Namespace) -> int:
    models = [(name, ModelSubject(str(place), device="cpu")) for name, place in arguments.model]
    for name, model in models:
        model.identity(name, "point")  # it is read: what cannot be is told before photographs are labelled
    try:
        os.environ.setdefault("DICO_DATA", str(data_folder()))
    except MissingDataError as error:
        return skipped(str(error))
    rows, figures = [], []
    for name in expand_suites(arguments.datasets):
        records = evenly_spaced(open_source(name), arguments.images)
        areas_I = [truth_areas(record) for record in records]
        reference = None
        for subject, ask in asks(name, records, arguments.store, models):
            outcomes = [outcome_of(ask, record) for record in records]
            report = report_of(outcomes, name=name, thresholds=(), most_clicks=1)
            by_size = " / ".join("-" if np.isnan(mean) else f"{mean:.1f}" for mean in means_by_size(outcomes, areas_I))
            oracle, surest = (with_interval(one.mean, one.interval) for one in (report.oracle_iou, report.max_iou))
            rows.append([name, subject, str(report.n_truths), oracle, by_size, "-" if subject == ALL else surest])
            if reference is None:
                reference = report.oracle_iou.mean
            else:
                of_subject = f"Oracle IoU of one click, {name}, {subject}"
                figures.append(figure(of_subject, report.oracle_iou.mean, reference, "%", higher_is_better=True))
    header = ["data set", "answered by", "ground truths", "Oracle", "small / medium / large", "Max"]
    print(f"\n{markdown_table(header, rows)}\n")
    print_figures(figures)
    return 0


def asks(
    data_set: str, records: Sequence[ImageRecord], store: Path | None, models: Sequence[tuple[str, ModelSubject]]
) -> Iterator[tuple[str, Ask]]:
    """What is asked, by name; the reference first."""
    labels_of = LabelsOfStore(StoreSubject(store).of(data_set), records) if store else made_labels(records)
    yield NEAREST, AskLabels(labels_of)
    yield CHOSEN, AskUnder(labels_of, from_part_to_whole)
    yield ALL, AskUnder(labels_of, lambda under: under)
    for name, model in models:
        yield name, model.clicks(data_set, records, Clicks(most=1), 1)()


def made_labels(records: Sequence[ImageRecord]) -> Callable[[str], MaskSet]:
    """What labels images with the embedded default when they are asked for, by key, each once."""
    labeler = PseudoLabeler.from_config()
    paths = {record.key: record.path for record in records}

    @cache
    def labels_of(key: str) -> MaskSet:
        with threadpool_limits(1):
            return labeler(load_image(paths[key]))

    return labels_of


class AskUnder:
    """Labels under a click answer it, or those that are chosen of them without knowledge of the ground truth.

    Args:
        labels_of: Gives the labels of the image of a key; None when it has none.
        choose: Gives some of the masks under a click, of which there is at least one.
    """

    def __init__(self, labels_of: Callable[[str], MaskSet | None], choose: Callable[[MaskSet], MaskSet]) -> None:
        self._labels_of = labels_of
        self._choose = choose

    def __call__(self, record: ImageRecord, truths: MaskSet) -> PointOutcome | None:
        """What they find."""
        labels = self._labels_of(record.key)
        if labels is None:
            return None
        max_iou_G, oracle_iou_G = np.zeros(len(truths)), np.zeros(len(truths))
        for g, truth_HW in enumerate(truths.iter_decoded()):
            click = first_click(truth_HW)
            under_N = masks_at(labels.rles, labels.size_hw, np.array([click.x]), np.array([click.y]))[:, 0]
            if under_N.any():
                given = self._choose(labels[under_N])
                iou_Q = given.iou(truths[[g]])[:, 0]
                max_iou_G[g], oracle_iou_G[g] = iou_Q[given.score.argmax()], iou_Q.max()
        return PointOutcome(record.key, max_iou_G, oracle_iou_G)


def from_part_to_whole(masks: MaskSet) -> MaskSet:
    """Distinct masks, six at most: their areas are nearest to even steps, on a scale of ratios, from least to most."""
    masks = suppress(masks, MAX_IOU)
    scale_N = np.log(masks.area_px)
    steps = np.linspace(scale_N.min(), scale_N.max(), LABELS_A_CLICK)
    return masks[np.unique(np.abs(scale_N[:, None] - steps).argmin(axis=0))]


def outcome_of(ask: Ask, record: ImageRecord) -> PointOutcome:
    """What one click on each ground truth of an image finds.

    Raises:
        ValueError: when the image cannot be measured: a comparison has to be on all of them.
    """
    result = PointWork(ask)(record)
    if result.outcome is None or result.fault:
        raise ValueError(result.fault)
    return result.outcome


def truth_areas(record: ImageRecord) -> NDArray[np.int64]:
    """int64 (G,): the areas of an image's ground truths in pixels; empty ones are not clicked."""
    areas_G = record.read_masks().area_px
    return areas_G[areas_G > 0]


def means_by_size(outcomes: Sequence[PointOutcome], areas_I: Sequence[NDArray[np.int64]]) -> list[float]:
    """Mean Oracle IoU in percent of ground truths in each range of sizes; NaN for a range without any."""
    iou_T = 100 * np.concatenate([outcome.oracle_iou_G for outcome in outcomes])
    size_T = np.digitize(np.concatenate(areas_I), SIZES_PX) - 1
    sizes = range(len(SIZES_PX) - 1)
    return [float(iou_T[size_T == size].mean()) if (size_T == size).any() else float("nan") for size in sizes]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["dev_panoptic", "dev_coco"]
    parser.add_argument(
        "--datasets", nargs="+", default=names, metavar="NAME", help="data sets (dev_panoptic dev_coco)"
    )
    parser.add_argument("--images", type=int, default=4, metavar="N", help="of each, evenly spaced; 0: all (4)")
    parser.add_argument("--store", type=Path, help="their labels, or a folder of stores (labels made by the default)")
    parser.add_argument(
        "--model",
        type=named_place,
        action="append",
        default=[("the shipped model", SHIPPED)],
        metavar="NAME=WEIGHTS",
        help="another promptable model beside the one that comes with the project",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
