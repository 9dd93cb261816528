"""Weights of the published promptable model, whose files are of detectron2's format, in and out of ours.

What is known of their names is how the network is described (Li et al. 2023, Semantic-SAM), and what its kind are
called elsewhere; no such file was at hand. So there are three kinds of names:

- The backbone, the pixel decoder, the mask head and the norm before it are those of Mask2Former, and have its names.
- The decoder's layers are those of the DETR family (deformable cross-attention, anchors), and are looked for under the
  names that transformers' conversion scripts know them by.
- What a prompt's queries begin with, and the heads of predicted IoU and box, have no names that a description gives:
  whoever has a file says what they are called in it (:data:`UNNAMED`). They are never guessed.

Where the networks differ: points of a prompt, positive and negative, are a part of ours alone; it starts without effect
(:data:`OURS_ALONE`). Theirs answers one click or box, and lets prompts see one another afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from training.models.checkpoint_files import CheckpointError
from training.models.checkpoints import LoadReport, read_weights, set_weights
from training.models.detectron2_names import PIXEL_HEAD, PIXELS, QKV, pixel_modules, pixel_parameters
from training.models.name_map import NameMap
from training.models.promptable import PromptableModel

_HEADS = ("prompt_decoder.iou_predictor", "prompt_decoder.box_refiner")
UNNAMED = (*(f"prompt_encoder.{part}.weight" for part in ("base", "kinds", "granularities")), *_HEADS)
"""What of ours has no name in the description: three weights, and two heads, whose linear layers are ``layers.0``,
``layers.1``, ... in files."""
OURS_ALONE = tuple(
    f"prompt_encoder.{part}." for part in ("labels", "point_places", "point_looks", "point_content", "pooled_points")
)
ASSUMED = (
    "levels are looked at from the coarsest to the finest, as in Mask2Former: no shape tells their order",
    "the first kind of prompt is a click, the second a box: no shape tells",
    "layers of the decoder are called as in the DETR family: the description does not say",
    "points of a prompt beyond its first, and negative ones, count for nothing: the published model knows none of them",
    "prompts do not see one another: in the published model they do when it is asked, not when it is trained",
)
"""What every report of :func:`load_published` says."""
_THEIRS, _OURS = "sem_seg_head.predictor", "prompt_decoder"
_LAYER = {
    "self_attn.out_proj": "self_attn.out_proj",
    "norm2": "self_attn_layer_norm",
    "cross_attn.sampling_offsets": "cross_attn.sampling_offsets",
    "cross_attn.attention_weights": "cross_attn.attention_weights",
    "cross_attn.value_proj": "cross_attn.value_proj",
    "cross_attn.output_proj": "cross_attn.output_proj",
    "norm1": "cross_attn_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm3": "final_layer_norm",
}


def published_names(called: Mapping[str, str]) -> NameMap:
    """The map of names.

    Args:
        called: What those of :data:`UNNAMED` are called in a file; what is left out has no rule.

    Raises:
        ValueError: for what is not in :data:`UNNAMED`.

    Example:
        >>> names = published_names({"prompt_encoder.kinds.weight": "sem_seg_head.predictor.kinds_of_prompt.weight"})
        >>> list(names.to_theirs({"prompt_encoder.kinds.weight": torch.zeros(2, 4)})[0])
        ['sem_seg_head.predictor.kinds_of_prompt.weight']
    """
    if unknown := called.keys() - set(UNNAMED):
        raise ValueError(f"called must be of {', '.join(UNNAMED)}, got {', '.join(sorted(unknown))}")
    modules = [
        *pixel_modules(),
        # Theirs are numbered as Mask2Former's, and the level that it does not have comes last; ours by coarseness.
        *(
            (f"{PIXEL_HEAD}.input_proj.{theirs}.*", f"{PIXELS}.input_projections.{ours}.*")
            for ours, theirs in enumerate((3, 0, 1, 2))
        ),
        (f"{_THEIRS}.mask_embed.layers.*", f"{_OURS}.mask_embedder.*.0"),
        (f"{_THEIRS}.decoder_norm", f"{_OURS}.layernorm"),
        (f"{_THEIRS}.decoder.ref_point_head.layers.*", f"{_OURS}.anchor_places.*.0"),
        *((f"{_THEIRS}.decoder.layers.*.{theirs}", f"{_OURS}.layers.*.{ours}") for theirs, ours in _LAYER.items()),
    ]
    modules += [(f"{theirs}.layers.*", f"{ours}.*.0") for ours, theirs in called.items() if ours in _HEADS]
    parameters = {theirs: (ours,) for ours, theirs in called.items() if ours not in _HEADS}
    fused = {
        f"{_THEIRS}.decoder.layers.*.self_attn.in_proj_{kind}": tuple(
            f"{_OURS}.layers.*.self_attn.{part}.{kind}" for part in QKV
        )
        for kind in ("weight", "bias")
    }
    return NameMap(modules, [*pixel_parameters(), *parameters.items(), *fused.items()])


def is_published(path: Path) -> bool:
    """Whether a file is of the published promptable model, as far as the names of its weights tell.

    What Mask2Former's files do not have: a fourth level of the pixel decoder, and a decoder within the predictor.

    Args:
        path: A file, a folder, or what does not exist.
    """
    if not path.is_file():
        return False
    try:
        state, _ = read_weights(path, mapped=True)
    except CheckpointError:
        return False  # whoever reads the weights says what is wrong with the file
    return any(name.startswith((f"{PIXEL_HEAD}.input_proj.3.", f"{_THEIRS}.decoder.")) for name in state)


def load_published(
    model: PromptableModel, path: Path | str, *, called: Mapping[str, str], ignored: Sequence[str] = ()
) -> LoadReport:
    """Sets the weights of a promptable model from a file of the published one.

    A module that a network uses in several places is in files as often; second names of equal tensors are left out.
    What is ours alone stays as it is, but for the layer that it passes through, which becomes zero.

    Args:
        model: What the weights must fit, such as that of ``unsam_promptable_swin_t.yaml``.
        path: A detectron2-format file, ``.pth`` or ``.pkl``.
        called: What all of :data:`UNNAMED` are called in it, such as
            ``{"prompt_encoder.kinds.weight": "sem_seg_head.predictor.NAME.weight"}``.
        ignored: What the names of weights begin with that have no place here, such as those of classes.

    Returns:
        What was loaded, left out and kept, and what had to be assumed.

    Raises:
        CheckpointError: when the file cannot be read or does not fit, or ``called`` lacks one: with the names in the
            file that no rule knows and that have its shape. The model is then unchanged.
        ValueError: for what is not in :data:`UNNAMED`.
    """
    names = published_names(called)
    state, left_out = read_weights(Path(path))
    ours, strangers = names.to_ours(state)
    dropped = _second_names(state, strangers) | {name for name in strangers if name.startswith(tuple(ignored))}
    rest = {name: state[name] for name in strangers if name not in dropped}
    if unnamed := [name for name in UNNAMED if name not in called]:
        raise CheckpointError(f"{path}: {_questions(model, unnamed, rest)}")
    fresh = {name for name in model.state_dict() if name.startswith(OURS_ALONE)}
    try:
        report = set_weights(model, {**ours, **rest}, sorted([*left_out, *dropped]), fresh=fresh)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    for silent in model.prompt_encoder.pooled_points.parameters():
        nn.init.zeros_(silent)
    return replace(report, assumed=ASSUMED)


def _second_names(state: Mapping[str, Tensor], strangers: Sequence[str]) -> set[str]:
    """Those names of modules that no rule knows whose tensors are all those of a module that one knows."""
    modules: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, value in state.items():
        module, _, kind = name.rpartition(".")
        modules[module][kind] = value
    unknown = {name.rpartition(".")[0] for name in strangers}
    known = [held for module, held in modules.items() if module not in unknown]
    again = (module for module in unknown if any(_equal(modules[module], held) for held in known))
    return {f"{module}.{kind}" for module in again for kind in modules[module]}


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[kind]) for kind, value in one.items())


def _questions(model: PromptableModel, unnamed: Sequence[str], rest: Mapping[str, Tensor]) -> str:
    weights = model.state_dict()
    asked = []
    for ours in unnamed:
        shape = weights[ours if ours in weights else f"{ours}.0.0.weight"].shape
        fitting = ", ".join(sorted(name for name, value in rest.items() if value.shape == shape)) or "none"
        asked.append(f"{ours} (which {'begins with' if ours in _HEADS else 'is'} {tuple(shape)}; such are {fitting})")
    return "its description does not say what some of it is called, so called must: " + "; ".join(asked)
