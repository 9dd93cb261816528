"""The catalogue: names of data sets become sources. ``datasets/README.md`` says how to describe one."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dico.config_loading import load_dataclass, load_mapping, require
from dico.store.manifest import MANIFEST
from training.data.coco_source import CocoSource
from training.data.panoptic_source import PanopticSource, is_panoptic
from training.data.sources import ConcatSource, Sa1bSource, StoreSource, is_sa1b
from training.records import Source, data_set_name

FORMATS = ("coco", "lvis", "panoptic", "sa1b", "store")
"""What annotations may be: a COCO json, an LVIS json, a json of COCO's panoptic annotations, a folder of SA-1B's jsons,
a store of ``dico label``."""
DESCRIPTIONS = Path(__file__).resolve().parents[2] / "datasets"
"""The folder of descriptions that come with the project; ``datasets`` in the working folder goes first."""
D = TypeVar("D")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class DatasetDescription:
    """What a data set's YAML file says."""

    format: str
    """One of :data:`FORMATS`."""
    annotations: str
    """The json, or the folder, relative to the YAML file; ``${NAME}`` stands for an environment variable."""
    images: str = ""
    """The folder of the images, likewise; empty for where the format has them."""
    name: str = ""
    """What messages and reports call it; empty for the name of the YAML file."""
    title: str = ""
    """What tables call it; empty for its name."""
    licence: str = ""
    """Under which terms images and annotations come."""
    url: str = ""
    """Where to get it."""
    prepare: str = ""
    """The command that makes the annotations, or what else is to be done, when they are not there."""
    expected_images: int = 0
    """So many images the whole data set has; with fewer it was prepared by half. 0 does not check."""
    notes: tuple[str, ...] = ()
    """What has to be known to read figures on it, a sentence each."""

    def __post_init__(self) -> None:
        require(self.expected_images >= 0, "expected_images", "at least 0", self.expected_images)
        require(self.format in FORMATS, "format", f"one of {', '.join(FORMATS)}", self.format)
        require(bool(self.annotations), "annotations", "the path of a file or a folder", self.annotations)


@dataclass(frozen=True)
class Located:
    """Where the files of a data set lie.

    Attributes:
        format: One of :data:`FORMATS`; a json that may be of LVIS is ``coco``, too.
        annotations: The json, or the folder.
        images: The folder of the images; None for where the format has them.
        name: What messages call it; None for its path.
        description: What its YAML file says; None when it has none.
    """

    format: str
    annotations: Path
    images: Path | None = None
    name: str | None = None
    description: DatasetDescription | None = None

    @property
    def called(self) -> str:
        """What reports call it."""
        if self.name is not None:
            return self.name
        path = self.annotations
        return data_set_name(path) if path.is_file() else path.resolve().name


@dataclass(frozen=True)
class _Suite:
    """What a YAML file says that names several data sets."""

    suite: tuple[str, ...]


def open_sources(names: Sequence[str]) -> Source:
    """The images of several data sets as one list.

    Args:
        names: At least one, as for :func:`open_source`.

    Returns:
        The source; of several, keys begin with the name of theirs.

    Raises:
        FileNotFoundError, KeyError, ValueError, TypeError: as :func:`open_source` does, and when ``names`` is empty or
            has one data set twice.
    """
    if not names:
        raise ValueError("data.train must name at least one data set: a store, a json, an SA-1B folder or a YAML file")
    sources = [open_source(name) for name in names]
    return sources[0] if len(sources) == 1 else ConcatSource(sources)


def open_source(name: str, *, images: Path | None = None) -> Source:
    """The images of a data set and their masks, neither of them read yet.

    Args:
        name: The path of a store of ``dico label``, a COCO, LVIS or panoptic json, an SA-1B folder or a data set's YAML
            file; or the name of a YAML file in ``datasets``, without its extension, whatever folder has that name, too.
        images: The folder of the images; None for where the data set has them.

    Returns:
        The source.

    Raises:
        FileNotFoundError: when nothing has that name; with the names there are.
        KeyError, TypeError: when a YAML file holds unknown keys or values of another type.
        ValueError: when a file is not what it is taken for, is damaged, or names an unset environment variable.
    """
    found = locate(name)
    files, images = found.annotations, images or found.images
    if found.format == "store":
        return StoreSource(files, images=images, name=found.name)
    if found.format == "sa1b":
        return Sa1bSource(files, images=images, name=found.name)
    if found.format == "panoptic":
        return PanopticSource(files, images=images, name=found.name)
    return CocoSource(files, images=images, name=found.name)


def locate(name: str) -> Located:
    """Where the files of a data set lie; arguments and errors as for :func:`open_source`."""
    path = Path(name).expanduser()
    file = _description_file(name)
    if file is not None:
        return _locate_described(file)
    if path.is_dir():
        return _locate_folder(path)
    if path.is_file():
        return Located("panoptic" if is_panoptic(path) else "coco", path)
    descriptions = _descriptions()
    near = difflib.get_close_matches(name, descriptions, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise FileNotFoundError(
        f"no data set has the name {name!r}, and no file or folder; {hint}known names: "
        f"{', '.join(sorted(descriptions)) or 'none'}"
    )


def describe(name: str) -> DatasetDescription | None:
    """What a data set's YAML file says, whether the data set is there or not; None when it has none.

    Args:
        name: As for :func:`open_source`.

    Raises:
        KeyError, TypeError, ValueError: when the file holds unknown keys or values that are not allowed.
    """
    file = _description_file(name)
    return None if file is None else _loaded(DatasetDescription, file)


def expand_suites(names: Iterable[str]) -> tuple[str, ...]:
    """Names of data sets for names of data sets and of suites, each once, in order.

    Args:
        names: As for :func:`open_source`; or of a YAML file that says ``suite: [name, name]``, whose names may be
            relative paths.

    Raises:
        KeyError, TypeError, ValueError: when a suite's file holds anything else, or a suite of suites.

    Example:
        >>> expand_suites(["a.json", "b.json", "a.json"])
        ('a.json', 'b.json')
    """
    found: dict[str, None] = {}
    for name in names:
        file = _description_file(name)
        members = None if file is None else _members(file)
        found |= dict.fromkeys((name,) if members is None else members)
    return tuple(found)


def _members(file: Path) -> tuple[str, ...] | None:
    """What a suite consists of; None when the file describes a data set."""
    if "suite" not in load_mapping(file):
        return None
    members = _loaded(_Suite, file).suite
    beside = {member: file.parent / member for member in members}
    located = tuple(str(path) if path.is_file() else member for member, path in beside.items())
    for member in located:
        of_member = _description_file(member)
        if of_member is not None and "suite" in load_mapping(of_member):
            raise ValueError(f"{file} must name data sets, but {member} is a suite itself")
    return located


def _description_file(name: str) -> Path | None:
    """The YAML file that a name stands for; None when it is the path of something else, or of nothing."""
    path = Path(name).expanduser()
    if path.is_file():
        return path if path.suffix in (".yaml", ".yml") else None
    return _descriptions().get(name)


def _locate_folder(path: Path) -> Located:
    if (path / MANIFEST).is_file():
        return Located("store", path)
    if (path / "annotations.json").is_file():
        return Located("coco", path / "annotations.json")
    if not is_sa1b(path):
        raise ValueError(
            f"{path} is neither a store of dico label (it has no {MANIFEST}) nor a folder of SA-1B (no json lies beside"
            " an image of its name); of COCO's annotations, name the json itself"
        )
    return Located("sa1b", path)


def _locate_described(path: Path) -> Located:
    members = _members(path)
    if members is not None:
        raise ValueError(f"{path} is a suite, of {', '.join(members)}; name the data sets themselves")
    description = _loaded(DatasetDescription, path)
    annotations = path.parent / _expanded(description.annotations, path)
    if not annotations.exists():
        raise FileNotFoundError(f"{annotations}, the annotations that {path} names, does not exist; see {path.parent}")
    images = path.parent / _expanded(description.images, path) if description.images else None
    return Located(description.format, annotations, images, description.name or path.stem, description)


def _loaded(kind: type[D], path: Path) -> D:
    try:
        return load_dataclass(kind, path)
    except (KeyError, TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error.args[0]}") from error


def _expanded(text: str, path: Path) -> str:
    def value(match: re.Match[str]) -> str:
        if not os.environ.get(match[1]):
            raise ValueError(
                f"{path} needs the environment variable {match[1]}, which is not set; set it to the folder of data sets"
            )
        return os.environ[match[1]]

    return _VARIABLE.sub(value, text)


def _descriptions() -> dict[str, Path]:
    folders = (DESCRIPTIONS, Path("datasets"))
    return {file.stem: file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.yaml"))}
