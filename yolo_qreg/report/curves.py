"""Curves: mAP against severity, and the losses of the trainings."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_qreg.evaluation.results import ALL, CLEAN, Results
from yolo_qreg.report.charts import Chart, Line, steps
from yolo_qreg.report.text import find_delta, paper_order, title_of

LOSSES = {"box": "box", "cls": "class (cls)", "dfl": "distribution focal (dfl)"}
PARTS = {"val": "validation", "train": "training"}
COLUMNS = tuple(f"{part}/{loss}_loss" for part in PARTS for loss in LOSSES)
"""Of the host's file, validation before training."""
RESULTS_CSV = "results.csv"
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


Series = tuple[tuple[float, float], ...]
"""(epoch, value) in order."""


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of a training by column of its results.csv: (epoch, loss) where that was computed."""

    model: str
    columns: dict[str, Series]


def read_losses(results: Results, folder: Path) -> tuple[Losses, ...]:
    """Return the losses of every model whose run folder holds a results.csv; what it lacks is left out.

    An epoch without validation has zeros in the host's file; no loss is exactly 0.

    Args:
        results: The evaluation.
        folder: Where it lies; run folders may be given relative to it.
    """
    found = []
    for model in results.models:
        paths = [base / model.run / RESULTS_CSV for base in (folder, Path())] if model.run else []
        path = next((path for path in paths if path.is_file()), None)
        columns = read_columns(path) if path else {}
        if columns:
            found.append(Losses(model.name, columns))
    return tuple(found)


def read_columns(path: Path, names: Sequence[str] = COLUMNS) -> dict[str, Series]:
    """Return columns of a training's results.csv by name, as `columns_of` does."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        try:
            return columns_of(csv.DictReader(file), names)
        except csv.Error:  # no table any more
            return {}


def columns_of(rows: Iterable[Mapping[str, str]], names: Sequence[str]) -> dict[str, Series]:
    """Return columns by name: (epoch, value) where there is one; zeros and what is no number are left out."""
    columns: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for index, raw in enumerate(rows, start=1):
        row = {key.strip(): value for key, value in raw.items() if isinstance(key, str)}
        epoch = _number(row.get("epoch")) or index
        for name in names:
            value = _number(row.get(name))
            if value:
                columns[name].append((epoch, value))
    return {name: tuple(values) for name, values in columns.items() if values}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def loss_charts(results: Results, losses: Sequence[Losses]) -> tuple[Chart, ...]:
    """Return a chart for each loss that some run has for two epochs or more: validation before training."""
    slot = slots(results)
    charts = []
    for part, word in PARTS.items():
        for loss, title in LOSSES.items():
            column = f"{part}/{loss}_loss"
            lines = tuple(
                Line(run.model, slot[run.model], *zip(*run.columns[column], strict=True))
                for run in losses
                if column in run.columns
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
