"""Features of self-supervised vision transformers: DINO, DINOv2, DINOv3.

Axes: B images of a batch, H W pixels, h w patches, T tokens, C channels (of all heads together).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dico.config import ExtractorConfig
from dico.features.backbone import load_backbone
from dico.features.base import PatchFeatures
from dico.image import Image, resize_image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of RGB in [0, 1]; every DINO was trained with it."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB in [0, 1]."""


class VitExtractor:
    """Vectors of one block of a transformer, one per patch.

    Blocks after the wanted one are dropped, so they cost neither time nor memory. ``token`` is the block's output,
    before the final norm (Amir et al. 2021). Keys and queries are the projection's: in DINOv3, before the rotation by
    position, so that equal things look equal wherever they are.

    Args:
        config: Family, weights, size, facet, block, device, dtype and batch size.

    Raises:
        CheckpointError: when the weights are missing or do not fit.
        ValueError: when the block does not exist or the size is no multiple of the patch.
    """

    def __init__(self, config: ExtractorConfig) -> None:
        self._config = config
        self._backbone = load_backbone(config.name, config.weights, device=config.device, dtype=config.dtype)
        self._grid((config.size, config.size), "extractor.size")
        depth = len(self._backbone.blocks)
        if not -depth <= config.block < depth:
            raise ValueError(f"extractor.block must be within [{-depth}, {depth - 1}], got {config.block}")
        block = config.block % depth
        del self._backbone.blocks[block + 1 :]
        self._module = self._backbone.facet_module(block, config.facet)

    @property
    def patch(self) -> int:
        """Side of a patch in pixels; every size must be a multiple of it."""
        return self._backbone.patch

    def extract(self, images: Sequence[Image], *, size: int | tuple[int, int] | None = None) -> list[PatchFeatures]:
        """One PatchFeatures per image, in order; images may differ in size.

        Args:
            images: uint8 (H, W, 3) RGB each.
            size: Side of the square in pixels that images are resized to, or a height and width; None for the
                configured size. A multiple of the patch.

        Returns:
            Features of size / patch cells a side, unit norm, float32. Class and register tokens are left out.

        Raises:
            ValueError: when ``size`` is no multiple of the patch.
        """
        size = self._config.size if size is None else size
        size_hw = (size, size) if isinstance(size, int) else size
        grid_hw = self._grid(size_hw, "size")
        found: list[PatchFeatures] = []
        for start in range(0, len(images), self._config.batch_size):
            batch = images[start : start + self._config.batch_size]
            feats_BhwC = self._run(_pixels(batch, size_hw), grid_hw)
            for image, feats_hwC in zip(batch, feats_BhwC, strict=True):
                found.append(PatchFeatures(feats_hwC, self.patch, (image.shape[0], image.shape[1])))
        return found

    @torch.inference_mode()
    def _run(self, pixels_B3HW: Tensor, grid_hw: tuple[int, int]) -> NDArray[np.float32]:
        captured: list[Tensor] = []

        def capture(_module: object, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            # Blocks returned a tuple before transformers 5.
            captured.append(output if isinstance(output, Tensor) else output[0])

        handle = self._module.register_forward_hook(capture)
        try:
            self._backbone(pixels_B3HW.to(self._config.device, getattr(torch, self._config.dtype)))
        finally:
            handle.remove()
        patches = grid_hw[0] * grid_hw[1]
        feats_BTC = functional.normalize(captured[0][:, -patches:].float(), dim=-1)
        feats_BhwC: NDArray[np.float32] = feats_BTC.reshape(-1, *grid_hw, feats_BTC.shape[-1]).cpu().numpy()
        return feats_BhwC

    def _grid(self, size_hw: tuple[int, int], name: str) -> tuple[int, int]:
        patch = self.patch
        for side in size_hw:
            if side < patch or side % patch:
                near = max(1, side // patch) * patch
                raise ValueError(f"{name} must be a multiple of the patch, {near} or {near + patch}, got {side}")
        return size_hw[0] // patch, size_hw[1] // patch


def _pixels(images: Sequence[Image], size_hw: tuple[int, int]) -> Tensor:
    pixels_BHW3 = torch.from_numpy(np.stack([resize_image(image, size_hw) for image in images]))
    scaled_BHW3 = (pixels_BHW3.float() / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    return scaled_BHW3.permute(0, 3, 1, 2).contiguous()
