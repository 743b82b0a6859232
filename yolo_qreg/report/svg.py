"""Figures as parts of a page: what `figures` draws, as SVG.

Text stays text, colours follow the page into the dark, and a title says what each figure and each of its parts is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from yolo_qreg.report import palette
from yolo_qreg.report.drawing import cut, draw, inches_of
from yolo_qreg.report.panels import Dots, HeatMap, Panel, Scatter

NO_ORIGIN = {"Date": None, "Creator": None, "Format": None, "Type": None}
NAME_INCHES = 0.065
"""Of a letter of such a name."""
WIDEST = 1.3
"""How far a figure of a page may grow beyond the size it is drawn for."""


def svg(panel: Panel, name: str, colours: palette.Name) -> Markup:
    """Return a panel as part of a page, without its title, which the page prints above it; to be called in `one_style`.

    Args:
        panel: What to draw.
        name: Unique in the page.
        colours: Palette of heat maps.
    """
    import matplotlib
    from matplotlib.figure import Figure

    width, height = inches_of(panel)
    left, right, bottom, top = _margins(panel)
    notes: list[str] = []
    stream = io.StringIO()
    matplotlib.rcParams["svg.hashsalt"] = name
    figure = Figure(figsize=(width, height))
    inside = 1 - (left + right) / width, 1 - (bottom + top) / height
    axes = figure.add_axes((left / width, bottom / height, *inside))
    draw(axes, panel, colours, notes)
    figure.savefig(stream, format="svg", transparent=True, metadata=NO_ORIGIN)
    return _for_page(stream.getvalue(), panel.title, width, notes, colours)


def _margins(panel: Panel) -> tuple[float, float, float, float]:
    """Return what a panel of a page has around its axes for marks and names: left, right, bottom and top, in inches."""
    if isinstance(panel, HeatMap):
        return 0.0, 0.0, 0.0, 0.0
    if isinstance(panel, Dots):
        return 0.15 + NAME_INCHES * max((len(cut(row.name)) for row in panel.rows), default=0), 0.1, 0.22, 0.03
    if isinstance(panel, Scatter):
        return (0.5, 0.08, 0.4, 0.08) if panel.small else (0.6, 0.08, 0.4, 0.08)
    return (0.27, 0.05, 0.2, 0.05) if panel.small else (0.42, 0.08, 0.4, 0.08)


def _for_page(text: str, title: str, width: float, notes: Sequence[str], colours: palette.Name) -> Markup:
    """Turn a file of matplotlib's into an element: colours as variables, titles, no identifiers that repeat."""
    known = palette.variables(colours)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<\?.*?\?>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="note(\d+)">', lambda found: f"<g><title>{escape(notes[int(found[1])])}</title>", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", lambda found: f"{found[1]}: {known[found[2]]}", text)
    text = re.sub(r"font-family: [^;\"]*;? ?| transform=\"rotate\(-?0 [^\"]*\"", "", text)
    text = re.sub(r' (d|x|y)="([^"]*)"', lambda found: f' {found[1]}="{_short(found[2])}"', text)
    text = text.replace("xlink:href", "href")
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    limit = f"max-width:{WIDEST * width * 96:.0f}px"
    head = f'<svg {box[0]} class="chart" style="{limit}" role="img"><title>{escape(title)}</title>'
    return Markup(re.sub(r"\s*\n\s*", "\n", head + text[text.index(">") + 1 :]).strip())


def _short(numbers: str) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", " ".join(numbers.split()))
