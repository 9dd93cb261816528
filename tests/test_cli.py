from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from conftest import REPOSITORY, bright_labeler
from pycocotools.coco import COCO

from dico.cli import main
from dico.image import Image
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.store import MaskStore


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def labels(tmp_path, image_folder) -> Path:
    """A store of three labelled images."""
    assert main(["label", str(image_folder(3)), str(tmp_path / "labels")]) == 0
    return tmp_path / "labels"


def test_label_then_everything_else(tmp_path, labels, capsys):
    rows = list(MaskStore.open(labels))
    assert [row.status for row in rows] == ["done"] * 3
    capsys.readouterr()

    assert main(["info", str(labels)]) == 0
    text = capsys.readouterr().out
    assert "3 done, 0 failed, 0 to do" in text and "max_masks: 350" in text

    assert main(["verify", str(labels)]) == 0
    assert "sound; 3 images: 3 done" in capsys.readouterr().out

    annotations = tmp_path / "annotations.json"
    assert main(["export", str(labels), "--format", "coco", "--output", str(annotations)]) == 0
    coco = COCO(str(annotations))
    assert len(coco.anns) == sum(len(row.masks) for row in rows)

    gallery = tmp_path / "gallery.html"
    assert main(["view", str(labels), "--output", str(gallery), "--limit", "2"]) == 0
    assert "<html" in gallery.read_text(encoding="utf-8")
    assert "wrote" in capsys.readouterr().err


def test_eval_prints_a_table_and_writes_json(tmp_path, image_folder, capsys):
    labels, annotations, figures = tmp_path / "labels", tmp_path / "gt.json", tmp_path / "figures.json"
    folder = image_folder(2)
    assert main(["label", str(folder), str(labels)]) == 0
    box = np.zeros((1, 30, 20), bool)
    box[0, 5:20, 5:15] = True
    truth = {
        "images": [{"id": 1, "file_name": "0000.png", "height": 30, "width": 20}],
        "annotations": MaskSet.from_arrays(box).to_coco(image_id=1),
        "categories": [{"id": 1, "name": "object"}],
    }
    annotations.write_text(json.dumps(truth))
    capsys.readouterr()
    assert main(["eval", str(labels), "--gt", str(annotations), "--json", str(figures)]) == 0
    assert "AR" in capsys.readouterr().out
    assert isinstance(json.loads(figures.read_text()), dict)


def test_settings_go_anywhere_and_on_top_of_the_file(tmp_path, image_folder):
    folder = image_folder(2)
    (tmp_path / "c.yaml").write_text("select:\n  max_masks: 5\n  min_area_px: 4\n")
    arguments = [str(folder), "--limit", "1", str(tmp_path / "out"), "--config", str(tmp_path / "c.yaml")]
    assert main(["label", *arguments, "select.max_masks=7", "seed=3"]) == 0
    store = MaskStore.open(tmp_path / "out")
    assert store.manifest.config["select"]["max_masks"] == 7
    assert store.manifest.config["select"]["min_area_px"] == 4
    assert store.manifest.config["seed"] == 3
    assert store.status().done == 1 and store.status().pending == 1


def test_two_runs_give_the_same_bytes_and_a_third_goes_on(tmp_path, image_folder, capsys):
    folder = image_folder(3)
    assert main(["label", str(folder), str(tmp_path / "a"), "--shard-size", "2"]) == 0
    assert main(["label", str(folder), str(tmp_path / "b"), "--shard-size", "2", "--limit", "1"]) == 0
    assert main(["label", str(folder), str(tmp_path / "b"), "--shard-size", "2", "--executor", "inline"]) == 0
    assert "1 were done before" in capsys.readouterr().err
    shards = [{p.name: p.read_bytes() for p in (tmp_path / name / "shards").iterdir()} for name in "ab"]
    assert shards[0] == shards[1] and len(shards[0]) == 4


def test_a_file_a_list_and_a_pattern(tmp_path, image_folder):
    folder = image_folder(3)
    (tmp_path / "list.txt").write_text("images/0000.png\nimages/0002.png\n")
    for i, (source, count) in enumerate(
        [(folder / "0001.png", 1), (tmp_path / "list.txt", 2), (f"{folder}/000[12].png", 2)]
    ):
        assert main(["label", str(source), str(tmp_path / f"out{i}")]) == 0
        assert MaskStore.open(tmp_path / f"out{i}").status().done == count


def test_failures_give_exit_code_1_and_say_where_the_list_is(tmp_path, image_folder, capsys):
    folder = image_folder(2)
    (folder / "broken.jpg").write_text("no image")
    for told in (" (1 decode in this run)", " in earlier runs"):  # the second run finds the failure still there
        assert main(["label", str(folder), str(tmp_path / "out")]) == 1
        error = capsys.readouterr().err
        where = tmp_path / "out" / "failures.jsonl"
        assert f"1 image failed{told}; the list, with the reasons, is {where}" in error
        assert "Traceback" not in error
    assert main(["info", str(tmp_path / "out")]) == 0
    assert "broken.jpg (decode): ImageError: " in capsys.readouterr().out


def test_compiled_loops_need_a_place(tmp_path, image_folder, monkeypatch, capsys):
    """What numba says in a container whose user owns neither the package nor a home."""

    folder = str(image_folder(1))

    def fail(text):
        def from_config(config, *, extractor=None):
            raise RuntimeError(text)

        monkeypatch.setattr(PseudoLabeler, "from_config", from_config)
        return main(["label", folder, str(tmp_path / "out")])

    assert fail("cannot cache function 'f': no locator available for file 'f.py'") == 2
    assert "set NUMBA_CACHE_DIR to a folder that can" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="another"):
        fail("another")


def test_the_first_time_is_told_to_take_longer(tmp_path, image_folder):
    (broken := image_folder(1) / "0000.png").write_bytes(b"")  # nothing is compiled for it
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}

    def run(*command):
        return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)

    def said(*options):
        command = ["-m", "dico", "label", str(broken), str(tmp_path / "out"), "--retry-failed", *options]
        return [line for line in run(*command).stderr.splitlines() if "compiled" in line]

    assert said() == ["dico: loops are compiled, this once: the first image takes up to a minute longer"]
    assert said("--quiet") == []
    loop = "import numpy, dico.rle; dico.rle.counts_of_borders(numpy.array([2, 5]), 9)"
    assert run("-c", loop).returncode == 0
    assert said() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label"], "the following arguments are required: INPUT, OUTPUT$"),
        (["label", "IMAGES", "select.max_masks=5"], "OUTPUT must be a folder, got the setting 'select.max_masks=5'"),
        (["lable", "a", "b"], "invalid choice: 'lable'"),
        (["label", "IMAGES", "OUT", "--num-worker", "2"], "unknown argument --num-worker; did you mean --num-workers?"),
        (["label", "IMAGES", "OUT", "--zzz"], "dico label: error: unknown argument --zzz; see dico label --help"),
        (["label", "IMAGES", "OUT", "--overrids"], "unknown argument --overrids; see dico label --help"),
        (["label", "IMAGES", "OUT", "--limit", "0"], "must be a whole number of at least 1, got '0'"),
        (["label", "IMAGES", "OUT", "--executor", "dask"], "invalid choice: 'dask'"),
        (["label", "IMAGES", "OUT", "--executor", "inline", "--num-workers", "4"], "need workers of their own: use"),
        (["label", "IMAGES", "OUT", "--executor", "inline", "--timeout", "4"], "need workers of their own: use"),
        (
            ["label", "IMAGES", "OUT", "--executor", "pool", "--ray-address", "auto"],
            "is for --executor ray, got ",
        ),
        (["label", "IMAGES", "OUT", "--gpus-per-actor", "1"], "is for --executor ray, got --executor inline"),
        (["label", "IMAGES", "OUT", "--gpus-per-actor", "0"], "must be a number of GPUs above 0, such as 0.5, got '0'"),
        (["label", "IMAGES", "OUT", "--timeout", "soon"], "must be a number of seconds, or 0 for no limit, got 'soon'"),
        (["label", "IMAGES", "OUT", "--shard-range", "3:3"], "must be A:B with A < B, such as 0:40"),
        (["label", "IMAGES", "OUT", "--shard-range", "0-3"], "must be A:B with A < B, such as 0:40"),
        (["label", "IMAGES", "OUT", "--shard-range", "1:3"], "must start below 1, the number of shards, got 1:3"),
        (["merge", "nowhere", "--output", "OUT"], "nowhere is not a store"),
        (["merge", "nowhere"], "the following arguments are required: --output"),
        (["label", "IMAGES", "OUT", "select.max_mask=3"], "did you mean select.max_masks?"),
        (["label", "IMAGES", "OUT", "selct.max_masks=3"], "did you mean select?"),
        (["label", "IMAGES", "OUT", "select.max_masks=many"], "select.max_masks must be of type int, got 'many'"),
        (["label", "IMAGES", "OUT", "select.max_masks=0"], "select.max_masks must be at least 1, got 0"),
        (["label", "IMAGES", "OUT", "select.max_masks=["], "the value of select.max_masks must be YAML"),
        (["label", "IMAGES", "OUT", "a.jpg", "b.jpg"], "unexpected argument 'a.jpg': .* a pattern must be quoted"),
        (["label", "IMAGES", "OUT", "--config", "no.yaml"], "no.yaml: there is no such YAML file; name one, or none"),
        (["label", "nowhere", "OUT"], "nowhere does not exist; INPUT is a folder"),
        (["label", "*.nothing", "OUT"], "no file matches the pattern"),
        (["label", "IMAGES", "IMAGES"], "exists and is not a store; OUTPUT must be a new or empty folder"),
        (["label", "IMAGES", "OUT", "extractor.name=dino"], "weights"),
        (["view", "IMAGES"], "is not a store .* make one with dico label"),
        (["verify", "nowhere"], "nowhere is not a store"),
        (["info", "IMAGES"], "is not a store"),
        (["export", "nowhere", "--format", "coco", "--output", "OUT"], "nowhere is not a store"),
        (["export", "nowhere", "--output", "OUT"], "the following arguments are required: --format"),
        (["eval", "nowhere", "--gt", "gt.json"], "nowhere is not a store"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_one_clear_error(tmp_path, image_folder, monkeypatch, capsys, arguments, message):
    folder = image_folder(1)
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    places = {"IMAGES": str(folder), "OUT": str(tmp_path / "out")}
    assert main([places.get(word, word) for word in arguments]) == 2
    captured = capsys.readouterr()
    last = captured.err.strip().splitlines()[-1]
    assert "error: " in last and "Traceback" not in captured.err
    assert re.search(message, last), last
    assert captured.out == ""
    assert contents(tmp_path) == before


def test_an_unknown_export_format(labels, tmp_path, capsys):
    assert main(["export", str(labels), "--format", "cocoa", "--output", str(tmp_path / "x")]) == 2
    assert "did you mean coco?" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_an_output_of_another_configuration_is_left_alone(labels, tmp_path, capsys):
    before = contents(labels)
    assert main(["label", str(tmp_path / "images"), str(labels), "select.max_masks=3"]) == 2
    error = capsys.readouterr().err
    assert "belongs to another run and was left as it is" in error
    assert "select.max_masks: 350 in the store, 3 now" in error
    PIL.Image.new("RGB", (3, 3)).save(tmp_path / "images" / "new.png")
    assert main(["label", str(tmp_path / "images"), str(labels)]) == 2
    assert "1 image added: new.png" in capsys.readouterr().err
    assert contents(labels) == before


def test_verify_finds_damage(labels, capsys):
    shard = labels / "shards" / "000000.jsonl.zst"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert main(["verify", str(labels)]) == 1
    captured = capsys.readouterr()
    assert "000000.jsonl.zst is not what was written" in captured.err
    assert "damaged; 3 images" in captured.out


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_gives_130_and_the_same_command_goes_on(tmp_path, image_folder, monkeypatch, capfd, presses):
    folder = image_folder(3)

    def labeler(image: Image) -> MaskSet:
        for _ in range(presses):
            os.kill(os.getpid(), signal.SIGINT)
        return bright_labeler(image)

    with monkeypatch.context() as patched:
        patched.setattr(PseudoLabeler, "from_config", lambda *_, **__: labeler)
        assert main(["label", str(folder), str(tmp_path / "out")]) == 130
    assert "the same command goes on" in capfd.readouterr().err
    assert MaskStore.open(tmp_path / "out").status().done == 2 - presses
    assert main(["label", str(folder), str(tmp_path / "out")]) == 0


def test_the_script_is_the_same_as_label(tmp_path, image_folder, capsys):
    script = runpy.run_path(str(REPOSITORY / "tools" / "generate_pseudo_labels.py"))
    folder = image_folder(2)
    assert script["main"]([str(folder), str(tmp_path / "a")]) == 0
    assert main(["label", str(folder), str(tmp_path / "b")]) == 0
    shards = [{p.name: p.read_bytes() for p in (tmp_path / name / "shards").iterdir()} for name in "ab"]
    assert shards[0] == shards[1]
    assert script["main"]([]) == 2


@pytest.mark.parametrize("command", [[], ["label"], ["view"], ["export"], ["eval"], ["merge"], ["verify"], ["info"]])
def test_help_shows_an_example(command, capsys):
    assert main([*command, "--help"]) == 0
    assert f"example:\n  dico {' '.join(command)}" in capsys.readouterr().out


def executor_for(monkeypatch, tmp_path, *words: str, images: int = 3) -> str:
    """The name of the executor that a command chooses."""
    chosen = []

    def run(job, store, options, *, executor):
        chosen.append(type(executor).__name__)
        raise ValueError("far enough")

    monkeypatch.setattr("dico.run.run", run)
    folder = tmp_path / f"{images}"
    if not folder.exists():
        folder.mkdir()
        for i in range(images):
            (folder / f"{i}.png").write_bytes(b"")
    assert main(["label", str(folder), str(tmp_path / f"out{images}"), *words]) == 2
    return chosen[0]


def test_who_does_the_work_when_nobody_says(monkeypatch, tmp_path):
    assert executor_for(monkeypatch, tmp_path) == "InlineExecutor"
    assert executor_for(monkeypatch, tmp_path, images=15) == "InlineExecutor"
    assert executor_for(monkeypatch, tmp_path, images=16) == "PoolExecutor"
    assert executor_for(monkeypatch, tmp_path, "--limit", "5", images=16) == "InlineExecutor"
    assert executor_for(monkeypatch, tmp_path, "--num-workers", "1") == "InlineExecutor"
    assert executor_for(monkeypatch, tmp_path, "--num-workers", "2") == "PoolExecutor"
    assert executor_for(monkeypatch, tmp_path, "--timeout", "9") == "PoolExecutor"
    assert executor_for(monkeypatch, tmp_path, "--executor", "inline", images=16) == "InlineExecutor"
    assert executor_for(monkeypatch, tmp_path, "--executor", "pool") == "PoolExecutor"


def test_a_run_that_died_is_continued_with_workers_that_can_be_watched(monkeypatch, tmp_path):
    assert executor_for(monkeypatch, tmp_path) == "InlineExecutor"
    (tmp_path / "out3" / "locks").mkdir(exist_ok=True)
    (tmp_path / "out3" / "locks" / "000000-000001.node.1.lock").touch()
    assert executor_for(monkeypatch, tmp_path) == "PoolExecutor"


@pytest.mark.ray
def test_an_address_asks_for_ray(monkeypatch, tmp_path):
    pytest.importorskip("ray")
    assert executor_for(monkeypatch, tmp_path, "--ray-address", "local") == "RayExecutor"
    assert executor_for(monkeypatch, tmp_path, "--executor", "ray") == "RayExecutor"


def test_quiet_says_nothing(tmp_path, image_folder, capfd):
    assert main(["label", str(image_folder(2)), str(tmp_path / "out"), "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_parts_of_a_store_then_the_whole(tmp_path, image_folder):
    folder = str(image_folder(5))
    assert main(["label", folder, str(tmp_path / "a"), "--shard-size", "2"]) == 0
    assert main(["label", folder, str(tmp_path / "b"), "--shard-size", "2", "--shard-range", "1:9"]) == 0
    assert [row.index for row in MaskStore.open(tmp_path / "b")] == [2, 3, 4]
    assert main(["label", folder, str(tmp_path / "c"), "--shard-size", "2", "--shard-range", "0:1"]) == 0
    assert main(["merge", str(tmp_path / "b"), str(tmp_path / "c"), "--output", str(tmp_path / "m")]) == 0
    assert contents(tmp_path / "m" / "shards") == {
        tmp_path / "m" / "shards" / path.name: content for path, content in contents(tmp_path / "a" / "shards").items()
    }


def test_a_mended_image_is_tried_again(tmp_path, image_folder, capsys):
    folder = image_folder(2)
    good = (folder / "0001.png").read_bytes()
    (folder / "0001.png").write_bytes(good[:60])
    command = ["label", str(folder), str(tmp_path / "out")]
    assert main(command) == 1
    (folder / "0001.png").write_bytes(good)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "1 image changed in size: 0001.png" in error and "add --retry-failed" in error
    assert main([*command, "--retry-failed"]) == 0
    assert main(command) == 0


def test_a_store_goes_on_with_its_size_of_shards(tmp_path, image_folder):
    folder = str(image_folder(3))
    assert main(["label", folder, str(tmp_path / "out"), "--shard-size", "2", "--limit", "1"]) == 0
    assert main(["label", folder, str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "shards").glob("*.meta.json"))) == 2


def test_who_reads_the_output_may_stop(tmp_path, labels):
    """As in ``dico info labels | head -1``."""
    code = "import sys; from dico.cli import main; sys.exit(main(['info', sys.argv[1]]))"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code, str(labels)]
    done = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""


def test_a_setting_that_is_an_option_too(tmp_path, image_folder):
    command = ["label", str(image_folder(1)), str(tmp_path / "out"), "--batch-size", "4"]
    assert main(command) == 0
    assert MaskStore.open(tmp_path / "out").manifest.config["extractor"]["batch_size"] == 4


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"dico \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_imports_nothing_heavy_and_the_module_runs():
    code = (
        "import sys; from dico.cli import main; assert main(['--help']) == 0;"
        "heavy = {'torch', 'transformers', 'numba', 'scipy', 'skimage', 'ray', 'pyarrow'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "dico", "info", "nowhere"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("dico info: error: nowhere is not a store")
