from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dico.config_loading import to_plain
from tests.reference.dense import dense_masks
from tests.training.mask2former import SMALL, SMALL_CONFIGS, oracle, saved, shaken
from training.config import ModelConfig, TinyConfig
from training.models.architecture import BACKBONE
from training.models.checkpoint_files import CheckpointError, read_state
from training.models.checkpoints import load_backbone, load_model, load_weights, save_detectron2, save_hugging_face
from training.models.detectron2_names import to_detectron2
from training.models.whole_image import WholeImageModel

TINY = ModelConfig(
    backbone="tiny", tiny=TinyConfig(widths=(8, 16, 16, 24)), width=32, heads=4, queries=5, encoder_layers=1
)


def fresh(config, seed=1):
    torch.manual_seed(seed)
    return shaken(WholeImageModel(config)).eval()


def weights(model, prefix=""):
    return {n: v.clone() for n, v in model.state_dict().items() if n.startswith(prefix) and "num_batches" not in n}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


def detectron2_state(model):
    return to_detectron2(weights(model))[0]


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_a_hugging_face_folder_gives_its_model(name, tmp_path):
    theirs = oracle(SMALL_CONFIGS[name])
    ours = load_model(saved(theirs, tmp_path))
    assert ours.config == SMALL_CONFIGS[name] and not ours.training
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, found = theirs(pixel_values=images), ours(images)
    torch.testing.assert_close(dense_masks(found)[-1], expected.masks_queries_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.class_logits_LBQ2[-1], expected.class_queries_logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_transformers_reads_what_we_write(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = fresh(SMALL_CONFIGS[name])
    save_hugging_face(ours, tmp_path / "folder")
    theirs, report = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(
        tmp_path / "folder", output_loading_info=True
    )
    # Swin's last norm has no use in a backbone; the criterion's class weights are computed.
    not_ours = ("swin.layernorm.weight", "swin.layernorm.bias", "criterion.empty_weight")
    assert [n for n in report["missing_keys"] if not n.endswith((*not_ours, "num_batches_tracked"))] == []
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, found = theirs.eval()(pixel_values=images), ours(images)
    torch.testing.assert_close(dense_masks(found)[-1], expected.masks_queries_logits, atol=1e-4, rtol=0)
    assert_same(weights(load_model(tmp_path / "folder")), weights(ours))
    with pytest.raises(FileExistsError):
        save_hugging_face(ours, tmp_path / "folder")


def test_shards_are_read_together(tmp_path):
    model = fresh(SMALL)
    state = weights(model)
    names = sorted(state)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: state[name].contiguous() for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same(weights(load_model(tmp_path)), state)


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_detectron2_files_round_trip(name, tmp_path):
    model = fresh(SMALL_CONFIGS[name])
    save_detectron2(model, tmp_path / "model_final.pth")
    assert_same(weights(load_model(tmp_path / "model_final.pth")), weights(model))
    written = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert {key.split(".")[0] for key in written} == {"backbone", "sem_seg_head"}


def test_what_training_leaves_in_a_file_is_left_out(tmp_path):
    model = fresh(SMALL_CONFIGS["swin"])
    extra = {
        "criterion.empty_weight": torch.ones(2),
        "backbone.layers.0.blocks.0.attn.relative_position_index": torch.zeros(9, 9, dtype=torch.int64),
    }
    state = {f"model.{name}": value for name, value in {**detectron2_state(model), **extra}.items()}
    trainer = {"best": np.float64(3.5), "iteration": 7, "optimizer": {"state": {0: torch.zeros(2)}}}
    torch.save({"model": OrderedDict(state), **trainer}, tmp_path / "model_0000007.pth")
    target = fresh(SMALL_CONFIGS["swin"], seed=2)
    report = load_weights(target, tmp_path / "model_0000007.pth")
    assert_same(weights(target), weights(model))
    assert report.left_out == tuple(sorted(extra)) and report.fresh == ()
    assert set(report.loaded) == weights(model).keys()


def test_old_names_of_queries_and_of_parallel_training(tmp_path):
    model = fresh(SMALL)
    old = {name.replace("query_feat", "static_query"): value for name, value in detectron2_state(model).items()}
    assert old.keys() != detectron2_state(model).keys()
    torch.save({f"module.{name}": value for name, value in old.items()}, tmp_path / "old.pth")
    assert_same(weights(load_model(tmp_path / "old.pth")), weights(model))


def test_a_model_zoo_pickle_of_arrays(tmp_path):
    model = fresh(SMALL)
    arrays = {name: value.numpy() for name, value in detectron2_state(model).items()}
    for protocol in (2, 5):
        path = tmp_path / f"model_{protocol}.pkl"
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "third_party"}, protocol=protocol))
        assert_same(weights(load_model(path)), weights(model))


def test_our_own_files_and_other_numbers_of_points(tmp_path):
    model = fresh(replace(TINY, encoder_points=3))
    torch.save({"model": model.state_dict(), "step": 3}, tmp_path / "model_0000003.pth")
    target = fresh(replace(TINY, encoder_points=3), seed=2)
    load_weights(target, tmp_path / "model_0000003.pth")
    assert_same(weights(target), weights(model))


@pytest.mark.parametrize(
    "said", [{"encoder_points": 2}, {"encoder_points": 8}, {"encoder_layers": 0}, {"pixel_mean": (0.0, 0.0, 0.0)}]
)
def test_what_shapes_do_not_tell_is_in_our_own_files(said, tmp_path):
    model = fresh(replace(TINY, **said))
    torch.save({"model": model.state_dict(), "config": {"model": to_plain(model.config)}}, tmp_path / "a.pth")
    image_B3HW = torch.randint(256, (1, 3, 64, 96), dtype=torch.uint8)
    found = load_model(tmp_path / "a.pth")(image_B3HW)
    assert torch.equal(found.embeddings_LBQC, model(image_B3HW).embeddings_LBQC)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"task": "promptable", "model": {}}, "of task=promptable, and must be of task=whole_image"),
        ({"model": {"wings": 2}}, r"the configuration in it is not known here: unknown .* 'model\.wings'"),
        ({"model": {"queries": 0}}, r"not known here: model\.queries must be at least 1"),
        ({"model": {"backbone": "resnet50"}}, "the weights do not fit the model"),
    ],
)
def test_a_configuration_in_a_file_that_does_not_fit(config, complaint, tmp_path):
    torch.save({"model": fresh(TINY).state_dict(), "config": config}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=complaint):
        load_model(tmp_path / "a.pth")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_code_in_a_file_is_not_run(suffix, tmp_path):
    path, trace = tmp_path / f"evil.{suffix}", tmp_path / "trace"
    if suffix == "pkl":
        path.write_bytes(pickle.dumps({"model": Evil(trace)}))
    else:
        torch.save({"model": Evil(trace)}, path)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_state(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (lambda path: None, "there is no such file or folder"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut off"), "a truncated file fails like this"),
        (lambda path: torch.save([1, 2], path), "must hold names and tensors, got list"),
        (lambda path: torch.save({"a": 1, "b": 2}, path), "holds no tensors; its keys begin with a, b"),
        (lambda path: path.mkdir(), "has no model.safetensors"),
    ],
)
def test_what_is_no_checkpoint_is_told(write, complaint, tmp_path):
    path = tmp_path / "model.pth"
    write(path)
    with pytest.raises(CheckpointError, match=complaint):
        load_model(path)


def refused(model, path):
    """The message with which a checkpoint is refused; the model stays as it was."""
    before = weights(model)
    with pytest.raises(CheckpointError) as raised:
        load_weights(model, path)
    assert_same(weights(model), before)
    return str(raised.value)


def test_another_architecture_is_told_in_words(tmp_path):
    save_detectron2(fresh(replace(SMALL, queries=9)), tmp_path / "resnet.pth")
    message = refused(fresh(SMALL_CONFIGS["swin"]), tmp_path / "resnet.pth")
    assert "resnet.pth: the weights do not fit the model" in message
    assert "they are of model.backbone=resnet50, here it is swin_t" in message
    assert "they are of model.queries=9, here it is 7" in message
    assert "queries_features.weight must be (7, 64), not (9, 64)" in message
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    assert "the weights hold no backbone that is known" in refused(fresh(SMALL), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other.pth: the weights are of another architecture"):
        load_model(tmp_path / "other.pth")


def test_every_name_without_a_partner_is_listed(tmp_path):
    state = detectron2_state(fresh(SMALL))
    lost = ["backbone.stem.conv1.norm.bias", "sem_seg_head.predictor.decoder_norm.weight"]
    for name in lost:
        del state[name]
    torch.save({"model": {**state, "sem_seg_head.new.weight": torch.zeros(1), "x": torch.zeros(1)}}, tmp_path / "m.pth")
    message = refused(fresh(SMALL, seed=2), tmp_path / "m.pth")
    assert "2 missing: model.pixel_level_module.encoder.embedder.embedder.normalization.bias, " in message
    assert "model.transformer_module.decoder.layernorm.weight" in message
    assert "2 unexpected: sem_seg_head.new.weight, x" in message


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_type": "maskformer"}, "it is a model of type 'maskformer', and must be mask2former"),
        ({"pre_norm": True}, "its config.json says pre_norm=True; supported is False"),
        (
            {"backbone_config": {"model_type": "resnet", "hidden_act": "gelu"}},
            "says backbone_config.hidden_act='gelu'; supported is 'relu'",
        ),
    ],
)
def test_hugging_face_models_that_compute_something_else(change, complaint, tmp_path):
    save_hugging_face(fresh(SMALL), tmp_path / "folder")
    path = tmp_path / "folder" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=complaint):
        load_model(tmp_path / "folder")


def test_a_backbone_of_any_naming(tmp_path):
    model = fresh(SMALL)
    ours = weights(model, BACKBONE)
    theirs = {name.removeprefix("backbone."): v for name, v in to_detectron2(ours)[0].items()}
    torchvision = {}
    for name, value in theirs.items():
        name = name.replace("stem.conv1.norm.", "bn1.").replace("stem.conv1.", "conv1.")
        for stage in range(4):
            name = name.replace(f"res{stage + 2}.", f"layer{stage + 1}.")
        for i in (1, 2, 3):
            name = name.replace(f".conv{i}.norm.", f".bn{i}.")
        torchvision[name.replace("shortcut.norm.", "downsample.1.").replace("shortcut.", "downsample.0.")] = value
    assert {"conv1.weight", "bn1.weight", "layer1.0.downsample.0.weight", "layer4.0.bn3.bias"} <= torchvision.keys()
    classifier = {"fc.weight": torch.zeros(3, 96), "fc.bias": torch.zeros(3), "bn1.num_batches_tracked": torch.ones(())}
    torch.save({**torchvision, **classifier}, tmp_path / "dino_resnet50_pretrain.pth")
    arrays = {**{n: v.numpy() for n, v in theirs.items()}, "stem.fc.bias": np.zeros(3)}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"model": arrays, "matching_heuristics": True}))
    hub = {f"resnet.{name.removeprefix(BACKBONE)}": value.contiguous() for name, value in ours.items()}
    save_file(hub, tmp_path / "model.safetensors")
    save_detectron2(model, tmp_path / "whole.pth")
    for name in ("dino_resnet50_pretrain.pth", "R-50.pkl", "model.safetensors", "whole.pth"):
        target = fresh(SMALL, seed=2)
        decoders = {n: v for n, v in weights(target).items() if not n.startswith(BACKBONE)}
        report = load_backbone(target, tmp_path / name)
        assert_same(weights(target, BACKBONE), ours)
        assert_same({n: v for n, v in weights(target).items() if not n.startswith(BACKBONE)}, decoders)
        assert set(report.loaded) == ours.keys() and report.fresh == ()


def test_a_swin_classifier_leaves_the_norms_behind_its_stages_fresh(tmp_path):
    config = SMALL_CONFIGS["swin"]
    ours = weights(fresh(config), BACKBONE)
    norms = {name for name in ours if "hidden_states_norms" in name}
    theirs, _ = to_detectron2({name: value for name, value in ours.items() if name not in norms})
    official = {name.removeprefix("backbone."): value for name, value in theirs.items()}
    rest = {"norm.weight": torch.ones(8), "head.bias": torch.ones(3), "layers.0.blocks.1.attn_mask": torch.ones(2)}
    torch.save({"model": {**official, **rest}}, tmp_path / "swin.pth")
    target = fresh(config, seed=2)
    report = load_backbone(target, tmp_path / "swin.pth")
    assert set(report.fresh) == norms and report.left_out == tuple(sorted(rest))
    loaded = {name: value for name, value in weights(target, BACKBONE).items() if name not in norms}
    assert_same(loaded, {name: value for name, value in ours.items() if name not in norms})


def test_the_wrong_backbone_is_told(tmp_path):
    save_detectron2(fresh(SMALL), tmp_path / "resnet.pth")
    target = fresh(SMALL_CONFIGS["swin"])
    with pytest.raises(CheckpointError, match=r"they are of model.backbone=resnet50, here it is swin_t"):
        load_backbone(target, tmp_path / "resnet.pth")
    strangers = {"backbone.res9.0.conv1.weight": torch.zeros(1), "sem_seg_head.of.another.kind": torch.zeros(1)}
    torch.save({**detectron2_state(fresh(SMALL)), **strangers}, tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"1 unexpected: backbone\.res9\.0\.conv1\.weight$"):
        load_backbone(fresh(SMALL), tmp_path / "whole.pth")
    alone = {"patch_embed.proj.weight": torch.zeros(1), "layer9.0.bn1.weight": torch.zeros(1), "odd": torch.zeros(1)}
    torch.save(alone, tmp_path / "alone.pth")
    with pytest.raises(CheckpointError, match=r"2 unexpected: layer9\.0\.bn1\.weight, odd;"):
        load_backbone(target, tmp_path / "alone.pth")


def test_a_network_that_others_do_not_have_is_not_written(tmp_path):
    with pytest.raises(CheckpointError, match=r"no backbone like model.backbone=tiny"):
        save_hugging_face(fresh(TINY), tmp_path / "folder")
    with pytest.raises(CheckpointError, match=r"no names for model.pixel_level_module.encoder.stages"):
        save_detectron2(fresh(TINY), tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


def test_what_is_on_disk_has_our_names(tmp_path):
    """No map lies between a Hugging Face file and our parameters."""
    for name, config in SMALL_CONFIGS.items():
        on_disk = load_file(saved(oracle(config), tmp_path / name) / "model.safetensors").keys()
        assert {n for n in on_disk if "swin.layernorm" not in n and not n.startswith("criterion.")} == set(
            WholeImageModel(config).state_dict()
        )
