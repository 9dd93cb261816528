"""Self-training: a model that was trained on the labels takes the place of MaskCut, and labels again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from conftest import draw
from test_run import shard_bytes, store_of

from dico.config import load_config
from dico.divide.detector import DetectorDivider
from dico.executors import Executor, InlineExecutor
from dico.executors.pool import PoolExecutor
from dico.image import Image
from dico.job import LabelerJob
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.run import run


@dataclass(frozen=True)
class Model:
    """Stands for a trained model: it is sure of the left half and unsure of the right one.

    Attributes:
        sure: Its score for the left half.
    """

    sure: float

    def __call__(self, image: Image) -> MaskSet:
        left_HW = np.zeros(image.shape[:2], dtype=bool)
        left_HW[:, : image.shape[1] // 2] = True
        return MaskSet.from_arrays(np.stack([left_HW, ~left_HW]), score=[self.sure, 0.2])


def second_round() -> PseudoLabeler:
    config = load_config(None, ["conquer.parts=true", "conquer.whole_image=none", "refine.method=none"])
    return PseudoLabeler.from_config(config, divider=DetectorDivider(Model(0.9), min_score=0.3))


def test_what_the_model_is_sure_of_is_an_object_and_has_parts():
    image = draw(1)
    masks = second_round()(image)
    (whole,) = (i for i, source in enumerate(masks.source) if source == "divide")
    left_HW = Model(0.9)(image).decode()[0]
    np.testing.assert_array_equal(masks.decode()[whole], left_HW)
    parts = [i for i, source in enumerate(masks.source) if source == "conquer"]
    assert set(masks.children(whole)) & set(parts)
    assert (masks.decode()[parts] & ~left_HW).mean() < 0.01


@pytest.mark.parametrize("executor", [InlineExecutor(), PoolExecutor(2)], ids=str)
def test_a_second_round_is_a_run_as_any_other(tmp_path, image_folder, executor: Executor):
    folder = image_folder(4)
    store = store_of(folder, tmp_path / "round2")
    assert run(LabelerJob(second_round()), store, executor=executor).labelled == 4
    assert all("divide" in row.masks.source for row in store)
    run(LabelerJob(second_round()), store_of(folder, tmp_path / "again"))
    assert shard_bytes(tmp_path / "round2") == shard_bytes(tmp_path / "again")


def test_parts_without_a_divider_are_still_refused():
    with pytest.raises(ValueError, match="needs objects to look for parts in"):
        PseudoLabeler.from_config(load_config(None, ["conquer.parts=true"]))
