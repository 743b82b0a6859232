"""HTML as values: text is escaped on its way in, so that no name in the data can become markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Content: TypeAlias = "str | Html | Iterable[str | Html | None] | None"

VOID = frozenset({"meta", "img", "br", "col", "line", "rect", "circle", "path", "polyline", "polygon"})


def el(tag: str, *content: Content, **attributes: str | float | None) -> Html:
    """Return an element.

    Args:
        tag: Its name.
        content: What is inside: text, which is escaped, elements, or iterables of them; None is nothing.
        attributes: Those that are None are left out; `class_` is written class, `stroke_width` stroke-width.

    Example:
        >>> el("p", "1 < 2, ", el("b", "yes"), class_="note")
        '<p class="note">1 &lt; 2, <b>yes</b></p>'
    """
    pairs = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{pairs}/>")
    return Html(f"<{tag}{pairs}>{join(*content)}</{tag}>")


def table(head: Content, body: Content) -> Html:
    """Return a table in a box of its own, which scrolls where the page is too narrow for it."""
    return el("div", el("table", el("thead", head), el("tbody", body)), class_="wide", tabindex="0")


def join(*content: Content) -> Html:
    """Return contents one after another, text escaped."""
    return Html("".join(_pieces(content)))


def _pieces(content: Iterable[Content]) -> Iterable[str]:
    for piece in content:
        if isinstance(piece, Html):
            yield str(piece)
        elif isinstance(piece, str):
            yield escape(piece, quote=False)
        elif piece is not None:
            yield from _pieces(piece)
