"""Figures drawn by matplotlib, and written as PNG and PDF files: the same bytes for the same numbers."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_qreg.files import write_atomic
from yolo_qreg.fonts import font_for
from yolo_qreg.report import palette
from yolo_qreg.report.drawing import colour, draw, inches_of, line_colour, line_dashes, one_style
from yolo_qreg.report.panels import Chart, Dots, HeatMap, Panel, Scatter
from yolo_qreg.report.text import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "figures"
DPI = 200
NO_DATES: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
TITLE_INCHES, KEY_INCHES = 0.26, 0.3
FOOT_LETTERS_PER_INCH = 18
"""Of 7 points."""
EDGE_INCHES = 0.02


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a file shows: panels in rows, with one key.

    Attributes:
        name: Of the file, without ending.
        panels: All of one kind.
        per_row: How many stand side by side.
    """

    name: str
    panels: tuple[Panel, ...]
    per_row: int = 1


def write_figures(folder: Path, sheets: Iterable[Sheet], colours: palette.Name) -> tuple[Path, ...]:
    """Write FOLDER/figures, and remove those of an earlier report that this one does not have.

    Returns:
        The files, each figure as PNG before PDF.
    """
    written = []
    with one_style():
        for sheet in sheets:
            figure = _sheet(sheet, colours)
            _take_fonts(figure)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, for both files
            for ending, metadata in NO_DATES.items():
                path = folder / FOLDER / f"{sheet.name}.{ending}"
                _save(figure, path, ending, metadata)
                written.append(path)
    for ending in NO_DATES:
        for old in (folder / FOLDER).glob(f"*.{ending}"):
            if old not in written:
                old.unlink()
    return tuple(written)


def _sheet(sheet: Sheet, colours: palette.Name) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(sheet.per_row, len(sheet.panels))
    rows = math.ceil(len(sheet.panels) / columns)
    width, height = (max(sides) for sides in zip(*map(inches_of, sheet.panels), strict=True))
    size = columns * width, rows * (height + TITLE_INCHES) + KEY_INCHES
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")  # text is measured as it is printed
    for index, panel in enumerate(sheet.panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw(axes, panel, colours, [])
        about = f", {panel.about}" if isinstance(panel, HeatMap) and panel.about else ""
        axes.set_title(f"{panel.title}{about}")
    first = sheet.panels[0]
    if isinstance(first, (Chart, Scatter)):
        key = dict(pair for panel in sheet.panels if isinstance(panel, (Chart, Scatter)) for pair in panel.key)
        dots = isinstance(first, Scatter)
        handles = [
            Line2D([], [], color=line_colour(index), linestyle="" if dots else line_dashes(index), marker="o" * dots)
            for index in key.values()
        ]
        figure.legend(handles, list(key), loc="outside lower left", ncols=4)
    else:
        dots_key = "full: corrupted pictures, hollow: clean ones"
        foot = f"{first.x_label}; {dots_key}" if isinstance(first, Dots) else _scale(first)
        wrapped = textwrap.fill(foot, int(FOOT_LETTERS_PER_INCH * size[0]))
        figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=6.5, color=colour(palette.weak("muted")))
    return figure


def _scale(panel: HeatMap) -> str:
    key = f"points of mAP; white 0, full colour {number(panel.limit)}"
    return f"{key}; dashed, in parentheses: undecided, all cells judged together"


def _take_fonts(figure: Figure) -> None:
    """Let names in other scripts fall back on an installed font that has them."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if not text.get_text().isascii() and (path := font_for(text.get_text())) is not None:
            text.set_fontfamily([*text.get_fontfamily(), FontProperties(fname=path).get_name()])


def _save(figure: Figure, path: Path, ending: str, metadata: dict[str, Any]) -> None:
    """Write a figure; where a long name sticks out, it grows."""
    from matplotlib.transforms import Bbox

    room = Bbox.union([figure.get_tightbbox().padded(EDGE_INCHES), figure.bbox_inches])
    write_atomic(path, lambda file: figure.savefig(file, format=ending, metadata=metadata, dpi=DPI, bbox_inches=room))
