"""How well masks find ground truth: COCO's average recall and precision, blind to classes, at several mask budgets.

The figures are those of pycocotools' ``COCOeval`` with ``useCats = 0`` (the tests compare them), computed image by
image: of each image only the scores are kept, and what became of each mask, some 50 bytes a mask within the largest
budget. With the figures' own arrays 5,000 images of 1,000 masks take 0.5 GB. Ground truths with the id 0, which
``COCOeval`` takes for unmatched, and of categories that a file does not declare are counted here like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dico.evaluation_report import BudgetFigures, EvalReport
from dico.ground_truth import AnnotatedImage, image_ids_of_paths, load_annotations
from dico.masks import MaskSet
from dico.matching import AREA_NAMES, IOU_THRESHOLDS, in_area_range, match
from dico.overlaps import MaskRuns, overlapping_pairs
from dico.precision import ImageOutcome, PooledOutcomes, bootstrap_intervals, pool
from dico.store import MaskStore

MAX_DETS = (100, 350, 1000)
"""The mask budgets of every report: few; as many as published labels have; all."""
CONFIDENCE = 0.95


def evaluate_store(
    store: MaskStore,
    annotations: str | Path | Sequence[AnnotatedImage],
    *,
    max_dets: Sequence[int] = MAX_DETS,
    resamples: int = 1000,
    seed: int = 0,
) -> EvalReport:
    """The figures of a store's masks against a COCO annotation file.

    Every image of the annotation file counts; one that has no labels, or failed, is an image without masks. Labelled
    images that the file does not name are left out.

    Args:
        store: The labels.
        annotations: COCO json, or its images as :func:`dico.ground_truth.load_annotations` gives them. They are found
            in the store by file name, see :func:`dico.ground_truth.image_ids_of_paths`.
        max_dets: Mask budgets: the best so many masks of each image count.
        resamples: Bootstrap resamples for the intervals; 0 for no intervals.
        seed: Seed of the bootstrap.

    Returns:
        The figures, in percent.

    Raises:
        FileNotFoundError: when ``annotations`` does not exist.
        ValueError: when no image matches or file names are ambiguous, and as :func:`evaluate_masks` does.
    """
    images = load_annotations(annotations) if isinstance(annotations, (str, Path)) else annotations
    image_ids = image_ids_of_paths(images, [entry.path for entry in store.manifest.entries])
    rows = (row for row in store if row.path in image_ids)
    predictions = ((image_ids[row.path], row.masks) for row in rows if row.masks is not None)
    return evaluate_masks(predictions, images, max_dets=max_dets, resamples=resamples, seed=seed)


def evaluate_masks(
    predictions: Iterable[tuple[int, MaskSet]],
    annotations: str | Path | Sequence[AnnotatedImage],
    *,
    max_dets: Sequence[int] = MAX_DETS,
    resamples: int = 1000,
    seed: int = 0,
) -> EvalReport:
    """The figures of masks against COCO annotations. Every annotated image counts, predicted or not.

    Args:
        predictions: Pairs of image id and masks, each image at most once, in any order; consumed one by one.
        annotations: COCO json, or its images as :func:`dico.ground_truth.load_annotations` gives them.
        max_dets: Mask budgets: the best so many masks of each image count.
        resamples: Bootstrap resamples for the intervals; 0 for no intervals.
        seed: Seed of the bootstrap.

    Returns:
        The figures, in percent.

    Raises:
        FileNotFoundError: when ``annotations`` does not exist.
        ValueError: for an unknown or repeated image id, masks of another size than the image, or a bad budget.
    """
    budgets = sorted(set(max_dets))
    if not budgets or budgets[0] < 1:
        raise ValueError(f"max_dets must hold integers from 1, got {max_dets}")
    images = load_annotations(annotations) if isinstance(annotations, (str, Path)) else annotations
    by_id = {image.image_id: image for image in images}
    outcomes: dict[int, ImageOutcome] = {}
    for image_id, masks in predictions:
        if image_id not in by_id:
            raise ValueError(f"image id must be one of the {len(by_id)} in the annotations, got {image_id}")
        if image_id in outcomes:
            raise ValueError(f"each image must be predicted once, got image {image_id} twice")
        outcomes[image_id] = match_image(masks, by_id[image_id], max_det=budgets[-1])
    n_unlabelled = len(by_id) - len(outcomes)
    for image_id, image in by_id.items():
        if image_id not in outcomes:
            outcomes[image_id] = match_image(MaskSet.empty(image.size_hw), image, max_det=budgets[-1])
    in_order = [outcomes[image_id] for image_id in sorted(outcomes)]
    return report_of(in_order, n_unlabelled=n_unlabelled, max_dets=budgets, resamples=resamples, seed=seed)


def report_of(
    outcomes: Sequence[ImageOutcome],
    *,
    n_unlabelled: int,
    max_dets: Sequence[int] = MAX_DETS,
    resamples: int = 1000,
    seed: int = 0,
) -> EvalReport:
    """The figures of what became of the masks of all images.

    Args:
        outcomes: At least one; by rising image id, as of two equal scores the earlier image's goes first.
        n_unlabelled: How many of them have no labels.
        max_dets: Mask budgets, none above that of :func:`match_image`.
        resamples: Bootstrap resamples for the intervals; 0 for no intervals.
        seed: Seed of the bootstrap.
    """
    _, n_small, n_medium, n_large = np.sum([outcome.truths_A for outcome in outcomes], axis=0)
    return EvalReport(
        n_images=len(outcomes),
        n_unlabelled=n_unlabelled,
        n_truths=int(sum(outcome.truths_A[0] for outcome in outcomes)),
        n_small=int(n_small),
        n_medium=int(n_medium),
        n_large=int(n_large),
        masks_per_image=float(np.mean([outcome.n_masks for outcome in outcomes])),
        budgets=tuple(_figures(pool(outcomes, n), n, resamples=resamples, seed=seed) for n in sorted(set(max_dets))),
    )


def best_masks(masks: MaskSet, max_det: int) -> NDArray[np.int64]:
    """int64 (D,): the masks of the highest scores, best first; of equal scores the earlier goes first.

    Args:
        masks: Of one image.
        max_det: No more than so many.
    """
    return np.argsort(-masks.score, kind="stable")[:max_det].astype(np.int64, copy=False)


def match_image(masks: MaskSet, image: AnnotatedImage, *, max_det: int) -> ImageOutcome:
    """What became of the best ``max_det`` masks of one image.

    Args:
        masks: Masks of the image, in any order; of equal scores the earlier goes first.
        image: Its ground truth.
        max_det: The largest budget.

    Returns:
        The outcome of each mask, best first.

    Raises:
        ValueError: when the masks are of another size than the image, or a mask or ground truth is a broken code.
    """
    if masks.size_hw != image.size_hw:
        raise ValueError(
            f"image {image.image_id} ({image.file_name}) has {image.size_hw} pixels in the annotations, but its masks "
            f"have {masks.size_hw}; were they made from a resized or a rotated copy?"
        )
    best_first = best_masks(masks, max_det)
    score_D = masks.score[best_first].astype(np.float64)
    of_masks = _runs([masks.rles[d] for d in best_first], image, "masks")
    of_truths = _runs(image.rles, image, "ground truths")
    area_G, is_crowd_G = image.area_px, image.is_crowd
    pairs = overlapping_pairs(of_masks, of_truths, is_crowd_G, min_overlap=IOU_THRESHOLDS[0])
    matches = match(pairs, of_masks.area_N.astype(np.float64), area_G, is_crowd_G)
    return ImageOutcome(
        n_masks=len(masks),
        score_D=score_D,
        outcome_ATD=matches.outcome_ATD,
        finder_TG=matches.finder_TG,
        truths_A=(in_area_range(area_G) & ~is_crowd_G).sum(axis=1),
    )


def _runs(rles: Sequence[bytes], image: AnnotatedImage, whose: str) -> MaskRuns:
    try:
        return MaskRuns.of(rles, image.size_hw)
    except ValueError as error:
        raise ValueError(f"{whose} of image {image.image_id} ({image.file_name}): {error}") from error


def _figures(pooled: PooledOutcomes, max_det: int, *, resamples: int, seed: int) -> BudgetFigures:
    n_images = len(pooled.truths_IA)
    once_I = np.ones(n_images, dtype=np.int64)
    recall_A = [float(100 * pooled.recall(once_I, a).mean()) for a in range(len(AREA_NAMES))]
    precision_AT = [100 * pooled.average_precision(once_I, a) for a in range(len(AREA_NAMES))]
    precision_A = [float(precision_T.mean()) for precision_T in precision_AT]

    def headline(weight_I: NDArray[np.int64]) -> NDArray[np.float64]:
        return 100 * np.array([pooled.recall(weight_I).mean(), pooled.average_precision(weight_I).mean()])

    ends_S2 = np.full((2, 2), np.nan)
    if resamples:
        ends_S2 = bootstrap_intervals(headline, n_images, resamples=resamples, seed=seed, confidence=CONFIDENCE)
    return BudgetFigures(
        max_masks=max_det,
        masks_per_image=len(pooled.image_D) / n_images,
        ar=recall_A[0],
        ar_interval=(float(ends_S2[0, 0]), float(ends_S2[0, 1])),
        ar_small=recall_A[1],
        ar_medium=recall_A[2],
        ar_large=recall_A[3],
        ap=precision_A[0],
        ap_interval=(float(ends_S2[1, 0]), float(ends_S2[1, 1])),
        ap50=float(precision_AT[0][IOU_THRESHOLDS.index(0.5)]),
        ap_small=precision_A[1],
        ap_medium=precision_A[2],
        ap_large=precision_A[3],
    )
