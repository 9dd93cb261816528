"""What measures a machine: its figures, its files, and two machines side by side."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

from dico.config_loading import to_plain
from tests.conftest import REPOSITORY, draw
from tests.training.asked import write_promptable
from training.benchmarking.clicks import promptable_model
from training.benchmarking.drawing import draw_scene, write_scenes
from training.benchmarking.figures import Figure, of_times
from training.benchmarking.inference import whole_image_model
from training.benchmarking.machine import Load, this_machine
from training.benchmarking.report import BenchmarkReport, compared, markdown, read_report
from training.benchmarking.run import in_own_process, measure, run_benchmark
from training.benchmarking.settings import QUICK, BenchmarkSettings
from training.config import ModelConfig, TrainConfig, load_train_config
from training.data.coco_source import CocoSource
from training.models.whole_image import WholeImageModel

TOOL = runpy.run_path(str(REPOSITORY / "tools" / "benchmark.py"))
SMALLER = (
    "model.width=32", "model.encoder_layers=1", "model.decoder_layers=1", "optim.batch_size=2", "data.image_size=64",
    "data.workers=0", "inference.short_side=64", "inference.long_side=96",
)  # fmt: skip


def settings(**changes):
    whole, promptable = str(TOOL["WHOLE_IMAGE"]), str(TOOL["PROMPTABLE"])
    return replace(BenchmarkSettings(whole, promptable, whole, overrides=SMALLER, device="cpu", **QUICK), **changes)


def names(figures):
    return [figure.name for figure in figures]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    output = tmp_path_factory.mktemp("bench")
    assert TOOL["main"](["--quick", "--only", "clicks", "--device", "cpu", "--output", str(output)]) == 0
    return output


def test_the_tool_writes_figures_and_what_they_are_of(written):
    report = read_report(written / "benchmark.json")
    assert names(report.figures) == ["embedding", "one click", "a correction of six clicks", "all masks", "peak memory"]
    assert all(figure.part == "clicks" and figure.value > 0 for figure in report.figures)
    assert [figure.runs for figure in report.figures] == [2, 2, 2, 1, 1]
    now = this_machine()
    # What is usable depends on what else the machine does.
    assert report.machine.usable_memory_gb == pytest.approx(now.usable_memory_gb, rel=0.2)
    assert replace(report.machine, usable_memory_gb=now.usable_memory_gb) == now
    assert report.machine.versions["torch"] == torch.__version__
    assert report.settings["size_hw"] == [60, 90] and report.settings["training_config"].startswith("whole_image_tiny")
    assert str(REPOSITORY) not in (written / "benchmark.json").read_text(), "another machine has other folders"
    assert BenchmarkReport.from_json(report.to_json()) == report
    page = (written / "benchmark.md").read_text()
    assert page == markdown(report) and "| clicks | a correction of six clicks |" in page


def test_what_was_quick_says_so(written):
    quick = read_report(written / "benchmark.json")
    assert quick.settings["quick"] is True
    (note,) = (line for line in (written / "benchmark.md").read_text().splitlines() if line.startswith("Quick: "))
    assert "not comparable with what is measured without --quick" in note
    full = replace(quick, settings=BenchmarkSettings(*3 * [str(TOOL["WHOLE_IMAGE"])]).described())
    assert "Quick" not in markdown(full)
    said = compared(quick, full, ("a", "b"))
    assert "not comparable: one is quick, the other is not" in said and "runs was" not in said
    assert "not comparable: promptable_config was" in said, "what --quick does not explain"
    assert "not comparable: " not in compared(quick, quick, ("a", "b"))


def test_an_earlier_benchmark_is_not_written_over(written, capsys):
    before = (written / "benchmark.json").read_bytes()
    assert TOOL["main"](["--quick", "--only", "clicks", "--device", "cpu", "--output", str(written)]) == 2
    said = capsys.readouterr().err
    assert f"{written} has a benchmark already; choose another --output" in said and "clicks ..." not in said
    assert (written / "benchmark.json").read_bytes() == before


def test_training_counts_its_own_steps_alone(tmp_path):
    figures = measure("training", settings(steps=3, warmup_steps=2))
    step, waiting, steps, images, memory = figures
    assert step.name == "a step of 2 images" and step.runs == 3 and 0 < step.value <= step.p90
    assert waiting.value < step.value
    assert images.value == pytest.approx(2 * steps.value)
    assert memory.unit == "GB" and memory.value > 0.01


def test_a_promptable_configuration_is_trained_too():
    overrides = [text.replace("model.", "promptable.") for text in SMALLER]
    path = str(TOOL["PROMPTABLE"])
    step, *_ = measure("training", settings(training_config=path, overrides=tuple(overrides)))
    assert step.runs == 2 and step.value > 0


def test_inference_tells_the_network_from_what_follows():
    total, network, after, rate, peak, beside = measure("inference", settings(runs=4))
    assert network.value + after.value == pytest.approx(total.value, rel=0.5)
    assert network.runs == after.runs == total.runs == 4
    assert 0 <= beside.value < peak.value
    assert rate.unit == "images/s" and rate.value > 0


def test_a_checkpoint_takes_the_place_of_the_network_of_its_kind(tmp_path):
    config = TrainConfig(model=ModelConfig(backbone="tiny", width=32, queries=7, encoder_layers=1, decoder_layers=1))
    whole = tmp_path / "whole.pth"
    torch.save({"model": WholeImageModel(config.model).state_dict(), "config": to_plain(config)}, whole)
    prompted = write_promptable(tmp_path / "prompted.pth")

    def queries(checkpoint):
        return whole_image_model(settings(checkpoint=str(checkpoint)))[0].config.queries

    assert (queries(whole), queries(prompted)) == (7, load_train_config(TOOL["WHOLE_IMAGE"]).model.queries)
    widths = [promptable_model(settings(checkpoint=str(path)))[1].promptable.width for path in (whole, prompted)]
    assert widths == [load_train_config(TOOL["PROMPTABLE"]).promptable.width, 32]


def test_labelling_is_of_the_photographs_that_are_given(tmp_path):
    for index in range(3):
        PIL.Image.fromarray(draw(index)).save(tmp_path / f"{index}.png")
    figures = measure("labelling", settings(images=str(tmp_path), photographs=3, passes=2, photograph_side=0))
    assert names(figures) == ["a photograph, one worker", "throughput, one worker", "peak memory, one worker"]
    assert figures[0].runs == 6 and all(figure.value > 0 for figure in figures)


@pytest.mark.slow
def test_labelling_by_two_workers():
    *_, rate = measure("labelling", settings(workers=2))
    assert (rate.name, rate.unit, rate.runs) == ("throughput, 2 workers", "images/s", 8)
    assert rate.value > 0


def test_what_fails_is_said_and_ends_nothing_else(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("no image")
    given = ["--quick", "--only", "labelling", "--images", str(tmp_path / "photos"), "--output", str(tmp_path / "out")]
    assert TOOL["main"](given) == 1
    report = read_report(tmp_path / "out" / "benchmark.json")
    assert report.figures == () and "a.png" in report.failed["labelling"]
    assert "Labelling was not measured: " in (tmp_path / "out" / "benchmark.md").read_text()
    assert "Labelling was not measured: " in capsys.readouterr().out


class Fatal:
    """Ends the process that reads it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_process_that_dies_is_an_error_of_its_part():
    with pytest.raises(RuntimeError, match="its process was killed; perhaps there was not enough memory"):
        in_own_process("clicks", Fatal())


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--checkpoint", "nowhere.pth"], "nowhere.pth does not exist"),
        (["--images", "nowhere"], "nowhere does not exist"),
        (["optim.batch_sise=4"], "batch_size"),
        (["--device", "abacus"], "device must be auto, cpu, cuda or mps"),
        (["--compare", "a.json", "b.json"], "a.json"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_measured(given, complaint, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert TOOL["main"](given) == 2
    said = capsys.readouterr()
    assert complaint in said.err and "..." not in said.err and not said.out
    assert list(tmp_path.iterdir()) == []


def report_of(figures, **changes):
    return replace(BenchmarkReport(this_machine(), {"runs": 2}, Load(0.0, 1.0), tuple(figures)), **changes)


FIGURES = [
    Figure("labelling", "throughput", 2.0, "images/s"),
    Figure("clicks", "one click", 0.04, "s", 0.05, 9),
    Figure("clicks", "peak memory", 0.5, "GB"),
    Figure("clicks", "only here", 1.0, "s"),
]


def rows_of(text):
    """What a table says beside each figure's name."""
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if "|" in line]
    return {cells[2]: cells[3:6] for cells in lines}


def test_ratios_say_how_many_times_better_the_second_is():
    others = [replace(FIGURES[0], value=6.0), replace(FIGURES[1], value=0.01), replace(FIGURES[2], value=1.0)]
    others.append(Figure("clicks", "only there", 2.0, "s"))
    text = compared(report_of(FIGURES), report_of(others), ("mine", "yours"))
    rows = rows_of(text)
    assert rows["what"] == ["mine", "yours", "ratio"]
    assert rows["throughput"] == ["2 images/s", "6 images/s", "3.00"]
    assert rows["one click"] == ["40 ms", "10 ms", "4.00"]
    assert rows["peak memory"] == ["0.5 GB", "1 GB", "0.50"]
    assert rows["only here"] == ["1 s", "-", "-"] and rows["only there"] == ["-", "2 s", "-"]
    assert "not comparable" not in text and text.endswith("ratio: how many times better yours is\n")


def test_what_differs_beside_the_machines_is_said():
    other = report_of(FIGURES, settings={"runs": 3}, load=Load(99.0), failed={"training": "no torch"})
    text = compared(report_of(FIGURES), other, ("a", "b"))
    assert "not comparable: runs was 2 and 3" in text
    assert "  noise: the machine was at other work before (a load of 99.0 on" in text
    assert "  training was not measured: no torch" in text


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path, capsys):
    paths = [tmp_path / folder / "benchmark.json" for folder in ("here", "there")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(report_of(FIGURES).to_json())
    for named in (paths, [path.parent for path in paths]):
        assert TOOL["main"](["--compare", *map(str, named)]) == 0
        said = capsys.readouterr().out
        assert said.startswith("here: ") and rows_of(said)["what"] == ["here", "there", "ratio"]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "machine": {"cpu": "x"}}'])
def test_another_file_is_refused_by_name(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: it must be a benchmark\.json of tools/benchmark\.py"):
        read_report(tmp_path / "a.json")


def test_a_file_of_another_version_is_refused(tmp_path):
    held = json.loads(report_of(FIGURES).to_json()) | {"format": 99}
    (tmp_path / "a.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match=r"a\.json: format must be 1, got 99: measure again with one version"):
        read_report(tmp_path / "a.json")


def test_a_half_that_is_idle_is_quiet():
    assert Load(0.5).warning(2) == Load(None).warning(1) == ""
    assert "a load of 0.6 on 2 cores" in Load(0.6).warning(2) and "(a load of 6.0 on 1 core)" in Load(6.0).warning(1)


def test_median_and_what_nine_of_ten_do_not_exceed():
    figure = of_times("clicks", "one click", [float(n) for n in range(11)])
    assert (figure.value, figure.p90, figure.runs) == (5.0, 9.0, 11)


def test_scenes_are_the_same_each_time_and_can_be_trained_on(tmp_path):
    (image, masks_NHW), (again, _), (other, _) = (draw_scene((60, 80), 9, seed) for seed in (3, 3, 4))
    assert np.array_equal(image, again) and not np.array_equal(image, other)
    source = CocoSource(write_scenes(tmp_path, 4, (60, 80), 9))
    assert len(source) == 4 and source.faults == ()
    record = source[3]
    assert np.array_equal(record.read_masks().decode(), masks_NHW)
    with PIL.Image.open(record.path) as picture:
        assert np.abs(np.asarray(picture).astype(int) - image).mean() < 12, "as far as JPEG keeps it"


def test_parts_are_told_before_they_begin():
    told = []
    report = run_benchmark(settings(checkpoint="gone.pth"), ["inference"], tell=told.append)
    assert told == ["inference"] and list(report.failed) == ["inference"]


def test_commands_of_the_page_can_be_parsed():
    text = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python tools/benchmark\.py (.*)$", text, re.MULTILINE)
    assert len(commands) > 2
    for command in commands:
        args = TOOL["_parser"]().parse_intermixed_args(shlex.split(command))
        load_train_config(args.config_file and REPOSITORY / args.config_file, args.overrides)
