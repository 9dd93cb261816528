"""The whole-image segmenter: an image in, masks of everything in it out.

Parameters are named as in Hugging Face's files of Mask2Former, so those load without a map.

Axes: L layers, B images, Q queries, C channels, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.config import ModelConfig
from training.models.mask_decoder import MaskDecoder
from training.models.pixel_level import PixelLevel, Segmenter
from training.samples import FactoredOutput


class WholeImageModel(Segmenter):
    """Mask2Former (Cheng et al. 2022) for one class of things: "object".

    Args:
        config: Backbone, widths, numbers of layers and queries.

    Example:
        >>> config = ModelConfig(backbone="tiny", width=32, queries=5, encoder_layers=1, decoder_layers=1)
        >>> output = WholeImageModel(config)(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
        >>> output.class_logits_LBQ2.shape, output.features_BChw.shape
        (torch.Size([1, 1, 5, 2]), torch.Size([1, 32, 16, 24]))
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.config = config
        self.model = _Network(config)
        self.class_predictor = nn.Linear(config.width, config.classes + 1)

    def forward(
        self,
        images_B3HW: Tensor,
        *,
        sizes_hw: Sequence[tuple[int, int]] | None = None,
        deep_supervision: bool = False,
    ) -> FactoredOutput:
        """What the model predicts.

        Args:
            images_B3HW: As for :meth:`normalise`.
            sizes_hw: As for :meth:`normalise`.
            deep_supervision: Also give the predictions before the first layer and after each one.

        Returns:
            FactoredOutput of the last layer, or of all. Its masks have stride 4 and are not multiplied out: the
            criterion, and whoever looks at a few queries at a time, need no more.
        """
        pixels = self.model.pixel_level_module(self.normalise(images_B3HW, sizes_hw))
        queries = self.model.transformer_module(pixels, every_layer=deep_supervision)
        class_logits_LBQ2 = one_class(self.class_predictor(queries.normed_LBQC))
        return FactoredOutput(class_logits_LBQ2, queries.embeddings_LBQC, pixels.mask_features_BChw)


def one_class(class_logits_LBQK: Tensor) -> Tensor:
    """Logits of "object" and "no object" from those of any number of classes, the last of which is "no object".

    The probability of "object" is the sum of all classes' probabilities.

    Args:
        class_logits_LBQK: float (..., K), K at least 2.

    Returns:
        float (..., 2).

    Example:
        >>> one_class(torch.tensor([[[0.0, 0.0, 0.0]]])).softmax(dim=-1)[0, 0, 0].item()
        0.6666666865348816
    """
    if class_logits_LBQK.shape[-1] == 2:
        return class_logits_LBQK
    object_LBQ = class_logits_LBQK[..., :-1].logsumexp(dim=-1)
    return torch.stack((object_LBQ, class_logits_LBQK[..., -1]), dim=-1)


class _Network(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pixel_level_module = PixelLevel(config)
        self.transformer_module = MaskDecoder(config)
