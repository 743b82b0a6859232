"""Curves: mAP against severity, and the losses of the trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolo_qreg.evaluation.results import ALL, CLEAN, Results
from yolo_qreg.findings.losses import LOSSES, PARTS, History
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.report.charts import Chart, Line, steps
from yolo_qreg.report.text import find_delta

APART = 0.08
"""Distance of models on the axis of severities."""


def slots(results: Results) -> dict[str, int]:
    """Return each model's colour: 0 for the baseline, then the others in order."""
    others = [model.name for model in results.models if model.name != results.baseline]
    return {results.baseline: 0, **{name: index for index, name in enumerate(others, start=1)}}


def severity_chart(results: Results, corruptions: Sequence[str], title: str) -> Chart:
    """Return mAP in points over severity, clean at 0, as the mean over some corruptions."""
    levels = (0, *sorted(results.severities))
    lines = []
    for name, slot in slots(results).items():
        clean = results.score(name).map50_95
        values = [clean, *(results.mean(name, corruptions, (level,)) for level in levels[1:])]
        lines.append(Line(name, slot, levels, tuple(100 * value for value in values)))
    ticks = tuple((level, str(level) if level else CLEAN) for level in levels)
    return Chart(title, tuple(lines), x_label="severity", y_label="mAP", x_ticks=ticks, y_range=_range(results))


def gain_chart(results: Results, title: str) -> Chart:
    """Return each model's gain in points over severity, as the mean over all corruptions, with its 95% intervals.

    Models stand a little apart, so that their intervals can be told apart.
    """
    levels = (0, *sorted(results.severities))
    models = [name for name in slots(results) if name != results.baseline]
    lines = []
    for index, name in enumerate(models):
        shift = APART * (index - (len(models) - 1) / 2)
        known = [(level, find_delta(results, name, ALL if level else CLEAN, level)) for level in levels]
        found = [(level + shift, delta) for level, delta in known if delta is not None]
        if found:
            x, deltas = zip(*found, strict=True)
            bars = tuple(delta.interval or (delta.value, delta.value) for delta in deltas)
            lines.append(Line(name, slots(results)[name], x, tuple(delta.value for delta in deltas), bars))
    ticks = tuple((level, str(level) if level else CLEAN) for level in levels)
    ends = [0.0, *(end for line in lines for bar in line.bars for end in bar)]
    pad = 0.04 * (max(ends) - min(ends))
    y_range = (min(ends) - pad, max(ends) + pad)
    return Chart(title, tuple(lines), x_label="severity", y_label="points", x_ticks=ticks, y_range=y_range)


def corruption_charts(results: Results) -> tuple[Chart, ...]:
    """Return one chart for each corruption, in the paper's order."""
    names = paper_order(results.corruptions)[1:]
    return tuple(severity_chart(results, (name,), title_of(name)) for name in names)


def _range(results: Results) -> tuple[float, float]:
    """All charts of mAP share one axis, from 0."""
    return 0.0, 100 * max(score.map50_95 for score in results.scores) or 1.0


def loss_charts(results: Results, histories: Mapping[str, History]) -> tuple[Chart, ...]:
    """Return a chart for each loss that some run has for two epochs or more: validation before training."""
    slot = slots(results)
    charts = []
    for part, word in PARTS.items():
        for loss, title in LOSSES.items():
            found = {name: history.series(part, loss) for name, history in histories.items()}
            lines = tuple(
                Line(name, slot[name], *zip(*series, strict=True)) for name, series in found.items() if series
            )
            charts.append(epoch_chart(f"{word}: {title}", lines))
    return tuple(chart for chart in charts if chart)


def epoch_chart(title: str, lines: tuple[Line, ...]) -> Chart | None:
    """Return a chart of losses over epochs; None where no line has two."""
    if not any(len(line.x) > 1 for line in lines):
        return None
    epochs = [epoch for line in lines for epoch in line.x]
    ticks = tuple((v, f"{v:g}") for v in steps(min(epochs), max(epochs), 4) if v.is_integer())
    return Chart(title, lines, "epoch", "loss", x_ticks=ticks, marked=False)
