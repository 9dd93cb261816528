"""Weights in and out of a model: Hugging Face folders, detectron2-format files, our own, and backbones alone.

Every name is accounted for: a weight that the model lacks, or that it has no place for, is an error that lists all of
them, and what is left out because it is no weight is said in the report. A model only changes when everything fits.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dico.atomic import atomic_file, atomic_folder
from training.config import PixelConfig
from training.models.architecture import BACKBONE, infer_backbone, infer_config
from training.models.checkpoint_files import CheckpointError, read_state
from training.models.detectron2_names import from_detectron2, to_detectron2
from training.models.hugging_face import hugging_face_config, require_supported
from training.models.promptable import PromptableModel
from training.models.recorded import recorded_model
from training.models.whole_image import WholeImageModel

AnyModel = WholeImageModel | PromptableModel
"""A model of either task."""

# Computed from the configuration, counted in training, part of the loss, or of a classifier that came with a backbone.
_NO_WEIGHT = re.compile(
    r"(.*\.)?(relative_position_index|attn_mask|num_batches_tracked)|criterion\..*|pixel_(mean|std)|(stem\.)?fc\..*"
    r"|(head|classifier|norm)\.(.*\.)?(weight|bias)|.*encoder\.swin\.layernorm\..*|swin\.layernorm\..*"
)
# torchvision's names of a residual network, which are DINO's too, in detectron2's.
_TORCHVISION = (
    (r"conv1\.(.*)", r"stem.conv1.\1"),
    (r"bn1\.(.*)", r"stem.conv1.norm.\1"),
    (r"(layer\d\.\d+)\.bn(\d)\.(.*)", r"\1.conv\2.norm.\3"),
    (r"(layer\d\.\d+)\.downsample\.0\.(.*)", r"\1.shortcut.\2"),
    (r"(layer\d\.\d+)\.downsample\.1\.(.*)", r"\1.shortcut.norm.\2"),
)
_OTHER_PARTS = ("model.", "class_predictor.", "sem_seg_head.", "prompt_encoder.", "prompt_decoder.")
SHOWN = 10
"""A message names at most so many weights of a kind."""
_FRESH_NORMS = f"{BACKBONE}hidden_states_norms."


@dataclass(frozen=True)
class LoadReport:
    """What was done with the names of a checkpoint.

    Attributes:
        loaded: The model's weights that were set.
        left_out: Names in the file that are no weights of a model, such as indices and counters.
        fresh: The model's weights that stayed as they were.
        assumed: What the file does not tell and was taken for granted, and where the model is another one: sentences.
    """

    loaded: tuple[str, ...]
    left_out: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def load_model(path: Path | str) -> WholeImageModel:
    """The model that a checkpoint is of, in evaluation mode.

    Its configuration is that in the checkpoint, where our training wrote it; else it is read from the weights' shapes.

    Args:
        path: As for :func:`load_weights`.

    Returns:
        A WholeImageModel on the CPU.

    Raises:
        CheckpointError: as for :func:`load_weights`.
    """
    state, left_out = _read_ours(Path(path))
    try:
        model = WholeImageModel(recorded_model(Path(path)) or infer_config(state))
        set_weights(model, state, left_out)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return model.eval()


def load_weights(model: AnyModel, path: Path | str) -> LoadReport:
    """Sets all weights of a model.

    Args:
        model: What the weights must fit, exactly.
        path: A Hugging Face folder of Mask2Former, a detectron2-format file of it (``.pth`` or ``.pkl``), or a file
            that holds our names.

    Returns:
        What was loaded and what left out.

    Raises:
        CheckpointError: when the file cannot be read, or is of another architecture; lists every missing, unexpected
            and misshapen name. The model is then unchanged.
    """
    state, left_out = _read_ours(Path(path))
    try:
        return set_weights(model, state, left_out)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_backbone(model: AnyModel, path: Path | str) -> LoadReport:
    """Sets the weights of a model's backbone, as training starts from them.

    Args:
        model: What the weights must fit.
        path: Anything that :func:`load_weights` reads, whose backbone is taken; or a backbone alone: a Hugging Face
            folder, a detectron2 ``.pkl``, a file with torchvision's names (DINO's ResNet-50) or Swin's official ones.

    Returns:
        What was loaded and what stayed: classifiers have no norms behind the stages of Swin.

    Raises:
        CheckpointError: as for :func:`load_weights`.
    """
    state, left_out = _read_ours(Path(path))
    if not any(name.startswith(BACKBONE) for name in state):
        state = _alone(state)
    state = {n: value for n, value in state.items() if n.startswith(BACKBONE) or not n.startswith(_OTHER_PARTS)}
    try:
        norms = {name for name in model.state_dict() if name.startswith(_FRESH_NORMS)}
        return set_weights(model, state, left_out, prefix=BACKBONE, fresh=norms - state.keys())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def save_hugging_face(model: WholeImageModel, folder: Path | str) -> None:
    """Writes a folder that transformers' ``Mask2FormerForUniversalSegmentation.from_pretrained`` reads.

    Args:
        model: With a backbone that transformers has.
        folder: New or empty.

    Raises:
        CheckpointError: when transformers has no such network.
        FileExistsError: when the folder holds something.
    """
    config = hugging_face_config(model.config)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_folder(Path(folder)) as temporary:
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        # Its own way to write a file makes one that nobody else may read.
        (temporary / "model.safetensors").write_bytes(save(state, metadata={"format": "pt"}))


def save_detectron2(model: WholeImageModel, path: Path | str) -> None:
    """Writes a ``.pth`` file that Mask2Former's detectron2 code reads.

    Args:
        model: With a backbone that it has.
        path: The file; one that exists is replaced.

    Raises:
        CheckpointError: when there is no name for a weight (the tiny backbone's).
    """
    state, _ = _split(model.state_dict())
    renamed, strangers = to_detectron2({name: value.detach().cpu() for name, value in state.items()})
    if strangers:
        raise CheckpointError(f"detectron2's format has no names for {', '.join(strangers)}")
    with atomic_file(Path(path)) as temporary:
        torch.save({"model": renamed, "__author__": "divide-and-conquer", "matching_heuristics": False}, temporary)


def read_weights(path: Path, *, mapped: bool = False) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under the names of whoever wrote them, without what programs put before them.

    Args:
        path: As for :func:`load_weights`.
        mapped: As for :func:`training.models.checkpoint_files.read_state`.

    Returns:
        The weights, and the names of what is no weight.

    Raises:
        CheckpointError: as for :func:`load_weights`.
    """
    if (path / "config.json").is_file():
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") not in ("resnet", "swin"):  # a backbone alone has nothing to check
            try:
                require_supported(config)
            except CheckpointError as error:
                raise CheckpointError(f"{path}: {error}") from error
    state = read_state(path, mapped=mapped)
    if all(name.startswith("module.") for name in state):  # left by DistributedDataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    if any(name.startswith(("model.sem_seg_head.", "model.backbone.")) for name in state):
        state = {name.removeprefix("model."): value for name, value in state.items()}
    return _split(state)


def _read_ours(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under our names, and the names of what is no weight; names that no rule knows stay as they are."""
    state, left_out = read_weights(path)
    if any(name.startswith(("sem_seg_head.", "backbone.")) for name in state):
        # Mask2Former's own name for these, before its first release.
        state = {name.replace("predictor.static_query.", "predictor.query_feat."): t for name, t in state.items()}
        renamed, strangers = from_detectron2(state)
        state = {**renamed, **{name: state[name] for name in strangers}}
    return state, left_out


def _split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    weights = {name: value for name, value in state.items() if not _NO_WEIGHT.fullmatch(name)}
    return weights, sorted(state.keys() - weights.keys())


def _alone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone's tensors under our names, whichever of four namings they have; those of no partner keep theirs."""
    plain = {re.sub(r"^(resnet|swin)\.", "", name): value for name, value in state.items()}
    if any(name.startswith(("embedder.", "embeddings.")) for name in plain):
        return {BACKBONE + name: value for name, value in plain.items()}
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        theirs = name
        for pattern, replacement in _TORCHVISION:
            theirs = re.sub(f"^{pattern}$", replacement, theirs)
        theirs = re.sub(r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}.", theirs)
        renamed, _ = from_detectron2({f"backbone.{theirs}": value})
        ours.update(renamed or {name: value})
    return ours


def set_weights(
    model: AnyModel,
    state: Mapping[str, Tensor],
    left_out: Sequence[str],
    *,
    prefix: str = "",
    fresh: Set[str] = frozenset(),
) -> LoadReport:
    """Sets the weights of a model, all or none of them.

    Args:
        model: What the weights must fit.
        state: Tensors under our names.
        left_out: For the report.
        prefix: Only the model's weights whose names begin so.
        fresh: Those of them that are not set.

    Raises:
        CheckpointError: as for :func:`load_weights`.
    """
    own = {name: value for name, value in _split(model.state_dict())[0].items() if name.startswith(prefix)}
    lists = {
        "missing": own.keys() - state.keys() - fresh,
        "unexpected": state.keys() - own.keys(),
        "misshapen": {
            f"{name} must be {tuple(own[name].shape)}, not {tuple(state[name].shape)}"
            for name in own.keys() & state.keys()
            if own[name].shape != state[name].shape
        },
    }
    if any(lists.values()):
        reasons = [*_differences(state, model.config)]
        reasons += [f"{len(names)} {kind}: {_some(names)}" for kind, names in lists.items() if names]
        raise CheckpointError(f"the weights do not fit the model; {'; '.join(reasons)}")
    model.load_state_dict(dict(state), strict=False)
    return LoadReport(tuple(sorted(state)), tuple(left_out), tuple(sorted(fresh)))


def _some(names: Set[str]) -> str:
    shown = sorted(names)[:SHOWN]
    return ", ".join(shown) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _differences(state: Mapping[str, Tensor], config: PixelConfig) -> list[str]:
    """In words, how the architecture that the weights have differs from the configured one, where that can be said."""
    try:
        has_decoders = "class_predictor.weight" in state
        found = dataclasses.asdict(infer_config(state)) if has_decoders else infer_backbone(state)
    except CheckpointError as error:
        return [str(error)]
    wanted = dataclasses.asdict(config)
    names = [n for n in found if n in wanted and not isinstance(wanted[n], dict) and not n.startswith("pixel_")]
    section = config.SECTION
    return [f"they are of {section}.{n}={found[n]}, here it is {wanted[n]}" for n in names if found[n] != wanted[n]]
