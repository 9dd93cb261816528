"""The same figures by stock COCO tools, to verify an evaluation: slower, and with all masks in memory at once.

faster-coco-eval computes them when it is installed and gives, here and now, what pycocotools gives on a few made-up
images; otherwise pycocotools does.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dico.evaluation_report import EvalReport
from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from dico.matching import AREA_NAMES

PROBE_TOLERANCE = 1e-6
"""How far, in percent, figures on the probe may be from those of pycocotools; none of them is unknown."""


@dataclass(frozen=True)
class StockFigures:
    """What a stock tool found.

    Attributes:
        engine: Its name and version.
        budgets: By mask budget the figures, in percent, named as in :class:`dico.evaluation_report.BudgetFigures`;
            NaN without ground truth.
    """

    engine: str
    budgets: Mapping[int, Mapping[str, float]]

    def largest_difference(self, report: EvalReport) -> float:
        """The largest difference to a figure of a report, in percent; infinite when only one of both knows a figure.

        Raises:
            KeyError: when the report lacks a budget.
        """
        pairs = [
            (value, getattr(report.at(budget), name))
            for budget, figures in self.budgets.items()
            for name, value in figures.items()
        ]
        stock, ours = np.array(pairs).T
        differences = np.where(np.isnan(stock) & np.isnan(ours), 0, np.abs(stock - ours))
        return float(np.nan_to_num(differences, nan=np.inf).max())


@dataclass(frozen=True)
class Engine:
    """A stock tool.

    Attributes:
        name: Name and version.
        coco: Its class ``COCO``.
        evaluation: Its class ``COCOeval``.
    """

    name: str
    coco: Callable[[], Any]
    evaluation: Callable[..., Any]

    def load(self, truths: Mapping[str, Any], found: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
        """Ground truth and results as the tool holds them, two ``COCO``.

        Args:
            truths: The content of an annotation file; the tool writes notes of its own into the annotations.
            found: That of a results file; likewise.
        """
        with contextlib.redirect_stdout(io.StringIO()):
            truth = self.coco()
            truth.dataset = dict(truths)
            truth.createIndex()
            if found:
                return truth, truth.loadRes(list(found))
            results = self.coco()  # pycocotools cannot load a list of no results
            results.dataset = {**truths, "annotations": []}
            results.createIndex()
            return truth, results

    def figures(self, truth: Any, results: Any, max_dets: Sequence[int]) -> dict[int, dict[str, float]]:
        """The figures of each budget, in percent; NaN without ground truth.

        Args:
            truth: As :meth:`load` gives them, or as the tool itself reads files; likewise ``results``.
            results: What was found.
            max_dets: Mask budgets, rising.
        """
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = self.evaluation(truth, results, "segm")
            evaluation.params.useCats = 0
            evaluation.params.maxDets = list(max_dets)
            evaluation.evaluate()
            evaluation.accumulate()
        recall_TAM, precision_TRAM = evaluation.eval["recall"][:, 0], evaluation.eval["precision"][:, :, 0]
        return {budget: _percent(recall_TAM[..., m], precision_TRAM[..., m]) for m, budget in enumerate(max_dets)}


def fastest_engine() -> Engine:
    """faster-coco-eval when it is installed and gives what pycocotools gives on a few images, or else pycocotools."""
    faster = faster_engine()
    return faster if faster and _agree_on_the_probe(faster, pycocotools_engine()) else pycocotools_engine()


def pycocotools_engine() -> Engine:
    """The tool that COCO's authors published."""
    return Engine(f"pycocotools {version('pycocotools')}", COCO, COCOeval)


def faster_engine() -> Engine | None:
    """faster-coco-eval, or None where it is not installed."""
    try:
        import faster_coco_eval
    except ImportError:
        return None
    name = f"faster-coco-eval {version('faster-coco-eval')}"
    return Engine(name, faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster)


def stock_figures(
    images: Sequence[AnnotatedImage],
    predictions: Iterable[tuple[int, MaskSet]],
    max_dets: Sequence[int],
    *,
    engine: Engine | None = None,
) -> StockFigures:
    """The figures of masks as COCO's own tools compute them, blind to classes.

    Args:
        images: Ground truth.
        predictions: Pairs of image id and masks, each image of ``images`` at most once. All are held in memory.
        max_dets: Mask budgets.
        engine: What computes them; by default :func:`fastest_engine`.

    Returns:
        The figures, and what computed them.

    Raises:
        ValueError: for a prediction of an image that is not among ``images``.
    """
    engine = engine or fastest_engine()
    truths, found = _coco_truths(images), _coco_results(predictions)
    if unknown := {one["image_id"] for one in found} - {image.image_id for image in images}:
        raise ValueError(f"predictions must be of the {len(images)} annotated images, got one of image {min(unknown)}")
    return StockFigures(engine.name, engine.figures(*engine.load(truths, found), sorted(set(max_dets))))


def _percent(recall_TA: NDArray[np.float64], precision_TRA: NDArray[np.float64]) -> dict[str, float]:
    def mean(values: NDArray[np.float64]) -> float:
        return float(100 * values.mean()) if values.max() > -1 else np.nan  # the tools' word for "unknown"

    figures = {"ap50": mean(precision_TRA[0, :, 0])}
    for a, name in enumerate(AREA_NAMES):
        suffix = f"_{name}" if a else ""
        figures |= {f"ar{suffix}": mean(recall_TA[:, a]), f"ap{suffix}": mean(precision_TRA[..., a])}
    return figures


def _agree_on_the_probe(one: Engine, other: Engine) -> bool:
    images, predictions = _probe()
    figures = [
        engine.figures(*engine.load(_coco_truths(images), _coco_results(predictions)), (2, 10, 1000))
        for engine in (one, other)
    ]
    ones, others = (np.array([list(of_budget.values()) for of_budget in each.values()]) for each in figures)
    return bool((np.abs(ones - others) <= PROBE_TOLERANCE).all())


def _probe() -> tuple[list[AnnotatedImage], list[tuple[int, MaskSet]]]:
    """Rectangles of every size, near and exact, with crowds, equal scores, equal overlaps and images without either."""
    rng = np.random.default_rng(0)
    size_hw = (200, 240)
    images, predictions = [], []
    for image_id in range(8):
        boxes_N4 = np.sort(rng.integers(0, size_hw, (12, 2, 2)), axis=1).reshape(12, 4)
        boxes_N4[:4] //= 6  # small ones
        boxes_N4[4] = boxes_N4[5]
        near_N4 = np.concatenate([boxes_N4, boxes_N4 + rng.integers(-4, 5, boxes_N4.shape)]).clip(0, 240)
        truths, masks = _rectangles(boxes_N4, size_hw), _rectangles(near_N4, size_hw)
        annotations = truths.to_coco()
        for one in annotations[::5]:
            one["iscrowd"] = 1
        has_truths, has_masks = image_id != 2, image_id != 5
        images.append(AnnotatedImage(image_id, "", size_hw, tuple(annotations) if has_truths else ()))
        if has_masks:
            predictions.append((image_id, masks.with_fields(score=rng.integers(1, 5, len(masks)) / 4)))
    return images, predictions


def _rectangles(boxes_N4: NDArray[np.int64], size_hw: tuple[int, int]) -> MaskSet:
    masks_NHW = np.zeros((len(boxes_N4), *size_hw), dtype=bool)
    for mask_HW, (y0, x0, y1, x1) in zip(masks_NHW, boxes_N4, strict=True):
        mask_HW[y0 : y1 + 1, x0 : x1 + 1] = True
    return MaskSet.from_arrays(masks_NHW)


def _coco_truths(images: Sequence[AnnotatedImage]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image in images:
        columns = (image.to_rle_dicts(), image.area_px.tolist(), image.is_crowd.tolist())
        for rle, area, is_crowd in zip(*columns, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # an id of 0 the tools take for "not matched"
                    "image_id": image.image_id,
                    "category_id": 1,  # of several, the tools put the annotations in another order
                    "iscrowd": int(is_crowd),
                    "area": area,
                    "bbox": coco_rle.toBbox(rle).tolist(),
                    "segmentation": rle,
                }
            )
    sizes = [{"id": image.image_id, "height": image.size_hw[0], "width": image.size_hw[1]} for image in images]
    return {"images": sizes, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def _coco_results(predictions: Iterable[tuple[int, MaskSet]]) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": 1, "segmentation": rle, "score": score}
        for image_id, masks in predictions
        for rle, score in zip(masks.to_rle_dicts(), masks.score.tolist(), strict=True)
    ]
