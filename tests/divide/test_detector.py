import numpy as np
import pytest

from dico.divide.detector import DetectorDivider
from dico.features.base import PatchFeatures
from dico.masks import MaskSet

FEATURES = PatchFeatures(np.ones((1, 1, 1), dtype=np.float32), 8, (6, 8))


def predictor(image):
    masks_NHW = np.zeros((3, *image.shape[:2]), dtype=bool)
    masks_NHW[0, :4], masks_NHW[1, :2], masks_NHW[2, 3:] = True, True, True
    return MaskSet.from_arrays(masks_NHW, score=[0.9, 0.31, 0.3], parent=[-1, 0, -1], level=[0, 2, 1], source="model")


def test_keeps_what_scores_more_as_coarse_masks():
    image = np.zeros((6, 8, 3), dtype=np.uint8)
    masks = DetectorDivider(predictor, min_score=0.3).divide(image, FEATURES)
    assert masks.rles == predictor(image).rles[:2]
    assert masks.score == pytest.approx([0.9, 0.31])
    assert masks.parent.tolist() == [-1, -1] and not masks.level.any() and not masks.theta.any()
    assert masks.source == ("divide", "divide")


def test_nothing_found():
    image = np.zeros((6, 8, 3), dtype=np.uint8)
    assert DetectorDivider(predictor, min_score=0.95).divide(image, FEATURES) == MaskSet.empty((6, 8))


def test_masks_of_another_size_are_refused():
    divider = DetectorDivider(lambda image: MaskSet.empty((5, 5)), min_score=0)
    with pytest.raises(ValueError, match=r"size \(6, 8\), got \(5, 5\)"):
        divider.divide(np.zeros((6, 8, 3), dtype=np.uint8), FEATURES)
