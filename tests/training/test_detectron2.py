"""detectron2's loop makes the steps of ours; its registries give our models and data."""

from __future__ import annotations

import json
import os
import runpy
import signal
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from tests.conftest import REPOSITORY, bright_labeler, draw
from tests.training.annotated import write_annotated
from tests.training.engine_runs import (
    MODEL,
    final_weights,
    losses_of,
    train,
    train_config,
    trainer_of,
    whole_image_objective,
)
from tests.training.ray_runs import Dies
from tests.training.test_train_net import TINY, losses
from training.build import register_with_detectron2
from training.config import load_train_config
from training.engine.launch import Group, launch
from training.engine.trainer import Hook
from training.models.whole_image import WholeImageModel
from training.records import ImageRecord

WANTED = "needs detectron2: pip install git+https://github.com/facebookresearch/detectron2 (and torchvision)"
pytest.importorskip("detectron2", reason=WANTED)
pytestmark = pytest.mark.detectron2

from detectron2.checkpoint import DetectionCheckpointer  # noqa: E402
from detectron2.config import get_cfg  # noqa: E402
from detectron2.data import DatasetCatalog, DatasetMapper  # noqa: E402
from detectron2.engine import HookBase, SimpleTrainer  # noqa: E402
from detectron2.modeling import META_ARCH_REGISTRY, build_model  # noqa: E402

from training.engine.detectron2 import (  # noqa: E402
    LoopTrainer,
    MetaArchitecture,
    register_model,
    register_source,
    run_with_detectron2,
)


def run(config, attempt=0, *, hooks=()):
    """A run as ``launch`` calls it."""
    trainer = trainer_of(config, go_on=attempt > 0, hooks=hooks)
    return 0 if run_with_detectron2(trainer, Path(config.output), log_every=1) else 130


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


class StopAfter(Hook):
    def __init__(self, step):
        self.step = step

    def after_step(self, trainer, report):
        if report.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_the_first_twenty_losses_are_those_of_the_other_engine(tmp_path):
    ours, theirs = train_config(tmp_path / "ours", steps=20), train_config(tmp_path / "theirs", steps=20)
    train(ours)
    assert run(theirs) == 0
    assert len(losses_of(theirs)) == 20 and losses_of(theirs) == losses_of(ours)
    assert equal(final_weights(theirs), final_weights(ours))
    lines = [json.loads(line) for line in (tmp_path / "theirs" / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [*range(20)]
    assert {"total_loss", "class", "mask", "dice", "lr", "data_time", "time"} <= lines[-1].keys()


def test_one_configuration_drives_both(tmp_path):
    annotations = write_annotated(tmp_path / "drawn")
    train_net = runpy.run_path(str(REPOSITORY / "tools" / "train_net.py"))["main"]
    for engine in ("torch", "detectron2"):
        more = [f"data.train=[{annotations}]", f"output={tmp_path / engine}", f"engine={engine}", "optim.steps=20"]
        assert train_net([*TINY, *more]) == 0
    assert len(losses(tmp_path / "detectron2")) == 20
    assert losses(tmp_path / "detectron2") == losses(tmp_path / "torch")


def test_bfloat16_needs_no_gpu(tmp_path):
    ours, theirs = (train_config(tmp_path / name, steps=3, precision="bfloat16") for name in ("ours", "theirs"))
    train(ours)
    assert run(theirs) == 0 and losses_of(theirs) == losses_of(ours)


def test_a_run_goes_on_with_the_other_engine(tmp_path):
    whole = train_config(tmp_path / "whole")
    train(whole)
    for first, second in ((run, train), (train, run)):
        parts = train_config(tmp_path / first.__name__)
        assert first(parts, hooks=[StopAfter(3)]) == 130
        assert (tmp_path / first.__name__ / "last_checkpoint").read_text() == "model_0000003.pth\n"
        assert second(parts, 1) == 0
        assert losses_of(parts) == losses_of(whole) and equal(final_weights(parts), final_weights(whole))


@pytest.mark.slow
def test_several_processes_and_one_of_them_is_killed(tmp_path):
    whole, parts = train_config(tmp_path / "whole"), train_config(tmp_path / "parts")
    assert launch(partial(run, whole), Group(2)) == 0
    assert launch(partial(run_and_die, parts), Group(2)) == 0
    assert losses_of(parts) == losses_of(whole) and equal(final_weights(parts), final_weights(whole))


def run_and_die(config, attempt):
    return run(config, attempt, hooks=[] if attempt else [Dies(3)])


def test_an_error_leaves_no_checkpoint_of_its_step(tmp_path):
    class Fails(Hook):
        def after_step(self, trainer, report):
            if report.step == 3:
                raise MemoryError

    with pytest.raises(MemoryError):
        run(train_config(tmp_path), hooks=[Fails()])
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["model_0000002.pth"]


def test_a_finished_run_has_nothing_to_do(tmp_path):
    config = train_config(tmp_path)
    assert run(config) == 0
    before = (tmp_path / "model_final.pth").stat()
    assert run(config, 1) == 0 and (tmp_path / "model_final.pth").stat() == before


def test_hooks_of_detectron2_see_what_they_expect(tmp_path):
    class Watches(HookBase):
        def __init__(self):
            self.seen = []

        def after_step(self):
            latest = self.trainer.storage.latest()
            self.seen.append((self.trainer.iter, latest["total_loss"][0], self.trainer.model.training))

    loop, watches = LoopTrainer(trainer_of(train_config(tmp_path))), Watches()
    loop.register_hooks([watches])
    assert isinstance(loop, SimpleTrainer) and loop.run()
    assert [step for step, *_ in watches.seen] == [*range(6)] and all(training for *_, training in watches.seen)
    logged = [loss for _, loss, _ in losses_of(train_config(tmp_path))]
    assert [loss for _, loss, _ in watches.seen] == pytest.approx(logged)


def test_detectron2_reads_our_checkpoints(tmp_path):
    config = train_config(tmp_path, steps=2)
    run(config)
    model = WholeImageModel(MODEL)
    checkpointer = DetectionCheckpointer(model, str(tmp_path))
    assert checkpointer.has_checkpoint()
    checkpointer.resume_or_load("", resume=True)
    assert equal(model.state_dict(), final_weights(config))


@pytest.fixture
def data_set(tmp_path):
    """The name of a data set of two drawn images."""
    records = []
    for index in range(2):
        image = draw(index, (48, 64))
        path = tmp_path / f"{index}.png"
        PIL.Image.fromarray(image).save(path)
        records.append(ImageRecord(path.name, path, lambda image=image: bright_labeler(image)))
    name = f"drawn of {tmp_path.name}"
    register_source(name, records)
    yield name
    DatasetCatalog.remove(name)


def mapper(*, is_train: bool, image_format: str) -> DatasetMapper:
    """What detectron2 makes inputs with."""
    masks = {"use_instance_mask": True, "instance_mask_format": "bitmask"}
    return DatasetMapper(is_train=is_train, augmentations=[], image_format=image_format, **masks)


def test_sources_are_data_sets_of_detectron2(data_set):
    first, _ = DatasetCatalog.get(data_set)
    mapped = mapper(is_train=True, image_format="RGB")(first)
    image = draw(0, (48, 64))
    labels = bright_labeler(image)
    np.testing.assert_array_equal(mapped["image"].permute(1, 2, 0), image)
    np.testing.assert_array_equal(mapped["instances"].gt_masks.tensor, labels.decode())
    np.testing.assert_allclose(mapped["instances"].gt_boxes.tensor, labels.boxes_xyxy)


@pytest.fixture
def architecture():
    """A configuration of detectron2 whose model is one of ours; it is asked what a simple labeler answers."""

    def build(cfg):
        model = WholeImageModel(MODEL)
        return MetaArchitecture(model, whole_image_objective, bright_labeler, image_format=cfg.INPUT.FORMAT)

    register_model("DrawnSegmenter", build)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "DrawnSegmenter", "cpu"
    yield cfg
    META_ARCH_REGISTRY._obj_map.pop("DrawnSegmenter")


def test_a_configuration_is_made_known_to_detectron2(tmp_path):
    annotations = write_annotated(tmp_path / "drawn", 3)
    config = load_train_config(overrides=[*TINY, f"data.train=[{annotations}]"])
    register_with_detectron2(config, name="OfAConfiguration")
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "OfAConfiguration", "cpu"
    try:
        entries = DatasetCatalog.get(str(annotations))
        model = build_model(cfg)
        batch = [mapper(is_train=True, image_format="BGR")(one) for one in entries]
        SimpleTrainer(model, [batch], torch.optim.SGD(model.parameters(), 1e-3)).train(0, 1)
        (output,) = model.eval()([mapper(is_train=False, image_format="BGR")(entries[0])])
        assert output["instances"].image_size == (entries[0]["height"], entries[0]["width"])
    finally:
        DatasetCatalog.remove(str(annotations))
        META_ARCH_REGISTRY._obj_map.pop("OfAConfiguration")


def test_models_learn_as_architectures_of_detectron2(data_set, architecture):
    model = build_model(architecture).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = [mapper(is_train=True, image_format="BGR")(one) for one in DatasetCatalog.get(data_set)]
    trainer = SimpleTrainer(model, [batch, batch], torch.optim.SGD(model.parameters(), 1e-3))
    trainer.train(0, 2)
    assert not equal(before, model.state_dict())
    loss, after = trainer.storage.history("total_loss").values()
    assert np.isfinite(loss).all() and loss != after  # other points of the losses in each step


def test_models_answer_as_architectures_of_detectron2(data_set, architecture):
    model = build_model(architecture).eval()
    entry = mapper(is_train=False, image_format="BGR")(DatasetCatalog.get(data_set)[0])
    (output,) = model([{**entry, "height": 96, "width": 128}])
    found, labels = output["instances"], bright_labeler(draw(0, (48, 64)))
    assert found.image_size == (96, 128) and found.pred_masks.shape == (3, 96, 128)
    np.testing.assert_array_equal(found.pred_masks[:, ::2, ::2], labels.decode())
    np.testing.assert_allclose(found.pred_boxes.tensor, 2 * labels.boxes_xyxy)
    assert found.scores.tolist() == [1, 1, 1] and found.pred_classes.tolist() == [0, 0, 0]
