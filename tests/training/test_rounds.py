import pickle

import numpy as np
import pytest

from dico.masks import MaskSet
from dico.store import LabelRow
from training.records import ImageRecord, Source
from training.rounds import SelfTraining, WithHuman

IMAGE = np.zeros((2, 4, 3), dtype=np.uint8)
LEFT_HW = np.array([[1, 1, 0, 0]] * 2)


def halves(**fields) -> MaskSet:
    return MaskSet.from_arrays(np.stack([LEFT_HW, 1 - LEFT_HW]), **fields)


def labelled(masks: MaskSet | None, path: str = "a.png") -> LabelRow:
    return LabelRow(0, path, "failed" if masks is None else "done", "decode" if masks is None else None, masks)


def predict(image) -> MaskSet:
    return halves(score=[0.9, 0.6], source="model")


class Drawn(Source):
    """One image, of which a person drew the left half."""

    name = "drawn"

    def __len__(self):
        return 1

    def __getitem__(self, place):
        return ImageRecord("7", "a.png", lambda: halves(score=[0.5, 0.5])[:1])


def test_what_the_model_is_sure_of_and_labels_of_the_rest():
    fused = SelfTraining(predict)(IMAGE, labelled(halves(score=[2, 3], source="divide")))
    assert fused.source == ("model", "divide") and fused.score == pytest.approx([0.9, 3])
    assert SelfTraining(predict, 0.95)(IMAGE, labelled(halves())) == halves()


def test_an_image_that_could_not_be_labelled_has_the_predictions_alone():
    assert SelfTraining(predict)(IMAGE, labelled(None)) == predict(IMAGE)[:1]


def test_human_masks_and_labels_of_the_rest():
    fuse = WithHuman(Drawn(), {"a.png": 0})
    fused = fuse(IMAGE, labelled(halves(score=[2, 3], source="divide")))
    assert fused.source == ("human", "divide") and fused.score == pytest.approx([0.5, 3])
    assert fuse(IMAGE, labelled(None)).source == ("human",)


def test_labels_stay_where_nobody_drew():
    assert WithHuman(Drawn(), {})(IMAGE, labelled(halves())) == halves()


def test_both_travel_to_other_processes():
    assert pickle.loads(pickle.dumps(SelfTraining(predict, 0.8))) == SelfTraining(predict, 0.8)
    assert pickle.loads(pickle.dumps(WithHuman(Drawn(), {"a.png": 0}))).place_by_path == {"a.png": 0}


def test_limits_are_checked_before_any_image():
    with pytest.raises(ValueError, match=r"min_score must be within \[0, 1\], got 7"):
        SelfTraining(predict, 7)
    with pytest.raises(ValueError, match="max_iou must be"):
        WithHuman(Drawn(), {}, -1)
