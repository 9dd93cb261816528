"""What training lowers: which prompts a model is asked, what they are drawn from, and that all of it is learnt from."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.annotated import write_annotated
from tests.training.nested_shapes import nested
from training.build import build_loader, build_model
from training.config import load_train_config
from training.data.prompts import batch_of, draw_prompts
from training.objectives import build_objective, corrected
from training.prompts import BOX, NEGATIVE, PADDING, POSITIVE, PromptOutput
from training.samples import Sample, collate

TINY = [
    "task=promptable", "device=cpu", "promptable.backbone=tiny", "promptable.width=32", "promptable.heads=4",
    "promptable.encoder_layers=1", "promptable.encoder_feedforward=32", "promptable.decoder_layers=2",
    "promptable.decoder_feedforward=32", "loss.points=64", "prompts.per_image=10", "data.image_size=96",
    "data.scale=[0.8, 1.2]", "data.min_area_px=4", "data.workers=0", "optim.batch_size=2", "optim.lr=1e-3",
    "optim.clip_norm=1", "optim.steps=6",
]  # fmt: skip


def tiny(*more):
    return load_train_config(None, [*TINY, *more])


def batch(*seeds, empty=False):
    samples = [nested(seed, 96) for seed in seeds]
    if empty:
        image = samples[0].image_CHW
        samples.append(Sample("empty", image, torch.zeros(0, 96, 96, dtype=torch.bool), position=99))
    return collate(samples)


def asked_of(model, config, batches):
    """The prompts that the model answers with gradients, one Prompts a batch."""
    found = []

    def note(_, arguments):
        if torch.is_grad_enabled():
            found.append(arguments[0])

    handle = model.prompt_encoder.register_forward_pre_hook(note)
    for given in batches:
        build_objective(config)(model, given)
    handle.remove()
    return found


def equal(left, right):
    return all(torch.equal(a, b) for a, b in zip(vars(left).values(), vars(right).values(), strict=True))


def test_prompts_are_those_of_their_positions_for_any_start_and_any_number_of_workers(tmp_path):
    data = f"data.train=[{write_annotated(tmp_path / 'drawn')}]"
    config = tiny(data)
    model = build_model(config)

    def prompts(start, count, *more):
        batches = build_loader(tiny(data, *more)).batches(start)
        found = asked_of(model, config, [next(batches) for _ in range(count)])
        batches.close()
        return found

    whole = prompts(0, 4)
    assert len(whole) == 4 and not equal(whole[0], whole[1])
    for other in (prompts(0, 4, "data.workers=2"), [*prompts(0, 2), *prompts(2, 2)]):
        assert all(equal(ours, theirs) for ours, theirs in zip(other, whole, strict=True))


def test_half_of_the_prompts_are_corrected_up_to_three_times():
    config = tiny("prompts.per_image=60", "prompts.box_share=0.5")
    (prompts,) = asked_of(build_model(config), config, [batch(0, 1, empty=True)])
    assert prompts.labels_BPK.shape == (3, 60, 4)
    assert prompts.labels_BPK[:, :30, 1:].eq(PADDING).all() and prompts.labels_BPK[2, :, 1:].eq(PADDING).all()
    assert prompts.labels_BPK[:2, :40, 2:].eq(PADDING).all() and prompts.labels_BPK[:2, :50, 3].eq(PADDING).all()
    for start, clicks in ((30, 1), (40, 2), (50, 3)):
        later = prompts.labels_BPK[:2, start : start + 10, 1:]
        # An untrained model is wrong nearly everywhere, yet one of its masks may be as good as the grid shows.
        assert later.ne(PADDING).sum(dim=2).float().mean() > clicks - 0.3
    added = prompts.labels_BPK[:2, 30:, 1:]
    assert (added == POSITIVE).any() and (added == NEGATIVE).any()
    of_boxes = prompts.kind_BP == BOX
    assert prompts.labels_BPK[..., 0][of_boxes].eq(PADDING).all() and of_boxes[:2].float().mean() > 0.3


def first_prompts(given, config):
    return [
        draw_prompts(t, config.prompts, np.random.default_rng(p))
        for t, p in zip(given.targets, given.positions, strict=True)
    ]


def everything(prompts):
    """The answer that all of an image is what was meant."""
    B, P = prompts.kind_BP.shape
    return PromptOutput(
        torch.ones(1, B, P, 6, 1), torch.zeros(1, B, P, 6), torch.zeros(1, B, P, 6, 4), torch.ones(B, 1, 24, 24)
    )


def test_every_round_is_answered_with_the_clicks_of_those_before():
    config, given, answered = tiny("prompts.per_image=12"), batch(0, 1), []

    def answer(prompts):
        answered.append(prompts)
        return everything(prompts)

    asked = corrected(first_prompts(given, config), given, answer, config)
    assert [prompts.labels_BPK.shape for prompts in answered] == [(2, 6, 1), (2, 4, 2), (2, 2, 3)]
    final = batch_of(asked, 6)
    for turn, prompts in enumerate(answered):
        assert torch.equal(prompts.points_BPK2, final.points_BPK2[:, 2 * turn :, : turn + 1])
        assert torch.equal(prompts.labels_BPK, final.labels_BPK[:, 2 * turn :, : turn + 1])
    assert final.labels_BPK[:, 4:, 1:].eq(NEGATIVE).all()


def test_corrections_belong_to_a_position_whatever_else_is_in_the_batch():
    config, together, alone = tiny(), batch(0, 1), batch(1)
    assert alone.positions == together.positions[1:] == (1,)
    ours, theirs = (
        corrected(first_prompts(given, config), given, everything, config)[-1] for given in (together, alone)
    )
    assert torch.equal(ours.points_PK2, theirs.points_PK2) and ours.labels_PK[:, 1:].ne(PADDING).any()


def test_without_corrections_prompts_are_single():
    config = tiny("prompts.corrections=0")
    (prompts,) = asked_of(build_model(config), config, [batch(0)])
    assert prompts.labels_BPK.shape == (1, 10, 1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_everything_is_learnt_from_also_beside_answers_without_gradients(precision):
    config = tiny("prompts.box_share=0.5")
    model = build_model(config)
    for parameter in model.parameters():
        if not parameter.any():  # zeros stop the gradients of what is before them
            nn.init.trunc_normal_(parameter, std=0.2)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        losses = build_objective(config)(model, batch(0, 1))
    losses.total.backward()
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_answers_without_gradients_leave_no_trace(precision):
    config, given = tiny(), batch(0, 1)
    model = build_model(config)
    twin = copy.deepcopy(model)

    def answered_by_the_twin(images, ask, *, sizes_hw, deep_supervision):
        prompts = ask(partial(twin.decode, twin.embed(images, sizes_hw)))
        return model(images, prompts, sizes_hw=sizes_hw, deep_supervision=deep_supervision)

    gradients = []
    for call in (model, answered_by_the_twin):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            losses = build_objective(config)(call, given)
        losses.total.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_an_image_without_masks_teaches_nothing_and_breaks_nothing():
    config = tiny()
    model = build_model(config)
    empty = collate([Sample("e", torch.zeros(3, 96, 96, dtype=torch.uint8), torch.zeros(0, 96, 96).bool())])
    losses = build_objective(config)(model, empty)
    losses.total.backward()
    assert losses.total == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_the_task_decides_what_is_built():
    assert type(build_model(tiny())).__name__ == "PromptableModel"
    whole = tiny("task=whole_image", "model.backbone=tiny", "model.width=32", "model.encoder_layers=1")
    losses = build_objective(whole)(build_model(whole), batch(0))
    assert list(losses.scalars()) == ["loss", "class", "mask", "dice"]
