"""Configurations are frozen dataclasses: read from YAML and overrides, checked, and written as plain dictionaries."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Refuses the value of a field, in the words that every refusal has.

    Args:
        condition: Whether the value is accepted.
        name: Dotted name of the field.
        rule: What it must be, after "must be".
        value: What it is.

    Raises:
        ValueError: when it is not accepted.
    """
    if not condition:
        raise ValueError(f"{name} must be {rule}, got {value!r}")


def load_mapping(path: str | Path) -> dict[str, Any]:
    """What a YAML file holds; nothing for an empty one.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is not YAML, or holds anything but a mapping.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no such YAML file; name one, or none for the defaults")
    with open(path, encoding="utf-8") as stream:
        try:
            loaded = yaml.safe_load(stream) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path} must hold a mapping of sections, got {type(loaded).__name__}")
    return loaded


def load_dataclass(cls: type[T], path: str | Path | None = None, overrides: Iterable[str] = ()) -> T:
    """A configuration dataclass: its defaults, changed by a YAML file, changed by ``section.key=value`` overrides.

    Args:
        cls: The dataclass; its fields may be dataclasses.
        path: As for :func:`load_config`.
        overrides: As for :func:`load_config`.

    Returns:
        An instance of ``cls``.

    Raises:
        FileNotFoundError, KeyError, ValueError, TypeError: as :func:`load_config` does.
    """
    values = {} if path is None else load_mapping(path)
    for override in overrides:
        dotted, equals, text = override.partition("=")
        if not equals or not dotted:
            raise ValueError(f"an override must be section.key=value, got {override!r}")
        *sections, key = dotted.split(".")
        target = values
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise KeyError(f"unknown configuration key {dotted!r}: {section!r} is not a section")
        try:
            target[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(
                f"the value of {dotted} must be YAML, such as 3, true or [0.6, 0.3], got {text!r}"
            ) from error
    return from_mapping(cls, values)


def from_mapping(cls: type[T], values: Mapping[str, Any], *, prefix: str = "") -> T:
    """A configuration dataclass built from nested mappings.

    Args:
        cls: The dataclass.
        values: Field values; missing ones keep their defaults, mappings become nested dataclasses.
        prefix: Dotted name of this section, for messages.

    Returns:
        An instance of ``cls``.

    Raises:
        KeyError: for an unknown key, with the nearest known one.
        TypeError: for a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    fields = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"choose from {', '.join(sorted(hints))}"
            raise KeyError(f"unknown configuration key {name!r}; {hint}")
        fields[key] = _coerce(hints[key], value, name)
    return cls(**fields)


def _coerce(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be a section of keys, got {value!r}")
        return from_mapping(typing.cast(type, hint), value, prefix=f"{name}.")
    if isinstance(hint, types.GenericAlias) and hint.__origin__ is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} must be a list, got {value!r}: write {name}=[{value}]")
        return tuple(_coerce(hint.__args__[0], item, name) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)  # PyYAML takes 1e-4 for text, as YAML 1.1 asks for a point and a sign
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(f"{name} must be of type {hint.__name__}, got {value!r}")
    return value


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration dataclass as nested plain dictionaries, JSON-ready; :func:`from_mapping` reads them."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def plain_hash(plain: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that change when any value of a JSON-ready mapping does."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]
