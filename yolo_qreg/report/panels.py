"""Figures as data: heat maps, lines and dots, made from what was found and drawn by `figures`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.estimate import Estimate, decided_together
from yolo_qreg.evaluation.results import ALL, CLEAN
from yolo_qreg.findings.evaluation import ClassGain, Comparison
from yolo_qreg.findings.gains import Gains, Unit
from yolo_qreg.findings.losses import PARTS, SUM, History, mean_curve
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.report.palette import ink_of, limit_of
from yolo_qreg.report.text import DASH, signed, with_interval

APART = 0.08
"""Distance of models on the axis of severities."""
FAR_ABOVE = 3
"""How many times as high as all later losses those of the first epochs are, where they are not to set the scale."""
FIG1_BITS = (8, 4)
"""The widths of Fig. 1."""
SUMS = {SUM: "sum of all"}


@dataclass(frozen=True, slots=True)
class MapCell:
    """One cell of a heat map.

    Attributes:
        corruption: `clean` or one of the 19.
        points: Model minus baseline; None where there is no number.
        decided: Whether the data support a colour, all cells of the map judged together.
        note: What else is known, for readers who point at it.
    """

    corruption: str
    points: float | None
    decided: bool = True
    note: str = ""

    @property
    def text(self) -> str:
        """The number as printed: in parentheses where it is undecided, a dash where there is none."""
        if self.points is None:
            return DASH
        return signed(self.points) if self.decided else f"({signed(self.points)})"

    @property
    def side(self) -> str:
        """`better`, `worse` or `zero`; `undecided` or `blank` where there is no colour to give."""
        if self.points is None:
            return "blank"
        return ink_of(self.points) if self.decided else "undecided"


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The paper's heat map: 4 x 5 cells, clean first, then the 19 corruptions by alphabet.

    Attributes:
        title: What it is of.
        cells: All 20.
        limit: The end of the scale, which maps that are looked at together share.
        about: What else the title says.
        paper: Where the paper printed it; nothing for our own.
    """

    title: str
    cells: tuple[MapCell, ...]
    limit: float = 1.0
    about: str = ""
    paper: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        name: For the key.
        index: 0 for the baseline, others in order: its colour.
        x: Where its points lie.
        y: Their values.
        bars: Intervals around its points.
        band: From lowest to highest around each of its points, as an area.
        low: Its lowest point, where that is marked.
    """

    name: str
    index: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    bars: tuple[tuple[float, float], ...] = ()
    band: tuple[tuple[float, float], ...] = ()
    low: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines.

    Attributes:
        title: What they show.
        lines: At least one.
        x_label: Of the axis.
        x_ticks: Marks of the axis; whole numbers in its range where none are given.
        unit: What the y axis counts.
        y_range: That of its lines unless charts are to be compared with each other.
        marked: Whether each point is.
        small: Whether it is one of many.
    """

    title: str
    lines: tuple[Line, ...]
    x_label: str
    x_ticks: tuple[tuple[float, str], ...] = ()
    unit: str = ""
    y_range: tuple[float, float] | None = None
    marked: bool = True
    small: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of dots: what is gained on corrupted pictures (full) and on clean ones (hollow)."""

    name: str
    index: int
    corrupted: Estimate | None
    clean: Estimate | None


@dataclass(frozen=True, slots=True)
class Dots:
    """Rows of dots around 0; `span` is their common range where plots are looked at together."""

    title: str
    rows: tuple[Dot, ...]
    span: tuple[float, float]
    x_label: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """One point of a scatter plot.

    Attributes:
        x: Where it lies.
        y: Where it lies.
        index: Its colour, as of lines.
        note: For readers who point at it.
    """

    x: float
    y: float
    index: int
    note: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points.

    Attributes:
        title: What they show.
        marks: At least one.
        x_label: Of the axis.
        y_label: Of the axis.
        key: What the colours mean: names and indices.
        log: Whether both axes are logarithmic, with the line of equal values.
        small: Whether it is one of many.
    """

    title: str
    marks: tuple[Mark, ...]
    x_label: str
    y_label: str
    key: tuple[tuple[str, int], ...] = ()
    log: bool = False
    small: bool = False


Panel = HeatMap | Chart | Dots | Scatter


def heat_maps(gains: Gains, about: Mapping[str, str], titles: Mapping[str, str]) -> tuple[HeatMap, ...]:
    """Return a heat map for each unit, all on one scale."""
    maps = {unit.label: _cells(gains, unit) for unit in gains.compared}
    return scaled(HeatMap(titles[label], cells, about=about.get(label, "")) for label, cells in maps.items())


def paper_map(title: str, source: str, points: Mapping[str, float | None]) -> HeatMap:
    """Return a heat map that the paper printed; it has no intervals."""
    return HeatMap(title, tuple(MapCell(name, points.get(name)) for name in paper_order(CORRUPTIONS)), paper=source)


def scaled(maps: Iterable[HeatMap]) -> tuple[HeatMap, ...]:
    """Return maps on one scale, which ends at the largest of their coloured cells."""
    found = tuple(maps)
    limit = limit_of(c.points for m in found for c in m.cells if c.decided and c.points is not None)
    return tuple(replace(entry, limit=limit) for entry in found)


def _cells(gains: Gains, unit: Unit) -> tuple[MapCell, ...]:
    names = paper_order(CORRUPTIONS)
    found = [gains.gain(unit.label, name) for name in names]
    return tuple(map(_cell, names, found, decided_together(found)))


def _cell(corruption: str, gain: Estimate | None, decided: bool) -> MapCell:
    if gain is None:
        return MapCell(corruption, None, decided=False, note="not evaluated")
    doubt = "" if decided else ", undecided among so many cells" if gain.decided else ", undecided"
    return MapCell(corruption, gain.value, decided, f"{with_interval(gain)} points{doubt}")


def overview(gains: Gains, titles: Mapping[str, str]) -> Dots:
    """Return the answer as a picture: what each unit gains on corrupted and on clean pictures, with intervals."""
    rows = tuple(
        Dot(titles[unit.label], index, gains.gain(unit.label), gains.gain(unit.label, CLEAN))
        for index, unit in enumerate(gains.compared, start=1)
    )
    label = f"points of mAP against {titles[gains.baseline.label]}"
    return Dots("Gain or loss in mAP", rows, _span(rows), label)


def class_dots(found: Mapping[str, Sequence[ClassGain]], titles: Mapping[str, str], baseline: str) -> tuple[Dots, ...]:
    """Return what each model gains on each class, all in one range."""
    plots = [
        Dots(
            titles[label],
            tuple(Dot(row.name, index, _bare(row.corrupted), _bare(row.clean)) for row in rows),
            (0.0, 0.0),
            f"points of mAP against {baseline}",
        )
        for index, (label, rows) in enumerate(found.items(), start=1)
    ]
    span = _span([row for plot in plots for row in plot.rows])
    return tuple(Dots(plot.title, plot.rows, span, plot.x_label) for plot in plots)


def _bare(value: float | None) -> Estimate | None:
    return None if value is None else Estimate(value=value)


def _span(rows: Iterable[Dot]) -> tuple[float, float]:
    """Return the range that holds every dot, its interval and 0."""
    found = [gain for row in rows for gain in (row.corrupted, row.clean) if gain]
    ends = [0.0, *(end for gain in found for end in (gain.value, *(gain.interval or ())))]
    low, high = min(ends), max(ends)
    pad = 0.04 * (high - low) or 1.0
    return low - pad, high + pad


def severity_chart(found: Comparison, titles: Mapping[str, str], corruptions: Sequence[str], title: str) -> Chart:
    """Return mAP in points over severity, clean at 0, as the mean over some corruptions."""
    levels = (0, *found.severities)
    lines = tuple(
        Line(
            titles[unit.label],
            index,
            levels,
            tuple(found.at(unit.label, (level,), corruptions=corruptions) for level in levels),
        )
        for index, unit in enumerate((found.baseline, *found.compared))
    )
    top = 100 * max(score.map50_95 for score in found.results.scores) or 1.0
    return Chart(title, lines, "severity", _levels(levels), "mAP in points", (0.0, top), small=len(corruptions) == 1)


def corruption_charts(found: Comparison, titles: Mapping[str, str]) -> tuple[Chart, ...]:
    """Return one chart for each corruption, in the paper's order."""
    names = paper_order(found.corruptions)[1:]
    return tuple(severity_chart(found, titles, (name,), title_of(name)) for name in names)


def gain_chart(gains: Gains, titles: Mapping[str, str]) -> Chart | None:
    """Return each unit's gain over severity as the mean over all corruptions, with intervals; None without gains.

    Units stand a little apart, so that their intervals can be told apart.
    """
    levels = (0, *gains.severities)
    lines = []
    for index, unit in enumerate(gains.compared, start=1):
        shift = APART * (index - (len(gains.compared) + 1) / 2)
        known = [(level + shift, gains.gain(unit.label, ALL if level else CLEAN, level)) for level in levels]
        if pairs := [(x, gain) for x, gain in known if gain]:
            x, found = zip(*pairs, strict=True)
            bars = tuple(gain.interval or (gain.value, gain.value) for gain in found)
            lines.append(Line(titles[unit.label], index, x, tuple(gain.value for gain in found), bars))
    if not lines:
        return None
    ends = [0.0, *(end for line in lines for bar in line.bars for end in bar)]
    pad = 0.04 * (max(ends) - min(ends)) or 1.0
    span = min(ends) - pad, max(ends) + pad
    title = f"Gain over {titles[gains.baseline.label]}"
    return Chart(title, tuple(lines), "severity", _levels(levels), "points, with 95% intervals", span)


def _levels(levels: Iterable[int]) -> tuple[tuple[float, str], ...]:
    return tuple((level, str(level) if level else CLEAN) for level in levels)


def loss_charts(
    runs: Mapping[str, Sequence[History]], titles: Mapping[str, str], kinds: Mapping[str, str]
) -> tuple[Chart, ...]:
    """Return losses over epochs, validation before training, each as far as some unit has two epochs of it.

    Args:
        runs: By unit, the baseline first, its trainings; means over them are drawn, and bands from lowest to highest.
        titles: Of the units.
        kinds: Of losses, with their titles.
    """
    charts = (
        _loss_chart(runs, titles, part, loss, f"{word}: {kinds[loss]}")
        for part, word in PARTS.items()
        for loss in kinds
    )
    return tuple(chart for chart in charts if chart)


def _loss_chart(
    runs: Mapping[str, Sequence[History]], titles: Mapping[str, str], part: str, loss: str, title: str
) -> Chart | None:
    curves = {label: mean_curve(histories, part, loss) for label, histories in runs.items()}
    lines = tuple(
        Line(titles[label], index, curve.epochs, curve.means, band=curve.band, low=curve.low if part == "val" else None)
        for index, (label, curve) in enumerate(curves.items())
        if curve
    )
    if not any(len(line.x) > 1 for line in lines):
        return None
    return Chart(title, lines, "epoch", y_range=_later_range(lines), marked=False)


def _later_range(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Return the range of what comes after the first quarter of epochs, where that quarter is far above it."""
    points = [
        (x, end) for line in lines for x, ends in zip(line.x, line.band or zip(line.y), strict=True) for end in ends
    ]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    later = max(end for x, end in points if x > first + (last - first) / 4)
    values = [end for _, end in points]
    low = min(values)
    return (low - 0.04 * (later - low), later) if max(values) > FAR_ABOVE * later > FAR_ABOVE * low else None
