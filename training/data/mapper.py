"""The mapper: an image record becomes a sample.

It does so in two halves. :meth:`Mapper.read` reads the image and crops it; its masks stay run-length codes, so that
what a process sends to another is small: 100 masks of 1024 x 1024 pixels are 100 MB, and their codes some 50 kB.
:meth:`Crop.sample` paints them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dico.image import Image, load_image
from dico.masks import MaskSet
from training.config import DataConfig
from training.data.mask_crops import paint
from training.data.randomness import Purpose, generator
from training.data.transforms import change_colours, crop_image, crop_masks, draw_view
from training.records import ImageRecord
from training.samples import Sample


@dataclass(frozen=True, eq=False)
class Crop:
    """A sample whose masks are run-length codes.

    Attributes:
        key: As in :class:`training.samples.Sample`.
        image: uint8 (H, W, 3), RGB.
        rles: N compressed codes of masks of (H, W).
        position: As in Sample.
    """

    key: str
    image: Image
    rles: tuple[bytes, ...]
    position: int

    def sample(self) -> Sample:
        """The sample, its masks dense."""
        masks_NHW = np.zeros((len(self.rles), *self.image.shape[:2]), dtype=np.bool_)
        for rle, mask_HW in zip(self.rles, masks_NHW, strict=True):
            paint(rle, mask_HW)
        return Sample(
            key=self.key,
            image_CHW=torch.from_numpy(self.image.copy()).permute(2, 0, 1),
            masks_NHW=torch.from_numpy(masks_NHW),
            position=self.position,
        )


class Mapper:
    """Makes samples of image records. Equal records, seeds and positions give equal samples, wherever they are made.

    Args:
        config: How images become samples.
        seed: Of all that is drawn, together with the position.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def __call__(self, record: ImageRecord, position: int) -> Sample:
        """The sample of a record at a place in the stream of samples.

        An image without masks, or without any in the part that is shown, gives a sample without masks.

        Args:
            record: The image and its masks; they are read now.
            position: Place in the stream, from 0.

        Returns:
            The sample.

        Raises:
            ValueError: when the image cannot be read, its masks are damaged, or are of another size than it.
        """
        return self.read(record, position).sample()

    def read(self, record: ImageRecord, position: int) -> Crop:
        """The sample of a record with its masks as codes; arguments and errors as for calling the mapper."""
        image = load_image(record.path)
        masks = record.read_masks()
        size_hw = (image.shape[0], image.shape[1])
        if masks.size_hw != size_hw:
            raise ValueError(
                f"{record.path} has {size_hw} pixels (H, W), but its masks have {masks.size_hw}; they were made from"
                " another copy of it: label it again, or put that copy in its place"
            )
        view = draw_view(size_hw, self.config, generator(self.seed, position, Purpose.VIEW))
        return Crop(
            key=record.key,
            image=change_colours(
                crop_image(image, view), self.config.colour, generator(self.seed, position, Purpose.COLOUR)
            ),
            rles=crop_masks(
                best(masks, self.config.best_masks).rles,
                view,
                max_masks=self.config.max_masks,
                min_area_px=self.config.min_area_px,
                min_visible=self.config.min_visible,
                rng=generator(self.seed, position, Purpose.MASKS),
            ),
            position=position,
        )


def best(masks: MaskSet, count: int) -> MaskSet:
    """The best-scored masks in their order, of equal scores the first; all of them for 0, or when there are no more."""
    if count == 0 or count >= len(masks):
        return masks
    return masks[np.sort(np.argsort(-masks.score, kind="stable")[:count])]
