"""What the pages about training say can be typed: commands, settings, and what they say of resuming."""

from __future__ import annotations

import re
import runpy
import shlex

import pytest
import yaml

from dico.config_loading import to_plain
from tests.conftest import REPOSITORY
from training.config import InferenceConfig, TrainConfig, load_train_config
from training.engine.resume import MAY_CHANGE

TEXT, PROMPTABLE, EVALUATION = (
    (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    for page in ("training.md", "promptable.md", "evaluation.md")
)
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
TINY = "configs/training/whole_image_tiny.yaml"
PAGES = "\n".join((TEXT, PROMPTABLE, EVALUATION, README))
COMMANDS = sorted(set(re.findall(r"^ *python (tools/\S+) (.*)$", PAGES, re.MULTILINE)))
TYPED = [(tool, rest) for tool, rest in COMMANDS if tool not in ("tools/make_demo.py", "tools/make_figure.py")]


@pytest.mark.parametrize(("tool", "rest"), TYPED)
def test_commands_can_be_parsed(tool, rest):
    arguments = shlex.split(rest.replace(" FILE", f" {TINY}").replace(" ...", ""))
    parser = runpy.run_path(str(REPOSITORY / tool))["_parser"]()
    args = parser.parse_args(arguments) if "self_train" in tool else parser.parse_intermixed_args(arguments)
    config_file = getattr(args, "config_file", None)
    load_train_config(config_file and REPOSITORY / config_file, getattr(args, "overrides", []))


def test_every_tool_is_shown():
    assert {tool for tool, _ in TYPED} >= {f"tools/{t}.py" for t in ("train_net", "predict", "evaluate", "self_train")}


@pytest.mark.parametrize("text", [TEXT, PROMPTABLE], ids=["training", "promptable"])
def test_settings_exist(text):
    plain = to_plain(TrainConfig())
    sections = "|".join(key for key, value in plain.items() if isinstance(value, dict))
    named = set(re.findall(rf"[` ']((?:{sections})(?:\.[a-z_]+)+)", text))
    for name in named:
        value = plain
        for part in name.split("."):
            assert part in value, name
            value = value[part]
    assert len(named) > 5, "the pattern finds them"


def test_defaults_of_inference_are_those_of_the_table():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w.\[\]]+) \|", TEXT, re.MULTILINE))
    plain = to_plain(InferenceConfig())
    assert set(rows) == set(plain) - {"short_side", "long_side"}
    assert {name: plain[name] for name in rows} == {name: yaml.safe_load(value) for name, value in rows.items()}


def test_what_may_change_is_listed():
    line = re.search(r"\*\*May change\*\*: (.*?), and how many", TEXT, re.DOTALL)
    assert line is not None
    assert set(re.findall(r"`([\w.]+)`", line[1])) == set(MAY_CHANGE)


SAID = {
    "queries: at most so many masks": lambda config: f"{config.model.queries:,}",
    "side of a sample": lambda config: f"{config.data.image_size:,}",
    "masks of an image that a step learns from": lambda config: f"{config.data.max_masks}",
    "batch x steps": lambda config: f"{config.optim.batch_size} x {config.optim.steps:,}",
    "arithmetic": lambda config: config.optim.precision,
    "DropLoss": lambda config: "yes" if config.loss.drop_iou else "no",
}


def test_the_table_of_configurations_is_that_of_the_files():
    rows = dict(re.findall(r"^\| ([^|]*)\| (.* \| .* \| .* \| .*) \|$", TEXT, re.MULTILINE))
    rows = {label.strip(): cells.split(" | ") for label, cells in rows.items()}
    configs = [load_train_config(REPOSITORY / f"configs/training/{name.strip('`')}.yaml") for name in rows[""]]
    for label, say in SAID.items():
        assert rows[label] == [say(config) for config in configs], label
    assert [float(cell.split(",")[0]) for cell in rows["learning rate"]] == [config.optim.lr for config in configs]


@pytest.mark.parametrize("text", [TEXT, PROMPTABLE], ids=["training", "promptable"])
def test_links_lead_somewhere(text):
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert links
    assert [link for link in links if not (REPOSITORY / "docs" / link).exists()] == []
