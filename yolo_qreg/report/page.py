"""The page: one HTML file that opens from disk, needs no network, runs no script and prints. Words are in templates."""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from yolo_qreg.evaluation.results import FEW_PICTURES
from yolo_qreg.findings.names import method_title, title_of
from yolo_qreg.report import palette, text
from yolo_qreg.report.drawing import one_style
from yolo_qreg.report.panels import Panel
from yolo_qreg.report.svg import svg

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

PAGE = "report.html"


def render(template: str, colours: palette.Name, **values: Any) -> str:
    """Return a page as text.

    Args:
        template: Its name among those of this package.
        colours: Palette.
        values: What it is about; one that it names and nobody gives is an error.
    """
    names = count(1)

    def draw(panel: Panel) -> Markup:
        return svg(panel, f"f{next(names)}", colours)

    page = _environment().get_template(f"{template}.html")
    with one_style():
        return f"{page.render(draw=draw, css=palette.css(colours), **values)}\n"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("yolo_qreg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        number=text.number,
        signed=text.signed,
        gain=text.gain_text,
        interval=text.interval,
        seeds=text.seeds_text,
        title_of=title_of,
        method=method_title,
        ink=palette.ink_of,
        strength=palette.strength,
        swatch=palette.slot_of,
    )
    found.globals.update(FEW_PICTURES=FEW_PICTURES, MINUS=text.MINUS, DASH=text.DASH, BLIND=text.BLIND)
    found.tests["mapping"] = lambda value: isinstance(value, dict)
    return found
