"""The promptable segmenter: an image and clicks or boxes in, six masks for each of them out, from part to whole.

Axes: L layers, B images, P prompts, Q masks of a prompt, C channels, H W pixels, h w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from training.config import PromptableConfig
from training.models.deform_attn import FramedValues
from training.models.pixel_decoder import LEVELS
from training.models.pixel_level import PixelLevel, Segmenter
from training.models.prompt_decoder import PromptDecoder
from training.models.prompt_encoder import PromptEncoder
from training.prompts import Ask, PromptOutput, Prompts


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Images as prompts are answered from: made once, asked as often as one likes.

    Attributes:
        mask_features_BChw: Stride 4; a mask is its dot product with a query's mask embedding.
        values: What each layer of the decoder looks at.
    """

    mask_features_BChw: Tensor
    values: tuple[FramedValues, ...]


class PromptableModel(Segmenter):
    """Semantic-SAM's network (Li et al. 2023) for one class of things: "object".

    Args:
        config: Backbone, widths, numbers of layers and of masks a prompt.

    Example:
        >>> import torch
        >>> config = PromptableConfig(backbone="tiny", width=32, encoder_layers=1, decoder_layers=1)
        >>> model = PromptableModel(config)
        >>> features = model.embed(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
        >>> labels = torch.ones(1, 2, 1, dtype=torch.int64)
        >>> prompts = Prompts(torch.rand(1, 2, 4), labels[..., 0], torch.rand(1, 2, 1, 2), labels)
        >>> output = model.decode(features, prompts)
        >>> output.ious_LBPQ.shape, output.mask_logits(0).shape
        (torch.Size([1, 1, 2, 6]), torch.Size([2, 6, 16, 24]))
    """

    def __init__(self, config: PromptableConfig) -> None:
        super().__init__(config)
        self.config = config
        # Names up to the pixels are those of the whole-image model, so whatever reads its backbones reads this one's.
        self.model = nn.ModuleDict({"pixel_level_module": PixelLevel(config, coarser=True)})
        self.prompt_encoder = PromptEncoder(config)
        self.prompt_decoder = PromptDecoder(config, LEVELS + 1)

    def forward(
        self,
        images_B3HW: Tensor,
        prompts: Prompts | Ask,
        *,
        sizes_hw: Sequence[tuple[int, int]] | None = None,
        deep_supervision: bool = False,
    ) -> PromptOutput:
        """What the model predicts; :meth:`embed`, then :meth:`decode`.

        Args:
            images_B3HW: As for :meth:`normalise`.
            prompts: What each image is asked; or what makes it of answers to other prompts, for images seen once.
            sizes_hw: As for :meth:`normalise`.
            deep_supervision: Also give the predictions after each layer before the last.
        """
        features = self.embed(images_B3HW, sizes_hw)
        if not isinstance(prompts, Prompts):
            prompts = prompts(partial(self.decode, features))
        return self.decode(features, prompts, every_layer=deep_supervision)

    def embed(self, images_B3HW: Tensor, sizes_hw: Sequence[tuple[int, int]] | None = None) -> ImageFeatures:
        """Everything about images that does not depend on prompts.

        Args:
            images_B3HW: As for :meth:`normalise`.
            sizes_hw: As for :meth:`normalise`.

        Returns:
            ImageFeatures, on the device of the images.
        """
        pixels = self.model["pixel_level_module"](self.normalise(images_B3HW, sizes_hw))
        return ImageFeatures(pixels.mask_features_BChw, self.prompt_decoder.values(pixels))

    def decode(self, features: ImageFeatures, prompts: Prompts, *, every_layer: bool = False) -> PromptOutput:
        """The answers to prompts; a prompt's do not depend on the others, so any chunks of them give the same.

        Args:
            features: Of :meth:`embed`.
            prompts: What each of the images is asked, on their device.
            every_layer: Give the predictions after each layer, not after the last one alone.

        Returns:
            PromptOutput of one layer, or of all; its masks have stride 4 and are not multiplied out.

        Raises:
            ValueError: when prompts and features are of different numbers of images.
        """
        if len(prompts.kind_BP) != len(features.mask_features_BChw):
            raise ValueError(
                f"prompts must be of {len(features.mask_features_BChw)} images, as the features are, "
                f"got {len(prompts.kind_BP)}"
            )
        answers = self.prompt_decoder(
            self.prompt_encoder(prompts, features.mask_features_BChw),
            prompts.boxes_BP4,
            features.values,
            every_layer=every_layer,
        )
        return PromptOutput(
            answers.embeddings_LBPQC, answers.ious_LBPQ, answers.boxes_LBPQ4, features.mask_features_BChw
        )
