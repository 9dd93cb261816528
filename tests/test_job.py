from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from conftest import bright_labeler

from dico.config import PipelineConfig, load_config
from dico.job import LabelerJob, PipelineJob, RevisionJob
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.stopwatch import stage, stopwatch
from dico.store import ImageEntry, LabelRow
from dico.store.row_reader import RowReader
from dico.store.rows import decode_row
from dico.task import Failed, Labelled, LabelWork, Task
from tests.stores import make_store


def first_mask(image, row: LabelRow) -> MaskSet:
    return row.masks[:1]


def test_jobs_are_small_and_picklable():
    for job in (PipelineJob(PipelineConfig()), LabelerJob(bright_labeler)):
        assert pickle.loads(pickle.dumps(job)) == job
        assert len(pickle.dumps(job)) < 10_000


def test_a_pipeline_job_makes_the_pipeline():
    config = load_config(None, ["image.max_pixels=1234"])
    work = PipelineJob(config).work()
    assert isinstance(work.labeler, PseudoLabeler) and work.labeler.config == config and work.max_pixels == 1234


def test_an_extractor_is_shared_when_it_is_not_on_the_cpu():
    config = load_config(None, ["extractor.device=cuda", "extractor.name=dino"])
    assert PipelineJob(config).shares_extractor
    assert not PipelineJob(PipelineConfig()).shares_extractor
    with pytest.raises(TypeError, match="must not be asked of a LabelerJob"):
        LabelerJob(bright_labeler).extractor("cpu")


def test_a_given_extractor_is_used():
    class Given:
        def extract(self, images, *, size=None):
            raise LookupError("asked")

    work = PipelineJob(PipelineConfig()).work(Given())
    with pytest.raises(LookupError, match="asked"):
        work.labeler(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["conquer.parts=true"], "needs objects to look for parts in"),
        (["extractor.name=dino"], "weights"),
        (["extractor.name=dino", "extractor.weights=org/name"], "conquer.whole_image must be thresholds or none"),
        (["extractor.weights=a.pth"], "is for transformers, and extractor.name is classical"),
    ],
)
def test_a_configuration_that_cannot_work_is_found_without_loading(overrides, message):
    with pytest.raises(ValueError, match=message):
        PipelineJob(load_config(None, overrides)).check()


def test_work_tells_masks_and_seconds_and_the_row_does_not_depend_on_them(tmp_path, image_folder):
    file = image_folder(1) / "0000.png"
    task = Task(ImageEntry(0, "0000.png", 1), file)
    config = PipelineConfig()
    first, second = (PipelineJob(config).work()(task) for _ in range(2))
    assert isinstance(first, Labelled) and first.row == second.row
    assert set(first.seconds_by_stage) == {"load", "extract", "divide", "conquer", "refine", "select", "encode"}
    assert all(seconds >= 0 for seconds in first.seconds_by_stage.values())
    assert decode_row(first.row).masks is not None and len(decode_row(first.row).masks) == first.masks
    slow = replace(config, image=replace(config.image, max_pixels=1))
    assert isinstance(PipelineJob(slow).work()(task), Failed)


def test_memory_of_a_gpu_is_memory(image_folder):
    class OutOfMemoryError(RuntimeError):
        """As torch's: no MemoryError."""

    def labeler(image) -> MaskSet:
        raise OutOfMemoryError("CUDA out of memory")

    outcome = LabelWork(labeler, 10**6)(Task(ImageEntry(0, "a", 1), image_folder(1) / "0000.png"))
    assert isinstance(outcome, Failed) and outcome.kind == "memory"


def test_stages_without_a_stopwatch_cost_nothing_and_stopwatches_nest():
    with stage("alone"):
        pass
    with stopwatch() as outer:
        with stage("a"):
            pass
        with stopwatch() as inner, stage("b"):
            pass
        with stage("a"):
            pass
    assert list(outer) == ["a"] and list(inner) == ["b"]


def test_a_stage_that_raises_is_measured():
    with stopwatch() as seconds, pytest.raises(ValueError), stage("a"):
        raise ValueError
    assert list(seconds) == ["a"]


def test_a_revision_sees_the_image_and_what_a_store_has_of_it(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    PIL.Image.fromarray(image).save(tmp_path / "a.png")
    masks = MaskSet.from_arrays(np.ones((2, 4, 6)), score=[0.3, 0.4])
    store = make_store(tmp_path, {"a.png": masks, "b.png": None})
    job = RevisionJob(first_mask, RowReader(store))
    work = pickle.loads(pickle.dumps(job)).work()
    first, second = store.manifest.entries
    outcome = work(Task(first, tmp_path / "a.png"))
    assert isinstance(outcome, Labelled) and decode_row(outcome.row).masks == masks[:1]
    missing = work(Task(second, tmp_path / "a.png"))
    assert isinstance(missing, Failed) and "image 1 of" in missing.error and "has no row" in missing.error
    assert not job.shares_extractor and job.devices() == ()
