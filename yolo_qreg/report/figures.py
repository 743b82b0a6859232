"""The page's figures as PNG and PDF files, for papers and slides; the same bytes for the same results."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_qreg.evaluation.results import Results
from yolo_qreg.files import write_atomic
from yolo_qreg.findings.losses import History
from yolo_qreg.findings.names import kind_of, title_of
from yolo_qreg.fonts import font_for
from yolo_qreg.report import classes, curves, heatmap, palette
from yolo_qreg.report.charts import COLOURS, Chart, tick
from yolo_qreg.report.text import compared, file_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "figures"
DPI = 200
NO_DATES: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
STYLE: dict[str, Any] = {
    "font.size": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 3,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a dollar in a name is a dollar
}
PER_ROW = 5
STICKS_OUT = 0.01
"""Inches."""
LETTERS_PER_INCH = 18
"""Of 7 points."""


def write_figures(
    folder: Path, results: Results, losses: Mapping[str, History], colours: palette.Name
) -> tuple[Path, ...]:
    """Write FOLDER/figures: heat maps, severity, classes and losses, each where there is something to show.

    Figures of an earlier evaluation that this one does not have are removed.

    Args:
        folder: Where the results lie.
        results: The evaluation.
        losses: Of the trainings that are known.
        colours: Palette of the heat maps.

    Returns:
        The files, each figure as PNG before PDF.
    """
    return write_named(folder, _figures(results, losses, colours))


def write_named(folder: Path, found: Iterable[tuple[str, Figure]]) -> tuple[Path, ...]:
    """Write FOLDER/figures, as `write_figures` does: figures by name, drawn one after another in one style."""
    written = []
    with _style():
        for name, figure in found:
            _take_fonts(figure)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, for both files
            for ending, metadata in NO_DATES.items():
                path = folder / FOLDER / f"{name}.{ending}"
                _save(figure, path, ending, metadata)
                written.append(path)
    for ending in NO_DATES:
        for old in (folder / FOLDER).glob(f"*.{ending}"):
            if old not in written:
                old.unlink()
    return tuple(written)


def _take_fonts(figure: Figure) -> None:
    """Let names in other scripts fall back on an installed font that has them."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if not text.get_text().isascii() and (path := font_for(text.get_text())) is not None:
            text.set_fontfamily([*text.get_fontfamily(), FontProperties(fname=path).get_name()])


@contextmanager
def _style() -> Iterator[None]:
    """Draw in one style, whatever settings the user's matplotlib has, and leave those as they were."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # `font_for` says it in one line
        settings: Any = {**matplotlib.rcParamsDefault, **STYLE}
        matplotlib.rcParams.update({name: value for name, value in settings.items() if name != "backend"})
        yield


def _save(figure: Figure, path: Path, ending: str, metadata: dict[str, Any]) -> None:
    """Write a figure; where a long name sticks out, it grows."""
    from matplotlib.transforms import Bbox

    whole = figure.bbox_inches
    room = Bbox.union([figure.get_tightbbox(), whole])
    grown = room.width > whole.width + STICKS_OUT or room.height > whole.height + STICKS_OUT
    options: dict[str, Any] = {"bbox_inches": room} if grown else {}
    write_atomic(path, lambda file: figure.savefig(file, format=ending, metadata=metadata, dpi=DPI, **options))


def _figures(results: Results, losses: Mapping[str, History], colours: palette.Name) -> Iterator[tuple[str, Figure]]:
    models = compared(results)
    files = file_names([model.name for model in models])
    limit = heatmap.report_limit(results)
    for model in models:
        cells = heatmap.cells_of(results, model.name)
        title = f"{model.name} ({kind_of(model.method, model.bits)}) against {results.baseline}, points of mAP"
        yield f"heatmap-{files[model.name]}", heatmap_figure(cells, limit, title, colours)
    if len(results.severities) > 1:
        wide = [curves.severity_chart(results, results.corruptions, "mean mAP over the corruptions, points")]
        gain = curves.gain_chart(results, f"gain over {results.baseline}, points, 95% intervals")
        wide += [gain] if gain.lines else []
        yield "severity", charts_figure(wide, len(wide), (3.3, 2.6))
        yield "severity-by-corruption", charts_figure(curves.corruption_charts(results), PER_ROW, (1.6, 1.3))
    if found := classes.by_model(results):
        yield "classes", classes_figure(found, curves.slots(results), results.baseline)
    if charts := curves.loss_charts(results, losses):
        yield "losses", charts_figure(charts, 3, (2.4, 2.0))


def colour(rgb: palette.Rgb) -> tuple[float, float, float]:
    """Return a colour as matplotlib wants it: three fractions."""
    red, green, blue = (value / 255 for value in rgb)
    return red, green, blue


def line_colour(slot: int) -> tuple[float, float, float]:
    """Return the colour of a line on a white page."""
    return colour(palette.LINES["light"][slot % COLOURS])


def heatmap_figure(cells: Sequence[heatmap.Cell], limit: float, title: str, colours: palette.Name) -> Figure:
    """Draw a heat map as the page does: colour where decided, a dashed ring and parentheses where not."""
    return heatmaps_figure({title: cells}, 1, limit, colours)


def heatmaps_figure(
    maps: Mapping[str, Sequence[heatmap.Cell]], per_row: int, limit: float, colours: palette.Name
) -> Figure:
    """Draw heat maps by title in rows, with the key to their one scale below the first of the last row."""
    from matplotlib.figure import Figure

    down, across = math.ceil(len(maps) / per_row), min(per_row, len(maps))
    rows = max(math.ceil(len(cells) / heatmap.COLUMNS) for cells in maps.values())
    figure = Figure(figsize=(4.6 * across, (0.62 * rows + 0.34) * down + 0.28), layout="constrained")
    for index, (title, cells) in enumerate(maps.items()):
        axes = figure.add_subplot(down, across, index + 1, xlim=(0, heatmap.COLUMNS), ylim=(rows, 0))
        axes.set_axis_off()
        axes.set_title(title)
        _draw_cells(axes, cells, limit, colours)
    key = f"white 0, full colour {tick(round(limit, 1))} points; dashed, in parentheses: the 95% interval includes 0"
    muted = colour(palette.mix(palette.TEXT["light"], 0.6))
    figure.axes[across * (down - 1)].text(0, rows + 0.12, key, va="top", fontsize=6, color=muted)
    return figure


def _draw_cells(axes: Axes, cells: Sequence[heatmap.Cell], limit: float, colours: palette.Name) -> None:
    from matplotlib.patches import Rectangle

    ink = colour(palette.TEXT["light"])
    muted = colour(palette.mix(palette.TEXT["light"], 0.6))
    for index, cell in enumerate(cells):
        down, across = divmod(index, heatmap.COLUMNS)
        dashed = cell.side == "undecided"
        box = Rectangle(
            (across + 0.02, down + 0.03),
            0.96,
            0.94,
            facecolor=fill_of(cell, limit, colours),
            edgecolor=muted if dashed else "0.85",
            linestyle=(0, (3, 2)) if dashed else "-",
            linewidth=0.6 if cell.side not in {"better", "worse"} else 0,
        )
        axes.add_patch(box)
        grey = muted if dashed or cell.side == "blank" else ink
        axes.text(across + 0.5, down + 0.3, title_of(cell.corruption), ha="center", va="center", fontsize=6, color=grey)
        axes.text(across + 0.5, down + 0.65, cell.text, ha="center", va="center", fontsize=9, color=grey)


def fill_of(cell: heatmap.Cell, limit: float, colours: palette.Name) -> tuple[float, float, float]:
    """Return a cell's colour on a white page; white where it has none."""
    pair = palette.PALETTES[colours]["light"]
    if cell.points is None or cell.side not in {"better", "worse"}:
        return colour(palette.SURFACE["light"])
    top = pair.better if cell.side == "better" else pair.worse
    return colour(palette.mix(top, palette.strength(cell.points, limit)))


def charts_figure(found: Sequence[Chart], per_row: int, inches: tuple[float, float]) -> Figure:
    """Draw charts in rows, with one key for all of them."""
    from matplotlib.figure import Figure

    columns = min(per_row, len(found))
    rows = math.ceil(len(found) / columns)
    figure = Figure(figsize=(columns * inches[0], rows * inches[1] + 0.4), layout="constrained")
    for index, chart in enumerate(found):
        _draw(figure.add_subplot(rows, columns, index + 1), chart)
    seen = {line.name: line.slot for chart in found for line in chart.lines}
    _key(figure, seen)
    return figure


def _draw(axes: Axes, chart: Chart) -> None:
    for line in chart.lines:
        shade = line_colour(line.slot)
        axes.plot(line.x, line.y, color=shade, marker="o" if chart.marked or len(line.x) == 1 else None)
        for x, (low, high) in zip(line.x, line.bars, strict=False):
            axes.plot((x, x), (low, high), color=shade, linewidth=0.9)
        if line.band:
            below, above = zip(*line.band, strict=True)
            axes.fill_between(line.x, below, above, color=shade, alpha=0.2, linewidth=0)
    _, y_span = chart.spans()
    axes.set_ylim(y_span[0], y_span[1] + 0.03 * (y_span[1] - y_span[0]))
    if y_span[0] < 0 < y_span[1]:
        axes.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    axes.set_title(chart.title)
    if chart.x_ticks:
        axes.set_xticks([value for value, _ in chart.x_ticks], [text for _, text in chart.x_ticks])
    axes.set_xlabel(chart.x_label)


def _key(figure: Figure, slots: dict[str, int]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=line_colour(slot)) for slot in slots.values()]
    figure.legend(lines, list(slots), loc="outside lower left", ncols=4)


def classes_figure(found: dict[str, tuple[classes.ClassDelta, ...]], slots: dict[str, int], baseline: str) -> Figure:
    """Draw each model's gains by class: a dot for corrupted pictures, a ring for clean ones."""
    from matplotlib.figure import Figure

    names = [row.name for row in next(iter(found.values()))]
    figure = Figure(figsize=(2.6 * len(found) + 0.6, 0.17 * len(names) + 0.9), layout="constrained")
    for index, (model, rows) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), index + 1, xlim=classes.span_of(found), ylim=(len(names) - 0.4, -0.6))
        axes.axvline(0, color="0.6", linewidth=0.6, zorder=0)
        shade = line_colour(slots[model])
        for row in rows:
            place = names.index(row.name)
            if row.clean is not None and row.corrupted is not None:
                axes.plot((row.clean, row.corrupted), (place, place), color="0.85", linewidth=2, zorder=1)
            if row.clean is not None:
                axes.plot(row.clean, place, "o", markerfacecolor="white", markeredgecolor=shade, markersize=3.5)
            if row.corrupted is not None:
                axes.plot(row.corrupted, place, "o", color=shade, markersize=3.5)
        axes.set_yticks(range(len(names)), names if index == 0 else [""] * len(names))
        axes.tick_params(axis="y", length=0)
        axes.set_title(model)
    foot = f"points of mAP against {baseline}; dot: corrupted pictures, ring: clean ones"
    figure.supxlabel(textwrap.fill(foot, int(LETTERS_PER_INCH * figure.get_figwidth())), fontsize=7)
    return figure
