"""The paper's own figures beside ours, where they are about the same thing."""

from __future__ import annotations

from yolo_qreg.evaluation.results import Model, Results
from yolo_qreg.findings import paper
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.paper import CORRUPTIONS_OF_TABLE1
from yolo_qreg.report import heatmap, markup
from yolo_qreg.report.headline import Row, gain_cell, rows_of
from yolo_qreg.report.markup import Html, el, join
from yolo_qreg.report.text import DASH, compared, data, number, signed


def is_voc(results: Results) -> bool:
    """Tell whether the pictures are labelled with the classes of Pascal VOC, in whatever order."""
    return paper.is_voc({score.name for score in results.class_scores})


def matches(results: Results) -> tuple[tuple[Model, paper.Map], ...]:
    """Return the models that the paper has a heat map of: same quantizer and bits, classes of Pascal VOC."""
    known = {(entry.method, entry.bits): entry for entry in paper.maps()} if is_voc(results) else {}
    pairs = ((model, known.get((model.method or "", model.bits or 0))) for model in compared(results))
    return tuple((model, entry) for model, entry in pairs if entry)


def map_pairs(results: Results) -> Html:
    """Return our heat map and the paper's for each model that both know, all on one scale."""
    found = [
        (model, entry, heatmap.cells_of(results, model.name), heatmap.cells_from(entry.points))
        for model, entry in matches(results)
    ]
    limit = heatmap.limit_of(cells for _, _, ours, theirs in found for cells in (ours, theirs))
    figures = []
    for model, entry, ours, theirs in found:
        kind = kind_of(entry.method, entry.bits)
        figures += [
            el(
                "figure",
                el("figcaption", el("b", kind), f" ours: {model.name}"),
                heatmap.grid(ours, limit),
                class_="map",
            ),
            el(
                "figure",
                el("figcaption", el("b", kind), " ", el("span", f"paper, {entry.source}", class_="tag")),
                heatmap.grid(theirs, limit),
                class_="map from-paper",
            ),
        ]
    blank = any(cell.side == "blank" for _, _, _, theirs in found for cell in theirs)
    key = heatmap.legend(limit, "number lost in our copy of the paper" if blank else None)
    return join(el("div", figures, class_="maps pairs"), key)


def has_table(results: Results) -> bool:
    """Tell whether the paper's Table 1 applies: DoReFa, classes of Pascal VOC, all 19 corruptions."""
    methods = {model.method for model, _ in matches(results)}
    return "dorefa" in methods and len(results.corruptions) == CORRUPTIONS_OF_TABLE1


def table(results: Results) -> Html:
    """Return Table 1 beside our numbers: mean mAP over the 19 corruptions in points, gain, and Equation 5."""
    printed = {(row.method, row.bits): row for row in paper.table1()}
    base = printed[None, 32]
    groups = el(
        "tr",
        el("th", "", colspan="2"),
        el("th", "ours", colspan="4", scope="colgroup", class_="group"),
        el("th", el("span", "paper, Table 1", class_="tag"), colspan="3", scope="colgroup", class_="group from-paper"),
    )
    kinds = ("mAP", "gain", "", "Eq. 5", "mAP", "gain", "Eq. 5")
    head = el(
        "tr",
        (el("th", name, scope="col") for name in ("model", "weights")),
        (el("th", kind, class_="num from-paper" if index > 3 else "num") for index, kind in enumerate(kinds)),
    )
    body = []
    for row in rows_of(results):
        entry = base if row.model.name == results.baseline else printed.get((row.model.method, row.model.bits or 0))
        if entry:
            body.append(el("tr", _ours(row), printed_cells(entry, base)))
    return markup.table((groups, head), body)


def _ours(row: Row) -> tuple[Html, ...]:
    points, gain5 = 100 * row.summary.corrupted, row.summary.equation5
    return (
        el("th", row.model.name, scope="row"),
        el("td", kind_of(row.model.method, row.model.bits)),
        el("td", data(points, number(points, 2)), class_="num"),
        *gain_cell(row.gain),
        el("td", data(gain5, number(gain5, 2)), class_="num"),
    )


def printed_cells(entry: paper.Row | None, base: paper.Row) -> tuple[Html, ...]:
    """Return three table cells of the paper's Table 1: mAP, gain and Equation 5; dashes where it has no such row."""
    if entry is None:
        return tuple(el("td", DASH, class_="num from-paper") for _ in range(3))
    gain = DASH if entry is base else signed(entry.points - base.points, 2)
    texts = (number(entry.points, 2), gain, number(entry.equation5, 2))
    return tuple(el("td", text, class_="num from-paper") for text in texts)
