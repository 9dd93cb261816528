"""A trained model as a function: an image in, its masks out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from dico.image import Image, resize_image
from dico.masks import MaskSet
from dico.stopwatch import stage
from training.config import InferenceConfig
from training.postprocess.frame import Frame
from training.postprocess.masks import masks_of_output
from training.samples import FactoredOutput, Sample, collate

MOST_THREADS = 8
"""Masks that are traced at the same time beside a GPU, unless told otherwise."""


class Predictor:
    """Finds the masks of images with a whole-image model.

    Args:
        model: Gives a FactoredOutput of images; put on the device, and in evaluation mode whenever it is asked.
        config: At which size and precision the model is asked, and which of its masks are given.
        device: A device of torch.
        threads: Masks that are traced at the same time, on the CPU always; None for as many as torch has threads, and
            beside a GPU, which would wait for them, up to 8. Masks do not depend on it.

    Example:
        >>> from training.config import ModelConfig
        >>> from training.models.whole_image import WholeImageModel
        >>> model = WholeImageModel(ModelConfig(backbone="tiny", width=32, queries=5, encoder_layers=1))
        >>> predictor = Predictor(model, InferenceConfig(short_side=64, long_side=96))
        >>> predictor(np.zeros((40, 50, 3), dtype=np.uint8)).size_hw
        (40, 50)
    """

    def __init__(
        self,
        model: nn.Module,
        config: InferenceConfig,
        *,
        device: torch.device | str = "cpu",
        threads: int | None = None,
    ) -> None:
        self._model = model.to(device)
        self._config = config
        self._device = torch.device(device)
        self._threads = threads_beside(self._device) if threads is None else threads

    def __call__(self, image: Image) -> MaskSet:
        """The masks of an image.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            Masks of the image's own size, as :func:`training.postprocess.masks.masks_of_output` gives them.

        Raises:
            ValueError: when the network's scores are not finite.
        """
        with stage("network"):
            output, frame = self.output(image)
        with stage("masks"):
            return masks_of_output(output, frame, self._config, threads=self._threads)

    def output(self, image: Image) -> tuple[FactoredOutput, Frame]:
        """What the model predicts, and the sizes that belong to it.

        Args:
            image: As for calling.
        """
        images_B3HW, frame = network_input(image, self._config)
        with asked(self._model, self._device, self._config):
            output: FactoredOutput = self._model(images_B3HW.to(self._device), sizes_hw=[frame.unpadded_hw])
        return output, frame


def network_input(image: Image, config: InferenceConfig) -> tuple[Tensor, Frame]:
    """An image as a network is to see it.

    Args:
        image: uint8 (H, W, 3), RGB.
        config: At which size.

    Returns:
        uint8 (1, 3, H, W), resized, then padded; and the sizes that belong to it.
    """
    size_hw = (image.shape[0], image.shape[1])
    resized = resize_image(image, network_size(size_hw, config))
    image_CHW = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
    batch = collate([Sample("", image_CHW, torch.zeros(0, *image_CHW.shape[1:], dtype=torch.bool))])
    return batch.images_BCHW, Frame(_hw(batch.images_BCHW), batch.sizes_hw[0], size_hw)


@contextmanager
def asked(model: nn.Module, device: torch.device, config: InferenceConfig) -> Iterator[None]:
    """Within it a model predicts: without gradients, in evaluation mode and in the configured precision.

    Args:
        model: Afterwards in the mode that it was in before.
        device: Where it is.
        config: Of which the precision is taken.
    """
    dtype = getattr(torch, config.precision)
    lower = nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
    was_training = model.training
    if was_training:  # walking through all modules takes as long as a small network's layer
        model.eval()
    try:
        with torch.inference_mode(), lower:
            yield
    finally:
        if was_training:
            model.train()


def network_size(size_hw: tuple[int, int], config: InferenceConfig) -> tuple[int, int]:
    """Height and width at which a network sees an image.

    Args:
        size_hw: Those of the image.
        config: Its shorter side becomes ``short_side``, or less where its longer one would be above ``long_side``.

    Returns:
        Both at least 1.

    Example:
        >>> network_size((480, 640), InferenceConfig()), network_size((100, 1000), InferenceConfig())
        ((1024, 1365), (205, 2048))
    """
    scale = min(config.short_side / min(size_hw), config.long_side / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def threads_beside(device: torch.device) -> int:
    """How many masks are traced at the same time, unless told otherwise.

    Args:
        device: Where the network is.
    """
    return torch.get_num_threads() if device.type == "cpu" else min(MOST_THREADS, os.cpu_count() or 1)


def _hw(images_BCHW: Tensor) -> tuple[int, int]:
    return images_BCHW.shape[2], images_BCHW.shape[3]
