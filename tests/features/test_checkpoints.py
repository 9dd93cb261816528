"""Weights from wherever they may come: renamed completely, refused when they do not fit, with words that help."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install torch transformers")
transformers = pytest.importorskip("transformers", reason="needs transformers: pip install torch transformers")

from dico.config import ExtractorConfig  # noqa: E402
from dico.features.backbone import load_backbone  # noqa: E402
from dico.features.build import build_extractor  # noqa: E402
from dico.features.checkpoints import (  # noqa: E402
    Architecture,
    hub_names,
    infer_architecture,
    read_official,
    to_hub,
)
from dico.features.weights import CheckpointError, locate, remedy  # noqa: E402
from tests.reference.vit import Shape, random_official  # noqa: E402

State = dict[str, Any]

SHAPES = {
    "dino": Shape(),
    "dinov2": Shape(patch=14, dinov2=True),
    "registers": Shape(patch=14, dinov2=True, registers=4),
    "gated": Shape(patch=14, dinov2=True, swiglu=True),
}


def load(path: Path, name: str = "dino") -> Any:
    return load_backbone(name, str(path), device="cpu", dtype="float32").model


def save(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def equal(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# The architecture and the names


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_architecture_is_inferred_from_shapes(shape: Shape) -> None:
    found = infer_architecture(random_official(shape))
    assert found == Architecture(
        width=64,
        depth=3,
        patch=shape.patch,
        grid=4,
        mlp_width=352 if shape.swiglu else 256,
        registers=shape.registers,
        layer_scale=shape.dinov2,
        swiglu=shape.swiglu,
    )


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (768, 12), (1024, 16), (1536, 24)])
def test_heads_of_the_published_sizes(width: int, heads: int) -> None:
    state = random_official(Shape(width=width, depth=0))
    assert infer_architecture(state).heads == heads


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_names_are_complete_on_both_sides(tmp_path: Path, shape: Shape) -> None:
    from safetensors import safe_open

    state = random_official(shape)
    names = hub_names(infer_architecture(state))
    assert names.keys() == state.keys()
    load(save(tmp_path, state), "dinov2" if shape.dinov2 else "dino").save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as published:
        assert sorted(hub for hubs in names.values() for hub in hubs) == sorted(published.keys())


def test_the_fused_projection_is_split_into_query_key_value() -> None:
    state = random_official(Shape(depth=1))
    renamed = to_hub(state, infer_architecture(state))
    fused = torch.cat([renamed[f"encoder.layer.0.attention.attention.{x}.weight"] for x in ("query", "key", "value")])
    assert torch.equal(fused, state["blocks.0.attn.qkv.weight"])
    assert torch.equal(renamed["encoder.layer.0.attention.attention.key.bias"], state["blocks.0.attn.qkv.bias"][64:128])


# Training checkpoints


def with_prefix(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


HEAD = {"head.mlp.0.weight": torch.zeros(2, 2)}
WRAPPINGS: dict[str, Callable[[State, State], Any]] = {
    "DINO": lambda teacher, student: {
        "student": with_prefix("module.backbone.", student) | with_prefix("module.", HEAD),
        "teacher": with_prefix("backbone.", teacher) | HEAD,
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": []},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=8),
    },
    "DINOv2": lambda teacher, _: {"teacher": with_prefix("backbone.", teacher) | with_prefix("dino_", HEAD)},
    "DINOv2, all of it": lambda teacher, student: {
        "model": with_prefix("student.backbone.", student) | with_prefix("teacher.backbone.", teacher),
        "iteration": 5,
    },
    "data parallel": lambda teacher, _: with_prefix("module.", teacher),
    "backbone": lambda teacher, _: with_prefix("backbone.", teacher) | HEAD,
    "Lightning": lambda teacher, _: {"state_dict": with_prefix("teacher.backbone.", teacher), "epoch": 1},
    "student alone": lambda teacher, _: {"student": with_prefix("module.backbone.", teacher)},
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_training_checkpoints_are_unwrapped_to_the_teachers_backbone(
    tmp_path: Path, wrap: Callable[[State, State], Any]
) -> None:
    teacher, student = random_official(Shape(depth=1), seed=0), random_official(Shape(depth=1), seed=1)
    assert equal(read_official(save(tmp_path, wrap(teacher, student))), teacher)


def test_blocks_in_groups_are_renumbered(tmp_path: Path) -> None:
    state = random_official(Shape(dinov2=True, depth=4))
    groups = {f"blocks.{i}.": f"blocks.{i // 2}.{i}." for i in range(4)}
    grouped = {groups.get(key[:9], key[:9]) + key[9:]: value for key, value in state.items()}
    assert "blocks.1.3.norm1.weight" in grouped
    assert equal(read_official(save(tmp_path, grouped)), state)


# Files that do not fit


def test_every_missing_and_unexpected_key_is_named(tmp_path: Path) -> None:
    state = random_official(Shape(depth=2))
    for key in ("norm.bias", "blocks.1.attn.qkv.weight", "blocks.0.mlp.fc1.weight"):
        del state[key]
    state |= {"head.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}
    with pytest.raises(CheckpointError) as refusal:
        load(save(tmp_path, state))
    assert str(refusal.value) == (
        f"{tmp_path / 'weights.pth'}: the checkpoint does not fit the network; keys 3 missing: "
        "blocks.0.mlp.fc1.weight, blocks.1.attn.qkv.weight, norm.bias; 2 unexpected: fc.bias, head.weight"
    )


def test_misshapen_tensors_are_named(tmp_path: Path) -> None:
    state = random_official(Shape(depth=1))
    state["blocks.0.mlp.fc2.weight"] = torch.zeros(64, 32)
    with pytest.raises(CheckpointError, match=r"1 misshapen: .*layer.* must be \(64, 256\)"):
        load(save(tmp_path, state))


@pytest.mark.parametrize(("name", "other"), [("dino", "dinov2"), ("dinov2", "dino")])
def test_a_file_of_another_family_names_it(tmp_path: Path, name: str, other: str) -> None:
    path = save(tmp_path, random_official(Shape(dinov2=other == "dinov2", depth=1)))
    with pytest.raises(CheckpointError, match=f": is a checkpoint of {other}: set extractor.name={other}, got {name}"):
        load(path, name)


def test_official_files_of_dinov3_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = save(tmp_path, {"patch_embed.proj.weight": torch.zeros(64, 3, 16, 16), "rope_embed.periods": torch.ones(4)})
    with pytest.raises(CheckpointError, match=r"official files of dinov3 are not read.*a local folder"):
        load(path, "dinov3")
    with pytest.raises(CheckpointError, match=r"no pos_embed.*For DINOv3 pass the Hugging Face folder"):
        load(path, "dinov2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos_embed": torch.zeros(1, 12, 64)}, r"pos_embed must be .*square.* got \(1, 12, 64\)"),
        ({"pos_embed": torch.zeros(12)}, r"pos_embed must be .* got \(12,\)"),
        ({"patch_embed.proj.weight": torch.zeros(65, 3, 8, 8)}, r"a multiple of 64, got \(65, 3, 8, 8\)"),
        ({"patch_embed.proj.weight": torch.zeros(64)}, r"patch_embed.proj.weight must be .* got \(64,\)"),
    ],
)
def test_shapes_of_no_known_network(change: State, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        infer_architecture(random_official(Shape(depth=1)) | change)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no vision transformer .* keys begin with conv1.weight"):
        load(save(tmp_path, {"conv1.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="must hold a state dict, got list"):
        load(save(tmp_path, [1, 2]))
    with pytest.raises(CheckpointError, match="plain tensors"):
        load(save(tmp_path, torch.nn.Linear(2, 2)))
    with pytest.raises(CheckpointError, match=r"tensors only, but these are not: epoch"):
        load(save(tmp_path, random_official(Shape(depth=1)) | {"epoch": 3}))
    whole = save(tmp_path, random_official(Shape(depth=1))).read_bytes()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2]):
        (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match="a truncated download"):
            load(tmp_path / "weights.pth")


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    with pytest.raises(CheckpointError):
        load(save(tmp_path, random_official(Shape(depth=1)) | {"payload": Payload()}))
    assert not (tmp_path / "ran").exists()


# Hugging Face folders


def tiny_vit(**changes: Any) -> Any:
    values = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return transformers.ViTConfig(**values, image_size=16, patch_size=8, **changes)


def test_a_pooler_is_not_a_misfit(tmp_path: Path) -> None:
    transformers.ViTModel(tiny_vit(), add_pooling_layer=True).save_pretrained(tmp_path)
    assert load(tmp_path).pooler is None


def test_a_folder_that_does_not_fit_lists_its_keys(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    transformers.ViTModel(tiny_vit(), add_pooling_layer=False).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["layernorm.bias"]
    state["classifier.bias"] = torch.zeros(3)
    state["layernorm.weight"] = torch.zeros(3)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 missing: layernorm.bias; 1 unexpected: classifier.bias"):
        load(tmp_path)
    del state["classifier.bias"]
    state["layernorm.bias"] = torch.zeros(32)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 misshapen: layernorm.weight must be \(32,\)"):
        load(tmp_path)


def test_a_folder_of_another_family_names_it(tmp_path: Path) -> None:
    transformers.ViTModel(tiny_vit(), add_pooling_layer=False).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"is a model of type 'vit', not dinov2: set extractor.name=dino"):
        load(tmp_path, "dinov2")
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"is a model of type 'bert', not dinov2: Pass extractor.weights as"):
        load(tmp_path, "dinov2")


def test_folders_without_config_or_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot load dino .*\n?.*Pass extractor.weights as"):
        load(tmp_path)
    tiny_vit().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="cannot load dino"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"truncated")
    with pytest.raises(CheckpointError, match="cannot load dino"):
        load(tmp_path)


# No weights, no network, no packages


@pytest.mark.parametrize("name", ["dino", "dinov2", "dinov3"])
def test_the_remedy_names_every_way_out(name: str) -> None:
    text = remedy(name)
    assert f"facebook/{name}" in text
    assert "config.json" in text
    assert (".pth" in text) == (name != "dinov3")
    assert "extractor.name=classical, needs no weights and no network" in text


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("", "extractor.weights is empty"),
        ("dino_vitbase8_pretrain.pth", "there is no such file or folder"),
        ("/nowhere/at/all", "there is no such file or folder"),
        ("./dino", "there is no such file or folder"),
        ("two words", "there is no such file or folder"),
    ],
)
def test_weights_that_are_nowhere(weights: str, message: str) -> None:
    config = ExtractorConfig(name="dino", weights=weights)
    with pytest.raises(CheckpointError, match=f"{message}.*facebook/dino-vitb8.*extractor.name=classical"):
        build_extractor(config)


def test_a_folder_beats_a_hub_id_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("dino", "facebook/dino-vitb8") == "facebook/dino-vitb8"
    (tmp_path / "facebook" / "dino-vitb8").mkdir(parents=True)
    assert locate("dino", "facebook/dino-vitb8") == Path("facebook/dino-vitb8")


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    config = ExtractorConfig(name="dinov2", weights="nobody/has-this-model")
    with pytest.raises(CheckpointError, match="cannot load dinov2 from 'nobody/has-this-model'") as refusal:
        build_extractor(config)
    assert str(refusal.value).endswith(remedy("dinov2"))


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_a_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    path = save(tmp_path, random_official(Shape(depth=1)))
    for module in [name for name in sys.modules if name.startswith("dico.features.") and name != "dico.features.build"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install torch transformers.*extractor.name=classical"):
        build_extractor(ExtractorConfig(name="dino", weights=str(path)))


def test_build_gives_a_working_transformer(tmp_path: Path) -> None:
    path = save(tmp_path, random_official(Shape(depth=1)))
    extractor = build_extractor(ExtractorConfig(name="dino", weights=str(path), size=16))
    (features,) = extractor.extract([np.zeros((20, 30, 3), dtype=np.uint8)])
    assert features.feats_hwC.shape == (2, 2, 64)


def test_building_imports_no_torch() -> None:
    code = "import sys, dico.features.build; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
