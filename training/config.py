"""The configuration of training: one frozen dataclass a part, each default said once, here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dico.config_loading import load_dataclass, require

GROUPS = 32
"""Groups of the norms in the pixel decoder, as published; the width must be a multiple."""
TINY_GROUPS = 8
"""Groups of the norms in the tiny backbone."""
PRECISIONS = ("float32", "bfloat16", "float16")
"""What a network may compute in."""


@dataclass(frozen=True)
class ResNetConfig:
    """``backbone: resnet50``; the defaults are ResNet-50's."""

    stem: int = 64
    """Channels after the first convolution."""
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    """Channels of the four stages; the narrow part of a block has a quarter of them."""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks of the four stages."""
    frozen_norm: bool = True
    """Batch norms keep the statistics, scale and shift of the weights that training starts from (published). False
    for a start from scratch, where there is nothing to keep."""

    def __post_init__(self) -> None:
        require(self.stem >= 1, "model.resnet.stem", "at least 1", self.stem)
        _require_stages("model.resnet.widths", self.widths, divisor=4)
        _require_stages("model.resnet.depths", self.depths)


@dataclass(frozen=True)
class SwinConfig:
    """``backbone: swin_t``; the defaults are Swin-T's."""

    width: int = 96
    """Channels of the first stage; each stage has twice those of the last."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks of the four stages."""
    heads: tuple[int, ...] = (3, 6, 12, 24)
    """Attention heads of the four stages."""
    window: int = 7
    """Side of an attention window, in cells."""
    mlp_ratio: float = 4.0
    """How much wider the middle of a block's MLP is."""
    drop_path: float = 0.3
    """Chance that training leaves out the last block's branches; earlier blocks' rise to it in a line."""

    def __post_init__(self) -> None:
        _require_stages("model.swin.depths", self.depths)
        _require_stages("model.swin.heads", self.heads)
        fits = all(self.width * 2**stage % heads == 0 for stage, heads in enumerate(self.heads))
        require(fits and self.width >= 1, "model.swin.width", f"a multiple of the heads {self.heads}", self.width)
        require(self.window >= 2, "model.swin.window", "at least 2", self.window)
        require(self.mlp_ratio > 0, "model.swin.mlp_ratio", "above 0", self.mlp_ratio)
        require(0 <= self.drop_path < 1, "model.swin.drop_path", "within [0, 1)", self.drop_path)


@dataclass(frozen=True)
class TinyConfig:
    """``backbone: tiny``: a few convolutions, for tests and for machines without a GPU."""

    widths: tuple[int, ...] = (32, 64, 96, 128)
    """Channels of the four stages."""

    def __post_init__(self) -> None:
        _require_stages("model.tiny.widths", self.widths, divisor=TINY_GROUPS)


@dataclass(frozen=True)
class ModelConfig:
    """The whole-image segmenter (Cheng et al. 2022, Mask2Former)."""

    backbone: str = "resnet50"
    """``resnet50``, ``swin_t`` or ``tiny``."""
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    """Options of ``resnet50``."""
    swin: SwinConfig = field(default_factory=SwinConfig)
    """Options of ``swin_t``."""
    tiny: TinyConfig = field(default_factory=TinyConfig)
    """Options of ``tiny``."""
    queries: int = 300
    """At most so many masks an image (published: 2,000); time and memory grow with it."""
    classes: int = 1
    """Classes besides "no object". Weights that know more than one are read, and their classes taken together."""
    width: int = 256
    """Channels of both decoders and of the mask features."""
    heads: int = 8
    """Attention heads of both decoders."""
    encoder_layers: int = 6
    """Layers of deformable attention in the pixel decoder."""
    encoder_points: int = 4
    """Where a head of deformable attention looks on each level."""
    encoder_feedforward: int = 1024
    """Channels in the middle of the feed-forward parts of the pixel decoder."""
    decoder_layers: int = 9
    """Layers of masked attention in the mask decoder; levels take turns, so a multiple of 3 is even."""
    decoder_feedforward: int = 2048
    """Channels in the middle of the feed-forward parts of the mask decoder."""
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    """Subtracted from red, green and blue, 0 to 255; ImageNet's, as for every public backbone."""
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)
    """What the difference is divided by."""

    def __post_init__(self) -> None:
        _require_choice("model.backbone", self.backbone, ("resnet50", "swin_t", "tiny"))
        norms = f"a multiple of {GROUPS}, the groups of its norms"
        require(self.width >= GROUPS and self.width % GROUPS == 0, "model.width", norms, self.width)
        require(self.heads >= 1, "model.heads", "at least 1", self.heads)
        require(self.width % self.heads == 0, "model.heads", f"a divisor of model.width={self.width}", self.heads)
        for name in ("queries", "classes", "encoder_points", "encoder_feedforward", "decoder_feedforward"):
            require(getattr(self, name) >= 1, f"model.{name}", "at least 1", getattr(self, name))
        for name in ("encoder_layers", "decoder_layers"):
            require(getattr(self, name) >= 0, f"model.{name}", "at least 0", getattr(self, name))
        for name in ("pixel_mean", "pixel_std"):
            require(len(getattr(self, name)) == 3, f"model.{name}", "three numbers", getattr(self, name))
        require(all(value > 0 for value in self.pixel_std), "model.pixel_std", "above 0", self.pixel_std)


@dataclass(frozen=True)
class LossConfig:
    """The matching of predictions with targets, and the losses (Cheng et al. 2022, Sec. 3.2 and 3.3)."""

    class_weight: float = 2.0
    """Weight of the cross-entropy of the class, in the matching and in the loss."""
    mask_weight: float = 5.0
    """Weight of the binary cross-entropy of the mask, in both."""
    dice_weight: float = 5.0
    """Weight of the dice loss of the mask, in both."""
    no_object_weight: float = 0.1
    """Weight of a query without a target in the cross-entropy of the class; one with a target has 1."""
    points: int = 12_544
    """Masks are compared at so many points: 112 x 112."""
    oversample: float = 3.0
    """The loss draws this many times as many candidates and takes the most uncertain of them,"""
    importance: float = 0.75
    """for this share of its points; the others are drawn anew."""
    drop_iou: float = 0.0
    """DropLoss (Wang et al. 2023, Sec. 3.3): a prediction whose IoU with its target is at most this takes no mask loss,
    as the label may be wrong (published: 0.01). Over the cells of the prediction; 0 leaves it out."""

    def __post_init__(self) -> None:
        for name in ("class_weight", "mask_weight", "dice_weight"):
            require(0 <= getattr(self, name) < math.inf, f"loss.{name}", "finite and at least 0", getattr(self, name))
        require(0 < self.no_object_weight < math.inf, "loss.no_object_weight", "above 0", self.no_object_weight)
        require(self.points >= 1, "loss.points", "at least 1", self.points)
        require(1 <= self.oversample < math.inf, "loss.oversample", "finite and at least 1", self.oversample)
        require(0 <= self.importance <= 1, "loss.importance", "within [0, 1]", self.importance)
        require(0 <= self.drop_iou < 1, "loss.drop_iou", "within [0, 1)", self.drop_iou)


@dataclass(frozen=True)
class DataConfig:
    """The images and masks to learn from, and how they become samples."""

    train: tuple[str, ...] = ()
    """What to learn from, each a store of ``dico label``, a COCO or LVIS json, an SA-1B folder, or a data set's YAML
    file, by its path or by its name in ``datasets``. Images of all are one list."""
    image_size: int = 1024
    """Side of the square that a sample is cropped to, in pixels."""
    scale: tuple[float, ...] = (0.1, 2.0)
    """An image is resized so that it fits the square, times a number drawn between these two; then it is cropped."""
    flip: float = 0.5
    """Chance that a sample is mirrored, left to right."""
    colour: float = 0.0
    """Brightness, contrast and saturation are each changed by a factor drawn within 1 - colour and 1 + colour."""
    max_masks: int = 200
    """Of an image with more masks, so many are drawn (published: 200 in the paper, 500 in the code)."""
    min_area_px: int = 16
    """A mask that covers less of the sample, after resizing and cropping, is left out."""
    workers: int = 4
    """Processes that read images ahead; 0 reads in the training process. What is learnt does not depend on it."""
    max_skipped: int = 100
    """Training stops when more images than this could not be used; until then each is reported and passed over."""

    def __post_init__(self) -> None:
        require(self.image_size >= 32, "data.image_size", "at least 32", self.image_size)
        fits = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[-1] < math.inf
        require(fits, "data.scale", "two positive numbers, the smaller first", self.scale)
        require(0 <= self.flip <= 1, "data.flip", "within [0, 1]", self.flip)
        require(0 <= self.colour < 1, "data.colour", "within [0, 1)", self.colour)
        for name in ("max_masks", "min_area_px"):
            require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        for name in ("workers", "max_skipped"):
            require(getattr(self, name) >= 0, f"data.{name}", "at least 0", getattr(self, name))


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are changed: AdamW, a warm-up, and a schedule. Defaults as published for a batch of 16."""

    steps: int = 50_000
    """Training ends after so many steps (8 epochs of 0.1 million images)."""
    batch_size: int = 16
    """Images a step, over all processes together; a multiple of their number."""
    lr: float = 5e-5
    """Learning rate (released configuration: 1e-6)."""
    backbone_factor: float = 0.1
    """The backbone learns at this share of it."""
    weight_decay: float = 0.05
    """Of all weights but those of norms, embeddings and biases of position."""
    clip_norm: float = 0.01
    """The norm of the gradient of the whole model is at most this; 0 leaves it as it is."""
    warmup_steps: int = 0
    """The learning rate rises in a line over so many steps."""
    schedule: str = "step"
    """``step``: falls at ``drops``; ``cosine``: falls to zero at the end; ``constant``."""
    drops: tuple[float, ...] = (8 / 9, 26 / 27)
    """For ``step``: at these shares of the steps,"""
    drop_factor: float = 0.1
    """the learning rate is multiplied by this."""
    precision: str = "float32"
    """Arithmetic of the network: ``float32``, ``bfloat16`` or ``float16`` (the last with loss scaling). Weights,
    matching and losses are float32 always."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            require(getattr(self, name) >= 1, f"optim.{name}", "at least 1", getattr(self, name))
        require(0 < self.lr < math.inf, "optim.lr", "above 0", self.lr)
        for name in ("backbone_factor", "weight_decay", "clip_norm", "warmup_steps"):
            require(0 <= getattr(self, name) < math.inf, f"optim.{name}", "at least 0", getattr(self, name))
        _require_choice("optim.schedule", self.schedule, ("step", "cosine", "constant"))
        rising = all(0 < drop < 1 for drop in self.drops) and list(self.drops) == sorted(self.drops)
        require(rising, "optim.drops", "rising shares of the steps, within (0, 1)", self.drops)
        require(0 < self.drop_factor <= 1, "optim.drop_factor", "within (0, 1]", self.drop_factor)
        _require_choice("optim.precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class InferenceConfig:
    """How a trained model is asked, and which of its masks are given."""

    short_side: int = 1024
    """An image is resized so that its shorter side has so many pixels,"""
    long_side: int = 2048
    """or fewer, so that its longer side has at most so many."""
    max_masks: int = 1000
    """At most so many masks an image, the best first."""
    min_score: float = 0.0
    """Masks that score less are left out. A score is the probability of "object" times the mean probability of the
    foreground within the mask."""
    max_iou: float = 1.0
    """Of two masks that overlap more than this, the better stays; 1 keeps both (published)."""
    min_area_px: int = 1
    """Smaller masks are left out, in pixels of the original image."""
    precision: str = "float32"
    """As ``optim.precision``."""

    def __post_init__(self) -> None:
        for name in ("short_side", "max_masks", "min_area_px"):
            require(getattr(self, name) >= 1, f"inference.{name}", "at least 1", getattr(self, name))
        rule = f"at least inference.short_side={self.short_side}"
        require(self.long_side >= self.short_side, "inference.long_side", rule, self.long_side)
        for name in ("min_score", "max_iou"):
            require(0 <= getattr(self, name) <= 1, f"inference.{name}", "within [0, 1]", getattr(self, name))
        _require_choice("inference.precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured while a model is trained."""

    data: tuple[str, ...] = ()
    """Data sets with annotations in COCO's format, as for ``data.train``; each is measured."""
    every: int = 0
    """After so many steps, and at the end; 0 only at the end."""
    images: int = 0
    """Only so many images of each, evenly spaced; 0 takes all."""
    max_dets: tuple[int, ...] = (100, 1000)
    """Mask budgets: recall and precision of the best so many masks of each image."""

    def __post_init__(self) -> None:
        for name in ("every", "images"):
            require(getattr(self, name) >= 0, f"evaluation.{name}", "at least 0", getattr(self, name))
        fits = len(self.max_dets) > 0 and all(budget >= 1 for budget in self.max_dets)
        require(fits, "evaluation.max_dets", "at least one positive number", self.max_dets)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run learns, and what it writes; ``configs/training`` has examples."""

    output: str = "out/train"
    """Folder for checkpoints and logs."""
    seed: int = 0
    """Of every random choice: first weights, order of images, crops, points of the losses."""
    engine: str = "torch"
    """``torch``: processes of this machine; ``ray``: workers of a Ray cluster; ``detectron2``: its trainer."""
    device: str = "auto"
    """``auto`` takes a GPU when there is one; or ``cpu``, ``cuda``, ``mps``."""
    weights: str = ""
    """A whole model to start from: a file or a folder that :func:`training.models.checkpoints.load_weights` reads."""
    backbone_weights: str = ""
    """A backbone to start from, such as DINO's ResNet-50; not together with ``weights``."""
    log_every: int = 20
    """Steps between two lines of the log."""
    checkpoint_every: int = 5_000
    """Steps between two checkpoints; there is one at the end, too."""
    keep_checkpoints: int = 2
    """The newest so many checkpoints are kept, and the last."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What training lowers."""
    data: DataConfig = field(default_factory=DataConfig)
    """What it learns from."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """How it learns."""
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    """How the model is asked when it is measured, and by default afterwards."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """What is measured."""

    def __post_init__(self) -> None:
        _require_choice("engine", self.engine, ("torch", "ray", "detectron2"))
        for name in ("log_every", "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.seed >= 0, "seed", "at least 0", self.seed)
        both = bool(self.weights and self.backbone_weights)
        require(not both, "backbone_weights", "empty where weights are given", self.backbone_weights)


def load_train_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> TrainConfig:
    """The defaults, changed by a YAML file, changed by ``section.key=value`` overrides.

    Args:
        path: YAML file that holds only what differs from the defaults; None for no file.
        overrides: Strings such as ``"optim.lr=1e-4"``; values are read as YAML.

    Returns:
        A validated TrainConfig.

    Raises:
        FileNotFoundError, KeyError, ValueError, TypeError: as :func:`dico.config_loading.load_dataclass` does.

    Example:
        >>> load_train_config(overrides=["optim.lr=1e-4"]).optim.lr
        0.0001
    """
    return load_dataclass(TrainConfig, path, overrides)


def _require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    require(value in choices, name, f"one of {', '.join(choices)}", value)


def _require_stages(name: str, values: Sequence[int], *, divisor: int = 1) -> None:
    rule = f"four positive multiples of {divisor}" if divisor > 1 else "four positive numbers"
    require(len(values) == 4 and all(v >= 1 and v % divisor == 0 for v in values), name, rule, values)
