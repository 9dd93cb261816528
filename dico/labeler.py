"""PseudoLabeler: one image to its masks: extract, divide, conquer, refine, select."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from dico.config import PipelineConfig, load_config
from dico.conquer import conquer
from dico.divide.base import Divider
from dico.divide.maskcut import MaskCut
from dico.features.base import Extractor
from dico.features.build import build_extractor, check_extractor
from dico.image import Image, load_image
from dico.masks import MaskSet
from dico.refine import Refiner, build_refiner
from dico.selection import select
from dico.stopwatch import stage


class PseudoLabeler:
    """Labels images one at a time; the same image always gets the same masks.

    Args:
        config: Options of every stage.
        extractor: Image to features.
        divider: Features to whole objects.
        refiner: Fits borders to the image.

    Example:
        >>> import numpy as np
        >>> image = np.zeros((40, 60, 3), dtype=np.uint8)
        >>> image[10:30, 20:40] = (200, 120, 40)
        >>> masks = PseudoLabeler.from_config()(image)
        >>> 400 in masks.area_px
        True
    """

    def __init__(self, config: PipelineConfig, *, extractor: Extractor, divider: Divider, refiner: Refiner) -> None:
        self.config = config
        self.extractor = extractor
        self.divider = divider
        self.refiner = refiner

    @classmethod
    def from_config(
        cls,
        config: PipelineConfig | str | Path | None = None,
        overrides: Iterable[str] = (),
        *,
        extractor: Extractor | None = None,
        divider: Divider | None = None,
    ) -> PseudoLabeler:
        """A labeler with the stages that a configuration names.

        Args:
            config: A configuration, a YAML file of differences from the defaults, or None for the defaults.
            overrides: ``section.key=value`` strings; with a file or None only.
            extractor: Used in place of the configured one, such as a proxy of one that several processes share.
            divider: Used in place of MaskCut, such as a :class:`dico.divide.detector.DetectorDivider` with a model that
                was trained on the labels of an earlier round.

        Returns:
            A labeler.

        Raises:
            ValueError: for overrides of a finished configuration, for parts without objects, for weights that have no
                use or are missing, and as :func:`dico.config.load_config` does.
            ImportError: when a stage needs a package that is not installed; says how to install it.
        """
        if isinstance(config, PipelineConfig):
            if list(overrides):
                raise ValueError("overrides must be empty when config is a PipelineConfig; use load_config for both")
        else:
            config = load_config(config, overrides)
        check_extractor(config.extractor)
        check_stages(config, divides=divider is not None or config.divide.max_masks > 0)
        return cls(
            config,
            extractor=build_extractor(config.extractor, seed=config.seed) if extractor is None else extractor,
            divider=MaskCut(config.divide) if divider is None else divider,
            refiner=build_refiner(config.refine),
        )

    def __call__(self, image: Image | str | Path) -> MaskSet:
        """The masks of one image, the best first.

        Args:
            image: uint8 (H, W, 3) RGB, or the path of an image file.

        Returns:
            At most ``config.select.max_masks`` masks of the image's size.

        Raises:
            ImageError: when a file cannot be read as an image.
            TypeError: when it is neither an array nor a path.
            ValueError: when an array is not uint8 (H, W, 3) with at least one pixel.
        """
        if isinstance(image, (str, Path)):
            image = load_image(image, max_pixels=self.config.image.max_pixels)
        if not isinstance(image, np.ndarray):
            raise TypeError(f"image must be an array or the path of a file, got {type(image).__name__}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != "uint8" or not image.size:
            raise ValueError(f"image must be uint8 (H, W, 3) and not empty, got {image.dtype} {image.shape}")
        # Eigenvectors and matrix products change in their last bits with the number of threads.
        with threadpool_limits(1):
            with stage("extract"):
                (features,) = self.extractor.extract([image])
            with stage("divide"):
                coarse = self.divider.divide(image, features)
            with stage("conquer"):
                finer = conquer(image, features, coarse, self.extractor, self.config.conquer)
            with stage("refine"):
                refined = self.refiner.refine(image, MaskSet.concat([coarse, finer]))
            with stage("select"):
                return select(refined, self.config.select)


def check_stages(config: PipelineConfig, *, divides: bool) -> None:
    """Checks that the stages of a configuration can work together, and that refining has what it needs.

    Args:
        config: The configuration.
        divides: Whether anything gives objects to look for parts in.

    Raises:
        ValueError: for parts without objects, and for pooling without boundary evidence.
        ImportError: when refining needs a package that is not installed.
    """
    if config.conquer.parts and not divides:
        raise ValueError("conquer.parts=true needs objects to look for parts in: add divide.max_masks=3")
    if config.extractor.name != "classical" and config.conquer.whole_image == "pool":
        raise ValueError(
            f"conquer.whole_image must be thresholds or none with extractor.name={config.extractor.name}: pooling"
            " needs boundary evidence between superpixels; start from --config configs/dico/unsam.yaml"
        )
    build_refiner(config.refine)
