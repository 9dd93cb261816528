"""The names of the published promptable model, against a list of every key that its description gives."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dico.config_loading import to_plain
from tests.conftest import REPOSITORY, draw
from tests.training.asked import INFERENCE, SMALL, mixed, small_model, write_promptable
from training.config import load_train_config
from training.demo.session import Segmenter
from training.models.architecture import BACKBONE
from training.models.checkpoint_files import CheckpointError
from training.models.checkpoints import load_weights
from training.models.promptable import PromptableModel
from training.models.published_promptable import (
    ASSUMED,
    OURS_ALONE,
    UNNAMED,
    is_published,
    load_published,
    published_names,
)
from training.prompt_predictor import PromptPredictor
from training.promptable_checkpoint import load_promptable, names_beside
from training.trained import load_trained

LIST = Path(__file__).parent / "fixtures" / "published_promptable_swin_t.txt"
HEAD = "sem_seg_head.predictor"
BOX, IOU, KINDS = "prompt_decoder.box_refiner", "prompt_decoder.iou_predictor", "prompt_encoder.kinds.weight"
CALLED = {ours: f"{HEAD}.called_{ours.partition('.')[2]}" for ours in UNNAMED}


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}


@pytest.fixture(scope="module")
def published():
    """Every key and shape of a file, on no device."""
    pairs = [line.split() for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {key: torch.empty([int(n) for n in shape.split("x")], device="meta") for key, shape in pairs}


@pytest.fixture(scope="module")
def ours():
    config = load_train_config(REPOSITORY / "configs/training/unsam_promptable_swin_t.yaml").promptable
    with torch.device("meta"):
        return PromptableModel(config).state_dict()


def test_every_described_key_becomes_a_weight_of_ours(published, ours):
    renamed, strangers = published_names({}).to_ours(published)
    assert strangers == []
    missing = ours.keys() - renamed.keys()
    assert {name for name in missing if not name.startswith(OURS_ALONE)} == {
        name for name in ours if name.startswith(UNNAMED)
    }
    assert shapes(renamed) == {name: shape for name, shape in shapes(ours).items() if name not in missing}


def test_and_back(published, ours):
    renamed, strangers = published_names({}).to_theirs(ours)
    assert shapes(renamed) == shapes(published)
    assert strangers == sorted(name for name in ours if name.startswith((*OURS_ALONE, *UNNAMED)))
    named, strangers = published_names(CALLED).to_theirs(ours)
    assert strangers == sorted(name for name in ours if name.startswith(OURS_ALONE))
    layers = [f"layers.{index}.{kind}" for index in range(3) for kind in ("weight", "bias")]
    heads = [f"{CALLED[head]}.{layer}" for head in (BOX, IOU) for layer in layers]
    assert named.keys() - published.keys() == {*heads, *(CALLED[ours] for ours in UNNAMED if ours not in (BOX, IOU))}


def test_up_to_the_pixels_it_is_mask2former(published):
    lines = (LIST.parent / "detectron2_swin_t.txt").read_text().splitlines()
    mask2former = {line.split()[0] for line in lines if line.startswith(("backbone.", "sem_seg_head.pixel_decoder."))}
    mine = {name for name in published if not name.startswith(HEAD)}
    assert {name for name in mask2former - mine if not name.endswith("relative_position_index")} == set()
    level = "sem_seg_head.pixel_decoder.input_proj.3"
    assert mine - mask2former == {f"{level}.{part}.{kind}" for part in (0, 1) for kind in ("weight", "bias")}


def test_no_two_keys_become_one(published):
    found = [name for key, value in published.items() for name in published_names(CALLED).to_ours({key: value})[0]]
    assert len(found) == len(set(found))


def test_the_level_that_mask2former_has_not_is_the_coarsest_of_ours():
    names = [f"sem_seg_head.pixel_decoder.input_proj.{index}.0.bias" for index in range(4)]
    renamed, _ = published_names({}).to_ours({name: torch.tensor([i]) for i, name in enumerate(names)})
    start = "model.pixel_level_module.decoder.input_projections"
    assert [int(renamed[f"{start}.{index}.0.bias"]) for index in range(4)] == [3, 0, 1, 2]


def write_published(path, model, **others):
    """A file of the weights that the published model has, of the small backbone, which has no names of theirs."""
    named, _ = published_names(CALLED).to_theirs(model.state_dict())
    backbone = {name: value for name, value in model.state_dict().items() if name.startswith(BACKBONE)}
    torch.save({"model": {**backbone, **named, **others}}, path)
    return path


@pytest.fixture
def theirs():
    model = small_model()
    for parameter in model.prompt_encoder.pooled_points.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def answers(model):
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        output = model(image, mixed(4))
    return output.mask_logits(0), output.ious_LBPQ


def test_a_file_answers_as_the_model_that_it_is_of(tmp_path, theirs):
    # Shared modules are in files once for each place that uses them.
    named, _ = published_names(CALLED).to_theirs(theirs.state_dict())
    box = CALLED[BOX]
    twice = {name.replace(box, f"{HEAD}.decoder.bbox_embed.1"): value for name, value in named.items() if box in name}
    twice |= {f"{HEAD}.decoder.norm.{kind}": named[f"{HEAD}.decoder_norm.{kind}"] for kind in ("weight", "bias")}
    extra = {f"{HEAD}.classes.weight": torch.rand(3, 32)}
    path = write_published(tmp_path / "theirs.pth", theirs, **twice, **extra)
    torch.manual_seed(7)
    model = PromptableModel(SMALL).eval()
    torch.nn.init.ones_(model.prompt_encoder.pooled_points.weight)
    report = load_published(model, path, called=CALLED, ignored=[f"{HEAD}.classes."])
    assert all(torch.equal(one, other) for one, other in zip(answers(model), answers(theirs), strict=True))
    assert report.left_out == tuple(sorted([*twice, *extra])) and report.assumed == ASSUMED
    assert set(report.fresh) == {name for name in model.state_dict() if name.startswith(OURS_ALONE)}
    assert set(report.loaded) | set(report.fresh) == set(model.state_dict())


def test_modules_without_a_name_are_asked_for(tmp_path, theirs):
    path = write_published(tmp_path / "theirs.pth", theirs)
    model = PromptableModel(SMALL)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    called = {ours: name for ours, name in CALLED.items() if ours != KINDS}
    such = rf"{KINDS} \(which is \(2, 32\); such are {CALLED[KINDS]}\)$"
    with pytest.raises(CheckpointError, match=rf"theirs\.pth: .*{such}"):
        load_published(model, path, called=called)
    first = f"{CALLED[BOX]}.layers.0.weight"
    with pytest.raises(CheckpointError, match=rf"{BOX} \(which begins with \(32, 32\); such are {first}, "):
        load_published(model, path, called={})
    with pytest.raises(
        ValueError, match=r"called must be of prompt_encoder\.base\.weight, .* got prompt_encoder\.labels"
    ):
        load_published(model, path, called={"prompt_encoder.labels": "a"})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_missing_or_has_no_place_is_listed(tmp_path, theirs):
    other_head = f"{HEAD}.decoder.bbox_embed.1.layers.0.weight"
    path = write_published(tmp_path / "more.pth", theirs, **{other_head: torch.rand(32, 32)})
    model = PromptableModel(SMALL)
    with pytest.raises(CheckpointError, match=f"more.pth: .*1 unexpected: {other_head}"):
        load_published(model, path, called=CALLED)
    wrong = CALLED | {IOU: CALLED[BOX]}
    with pytest.raises(CheckpointError, match=rf"6 missing: {BOX}.*6 unexpected: {CALLED[IOU]}.*2 misshapen: {IOU}"):
        load_published(model, path, called=wrong, ignored=[other_head])
    held = torch.load(path, weights_only=True)["model"]
    gone = f"{HEAD}.decoder.layers.1.norm2.weight"
    torch.save({name: value for name, value in held.items() if name != gone}, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: prompt_decoder\.layers\.1\.self_attn_layer_norm\.weight"):
        load_published(model, tmp_path / "less.pth", called=CALLED, ignored=[other_head])
    with pytest.raises(CheckpointError, match="do not fit the model"):
        load_weights(model, path)


# ---------------------------------------------------------------- as tools read it


def say_names(path, **said):
    path.with_name(f"{path.name}.names.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")


@pytest.fixture
def network(tmp_path):
    """A configuration file of the small network."""
    path = tmp_path / "network.yaml"
    plain = {"task": "promptable", "promptable": to_plain(SMALL), "inference": to_plain(INFERENCE)}
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return path


def test_tools_read_a_file_of_the_published_model_as_any_checkpoint(tmp_path, theirs, network, caplog):
    path = write_published(tmp_path / "theirs.pth", theirs, **{f"{HEAD}.classes.weight": torch.rand(3, 32)})
    say_names(path, called=CALLED, ignored=[f"{HEAD}.classes."])
    image = draw(0, (50, 70))
    expected = PromptPredictor(theirs, INFERENCE)
    expected.set_image(image)
    predictor = PromptPredictor.from_checkpoint(path, config_file=network)
    predictor.set_image(image)
    for found, meant in zip(predictor.predict(points=[[30, 20]]), expected.predict(points=[[30, 20]]), strict=True):
        np.testing.assert_array_equal(found, meant)
    said = caplog.text
    assert "theirs.pth is of the published model. Taken for granted: " in said
    assert all(sentence in said for sentence in ASSUMED) and f"1 have no place: {HEAD}.classes.weight" in said
    settings = ["automatic.points_per_side=3"]
    assert load_trained(path, config_file=network, overrides=settings).automatic.points_per_side == 3
    segmenter = Segmenter.from_checkpoint(path, config_file=network, overrides=settings)
    assert segmenter.open(image, "").size_hw == (50, 70)


def test_tools_say_in_which_file_names_are_to_be_given(tmp_path, theirs, network):
    path = write_published(tmp_path / "theirs.pth", theirs)
    with pytest.raises(CheckpointError, match=rf"{KINDS} \(.*theirs\.pth\.names\.yaml: under called: a line OURS"):
        load_promptable(path, config_file=network)
    say_names(path, called={"kinds": "a"})
    with pytest.raises(CheckpointError, match=r"called must be of .*theirs\.pth\.names\.yaml"):
        load_promptable(path, config_file=network)


def test_a_file_that_is_not_complete_is_refused(tmp_path, theirs, network):
    path = write_published(tmp_path / "theirs.pth", theirs)
    say_names(path, called=CALLED)
    held = torch.load(path, weights_only=True)["model"]
    torch.save({"model": {name: held[name] for name in held if "decoder.layers.1.norm2" not in name}}, path)
    with pytest.raises(
        CheckpointError, match=r"theirs\.pth: .*2 missing: prompt_decoder\.layers\.1\.self_attn_layer_no"
    ):
        load_trained(path, config_file=network)


def test_without_a_configuration_the_network_is_the_published_one(tmp_path, theirs):
    path = write_published(tmp_path / "theirs.pth", theirs)
    say_names(path, called=CALLED)
    with pytest.raises(CheckpointError, match=r"they are of promptable\.backbone=tiny, here it is swin_t"):
        load_promptable(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("called: [", "is not YAML"),
        ("names: {}", "may hold called and ignored"),
        ("called: {a: 1}", "called must map names"),
        ("ignored: word", "ignored must be a list"),
    ],
)
def test_names_that_make_no_sense_are_refused(tmp_path, text, complaint):
    (tmp_path / "a.pth.names.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=rf"a\.pth\.names\.yaml.* {complaint}"):
        names_beside(tmp_path / "a.pth")


def test_a_published_file_is_known_by_its_names_alone(tmp_path, published):
    lines = (LIST.parent / "detectron2_swin_t.txt").read_text().splitlines()
    mask2former = [line.split()[0] for line in lines if line.startswith(("backbone.", "sem_seg_head."))]

    def saved(names, name):
        torch.save({"model": {key: torch.zeros(1) for key in names}}, tmp_path / name)
        return tmp_path / name

    assert is_published(saved(published, "a.pth")) and not is_published(saved(mask2former, "b.pth"))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": {key: np.zeros(1, np.float32) for key in published}}))
    assert is_published(tmp_path / "a.pkl")
    (tmp_path / "c.pth").write_text("no weights")
    others = [write_promptable(tmp_path / "ours.pth"), tmp_path / "c.pth", tmp_path / "gone.pth", tmp_path]
    assert not any(map(is_published, others))
