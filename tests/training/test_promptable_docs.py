"""What docs/promptable.md shows of Python runs, and gives what it says."""

from __future__ import annotations

import re

import numpy as np
import PIL.Image

from dico.config_loading import to_plain
from dico.masks import MaskSet
from tests.conftest import REPOSITORY, draw
from tests.training.asked import INFERENCE, decisive_model, write_promptable
from training.config import AutomaticConfig, TrainConfig
from training.prompt_predictor import PromptPredictor

TEXT = (REPOSITORY / "docs" / "promptable.md").read_text(encoding="utf-8")


def test_python_runs_and_gives_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "clicks").mkdir(parents=True)
    config = TrainConfig(inference=INFERENCE, automatic=AutomaticConfig(points_per_side=4, min_stability=0))
    write_promptable(tmp_path / "out" / "clicks" / "model_final.pth", config, decisive_model())
    PIL.Image.fromarray(draw(3, (100, 120))).save("photo.jpg")
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    known: dict[str, object] = {}
    lines = [line for block in blocks for line in block.splitlines()]
    checked = 0
    for line in lines:
        exec(line, known)
        if said := re.search(r"# (?:bool )?\(([\w, ]+)\)", line):
            given = known[line.partition(",")[0]]
            sides = {"H": 100, "W": 120, "P": 2}
            assert isinstance(given, np.ndarray) and given.dtype == bool
            assert given.shape == tuple(sides.get(side) or int(side) for side in said[1].split(", "))
            checked += 1
    assert len(blocks) == 4 and checked == 3
    assert isinstance(known["masks"], MaskSet) and known["masks"].size_hw == (100, 120) and len(known["masks"])


def test_lists_are_filled_up_as_the_array_that_is_shown():
    predictor = PromptPredictor(decisive_model(), INFERENCE)
    predictor.set_image(draw(3, (100, 120)))
    asked = [
        line.partition("predict_batch")[2] for line in TEXT.splitlines() if "predict_batch" in line and "[5, 5]" in line
    ]
    given = [eval(f"predictor.predict_batch{call}", {"predictor": predictor, "np": np}) for call in asked]
    assert len(given) == 2
    for one, other in zip(*given, strict=True):
        np.testing.assert_array_equal(one, other)


def test_defaults_are_those_of_the_table():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", TEXT, re.MULTILINE))
    plain = to_plain(AutomaticConfig())
    assert len(rows) == 6 and {name: plain[name] for name in rows} == {name: float(rows[name]) for name in rows}
