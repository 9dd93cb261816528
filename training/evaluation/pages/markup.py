"""HTML that is safe by the way it is made: whatever is not markup already is text, and is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Markup(str):
    """A piece of HTML. Made by :func:`element`, or by hand from text that is the program's own."""

    __slots__ = ()


def element(name: str, *content: str | Iterable[str], **attributes: str | int | None) -> Markup:
    """An HTML element.

    Args:
        name: Of the element, such as ``"td"``.
        *content: What is in it: text, which is escaped, :class:`Markup`, which is not, or several of either.
        **attributes: ``class_`` stands for ``class`` and ``data_x`` for ``data-x``; None leaves one out.

    Example:
        >>> element("p", "a < b ", element("b", "& c"), class_="note")
        '<p class="note">a &lt; b <b>&amp; c</b></p>'
    """
    inside = "".join(_escaped(piece) for pieces in content for piece in _several(pieces))
    settings = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{settings}>{inside}" + ("" if name in _VOID else f"</{name}>"))


def joined(pieces: Iterable[str]) -> Markup:
    """Several pieces as one; text among them is escaped."""
    return Markup("".join(map(_escaped, pieces)))


_VOID = frozenset({"img", "br", "meta"})


def _several(pieces: str | Iterable[str]) -> Iterable[str]:
    return (pieces,) if isinstance(pieces, str) else pieces


def _escaped(piece: str) -> str:
    return piece if isinstance(piece, Markup) else html.escape(piece)
