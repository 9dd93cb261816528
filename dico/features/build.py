"""The extractor that a configuration names."""

from __future__ import annotations

from dico.config import ExtractorConfig
from dico.features.base import Extractor
from dico.features.weights import locate


def build_extractor(config: ExtractorConfig, *, seed: int = 0) -> Extractor:
    """The extractor of a configuration; torch is imported for transformers only.

    Args:
        config: ``config.name`` decides.
        seed: Of random choices; transformers make none.

    Returns:
        An extractor, ready to run.

    Raises:
        CheckpointError: when a transformer's weights are missing or do not fit; says what to pass.
        ImportError: when a transformer is asked for and its packages are not installed; says how to install them.
        ValueError: when a value does not suit the network, or weights are given to the extractor that has none.
    """
    check_extractor(config)
    if config.name == "classical":
        from dico.features.classical import ClassicalExtractor

        return ClassicalExtractor(config.classical, seed=seed)
    try:
        from dico.features.vit import VitExtractor
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "transformers", "safetensors"):
            raise
        raise ImportError(
            f"extractor.name={config.name} needs the package {error.name}: pip install torch transformers. "
            "The default, extractor.name=classical, needs neither it nor weights.",
            name=error.name,
        ) from error
    return VitExtractor(config)


def check_extractor(config: ExtractorConfig) -> None:
    """Checks what can be checked of an extractor in no time: imports of transformers take seconds.

    Raises:
        CheckpointError: when a transformer's weights are not named, or are a file that is not there.
        ValueError: when weights are given to the extractor that has none.
    """
    if config.name != "classical":
        locate(config.name, config.weights)
    elif config.weights:
        raise ValueError(
            f"extractor.weights={config.weights} is for transformers, and extractor.name is classical; add"
            " extractor.name=dino, dinov2 or dinov3, or leave the weights out"
        )
