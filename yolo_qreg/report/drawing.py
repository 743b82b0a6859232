"""Panels drawn by matplotlib, in one style: for files and for the page."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.findings.names import title_of
from yolo_qreg.report import palette
from yolo_qreg.report.panels import Chart, Dot, Dots, HeatMap, Line, MapCell, Panel, Scatter
from yolo_qreg.report.text import DASH, MINUS, number, with_interval

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

STYLE = "yolo_qreg.report.figures"
"""The file `figures.mplstyle` of this package, as matplotlib names it."""
COLUMNS = 5
"""Of a heat map."""
NAME_LETTERS = 12
"""In a line of a cell; a name has at most two lines."""
LONGEST = 26
"""Letters of the name of a row of dots."""


def inches_of(panel: Panel) -> tuple[float, float]:
    """Return width and height of a panel without its title: text of all panels has about one size on a page."""
    if isinstance(panel, HeatMap):
        return 3.7, 0.62 * math.ceil(len(panel.cells) / COLUMNS)
    if isinstance(panel, Dots):
        return 3.9, 0.19 * max(len(panel.rows), 2) + 0.45
    if isinstance(panel, Scatter):
        return (2.4, 1.9) if panel.small else (3.9, 3.6)
    return (1.9, 1.3) if panel.small else (4.0, 2.6)


def draw(axes: Axes, panel: Panel, colours: palette.Name, notes: list[str]) -> None:
    """Draw a panel.

    Args:
        axes: Where.
        panel: What.
        colours: Palette of heat maps.
        notes: Takes what parts of it are called; their identifiers end in its place there.
    """
    if isinstance(panel, HeatMap):
        _draw_map(axes, panel, colours, notes)
    elif isinstance(panel, Dots):
        _draw_dots(axes, panel, notes)
    elif isinstance(panel, Scatter):
        _draw_scatter(axes, panel, notes)
    else:
        _draw_chart(axes, panel, notes)


def _note(artist: Artist, text: str, notes: list[str]) -> None:
    artist.set_gid(f"note{len(notes)}")
    notes.append(text)


def _draw_map(axes: Axes, panel: HeatMap, colours: palette.Name, notes: list[str]) -> None:
    from matplotlib.patches import Rectangle

    ink, muted = colour(palette.TEXT["light"]), colour(palette.weak("muted"))
    axes.set_axis_off()
    axes.set(xlim=(0, COLUMNS), ylim=(math.ceil(len(panel.cells) / COLUMNS), 0))
    style = "italic" if panel.paper else "normal"
    for index, cell in enumerate(panel.cells):
        down, across = divmod(index, COLUMNS)
        name = title_of(cell.corruption)
        box = axes.add_patch(
            Rectangle((across + 0.02, down + 0.02), 0.96, 0.96, clip_on=False, **_look(cell, panel.limit, colours))
        )
        shade = ink if cell.side in {"better", "worse", "zero"} else muted
        words = "\n".join(textwrap.wrap(name, NAME_LETTERS))
        axes.text(across + 0.5, down + 0.3, words, ha="center", va="center", fontsize=6.5, color=shade, linespacing=1)
        text = axes.text(
            across + 0.5, down + 0.74, cell.text, ha="center", va="center", fontsize=9, color=shade, fontstyle=style
        )
        for artist in (box, text):
            _note(artist, f"{name}: {cell.note or cell.text}", notes)


def _look(cell: MapCell, limit: float, colours: palette.Name) -> dict[str, Any]:
    """Return how a cell looks: its colour laid over the page, a dashed ring where undecided, a wash where blank."""
    if cell.side in {"better", "worse"}:
        pair = palette.PALETTES[colours]["light"]
        top = colour(pair.better if cell.side == "better" else pair.worse)
        return {"facecolor": (*top, palette.strength(cell.points or 0.0, limit)), "linewidth": 0}
    if cell.side == "blank":
        return {"facecolor": colour(palette.weak("wash")), "linewidth": 0}
    dashes = {"linestyle": (0, (3, 2)), "edgecolor": colour(palette.weak("ring"))}
    plain = {"edgecolor": colour(palette.weak("faint"))}
    return {"facecolor": "none", "linewidth": 0.7, **(dashes if cell.side == "undecided" else plain)}


def _draw_chart(axes: Axes, panel: Chart, notes: list[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    for line in panel.lines:
        _draw_line(axes, line, panel.marked, notes)
    if panel.y_range:
        low, high = panel.y_range
        axes.set_ylim(low, high + 0.03 * (high - low))
        axes.yaxis.set_major_formatter(_tick)
    _grid(axes, "y")
    axes.yaxis.set_major_locator(MaxNLocator(3 if panel.small else 5))
    if not panel.marked:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if panel.x_ticks:
        axes.set_xticks([value for value, _ in panel.x_ticks], [text for _, text in panel.x_ticks])
    if panel.small:
        axes.tick_params(pad=2, labelsize=7)
    else:
        axes.set_xlabel(panel.x_label)


def _tick(value: float, _: float | None = None) -> str:
    return f"{value:g}".replace("-", MINUS)


def _grid(axes: Axes, axis: str) -> None:
    """Draw thin lines behind everything, and a stronger one at 0 where that is inside."""
    axes.grid(axis=axis, color=colour(palette.weak("faint")), linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    low, high = sorted(axes.get_ylim() if axis == "y" else axes.get_xlim())
    if low < 0 < high:
        line = axes.axhline if axis == "y" else axes.axvline
        line(0, color=colour(palette.weak("ring")), linewidth=0.7, zorder=0.9)


def _draw_line(axes: Axes, line: Line, marked: bool, notes: list[str]) -> None:
    shade = line_colour(line.index)
    marker = "o" if marked or len(line.x) == 1 else None
    (drawn,) = axes.plot(line.x, line.y, color=shade, linestyle=line_dashes(line.index), marker=marker)
    _note(drawn, line.name, notes)
    if line.bars:
        low, high = zip(*line.bars, strict=True)
        axes.vlines(line.x, low, high, color=shade, linewidth=0.9)
    if line.band:
        low, high = zip(*line.band, strict=True)
        axes.fill_between(line.x, low, high, color=shade, alpha=0.18, linewidth=0)
    if line.low:
        (dot,) = axes.plot(*line.low, color=shade, marker="o", markersize=4)
        _note(dot, f"{line.name}: lowest at {line.low[0]:g}", notes)


def _draw_scatter(axes: Axes, panel: Scatter, notes: list[str]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.grid(color=colour(palette.weak("faint")), linewidth=0.5)
    axes.set_axisbelow(True)
    if panel.log:
        axes.set(xscale="log", yscale="log")
        ends = [value for mark in panel.marks for value in (mark.x, mark.y)]
        axes.axline((min(ends), min(ends)), (max(ends), max(ends)), color=colour(palette.weak("ring")), linewidth=0.8)
    for mark in panel.marks:
        shade = line_colour(mark.index)
        size = 5.0 if panel.small else 3.2
        (dot,) = axes.plot(mark.x, mark.y, "o", color=shade, markersize=size, markeredgewidth=0.7)
        _note(dot, mark.note, notes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=6) if panel.log else MaxNLocator(3 if panel.small else 5))
        if panel.log:
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(_power)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)


def _power(value: float, _: float | None = None) -> str:
    """Return a power of ten in few letters."""
    exponent = round(math.log10(value))
    return _tick(value) if -3 < exponent < 4 else f"1e{exponent}".replace("-", MINUS)


def _draw_dots(axes: Axes, panel: Dots, notes: list[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlim=panel.span, ylim=(len(panel.rows) - 0.4, -0.6))
    for place, row in enumerate(panel.rows):
        _draw_row(axes, place, row, notes)
    axes.set_yticks(range(len(panel.rows)), [cut(row.name) for row in panel.rows], color=colour(palette.TEXT["light"]))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(_plus)
    _grid(axes, "x")


def cut(name: str) -> str:
    """Return the name of a row of dots on one line, shortened where it is long."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _plus(value: float, _: float | None = None) -> str:
    return f"{'+' if value > 0 else ''}{_tick(value)}"


def _draw_row(axes: Axes, place: int, row: Dot, notes: list[str]) -> None:
    shade = line_colour(row.index)
    kinds = (("clean pictures", row.clean, "none"), ("corrupted pictures", row.corrupted, shade))
    ends = any(gain and gain.interval for _, gain, _ in kinds)
    if row.clean and row.corrupted and not ends:
        values = row.clean.value, row.corrupted.value
        axes.plot(values, (place, place), color=colour(palette.weak("faint")), linewidth=2, zorder=1)
    for where, gain, fill in kinds:
        if gain is None:
            continue
        y = place + (0.17 if fill == "none" else -0.17) * ends
        if gain.interval:
            axes.hlines(y, *gain.interval, color=shade, linewidth=1.0 if fill == "none" else 1.6)
        face = palette.SURFACE["light"] if fill == "none" else None
        (dot,) = axes.plot(
            gain.value, y, "o", color=shade, markersize=4, zorder=3, markerfacecolor=colour(face) if face else shade
        )
        _note(dot, f"{row.name}, {where}: {_said(gain)}", notes)


def _said(gain: Estimate) -> str:
    return f"{with_interval(gain) if gain.interval else number(gain.value) or DASH} points"


def colour(rgb: palette.Rgb) -> tuple[float, float, float]:
    """Return a colour as matplotlib wants it: three fractions."""
    red, green, blue = (value / 255 for value in rgb)
    return red, green, blue


def line_colour(index: int) -> tuple[float, float, float]:
    """Return the colour of a line: 0 is the baseline."""
    return colour(palette.LINES["light"][palette.slot_of(index)])


def line_dashes(index: int) -> Literal["-", "--", ":", "-."]:
    """Return the dashes of a line: none for the first seven, which have colours of their own."""
    kinds: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
    return kinds[(index - 1) // (len(palette.LINES["light"]) - 1) % 4] if index else "-"


@contextmanager
def one_style() -> Iterator[None]:
    """Draw in one style, whatever settings the user's matplotlib has, and leave those as they were."""
    import matplotlib
    import matplotlib.style

    muted = ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    colours = {"text.color": colour(palette.TEXT["light"]), **dict.fromkeys(muted, colour(palette.weak("muted")))}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # `font_for` says it in one line
        matplotlib.style.use(["default", STYLE, colours])
        yield
