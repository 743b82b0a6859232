"""The figures of gains as data: heat maps, the overview, classes, and severities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.estimate import Estimate, decided_together
from yolo_qreg.evaluation.results import ALL, CLEAN
from yolo_qreg.findings.evaluation import ClassGain, Comparison
from yolo_qreg.findings.gains import Gains, Unit
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.report.palette import limit_of
from yolo_qreg.report.panels import Chart, Dot, Dots, HeatMap, Line, MapCell
from yolo_qreg.report.text import with_interval

APART = 0.08
"""Distance of models on the axis of severities."""


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
