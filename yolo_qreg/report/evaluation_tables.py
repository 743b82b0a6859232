"""The tables of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN
from yolo_qreg.findings import paper
from yolo_qreg.findings.evaluation import ClassGain, Comparison
from yolo_qreg.findings.gains import Unit
from yolo_qreg.findings.names import method_title, paper_order, title_of
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.report.table import (
    GAIN,
    Cell,
    Column,
    Row,
    Table,
    count_cell,
    gain_cell,
    kind_cell,
    number_cell,
    table,
    text_cell,
)

SCORES: dict[Literal["map50_95", "map50"], str] = {"map50_95": "mAP@[.50:.95]", "map50": "AP50"}
HASH = 12
"""Digits of a hash that are shown; the whole one is in its tooltip and in run.json."""


def headline(found: Comparison) -> Table:
    """Return the paper's Table 1 in our form: mAP@[.50:.95] in points, rPC in percent, size in MB."""
    columns = (
        Column("model", "model", words=True),
        Column("quantizer", "quantizer", words=True),
        Column("bits", "bits"),
        Column("corrupted", "corrupted mAP"),
        Column("gain", GAIN),
        Column("equation5", "Eq. 5"),
        Column("clean", "clean mAP"),
        Column("mpc", "mPC"),
        Column("rpc", "rPC, %"),
        Column("mb", "MB"),
    )
    summaries, sizes = found.summaries(), {model.name: model.size_mb for model in found.results.models}

    def row(unit: Unit) -> Row:
        summary, gain = summaries[unit.label], found.gain(unit.label)
        cells = (
            text_cell(unit.label),
            text_cell(method_title(unit.method) if unit.method else None),
            count_cell(unit.bits),
            number_cell(100 * summary.corrupted),
            gain_cell(gain),
            number_cell(summary.equation5, doubtful=gain is not None and not gain.decided),
            number_cell(100 * summary.clean),
            number_cell(None if summary.mpc is None else 100 * summary.mpc),
            number_cell(None if summary.rpc is None else 100 * summary.rpc, 1),
            number_cell(sizes[unit.label]),
        )
        return Row(cells, "base" if unit == found.baseline else "")

    return table(columns, map(row, found.units))


def corruptions(found: Comparison) -> Table:
    """Return mAP in points of each model for each corruption, as means over severities, and its gain."""
    columns = [Column("corruption", "corruption", words=True)]
    for unit in found.units:
        columns.append(Column(f"{unit.label}/map", "mAP", group=unit.label))
        if unit != found.baseline:
            columns.append(Column(f"{unit.label}/gain", GAIN, group=unit.label))
    named = {ALL: f"mean of {len(found.corruptions)}", BENCHMARK: "mPC"}

    def row(name: str) -> Row:
        cells = [text_cell(named.get(name) or title_of(name))]
        for unit in found.units:
            cells.append(number_cell(found.mean(unit.label, name)))
            if unit != found.baseline:
                cells.append(gain_cell(found.gain(unit.label, name)))
        return Row(tuple(cells), "total" if name in named else "")

    return table(columns, map(row, (*paper_order(found.corruptions), *found.means)))


def gains_by_corruption(found: Comparison) -> Table:
    """Return the gains of that table alone."""
    return corruptions(found).only("corruption", *(f"{unit.label}/gain" for unit in found.compared))


def severities(found: Comparison) -> Table:
    """Return mAP@[.50:.95] and AP50 in points of each model at each severity, as means over the corruptions."""
    levels = found.severities
    columns = (
        Column("model", "model", words=True),
        Column("score", "score", words=True),
        *(Column(f"severity_{level}", str(level) if level else CLEAN) for level in (0, *levels)),
        Column("mean", "mean"),
    )
    rows = [
        Row(
            (
                text_cell(unit.label),
                text_cell(title),
                *(number_cell(found.at(unit.label, (level,), quantity)) for level in (0, *levels)),
                number_cell(found.at(unit.label, levels, quantity)),
            ),
            "second" if quantity == "map50" else "",
        )
        for unit in found.units
        for quantity, title in SCORES.items()
    ]
    return table(columns, rows)


def classes(gains: Mapping[str, tuple[ClassGain, ...]]) -> Table:
    """Return what each model gains on each class in points: clean and corrupted."""
    columns = [Column("class", "class", words=True)]
    for label in gains:
        columns += [Column(f"{label}/{kind}", kind, group=label) for kind in (CLEAN, "corrupted")]
    index = {label: {row.name: row for row in rows} for label, rows in gains.items()}
    names = dict.fromkeys(name for rows in index.values() for name in rows)

    def row(name: str) -> tuple[Cell, ...]:
        known = [rows.get(name, ClassGain(name, None, None)) for rows in index.values()]
        values = [value for entry in known for value in (entry.clean, entry.corrupted)]
        return (text_cell(name), *(number_cell(value, 1, sign=True) for value in values))

    return table(columns, map(row, names))


def models(found: Comparison) -> Table:
    """Return the weight files."""
    columns = (
        *(Column(name, name, words=True) for name in ("model", "file", "weights")),
        Column("mb", "MB"),
        *(Column(name, name, words=True) for name in ("SHA-256", "run folder")),
    )
    rows = (
        (
            text_cell(model.name),
            text_cell(model.file, code=True),
            kind_cell(model.method, model.bits),
            number_cell(model.size_mb),
            text_cell(model.sha256[:HASH], code=True, note=model.sha256),
            text_cell(model.run, code=True),
        )
        for model in found.results.models
    )
    return table(columns, rows)


def beside_the_paper(found: Comparison) -> Table | None:
    """Return the paper's Table 1 beside our numbers; None unless it is about some model, its classes and the 19."""
    printed = {(row.method, row.bits): row for row in paper.table1()}
    known = [unit for unit in found.compared if (unit.method, unit.bits) in printed]
    if not (found.voc and known and len(found.corruptions) == paper.CORRUPTIONS_OF_TABLE1):
        return None
    ours = headline(found).only("model", "corrupted", "gain", "equation5")
    units = {unit.label: unit for unit in found.units}
    columns = (
        *(Column(c.key, c.title, "ours", c.words) if index else c for index, c in enumerate(ours.columns)),
        *paper_columns(),
    )
    rows = []
    for row in ours.rows:
        unit = units[row.cells[0].text]
        entry = printed.get((None, FLOAT_BITS) if unit == found.baseline else (unit.method, unit.bits or 0))
        if entry:
            rows.append(Row((*row.cells, *paper_cells(entry)), row.kind))
    return table(columns, rows)


def paper_columns() -> tuple[Column, ...]:
    """Return the columns of what the paper's Table 1 prints."""
    titles = {"paper_map": "mAP", "paper_gain": "gain", "paper_equation5": "Eq. 5"}
    return tuple(Column(key, title, "paper, Table 1", paper=True) for key, title in titles.items())


def paper_cells(entry: paper.Row | None) -> tuple[Cell, ...]:
    """Return the cells of a row of the paper's Table 1: mAP, gain and Equation 5; dashes where it has no such row."""
    gain = paper.gain(entry.method, entry.bits) if entry and entry.method else None
    return (
        number_cell(entry.points if entry else None),
        number_cell(gain, sign=True),
        number_cell(entry.equation5 if entry else None),
    )
