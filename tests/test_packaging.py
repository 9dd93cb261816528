"""What the package says about itself is true."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import re
import runpy
import sys
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def metadata(monkeypatch):
    """The arguments with which setup.py calls setuptools."""
    arguments = {}
    monkeypatch.setattr(setuptools, "setup", arguments.update)
    monkeypatch.chdir(REPOSITORY)
    runpy.run_path("setup.py")
    return arguments


@pytest.fixture
def requirements(metadata):
    """Every direct requirement by its name, whichever extra it is in."""
    lines = [*metadata["install_requires"], *(line for extra in metadata["extras_require"].values() for line in extra)]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


@pytest.fixture
def pins():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pinned}


def test_the_packages_are_ours_and_complete(metadata):
    folders = {path.parent for top in ("dico", "training") for path in (REPOSITORY / top).rglob("*.py")}
    assert sorted(metadata["packages"]) == sorted(str(f.relative_to(REPOSITORY)).replace(os.sep, ".") for f in folders)


def test_data_files_exist_and_types_are_shipped(metadata):
    for package, patterns in metadata["package_data"].items():
        assert "py.typed" in patterns
        for pattern in patterns:
            assert list((REPOSITORY / package).glob(pattern)), f"{package}: nothing is named {pattern}"


def test_data_files_are_all_shipped(metadata):
    for package, patterns in metadata["package_data"].items():
        root = REPOSITORY / package
        shipped = {path for pattern in patterns for path in root.glob(pattern)}
        others = {p for p in root.rglob("*") if p.is_file() and p.suffix != ".py" and "__pycache__" not in p.parts}
        assert others <= shipped


def test_the_console_script_is_a_function(metadata):
    (script,) = metadata["entry_points"]["console_scripts"]
    name, _, target = script.partition("=")
    module, _, function = target.partition(":")
    assert name == "dico"
    assert callable(getattr(importlib.import_module(module), function))


def test_extras(metadata):
    extras = metadata["extras_require"]
    named = {"crf", "demo", "dev", "fast-eval", "hf", "parquet", "ray", "ray-train", "tensorboard", "train"}
    assert named == extras.keys()
    asked = {line for name in extras for line in extras[name]}
    assert asked - set(extras["dev"]) == set(), "the tests need every one"


def test_extras_that_are_named_exist(metadata):
    texts = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
    texts += [p for top in ("dico", "training", "tools") for p in (REPOSITORY / top).rglob("*.py")]
    command = re.compile(r"(?:pip install.*'\.|divide-and-conquer)\[([\w,-]+)\]")
    named = {
        (name, path.name)
        for path in texts
        for extras in command.findall(path.read_text(encoding="utf-8"))
        for name in extras.split(",")
    }
    assert {"hf", "ray", "ray-train", "train"} <= {name for name, _ in named}
    assert [(name, where) for name, where in named if name not in metadata["extras_require"]] == []


def test_licence_and_version(metadata):
    assert metadata["license"] == "Apache-2.0"
    licence = (REPOSITORY / "LICENSE").read_text()
    assert licence.split()[:3] == ["Apache", "License", "Version"]
    assert "END OF TERMS AND CONDITIONS" in licence
    assert metadata["version"] == importlib.metadata.version("divide-and-conquer")


def test_every_import_is_declared(requirements):
    providers = importlib.metadata.packages_distributions()
    undeclared = set()
    for path in [p for top in ("dico", "training") for p in sorted((REPOSITORY / top).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            tops = (
                {name.partition(".")[0] for name in names}
                - sys.stdlib_module_names
                - {"dico", "training", "ray", "detectron2"}
            )
            undeclared |= {
                (path.name, top)
                for top in tops
                if not requirements.keys() & {canonicalize_name(name) for name in providers.get(top, (top,))}
            }
    assert undeclared == set()


def test_every_requirement_is_pinned_to_a_version_that_it_allows(requirements, pins):
    for name, requirement in requirements.items():
        (specifier,) = pins[name].specifier
        assert specifier.operator == "=="
        assert requirement.specifier.contains(specifier.version)


def test_pins_name_versions_alone(pins):
    assert all(pin.url is None and "+" not in str(pin.specifier) for pin in pins.values())
    assert [*pins] == sorted(pins), "sorted, so that a difference is easy to read"


def test_every_requirement_is_in_the_list_of_licences(requirements):
    text = (REPOSITORY / "THIRD_PARTY.md").read_text().lower()
    assert [name for name in requirements if name not in text] == []
