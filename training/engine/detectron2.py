"""detectron2's loop around our steps, and our models and data in its registries, for those whose tools are built on it.

Steps, batches, checkpoints and the log are those of any engine: losses and weights are the same, and a run can go on
with another engine. What detectron2 adds is its loop, its storage of events, its hooks and its ``metrics.json``. Of its
parts, some are not used: its sampler, which begins anew when a run goes on; its trainer for mixed precision, which asks
for CUDA; its helper for several processes, which asks for devices on a CPU; and its checkpoints, which a kill can cut
short. It reads ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

try:
    from detectron2.config import CfgNode
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.engine import HookBase, SimpleTrainer
    from detectron2.engine.hooks import IterationTimer, PeriodicWriter
    from detectron2.modeling import META_ARCH_REGISTRY
    from detectron2.structures import Boxes, BoxMode, Instances
    from detectron2.utils.events import JSONWriter, get_event_storage
except ImportError as error:
    raise ImportError(
        f"engine=detectron2 needs detectron2 ({error}): pip install torchvision, then pip install --no-build-isolation"
        " git+https://github.com/facebookresearch/detectron2; engine=torch trains the same without it"
    ) from error

from dico.image import Image
from dico.interrupt import Interrupt
from dico.masks import MaskSet
from training.engine import comm
from training.engine.trainer import NOTICE, Hook, Objective, StepReport, Trainer
from training.records import ImageRecord
from training.samples import Sample, collate

METRICS = "metrics.json"
CLASSES = ("object",)


def run_with_detectron2(trainer: Trainer, output: Path, *, log_every: int) -> bool:
    """Trains as ``trainer.run()`` does, in detectron2's loop.

    Args:
        trainer: Ready to run.
        output: Folder of ``metrics.json``.
        log_every: Steps between two lines of it.

    Returns:
        Whether all steps are done; False after Ctrl-C.

    Raises:
        FloatingPointError: when the loss or the gradient is not finite; checkpoints stay as they are.
    """
    loop = LoopTrainer(trainer)
    loop.register_hooks([IterationTimer()])
    if comm.is_main():
        output.mkdir(parents=True, exist_ok=True)
        loop.register_hooks([PeriodicWriter([JSONWriter(str(output / METRICS))], period=log_every)])
    return loop.run()


class LoopTrainer(SimpleTrainer):
    """detectron2's loop around our steps; hooks of detectron2 can be registered, and come after ours.

    Args:
        trainer: Makes the steps. Its hooks are called, too.
    """

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer.model, trainer.source, trainer.optimiser)
        self.trainer = trainer
        self.interrupt = Interrupt()
        self.report: StepReport | None = None
        self.register_hooks([_OurHooks()])

    def run(self) -> bool:
        """Trains until all steps are done, or until Ctrl-C or SIGTERM; returns whether they are done."""
        alone = not comm.several()
        self._batches = self.trainer.source.batches(self.trainer.step)
        self.interrupt = Interrupt(NOTICE if alone else b"", twice_leaves=alone)
        try:
            with self.interrupt:
                self.train(self.trainer.step, self.trainer.config.steps)
        except _Stop:
            pass
        finally:
            for hook in self.trainer.hooks:
                hook.close()
            if isinstance(self._batches, Generator):
                self._batches.close()
        return self.trainer.finished

    def run_step(self) -> None:
        """One step of ours; what it reports goes into the storage of events."""
        started = time.perf_counter()
        self.report = self.trainer.train_step(next(self._batches), started=started)
        shown = {"total_loss" if name == "loss" else name: value for name, value in self.report.losses.items()}
        self.storage.put_scalars(**shown, data_time=self.report.data_s)
        self.storage.put_scalar("lr", self.report.lr, smoothing_hint=False)


class _Stop(KeyboardInterrupt):
    """Leaves detectron2's loop between two steps."""


class _OurHooks(HookBase):
    """Calls the hooks of our trainer when it would."""

    trainer: LoopTrainer

    def before_train(self) -> None:
        self._call(lambda hook, ours: hook.before_run(ours))
        self._between_steps = True

    def before_step(self) -> None:
        if comm.any_over_workers(self.trainer.interrupt.requested):
            raise _Stop
        self._between_steps = False

    def after_step(self) -> None:
        if (report := self.trainer.report) is not None:
            self._call(lambda hook, ours: hook.after_step(ours, report))
        self._between_steps = True

    def after_train(self) -> None:
        # detectron2 comes here after an error, too, and what a broken step left is not to be kept.
        if self._between_steps:
            self._call(lambda hook, ours: hook.after_run(ours))

    def _call(self, function: Callable[[Hook, Trainer], None]) -> None:
        for hook in self.trainer.trainer.hooks:
            function(hook, self.trainer.trainer)


def register_source(name: str, source: Sequence[ImageRecord]) -> None:
    """Makes a source a data set of detectron2, for its own loaders and evaluators; one class, masks as run lengths.

    Args:
        name: In its catalogue.
        source: Read when the data set is first asked for, all of it.
    """
    DatasetCatalog.register(name, partial(_data_set, source))
    MetadataCatalog.get(name).set(thing_classes=list(CLASSES))


def register_model(name: str, build: Callable[[CfgNode], nn.Module]) -> None:
    """Makes a model one of detectron2's architectures, ``MODEL.META_ARCHITECTURE: name``.

    Args:
        name: In its registry.
        build: Makes a :class:`MetaArchitecture` of detectron2's configuration.
    """

    def built(cfg: CfgNode) -> nn.Module:
        return build(cfg)

    built.__name__ = name
    META_ARCH_REGISTRY.register(built)


class MetaArchitecture(nn.Module):
    """A model that takes and gives what detectron2's loaders and evaluators give and take.

    Args:
        model: Learns, and is asked.
        objective: Its losses.
        predict: Gives the masks of an RGB image, by the same model.
        image_format: ``BGR`` (detectron2's own) or ``RGB``: of the images in its inputs.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, predict: Callable[[Image], MaskSet], *, image_format: str = "BGR"
    ) -> None:
        super().__init__()
        self.model = model
        self._objective = objective
        self._predict = predict
        self._flips = image_format == "BGR"

    def forward(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """The loss in training, else instances of the size that each input asks for.

        Args:
            inputs: An image each: ``image``, 0 to 255 (3, H, W); in training ``instances`` with ``gt_masks`` as
                bitmaps; else ``height`` and ``width`` of the output, by default those of the image.
        """
        if not self.training:
            return [{"instances": self._instances(one)} for one in inputs]
        first = (get_event_storage().iter * comm.world_size() + comm.rank()) * len(inputs)
        batch = collate([self._sample(one, first + place) for place, one in enumerate(inputs)])
        device = next(self.model.parameters()).device
        return {"loss": self._objective(self.model, batch.to(device)).total}

    def _sample(self, one: Mapping[str, Any], position: int) -> Sample:
        image_CHW = self._rgb(one["image"])
        return Sample(str(one.get("image_id", "")), image_CHW, one["instances"].gt_masks.tensor.bool(), position)

    def _instances(self, one: Mapping[str, Any]) -> Instances:
        image = self._rgb(one["image"]).permute(1, 2, 0).cpu().numpy()
        masks = self._predict(np.ascontiguousarray(image))
        size_hw = (one.get("height", image.shape[0]), one.get("width", image.shape[1]))
        masks_NHW = torch.from_numpy(masks.decode()).float()[:, None]
        masks_NHW = nn.functional.interpolate(masks_NHW, size_hw)[:, 0] > 0.5
        scale_4 = torch.tensor([size_hw[1] / image.shape[1], size_hw[0] / image.shape[0]]).repeat(2)
        return Instances(
            size_hw,
            pred_masks=masks_NHW,
            pred_boxes=Boxes(torch.from_numpy(masks.boxes_xyxy.copy()) * scale_4),
            scores=torch.from_numpy(masks.score.copy()),
            pred_classes=torch.zeros(len(masks), dtype=torch.int64),
        )

    def _rgb(self, image_CHW: Tensor) -> Tensor:
        image_CHW = image_CHW.to(torch.uint8)
        return image_CHW.flip(0) if self._flips else image_CHW


def _data_set(source: Sequence[ImageRecord]) -> list[dict[str, Any]]:
    return [_entry(record) for record in source]


def _entry(record: ImageRecord) -> dict[str, Any]:
    masks = record.read_masks()
    height, width = masks.size_hw
    annotations = [{**one, "category_id": 0, "bbox_mode": BoxMode.XYWH_ABS} for one in masks.to_coco()]
    return {
        "file_name": str(record.path),
        "image_id": record.key,
        "height": height,
        "width": width,
        "annotations": annotations,
    }
