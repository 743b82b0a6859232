"""The figures of gains as data: heat maps, the overview, classes, and severities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.estimate import Estimate, decided_together
from yolo_qreg.evaluation.results import ALL, CLEAN
from yolo_qreg.findings.evaluation import Comparison
from yolo_qreg.findings.gains import Gains, Unit
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.report.palette import limit_of
from yolo_qreg.report.panels import Chart, Dot, Dots, HeatMap, Line, MapCell
from yolo_qreg.report.text import with_interval

APART = 0.08
"""Distance of models on the axis of severities."""


def heat_maps(gains: Gains, about: Mapping[str, str], *, paper: bool) -> dict[str, tuple[HeatMap, ...]]:
    """Return heat maps by unit, all on one scale, which ends at the largest of the coloured cells.

    Args:
        gains: What they show.
        about: What else their titles say, by unit; others have no map.
        paper: Whether those that the paper printed stand behind ours; they have no intervals.
    """
    found: dict[str, tuple[HeatMap, ...]] = {}
    for unit in (unit for unit in gains.compared if unit.label in about):
        found[unit.label] = (HeatMap(unit.title, _cells(gains, unit), about=about[unit.label]),)
        printed = gains.printed(unit)
        if paper and printed.cells:
            cells = tuple(MapCell(name, printed.cells[name]) for name in paper_order(CORRUPTIONS))
            found[unit.label] += (HeatMap(unit.kind, cells, paper=printed.figure),)
    shown = [cell for maps in found.values() for entry in maps for cell in entry.cells if cell.decided]
    limit = limit_of(cell.points for cell in shown if cell.points is not None)
    return {label: tuple(replace(entry, limit=limit) for entry in maps) for label, maps in found.items()}


def _cells(gains: Gains, unit: Unit) -> tuple[MapCell, ...]:
    names = paper_order(CORRUPTIONS)
    found = [gains.gain(unit.label, name) for name in names]
    return tuple(map(_cell, names, found, decided_together(found)))


def _cell(corruption: str, gain: Estimate | None, decided: bool) -> MapCell:
    if gain is None:
        return MapCell(corruption, None, decided=False, note="not evaluated")
    doubt = "" if decided else ", undecided among so many cells" if gain.decided else ", undecided"
    return MapCell(corruption, gain.value, decided, f"{with_interval(gain)} points{doubt}")


def overview(gains: Gains) -> Dots:
    """Return the answer as a picture: what each unit gains on corrupted and on clean pictures, with intervals."""
    rows = tuple(
        Dot(unit.name, index, gains.gain(unit.label), gains.gain(unit.label, CLEAN))
        for index, unit in enumerate(gains.compared, start=1)
    )
    return Dots("Gain or loss in mAP", rows, _span_of(rows), _against(gains))


def class_dots(found: Comparison) -> tuple[Dots, ...]:
    """Return what each model gains on each class, all in one range."""
    plots = {
        label: tuple(Dot(row.name, index, _bare(row.corrupted), _bare(row.clean)) for row in rows)
        for index, (label, rows) in enumerate(found.class_gains().items(), start=1)
    }
    span = _span_of(row for rows in plots.values() for row in rows)
    return tuple(Dots(label, rows, span, _against(found)) for label, rows in plots.items())


def _against(gains: Gains) -> str:
    return f"points of mAP against {gains.baseline.name}"


def _bare(value: float | None) -> Estimate | None:
    return None if value is None else Estimate(value=value)


def _span_of(rows: Iterable[Dot]) -> tuple[float, float]:
    return _span(gain for row in rows for gain in (row.corrupted, row.clean) if gain)


def _span(gains: Iterable[Estimate]) -> tuple[float, float]:
    """Return the range that holds each number, its interval and 0."""
    ends = [0.0, *(end for gain in gains for end in (gain.value, *(gain.interval or ())))]
    low, high = min(ends), max(ends)
    pad = 0.04 * (high - low) or 1.0
    return low - pad, high + pad


def severity_chart(found: Comparison, corruptions: Sequence[str], title: str) -> Chart:
    """Return mAP in points over severity, clean at 0, as the mean over some corruptions."""
    levels = (0, *found.severities)
    lines = tuple(
        Line(
            unit.title,
            index,
            levels,
            tuple(found.at(unit.label, (level,), corruptions=corruptions) for level in levels),
        )
        for index, unit in enumerate(found.units)
    )
    top = 100 * max(score.map50_95 for score in found.results.scores) or 1.0
    return Chart(title, lines, "severity", _levels(levels), "mAP in points", (0.0, top), small=len(corruptions) == 1)


def corruption_charts(found: Comparison) -> tuple[Chart, ...]:
    """Return one chart for each corruption, in the paper's order."""
    names = paper_order(found.corruptions)[1:]
    return tuple(severity_chart(found, (name,), title_of(name)) for name in names)


def gain_chart(gains: Gains) -> Chart | None:
    """Return each unit's gain over severity as the mean over all corruptions, with intervals; None without gains.

    Units stand a little apart, so that their intervals can be told apart.
    """
    levels = (0, *gains.severities)
    lines: list[Line] = []
    every: list[Estimate] = []
    for index, unit in enumerate(gains.compared, start=1):
        shift = APART * (index - (len(gains.compared) + 1) / 2)
        known = [(level + shift, gains.gain(unit.label, ALL if level else CLEAN, level)) for level in levels]
        if pairs := [(x, gain) for x, gain in known if gain]:
            x, found = zip(*pairs, strict=True)
            bars = tuple(gain.interval or (gain.value, gain.value) for gain in found)
            lines.append(Line(unit.title, index, x, tuple(gain.value for gain in found), bars))
            every += found
    if not lines:
        return None
    title = f"Gain over {gains.baseline.title}"
    return Chart(title, tuple(lines), "severity", _levels(levels), "points, with 95% intervals", _span(every))


def _levels(levels: Iterable[int]) -> tuple[tuple[float, str], ...]:
    return tuple((level, str(level) if level else CLEAN) for level in levels)
