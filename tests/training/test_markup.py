"""HTML is made of text and of markup, and text never becomes markup."""

from __future__ import annotations

import html
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.pages.markup import Markup, element, joined


class Reader(HTMLParser):
    """What a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


printable = st.text(st.characters(exclude_categories=["C"]))


@given(printable, printable)
def test_any_text_stays_text(inside: str, attribute: str) -> None:
    seen = Reader(element("p", inside, title=attribute))
    assert seen.tags == [("p", {"title": attribute})]
    assert seen.text == inside


def test_markup_is_kept_and_text_beside_it_escaped() -> None:
    bold = element("b", "<x>")
    assert bold == "<b>&lt;x&gt;</b>"
    assert element("p", "1 < 2 ", bold) == "<p>1 &lt; 2 <b>&lt;x&gt;</b></p>"
    assert joined(["<i>", bold]) == html.escape("<i>") + bold


def test_several_pieces_and_none() -> None:
    cells = (element("td", str(n)) for n in range(2))
    assert element("tr", cells, [], class_=None) == "<tr><td>0</td><td>1</td></tr>"
    assert element("img", src="x", aria_label="y") == '<img src="x" aria-label="y">'


def test_a_piece_of_markup_that_was_changed_is_text_again() -> None:
    assert element("p", Markup("<b>") + "x") == "<p>&lt;b&gt;x</p>"
