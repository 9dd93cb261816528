"""What a worker starts with: a job is small and picklable, and makes the work in any process on any machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from dico.config import ImageConfig, PipelineConfig
from dico.features.base import Extractor
from dico.features.build import build_extractor, check_extractor
from dico.features.devices import visible_devices
from dico.features.presized import Presized
from dico.labeler import PseudoLabeler, check_stages
from dico.store.row_reader import RowReader
from dico.task import Labeler, LabelWork, Revision, RevisionWork, Work


class Job(Protocol):
    """Makes the work of a worker."""

    @property
    def shares_extractor(self) -> bool:
        """Whether few extractors, each on a device of its own, should serve all workers of a machine."""
        ...

    def devices(self) -> tuple[str, ...]:
        """Devices of this machine for extractors to be shared, one each; only for a job that shares."""
        ...

    def extractor(self, device: str) -> Extractor:
        """An extractor to be shared, on a device of torch; only for a job that shares."""
        ...

    def work(self, extractor: Extractor | None = None) -> Work:
        """The work, made anew: loads what it needs.

        Args:
            extractor: Gives the features; None makes one.
        """
        ...


@dataclass(frozen=True)
class PipelineJob:
    """A job that labels as a configuration says.

    Attributes:
        config: The configuration.
    """

    config: PipelineConfig

    @property
    def shares_extractor(self) -> bool:
        """A network on the CPU belongs to each worker, as classical features do; one on a GPU serves many."""
        return self.config.extractor.name != "classical" and self.config.extractor.device != "cpu"

    def check(self) -> None:
        """Raises what making the work would raise, as far as that can be known without loading weights.

        Raises:
            ValueError, ImportError: as :meth:`dico.labeler.PseudoLabeler.from_config` does.
        """
        check_extractor(self.config.extractor)
        check_stages(self.config, divides=self.config.divide.max_masks > 0)

    def devices(self) -> tuple[str, ...]:
        """Every GPU that torch sees for ``cuda``, else the one that is configured."""
        return visible_devices(self.config.extractor.device)

    def extractor(self, device: str) -> Extractor:
        """The configured extractor on a device such as ``"cuda:1"``."""
        return build_extractor(replace(self.config.extractor, device=device), seed=self.config.seed)

    def work(self, extractor: Extractor | None = None) -> LabelWork:
        """The pipeline, with an extractor of its own or a shared one."""
        if extractor is not None and self.config.extractor.name != "classical":
            extractor = Presized(extractor, self.config.extractor.size)
        labeler = PseudoLabeler.from_config(self.config, extractor=extractor)
        return LabelWork(labeler, self.config.image.max_pixels)


class NothingShared:
    """What a job has whose work brings its own extractor, or needs none."""

    @property
    def shares_extractor(self) -> bool:
        """No."""
        return False

    def devices(self) -> tuple[str, ...]:
        """None, as nothing is shared."""
        return ()

    def extractor(self, device: str) -> Extractor:
        """Raises, as nothing is shared.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"extractor must not be asked of a {type(self).__name__}: its work brings its own")


@dataclass(frozen=True)
class LabelerJob(NothingShared):
    """A job that labels with any labeler, such as one whose divider is a trained model.

    Attributes:
        labeler: The labeler; it is pickled for other processes.
        max_pixels: Larger images are refused before they are decoded.
    """

    labeler: Labeler
    max_pixels: int = ImageConfig.max_pixels

    def work(self, extractor: Extractor | None = None) -> LabelWork:
        """The labeler."""
        return LabelWork(self.labeler, self.max_pixels)


@dataclass(frozen=True)
class RevisionJob(NothingShared):
    """A job that makes new masks of an image and of what a store has of it.

    Attributes:
        revise: Makes them; it is pickled for other processes.
        rows: Of a store with the same images under the same indices.
        max_pixels: Larger images are refused before they are decoded.
    """

    revise: Revision
    rows: RowReader
    max_pixels: int = ImageConfig.max_pixels

    def work(self, extractor: Extractor | None = None) -> RevisionWork:
        """The revision."""
        return RevisionWork(self.revise, self.rows, self.max_pixels)
