"""Masks of two origins put together: a model's with the labels it learnt from, and people's with labels.

Pure functions on the MaskSets of one image. What comes first is trusted; of the other, masks that would tell much the
same story again are left out. Scores stay what they were: those of a model are probabilities and those of labels are
not, so they only rank masks of one origin.

Axes: N pseudo-masks, M masks that are trusted.
"""

from __future__ import annotations

import numpy as np

from dico.masks import MaskSet

MIN_SCORE = 0.7
"""Of a prediction that the next round learns from (Wang et al. 2024, UnSAM)."""
MAX_IOU = 0.5
"""Of a pseudo-mask with a prediction, for both to be kept (ibid.)."""
MAX_IOU_WITH_HUMAN = 0.02
"""Of a pseudo-mask with a mask of a person, for both to be kept (ibid., UnSAM+)."""


def self_training_round(
    predictions: MaskSet, pseudo: MaskSet, *, min_score: float = MIN_SCORE, max_iou: float = MAX_IOU
) -> MaskSet:
    """What the next round learns from: what the model is sure of, and what it did not find.

    Args:
        predictions: A model's masks of an image; of them, those that score more than ``min_score`` are kept.
        pseudo: The masks that it learnt from, or those of an image that it has not seen.
        min_score: Probability in [0, 1].
        max_iou: In [0, 1]; a pseudo-mask goes when its IoU with any prediction that is kept is above it.

    Returns:
        The predictions in their order, then the pseudo-masks in theirs. Parents are those that each set had; where one
        went, its nearest ancestor that stays.

    Raises:
        ValueError: when a limit is outside [0, 1], or the sets are of images of different sizes.

    Example:
        >>> left, right = np.array([[[1, 0]], [[0, 1]]])
        >>> found = MaskSet.from_arrays(np.stack([left, right]), score=[0.9, 0.6], source="model")
        >>> self_training_round(found, MaskSet.from_arrays(np.stack([left, right]), source="divide")).source
        ('model', 'divide')
    """
    require_share("min_score", min_score)
    return _joined(predictions[predictions.score > min_score], pseudo, max_iou)


def fuse_with_human(human: MaskSet, pseudo: MaskSet, *, max_iou: float = MAX_IOU_WITH_HUMAN) -> MaskSet:
    """What people drew, and the pseudo-masks of what they left out (Wang et al. 2024, UnSAM+).

    Args:
        human: Masks that people drew in an image; all are kept.
        pseudo: The image's pseudo-masks.
        max_iou: In [0, 1]; a pseudo-mask goes when its IoU with any human mask is above it.

    Returns:
        The human masks in their order, then the pseudo-masks in theirs, with parents as in :func:`self_training_round`.

    Raises:
        ValueError: as :func:`self_training_round` does.

    Example:
        >>> left, right = np.array([[[1, 0]], [[0, 1]]])
        >>> drawn = MaskSet.from_arrays(left[None], source="human")
        >>> fuse_with_human(drawn, MaskSet.from_arrays(np.stack([left, right]), source="divide")).source
        ('human', 'divide')
    """
    return _joined(human, pseudo, max_iou)


def _joined(trusted: MaskSet, pseudo: MaskSet, max_iou: float) -> MaskSet:
    require_share("max_iou", max_iou)
    stays_N = np.all(pseudo.iou(trusted) <= max_iou, axis=1)
    return MaskSet.concat([trusted, pseudo[np.flatnonzero(stays_N)]])


def require_share(name: str, value: float) -> None:
    """Refuses a limit that is no share.

    Raises:
        ValueError: when it is outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be within [0, 1], got {value}")
