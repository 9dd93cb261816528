"""The arrows of the design: which file may import what. A new file finds its place here first."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# A part is a file or a folder directly inside a package. What only knows arrays, files or one value type:
GROUND = {"atomic", "compiled", "config", "config_loading", "image", "inputs", "mask_codes", "masks", "painting"}
GROUND |= {"page_parts", "photographs", "rasterise", "rle", "speed", "stopwatch", "threads", "version", "window"}
GRAPHS = {"features", "merge_tree", "merging", "pooling", "tournament"}  # regions, and merging them
SOLVER = {"affinity", "lanczos", "ncut"}
SCORING = {"evaluation_report", "ground_truth", "matching", "overlaps", "precision", "stock_coco"}
RUNNING = {"executors", "interrupt", "job", "labelling", "progress", "run", "run_log", "run_summary", "task"}

MAY_IMPORT: dict[str, dict[str, set[str]]] = {
    "dico": {
        **dict.fromkeys(GROUND, GROUND),
        "features": GROUND | SOLVER,  # the solver only knows arrays; the classical extractor asks it for eigenvectors
        **dict.fromkeys(SOLVER, SOLVER),
        **dict.fromkeys(GRAPHS - {"features"}, GROUND | GRAPHS),
        # The stages do not know one another; conquer suppresses the near-copies among the parts of one object.
        "divide": GROUND | SOLVER | {"features"},
        "conquer": GROUND | GRAPHS | {"selection"},
        "refine": GROUND,
        "selection": GROUND,
        "labeler": GROUND | {"features", "divide", "conquer", "refine", "selection"},
        "store": GROUND,
        **dict.fromkeys(SCORING, GROUND | SCORING),
        "evaluate": GROUND | SCORING | {"store"},
        "export": GROUND | {"store"},
        "gallery": GROUND | {"matching", "store"},
        "interrupt": set(),
        # Features, too: a job makes an extractor that many workers share, and an executor passes its features on.
        **{part: GROUND | RUNNING | {"features", "labeler", "store"} for part in RUNNING - {"interrupt"}},
        "cluster": GROUND | RUNNING | {"features"},
        "command_line": {"executors", "run_summary"},
        "label_command": GROUND | RUNNING | {"cluster", "command_line", "store"},
        "cli": GROUND | RUNNING | {"command_line", "evaluate", "export", "gallery", "label_command", "store"},
        "__init__": {"config", "labeler", "labelling", "masks", "store"},
        "__main__": {"cli"},
    },
    "training": {
        "config": set(),
        "records": {"config"},
        "samples": {"config"},
        "boxes": set(),
        "prompts": {"samples"},
        # These four do not know one another: build brings them together.
        "data": {"boxes", "config", "prompts", "records", "samples"},
        "models": {"boxes", "config", "prompts", "samples"},
        "engine": {"config", "records", "samples"},
        "evaluation": {"boxes", "config", "prompts", "records", "samples"},
        "postprocess": {"config", "prompts", "samples"},
        "predictor": {"config", "samples", "postprocess"},
        "granularity": set(),
        "given_image": set(),
        "settings": {"config", "models"},
        "promptable_checkpoint": {"config", "models", "settings"},
        "pixel_prompts": {"boxes", "postprocess", "prompts"},
        "prompt_fit": {"boxes", "pixel_prompts", "prompts"},
        "close_up": {"pixel_prompts", "prompts"},
        "representatives": {"postprocess"},
        "prompt_predictor": {
            "close_up", "config", "device", "given_image", "granularity", "models", "pixel_prompts", "postprocess",
            "predictor", "prompt_fit", "promptable_checkpoint", "prompts", "representatives",
        },
        "click_grid": {"config"},
        "automatic_masks": {
            "click_grid", "config", "device", "given_image", "postprocess", "prompt_predictor", "promptable_checkpoint",
        },
        "digest": set(),
        "trained": {
            "automatic_masks", "config", "device", "digest", "models", "predictor", "promptable_checkpoint", "settings",
        },
        "demo": {
            "automatic_masks", "granularity", "pixel_prompts", "postprocess", "prompt_predictor",
        },
        "objectives": {"config", "samples", "prompts", "data", "engine", "models"},
        "fusion": {"config"},
        "rounds": {"fusion", "records"},
        "device": {"engine"},
        "evaluators": {"config", "data", "engine", "evaluation", "models", "predictor", "prompt_predictor"},
        "benchmarking": {
            "automatic_masks", "build", "config", "device", "engine", "models", "objectives", "predictor",
            "prompt_predictor", "promptable_checkpoint", "settings",
        },
        "suite": {
            "config", "data", "device", "digest", "evaluation", "prompt_predictor", "records", "settings", "trained"
        },
        "build": {
            "config", "data", "device", "engine", "evaluation", "evaluators", "models", "objectives", "predictor"
        },
        "__init__": set(),
    },
}  # fmt: skip
TRAINING_OF_DICO = {"atomic", "config", "config_loading", "image", "interrupt", "mask_codes", "masks"}
TRAINING_OF_DICO |= {"rle", "selection", "stopwatch", "store", "threads", "version"}
DEMO_OF_DICO = {"painting"}
DATA_OF_DICO = {"ground_truth", "rasterise"}  # how COCO files write a mask, and masks of maps of labels
EVALUATION_OF_DICO = {"evaluate", "evaluation_report", "ground_truth", "matching", "page_parts", "precision", "window"}
EVALUATION_OF_DICO |= {"overlaps", "speed", "stock_coco"}
BENCHMARKING_OF_DICO = {"config", "executors", "inputs", "job", "photographs", "task"}
RAY_TRAIN = "training/engine/ray_train.py"
ONLY_IN = {"ray": ("dico/cluster/", RAY_TRAIN), "detectron2": ("training/engine/detectron2.py",)}
ONLY_IN["gradio"] = ("training/demo/page.py",)
ONLY_IN["faster_coco_eval"] = ("dico/stock_coco.py",)
NOT_ON_IMPORT = (
    "faster_coco_eval",
    "torch",
    "transformers",
    "ray",
    "detectron2",
    "pyarrow",
    "supervision",
    "matplotlib",
    "gradio",
)
NO_FILES = {"utils", "util", "misc", "common", "helpers", "helper"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".")


def imported(tree: ast.AST, module: str) -> Iterator[str]:
    """Every dotted name that a file imports, also inside functions, under TYPE_CHECKING and through importlib."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def part_of(name: str) -> str:
    """``dico.store.rows.LabelRow`` -> ``store``; a name that the package itself exports -> ``__init__``."""
    package, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    folder = REPOSITORY / package / part
    known = part in MAY_IMPORT[package] or folder.is_dir() or folder.with_suffix(".py").is_file()
    return part if part and known else "__init__"


def violations(path: str, source: str) -> list[str]:
    """What a file imports and may not, as sentences.

    Args:
        path: Where the file lies, from the root of the repository.
        source: Its text.
    """
    module = path.removesuffix(".py").replace("/", ".")
    package, part = module.split(".")[:2]
    found = []
    if package in MAY_IMPORT and part not in MAY_IMPORT[package]:
        found.append(f"{path}: say in MAY_IMPORT what {part!r} may import")
    for name in imported(ast.parse(source), module):
        target = name.partition(".")[0]
        if target in ONLY_IN and not path.startswith(ONLY_IN[target]):
            found.append(f"{path}: only {' and '.join(ONLY_IN[target])} may import {target}")
        if target in MAY_IMPORT and package in MAY_IMPORT:
            if package != target:
                allowed = TRAINING_OF_DICO if package == "training" else set()
                allowed = allowed | (EVALUATION_OF_DICO if part in ("evaluation", "suite") else set())
                allowed = allowed | ({"cluster"} if path == RAY_TRAIN else set())  # how Ray is joined, and kept quiet
                allowed = allowed | (DATA_OF_DICO if part == "data" else set())
                allowed = allowed | (DEMO_OF_DICO if part == "demo" else set())
                allowed = allowed | (BENCHMARKING_OF_DICO if part == "benchmarking" else set())
            else:
                allowed = MAY_IMPORT[package].get(part, set()) | ({part} - {"__init__"})
            if part_of(name) not in allowed:
                found.append(f"{path}: imports {name}, may import {', '.join(sorted(allowed)) or 'nothing'}")
    return found


@pytest.mark.parametrize("path", sources("dico", "training", "tools"), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_only_allowed_arrows(path):
    assert violations(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("dico/masks.py", "from dico.labeler import PseudoLabeler", "imports dico.labeler.PseudoLabeler"),
        ("dico/divide/maskcut.py", "def f():\n    import dico.conquer", "imports dico.conquer"),
        ("dico/refine/crf.py", "from dico import selection", "imports dico.selection"),
        ("dico/refine/crf.py", "from .. import selection", "imports dico.selection"),
        ("dico/refine/crf.py", "from ..selection import top", "imports dico.selection.top"),
        ("dico/refine/crf.py", "from dico import PseudoLabeler", "imports dico.PseudoLabeler"),
        ("dico/run.py", "import training.samples", "imports training.samples"),
        ("dico/run.py", "if TYPE_CHECKING:\n    import ray", "only dico/cluster/ and training/engine/ray_train.py"),
        ("dico/run.py", "importlib.import_module('ray.util')", "only dico/cluster/ and training/engine/ray_train.py"),
        ("tools/train_net.py", "from detectron2.config import get_cfg", "only training/engine/detectron2.py"),
        ("training/models/matcher.py", "from training.data import mapper", "imports training.data.mapper"),
        ("training/data/mapper.py", "import dico.labeler", "imports dico.labeler"),
        ("training/engine/launch.py", "import dico.cluster.connection", "imports dico.cluster.connection"),
        ("dico/novelty.py", "", "say in MAY_IMPORT what 'novelty' may import"),
    ],
)
def test_a_forbidden_arrow_is_found(path, source, complaint):
    (found,) = violations(path, source)
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dico/refine/crf.py", "from dico.refine.base import look\nfrom dico.masks import MaskSet"),
        ("dico/refine/crf.py", "from .base import look"),
        ("dico/labeler.py", "import dico.divide.maskcut, numpy.linalg"),
        ("dico/cluster/workers.py", "import ray"),
        ("training/engine/ray_train.py", "import ray.train, dico.cluster.connection"),
        ("training/data/sources.py", "from dico.store import MaskStore\nfrom training.samples import Sample"),
        ("training/build.py", "from training import models, data"),
        ("tools/demo.py", "from dico import PseudoLabeler\nimport training.build"),
    ],
)
def test_an_allowed_arrow_is_not(path, source):
    assert violations(path, source) == []


def test_no_file_imports_itself_through_others():
    trees = {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources("dico", "training")}
    graph = {}
    for module, tree in trees.items():
        at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = set(imported(ast.Module(at_import, type_ignores=[]), module))
        graph[module] = (names | {name.rpartition(".")[0] for name in names}) & trees.keys()
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", sources("dico", "training", "tools"), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_no_asserts_and_no_drawers_for_everything(path):
    assert path.stem not in NO_FILES
    assert not [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("folder", ["tools", "configs", "datasets"])
def test_folders_that_are_not_packages(folder):
    assert not (REPOSITORY / folder / "__init__.py").exists()


@pytest.mark.parametrize("package", ["dico", "training"])
def test_importing_a_package_imports_nothing_heavy(package):
    code = f"import sys, {package}; print(*set({NOT_ON_IMPORT!r}).intersection(sys.modules))"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert heavy.stdout.split() == []
