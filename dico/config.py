"""The configuration of the pipeline: one frozen dataclass a stage, each default said once, here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dico.config_loading import load_dataclass, plain_hash, require, to_plain


@dataclass(frozen=True)
class ImageConfig:
    """What is accepted as an image."""

    max_pixels: int = 200_000_000
    """Images with more pixels are refused before they are decoded (a decompression bomb, or a mistake)."""

    def __post_init__(self) -> None:
        require(self.max_pixels >= 1, "image.max_pixels", "at least 1", self.max_pixels)


@dataclass(frozen=True)
class ClassicalConfig:
    """The extractor that needs no weights."""

    max_pixels: int = 307_200
    """An image with more pixels is reduced to so many (640 x 480)."""
    superpixel_sigma: float = 1.0
    """Smoothing of boundary evidence before superpixels are cut, in pixels; larger gives fewer of them."""
    spectral_weight: float = 0.8
    """What the spectral cue adds to the strength of a boundary, beside local evidence at weight 1."""

    def __post_init__(self) -> None:
        require(self.max_pixels >= 64, "extractor.classical.max_pixels", "at least 64", self.max_pixels)
        require(self.superpixel_sigma >= 0, "extractor.classical.superpixel_sigma", "at least 0", self.superpixel_sigma)
        require(self.spectral_weight >= 0, "extractor.classical.spectral_weight", "at least 0", self.spectral_weight)


@dataclass(frozen=True)
class ExtractorConfig:
    """How an image becomes features."""

    name: str = "classical"
    """``classical`` (no weights), ``dino``, ``dinov2`` or ``dinov3``."""
    weights: str = ""
    """For transformers: a hub id, a local Hugging Face folder, or an official ``.pth`` file."""
    size: int = 480
    """For transformers: side of the square the image is resized to, in pixels; a multiple of the patch size."""
    facet: str = "key"
    """For transformers: which vectors of the attention block: ``key``, ``query``, ``value`` or ``token``."""
    block: int = -1
    """For transformers: which block, from 0; negative counts from the last."""
    device: str = "cpu"
    """Torch device, such as ``cpu`` or ``cuda:0``."""
    dtype: str = "float32"
    """``float32``, ``bfloat16`` or ``float16`` for the transformer's arithmetic; features are float32 always."""
    batch_size: int = 16
    """For transformers: so many images, or crops of one image, go through the network together; bounds its memory."""
    classical: ClassicalConfig = field(default_factory=ClassicalConfig)
    """Options of ``classical``."""

    def __post_init__(self) -> None:
        names = ("classical", "dino", "dinov2", "dinov3")
        require(self.name in names, "extractor.name", f"one of {', '.join(names)}", self.name)
        facets = ("key", "query", "value", "token")
        require(self.facet in facets, "extractor.facet", f"one of {', '.join(facets)}", self.facet)
        dtypes = ("float32", "bfloat16", "float16")
        require(self.dtype in dtypes, "extractor.dtype", f"one of {', '.join(dtypes)}", self.dtype)
        require(self.size >= 1, "extractor.size", "at least 1", self.size)
        require(self.batch_size >= 1, "extractor.batch_size", "at least 1", self.batch_size)


@dataclass(frozen=True)
class DivideConfig:
    """MaskCut: repeated normalised cuts that find whole objects."""

    max_masks: int = 0
    """At most so many masks an image (published: 3); a large number finds as many as there are. 0 skips the stage:
    beside the pooled regions of the whole image, cuts of classical features add no recall (docs/results.md)."""
    tau: float = 0.15
    """Patches whose cosine similarity exceeds ``tau`` are joined (paper 0.15, released code 0.2)."""
    eps: float = 1e-5
    """Affinity of patches that are not joined."""
    min_area_frac: float = 0.01
    """A mask that covers at most this share of the patches is dropped."""
    min_score: float = 0.1
    """The search ends at a mask that is separated from the image no more than this: 0 not at all, 1 completely."""

    def __post_init__(self) -> None:
        require(self.max_masks >= 0, "divide.max_masks", "at least 0", self.max_masks)
        require(-1 <= self.tau <= 1, "divide.tau", "within [-1, 1]", self.tau)
        require(0 < self.eps < 1, "divide.eps", "within (0, 1)", self.eps)
        require(0 <= self.min_area_frac < 1, "divide.min_area_frac", "within [0, 1)", self.min_area_frac)
        require(0 <= self.min_score < 1, "divide.min_score", "within [0, 1)", self.min_score)


@dataclass(frozen=True)
class Linkage:
    """What makes two neighbouring regions similar; see :func:`dico.merging.merge_regions`."""

    feature_weight: float = 1.0
    """What a difference of features (1 - cosine) takes off the similarity."""
    boundary_weight: float = 0.0
    """What full boundary strength takes off it, for extractors that see boundaries."""
    size_power: float = 0.0
    """0: published rule; larger: small regions merge first."""

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            require(0 <= value < math.inf, f"conquer.linkage.{entry.name}", "finite and at least 0", value)


@dataclass(frozen=True)
class PoolConfig:
    """Several merge trees of one graph, their regions ranked together; see :mod:`dico.pooling`."""

    linkages: tuple[Linkage, ...] = (
        Linkage(0.0, 1.0, 0.35),
        Linkage(0.3, 1.0, 0.2),
        Linkage(0.3, 1.0, 0.35),
        Linkage(1.0, 1.0, 0.2),
        Linkage(2.0, 1.0, 0.35),
    )
    """A merge tree each, for every kind of boundary evidence that the graph has."""
    regions_per_tree: int = 500
    """Of each tree, so many regions enter the pool: those that outlast most merges."""
    min_cells: int = 16
    """Regions of fewer cells (pixels, for the classical extractor) do not enter."""
    max_regions: int = 450
    """The pool gives at most so many masks, the best first."""
    min_iou: float = 0.7
    """An overlap of two regions up to this does not count as agreement."""
    height_power: float = 2.0
    """How much it counts for a region that what it is merged with is unlike it."""
    contrast_power: float = 2.0
    """How much the mean strength of its outline counts."""
    compactness_power: float = 1.0
    """How much it counts that its outline is short for its area."""
    size_power: float = 0.3
    """How much its share of the image counts."""

    def __post_init__(self) -> None:
        require(len(self.linkages) >= 1, "conquer.pool.linkages", "at least one", self.linkages)
        require(self.regions_per_tree >= 1, "conquer.pool.regions_per_tree", "at least 1", self.regions_per_tree)
        require(self.min_cells >= 1, "conquer.pool.min_cells", "at least 1", self.min_cells)
        require(self.max_regions >= 1, "conquer.pool.max_regions", "at least 1", self.max_regions)
        require(0 <= self.min_iou < 1, "conquer.pool.min_iou", "within [0, 1)", self.min_iou)
        for name in ("height_power", "contrast_power", "compactness_power", "size_power"):
            require(getattr(self, name) >= 0, f"conquer.pool.{name}", "at least 0", getattr(self, name))


@dataclass(frozen=True)
class ConquerConfig:
    """Merging of similar neighbours: parts of the objects that divide found, and regions of the whole image."""

    parts: bool = False
    """Merge inside the box of each coarse mask, on features extracted from that crop (published)."""
    whole_image: str = "pool"
    """Merge over the whole image, for what divide missed: ``pool`` ranks the regions of several merge trees together,
    ``thresholds`` takes one tree and stops at each theta, ``none`` leaves it out (published)."""
    thetas: tuple[float, ...] = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    """Merging stops at each of these similarities and the regions alive are that level's masks; falling."""
    linkage: Linkage = field(default_factory=Linkage)
    """What makes two regions similar, for parts and thresholds."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """Options of ``whole_image: pool``."""
    crop_size: int = 256
    """Each coarse mask's box is resized to this side before features are extracted."""
    min_patches: int = 4
    """Smaller clusters are not masks."""
    min_inside: float = 0.9
    """A part is kept when at least this share of it lies inside its coarse mask."""
    max_iou: float = 0.9
    """Of two parts of one coarse mask that overlap more than this, the one with the better score stays."""

    def __post_init__(self) -> None:
        ways = ("pool", "thresholds", "none")
        require(self.whole_image in ways, "conquer.whole_image", f"one of {', '.join(ways)}", self.whole_image)
        falling = all(a > b for a, b in zip(self.thetas, self.thetas[1:], strict=False))
        require(falling and all(0 <= t <= 1 for t in self.thetas), "conquer.thetas", "falling in [0, 1]", self.thetas)
        require(self.crop_size >= 1, "conquer.crop_size", "at least 1", self.crop_size)
        require(self.min_patches >= 1, "conquer.min_patches", "at least 1", self.min_patches)
        require(0 <= self.min_inside <= 1, "conquer.min_inside", "within [0, 1]", self.min_inside)
        require(0 <= self.max_iou <= 1, "conquer.max_iou", "within [0, 1]", self.max_iou)


@dataclass(frozen=True)
class RefineConfig:
    """How mask borders are fitted to the image, and which masks survive it."""

    method: str = "guided"
    """``crf`` (dense CRF, needs pydensecrf2), ``guided`` (guided filter, no compiler) or ``none``."""
    iterations: int = 10
    """Mean-field iterations of the CRF."""
    unary_weight: float = 1.0
    """How much more than the published weight (1) a pixel trusts the mask it is in; small masks need more, about 8."""
    gaussian_sxy: float = 3.0
    """Position deviation of the CRF's smoothness kernel, in pixels."""
    gaussian_compat: float = 7.0
    """Weight of the smoothness kernel."""
    bilateral_sxy: float = 50.0
    """Position deviation of the CRF's appearance kernel, in pixels."""
    bilateral_srgb: float = 5.0
    """Colour deviation of the appearance kernel, in grey values of 255."""
    bilateral_compat: float = 10.0
    """Weight of the appearance kernel."""
    guided_radius: int = 4
    """Radius of the guided filter's windows, in pixels; borders move by at most about half of it."""
    guided_eps: float = 1e-4
    """Variance of colour (0..1) below which the guided filter takes an edge for noise."""
    max_side: int = 480
    """Refinement works on an image (or a crop) whose longer side is at most this, in pixels."""
    min_iou: float = 0.5
    """A mask whose IoU before and after refinement is below this is dropped."""
    max_area_frac: float = 0.9
    """A mask that covers more of the image than this after refinement is dropped."""

    def __post_init__(self) -> None:
        methods = ("crf", "guided", "none")
        require(self.method in methods, "refine.method", f"one of {', '.join(methods)}", self.method)
        require(self.iterations >= 1, "refine.iterations", "at least 1", self.iterations)
        require(self.unary_weight > 0, "refine.unary_weight", "above 0", self.unary_weight)
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):  # pydensecrf dies of a kernel without width
            require(0 < getattr(self, name) < math.inf, f"refine.{name}", "finite and above 0", getattr(self, name))
        for name in ("gaussian_compat", "bilateral_compat"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"refine.{name}", "finite and at least 0", value)
        require(self.guided_radius >= 1, "refine.guided_radius", "at least 1", self.guided_radius)
        require(self.guided_eps > 0, "refine.guided_eps", "above 0", self.guided_eps)
        require(self.max_side >= 16, "refine.max_side", "at least 16", self.max_side)
        require(0 <= self.min_iou <= 1, "refine.min_iou", "within [0, 1]", self.min_iou)
        require(0 < self.max_area_frac <= 1, "refine.max_area_frac", "within (0, 1]", self.max_area_frac)


@dataclass(frozen=True)
class SelectConfig:
    """Which masks are kept in the end, and in what order."""

    max_masks: int = 350
    """At most so many masks an image, the best first (published labels: 334)."""
    max_iou: float = 0.9
    """Of two masks that overlap more than this, the better one stays."""
    min_area_px: int = 16
    """Smaller masks are dropped, in pixels of the original image."""
    min_inside_parent: float = 0.9
    """A mask's parent is the smallest mask that holds at least this share of it."""

    def __post_init__(self) -> None:
        require(self.max_masks >= 1, "select.max_masks", "at least 1", self.max_masks)
        require(0 < self.max_iou <= 1, "select.max_iou", "within (0, 1]", self.max_iou)
        require(self.min_area_px >= 0, "select.min_area_px", "at least 0", self.min_area_px)
        require(0 < self.min_inside_parent <= 1, "select.min_inside_parent", "within (0, 1]", self.min_inside_parent)


@dataclass(frozen=True)
class PipelineConfig:
    """Everything that decides which masks an image gets; its hash goes into every store."""

    image: ImageConfig = field(default_factory=ImageConfig)
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    divide: DivideConfig = field(default_factory=DivideConfig)
    conquer: ConquerConfig = field(default_factory=ConquerConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    seed: int = 0
    """Seed of every random choice."""

    def to_dict(self) -> dict[str, Any]:
        """The configuration as nested plain dictionaries, JSON-ready."""
        return to_plain(self)

    def hash(self) -> str:
        """12 hexadecimal digits that change when any value does."""
        return plain_hash(self.to_dict())


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> PipelineConfig:
    """The defaults, changed by a YAML file, changed by ``section.key=value`` overrides.

    Args:
        path: YAML file that holds only what differs from the defaults; None for no file.
        overrides: Strings such as ``"refine.method=guided"``; values are read as YAML.

    Returns:
        A validated PipelineConfig.

    Raises:
        FileNotFoundError: when ``path`` does not exist.
        KeyError: for an unknown key, with the nearest known one.
        ValueError: for an override without ``=``, a file that is not a mapping, or a value out of range.
        TypeError: for a value of the wrong type.

    Example:
        >>> load_config(overrides=["select.max_masks=100"]).select.max_masks
        100
    """
    return load_dataclass(PipelineConfig, path, overrides)
