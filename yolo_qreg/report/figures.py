"""Figures drawn by matplotlib, and written as PNG and PDF files: the same bytes for the same numbers."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.files import write_atomic
from yolo_qreg.findings.names import title_of
from yolo_qreg.fonts import font_for
from yolo_qreg.report import palette
from yolo_qreg.report.panels import Chart, Dot, Dots, HeatMap, Line, MapCell, Panel, Scatter
from yolo_qreg.report.text import DASH, MINUS, number, with_interval

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "figures"
DPI = 200
NO_DATES: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
COLUMNS = 5
"""Of a heat map."""
TITLE_INCHES, KEY_INCHES = 0.26, 0.3
NAME_LETTERS = 12
"""In a line of a cell; a name has at most two lines."""
LONGEST = 22
"""Letters of the name of a row of dots."""
FOOT_LETTERS_PER_INCH = 18
"""Of 7 points."""
EDGE_INCHES = 0.02


def _style_of(ink: tuple[float, float, float], muted: tuple[float, float, float]) -> dict[str, Any]:
    return {
        "font.size": 8,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "axes.titlesize": 8,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.linewidth": 0.6,
        "axes.edgecolor": muted,
        "axes.labelcolor": muted,
        "text.color": ink,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "lines.linewidth": 1.3,
        "lines.markersize": 3,
        "legend.frameon": False,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "text.parse_math": False,  # a dollar in a name is a dollar
    }


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
    with drawing():
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


def inches_of(panel: Panel) -> tuple[float, float]:
    """Return width and height of a panel without its title: text of all panels has about one size on a page."""
    if isinstance(panel, HeatMap):
        return 3.7, 0.62 * math.ceil(len(panel.cells) / COLUMNS)
    if isinstance(panel, Dots):
        return 3.9, 0.19 * max(len(panel.rows), 2) + 0.45
    if isinstance(panel, Scatter):
        return (2.4, 1.9) if panel.small else (3.9, 3.6)
    return (1.9, 1.3) if panel.small else (4.0, 2.6)


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
        about = f" {panel.about}" if isinstance(panel, HeatMap) and panel.about else ""
        axes.set_title(f"{panel.title}{about}")
    first = sheet.panels[0]
    if isinstance(first, (Chart, Scatter)):
        kind: dict[str, Any] = {"marker": "o", "linestyle": ""} if isinstance(first, Scatter) else {}
        handles = {
            name: Line2D([], [], color=_line_colour(index), **(kind or {"linestyle": _dashes(index)}))
            for name, index in _key(sheet.panels)
        }
        figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=4)
    else:
        foot = (
            _scale(first)
            if isinstance(first, HeatMap)
            else f"{first.x_label}; full: corrupted pictures, hollow: clean ones"
        )
        wrapped = textwrap.fill(foot, int(FOOT_LETTERS_PER_INCH * size[0]))
        figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=6.5, color=_colour(palette.weak("muted")))
    return figure


def _key(shown: Iterable[Panel]) -> Iterator[tuple[str, int]]:
    """Yield what the colours of lines and points mean."""
    for panel in shown:
        if isinstance(panel, Chart):
            yield from ((line.name, line.index) for line in panel.lines)
        elif isinstance(panel, Scatter):
            yield from panel.key


def _scale(panel: HeatMap) -> str:
    key = f"points of mAP; white 0, full colour {number(panel.limit)}"
    return f"{key}; dashed, in parentheses: undecided, all cells judged together"


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

    ink, muted = _colour(palette.TEXT["light"]), _colour(palette.weak("muted"))
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
        top = _colour(pair.better if cell.side == "better" else pair.worse)
        return {"facecolor": (*top, palette.strength(cell.points or 0.0, limit)), "linewidth": 0}
    if cell.side == "blank":
        return {"facecolor": _colour(palette.weak("wash")), "linewidth": 0}
    dashes = {"linestyle": (0, (3, 2)), "edgecolor": _colour(palette.weak("ring"))}
    plain = {"edgecolor": _colour(palette.weak("faint"))}
    return {"facecolor": "none", "linewidth": 0.7, **(dashes if cell.side == "undecided" else plain)}


def _draw_chart(axes: Axes, panel: Chart, notes: list[str]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for line in panel.lines:
        _draw_line(axes, line, panel.marked, notes)
    if panel.y_range:
        low, high = panel.y_range
        axes.set_ylim(low, high + 0.03 * (high - low))
    _grid(axes, "y")
    axes.yaxis.set_major_locator(MaxNLocator(3 if panel.small else 5))
    if not panel.marked:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if panel.x_ticks:
        axes.set_xticks([value for value, _ in panel.x_ticks], [text for _, text in panel.x_ticks])
    if not panel.small:
        axes.set_xlabel(panel.x_label)
    else:
        axes.tick_params(pad=2, labelsize=7)
    axes.yaxis.set_major_formatter(FuncFormatter(_tick)) if panel.y_range else None


def _tick(value: float, _: int | None = None) -> str:
    return f"{value:g}".replace("-", MINUS)


def _grid(axes: Axes, axis: str) -> None:
    """Draw thin lines behind everything, and a stronger one at 0 where that is inside."""
    axes.grid(axis=axis, color=_colour(palette.weak("faint")), linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    low, high = sorted(axes.get_ylim() if axis == "y" else axes.get_xlim())
    if low < 0 < high:
        line = axes.axhline if axis == "y" else axes.axvline
        line(0, color=_colour(palette.weak("ring")), linewidth=0.7, zorder=0.9)


def _draw_line(axes: Axes, line: Line, marked: bool, notes: list[str]) -> None:
    shade = _line_colour(line.index)
    marker = "o" if marked or len(line.x) == 1 else None
    (drawn,) = axes.plot(line.x, line.y, color=shade, linestyle=_dashes(line.index), marker=marker)
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
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    faint = _colour(palette.weak("faint"))
    axes.grid(color=faint, linewidth=0.5)
    axes.set_axisbelow(True)
    if panel.log:
        axes.set(xscale="log", yscale="log")
        ends = [value for mark in panel.marks for value in (mark.x, mark.y)]
        axes.axline((min(ends), min(ends)), (max(ends), max(ends)), color=_colour(palette.weak("ring")), linewidth=0.8)
    for mark in panel.marks:
        shade = _line_colour(mark.index)
        size = 5.0 if panel.small else 3.2
        (dot,) = axes.plot(mark.x, mark.y, "o", color=shade, markersize=size, markeredgewidth=0.7)
        _note(dot, mark.note, notes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=6) if panel.log else MaxNLocator(3 if panel.small else 5))
        if panel.log:
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(_power))
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)


def _power(value: float, _: int | None = None) -> str:
    """Return a power of ten in few letters."""
    exponent = round(math.log10(value))
    return _tick(value) if -3 < exponent < 4 else f"1e{exponent}".replace("-", MINUS)


def _draw_dots(axes: Axes, panel: Dots, notes: list[str]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set(xlim=panel.span, ylim=(len(panel.rows) - 0.4, -0.6))
    for place, row in enumerate(panel.rows):
        _draw_row(axes, place, row, notes)
    axes.set_yticks(range(len(panel.rows)), [cut(row.name) for row in panel.rows])
    for label in axes.get_yticklabels():
        label.set_color(_colour(palette.TEXT["light"]))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(_plus))
    _grid(axes, "x")


def cut(name: str) -> str:
    """Return the name of a row of dots on one line, shortened where it is long."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _plus(value: float, _: int | None = None) -> str:
    return f"{'+' if value > 0 else ''}{_tick(value)}"


def _draw_row(axes: Axes, place: int, row: Dot, notes: list[str]) -> None:
    shade = _line_colour(row.index)
    kinds = (("clean pictures", row.clean, "none"), ("corrupted pictures", row.corrupted, shade))
    ends = any(gain and gain.interval for _, gain, _ in kinds)
    if row.clean and row.corrupted and not ends:
        values = row.clean.value, row.corrupted.value
        axes.plot(values, (place, place), color=_colour(palette.weak("faint")), linewidth=2, zorder=1)
    for where, gain, fill in kinds:
        if gain is None:
            continue
        y = place + (0.17 if fill == "none" else -0.17) * ends
        if gain.interval:
            axes.hlines(y, *gain.interval, color=shade, linewidth=1.0 if fill == "none" else 1.6)
        face = palette.SURFACE["light"] if fill == "none" else None
        (dot,) = axes.plot(
            gain.value, y, "o", color=shade, markersize=4, zorder=3, markerfacecolor=_colour(face) if face else shade
        )
        _note(dot, f"{row.name}, {where}: {_said(gain)}", notes)


def _said(gain: Estimate) -> str:
    return f"{with_interval(gain) if gain.interval else number(gain.value) or DASH} points"


def _colour(rgb: palette.Rgb) -> tuple[float, float, float]:
    """Return a colour as matplotlib wants it: three fractions."""
    red, green, blue = (value / 255 for value in rgb)
    return red, green, blue


def _line_colour(index: int) -> tuple[float, float, float]:
    return _colour(palette.LINES["light"][palette.slot_of(index)])


def _dashes(index: int) -> Literal["-", "--", ":", "-."]:
    """Return the dashes of a line: none for the first seven, which have colours of their own."""
    kinds: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
    return kinds[(index - 1) // (len(palette.LINES["light"]) - 1) % 4] if index else "-"


def _take_fonts(figure: Figure) -> None:
    """Let names in other scripts fall back on an installed font that has them."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if not text.get_text().isascii() and (path := font_for(text.get_text())) is not None:
            text.set_fontfamily([*text.get_fontfamily(), FontProperties(fname=path).get_name()])


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in one style, whatever settings the user's matplotlib has, and leave those as they were."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # `font_for` says it in one line
        style = _style_of(_colour(palette.TEXT["light"]), _colour(palette.weak("muted")))
        settings: Any = {**matplotlib.rcParamsDefault, **style}
        matplotlib.rcParams.update({name: value for name, value in settings.items() if name != "backend"})
        yield


def _save(figure: Figure, path: Path, ending: str, metadata: dict[str, Any]) -> None:
    """Write a figure; where a long name sticks out, it grows."""
    from matplotlib.transforms import Bbox

    room = Bbox.union([figure.get_tightbbox().padded(EDGE_INCHES), figure.bbox_inches])
    write_atomic(path, lambda file: figure.savefig(file, format=ending, metadata=metadata, dpi=DPI, bbox_inches=room))
