"""Every mean that the page's pictures show, as tables: by corruption and by severity."""

from __future__ import annotations

import math

from corruptions import select
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, Results
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.report import markup
from yolo_qreg.report.headline import gain_cell
from yolo_qreg.report.markup import Html, el
from yolo_qreg.report.text import data, find_delta, number


def by_corruption(results: Results) -> Html:
    """Return mAP in points of each model for each corruption, as means over severities, and its gain."""
    gains = {model.name: model.name != results.baseline for model in results.models}
    groups = el(
        "tr",
        el("th", "", rowspan="2"),
        (
            el("th", name, colspan="3" if gain else None, scope="colgroup", class_="group")
            for name, gain in gains.items()
        ),
    )
    kinds = el("tr", (_heads(gain) for gain in gains.values()))
    body = []
    for name in (*paper_order(results.corruptions), ALL, BENCHMARK):
        if name == BENCHMARK and BENCHMARK not in {delta.corruption for delta in results.deltas}:
            continue
        cells = [(_mean(results, model, name), *_gain(results, model, name, gain)) for model, gain in gains.items()]
        kind = "total" if name in {ALL, BENCHMARK} else None
        body.append(
            el("tr", el("th", _label(results, name), scope="row"), (c for row in cells for c in row), class_=kind)
        )
    return markup.table((groups, kinds), body)


def _heads(gain: bool) -> Html:
    head = el("th", "mAP", scope="col", class_="num")
    return Html(head + el("th", "gain [95% interval]", scope="colgroup", colspan="2", class_="pair")) if gain else head


def _label(results: Results, name: str) -> str:
    named = {ALL: f"mean of {len(results.corruptions)}", BENCHMARK: "mPC"}
    return named.get(name) or title_of(name)


def _gain(results: Results, model: str, name: str, gain: bool) -> tuple[Html, ...]:
    return gain_cell(find_delta(results, model, name)) if gain else ()


def _mean(results: Results, model: str, name: str) -> Html:
    members = {
        ALL: results.corruptions,
        BENCHMARK: [c for c in results.corruptions if c in select(["benchmark"])],
    }.get(name, (name,))
    levels = (0,) if name == CLEAN else None
    points = 100 * results.mean(model, members, levels)
    return el("td", data(points, number(points, 2)), class_="num")


def by_severity(results: Results) -> Html:
    """Return mAP@[.50:.95] and AP50 in points of each model at each severity, as means over the corruptions."""
    levels = sorted(results.severities)
    head = el(
        "tr",
        el("th", "", scope="col"),
        el("th", "", scope="col"),
        (el("th", str(level) if level else CLEAN, scope="col", class_="num") for level in (0, *levels)),
        el("th", "mean", scope="col", class_="num"),
    )
    body = []
    for model in results.models:
        for index, (quantity, title) in enumerate((("map50_95", "mAP@[.50:.95]"), ("map50", "AP50"))):
            name = el("th", model.name, scope="rowgroup", rowspan="2") if index == 0 else None
            values = [_severity_mean(results, model.name, (level,), quantity) for level in (0, *levels)]
            values.append(_severity_mean(results, model.name, tuple(levels), quantity))
            cells = (el("td", data(value, number(value, 2)), class_="num") for value in values)
            body.append(el("tr", name, el("td", title), cells, class_="second" if index else None))
    return markup.table(head, body)


def _severity_mean(results: Results, model: str, levels: tuple[int, ...], quantity: str) -> float | None:
    kinds = {(CLEAN, 0)} if levels == (0,) else {(c, level) for c in results.corruptions for level in levels}
    values = [getattr(s, quantity) for s in results.scores if s.model == model and (s.corruption, s.severity) in kinds]
    return 100 * math.fsum(values) / len(values) if values else None
