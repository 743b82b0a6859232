"""What each class gains or loses against the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yolo_qreg.evaluation.results import CLEAN, Results
from yolo_qreg.report import markup
from yolo_qreg.report.charts import COLOURS, WIDEST, steps
from yolo_qreg.report.markup import Html, el
from yolo_qreg.report.text import compared, data, signed

ROW_PX, LABEL_PX, WIDTH_PX, FOOT_PX = 18, 96, 330, 24
LONGEST = 15


@dataclass(frozen=True, slots=True)
class ClassDelta:
    """A class of one model: model minus baseline in points, None where no picture holds the class."""

    name: str
    clean: float | None
    corrupted: float | None


def class_deltas(results: Results, model: str) -> tuple[ClassDelta, ...]:
    """Return a model's deltas, in the order of the data; means are over the cells that both models have a score for."""
    ours, base = (
        {(s.name, s.corruption, s.severity): s.map50_95 for s in results.class_scores if s.model == name}
        for name in (model, results.baseline)
    )
    gains: dict[str, dict[bool, list[float]]] = {}
    for (name, corruption, severity), value in ours.items():
        other = base.get((name, corruption, severity))
        kinds = gains.setdefault(name, {True: [], False: []})
        if value is not None and other is not None:
            kinds[corruption == CLEAN].append(100 * (value - other))
    return tuple(ClassDelta(name, _mean(kinds[True]), _mean(kinds[False])) for name, kinds in gains.items())


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def by_model(results: Results) -> dict[str, tuple[ClassDelta, ...]]:
    """Return the deltas of all models, classes sorted by what the first model gains on corrupted pictures.

    Classes that no picture holds are left out.
    """
    found = {model.name: class_deltas(results, model.name) for model in compared(results)}
    held = {r.name for rows in found.values() for r in rows if (r.clean, r.corrupted) != (None, None)}
    found = {model: tuple(row for row in rows if row.name in held) for model, rows in found.items()}
    first = next(iter(found.values()), ())
    rank = {row.name: (row.corrupted is None, -(row.corrupted or 0)) for row in first}
    return {
        name: tuple(sorted(rows, key=lambda row: rank.get(row.name, (True, 0.0))))
        for name, rows in found.items()
        if rows
    }


def span_of(found: dict[str, tuple[ClassDelta, ...]]) -> tuple[float, float]:
    """Return the range that holds every delta and 0."""
    values = [v for rows in found.values() for row in rows for v in (row.clean, row.corrupted) if v is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    pad = 0.04 * (high - low) or 1.0
    return low - pad, high + pad


def dot_plot(rows: tuple[ClassDelta, ...], span: tuple[float, float], slot: int, label: str) -> Html:
    """Draw one model's classes: a filled dot for corrupted pictures, a ring for clean ones."""
    height = ROW_PX * len(rows) + FOOT_PX

    def at(value: float) -> float:
        return round(LABEL_PX + (value - span[0]) / (span[1] - span[0]) * (WIDTH_PX - LABEL_PX - 8), 1)

    foot = height - FOOT_PX
    parts = []
    for value in steps(*span, 6):
        x = at(value)
        parts += [
            el("line", x1=x, x2=x, y1=0, y2=foot, class_="rule zero" if value == 0 else "rule"),
            el("text", signed(value, 0 if value == round(value) else 1), x=x, y=foot + 15, text_anchor="middle"),
        ]
    for index, row in enumerate(rows):
        y = ROW_PX * index + ROW_PX / 2
        text = row.name if len(row.name) <= LONGEST else f"{row.name[: LONGEST - 1]}…"
        parts.append(el("text", text, el("title", row.name), x=LABEL_PX - 8, y=y, dy="0.35em", text_anchor="end"))
        if row.clean is not None and row.corrupted is not None:
            parts.append(el("line", x1=at(row.clean), x2=at(row.corrupted), y1=y, y2=y, class_="link"))
        for points, kind in ((row.clean, "ring"), (row.corrupted, "dot")):
            if points is not None:
                parts.append(el("circle", cx=at(points), cy=y, r=4, class_=f"{kind} s{slot % COLOURS}"))
    size = {"viewBox": f"0 0 {WIDTH_PX} {height}", "style": f"max-width:{WIDEST * WIDTH_PX:.0f}px"}
    return el("svg", parts, **size, class_="chart", role="img", aria_label=label)


def number_table(found: dict[str, tuple[ClassDelta, ...]]) -> Html:
    """Return every delta as a table: clean and corrupted, by model."""
    names = list(dict.fromkeys(row.name for rows in found.values() for row in rows))
    index = {model: {row.name: row for row in rows} for model, rows in found.items()}
    head = el("tr", el("th", "class", rowspan="2"), (el("th", model, colspan="2", class_="group") for model in found))
    kinds = el("tr", (el("th", kind, class_="num") for _ in found for kind in (CLEAN, "corrupted")))
    body = []
    for name in names:
        cells: list[Html] = []
        for rows in index.values():
            row = rows.get(name, ClassDelta(name, None, None))
            cells += [el("td", data(value, signed(value)), class_="num") for value in (row.clean, row.corrupted)]
        body.append(el("tr", el("th", name, scope="row"), cells))
    return markup.table((head, kinds), body)
