"""Fitting mask borders to the image: dense CRF, or a guided filter where nothing can be compiled."""

from __future__ import annotations

from dico.config import RefineConfig
from dico.refine.base import Refiner, Unrefined
from dico.refine.crf import DenseCrf
from dico.refine.guided import GuidedFilter

__all__ = ["Refiner", "build_refiner"]


def build_refiner(config: RefineConfig) -> Refiner:
    """The refiner that ``config.method`` names.

    Args:
        config: Method and its parameters.

    Returns:
        A refiner; ``none`` gives one that returns the masks as they are.

    Raises:
        ImportError: when the method is ``crf`` and pydensecrf is not installed; says both ways out.
    """
    builders: dict[str, type[DenseCrf] | type[GuidedFilter]] = {"crf": DenseCrf, "guided": GuidedFilter}
    return builders[config.method](config) if config.method in builders else Unrefined()
