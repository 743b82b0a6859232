"""The tables of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, Model, Quantity
from yolo_qreg.findings import paper
from yolo_qreg.findings.evaluation import ClassGain, Comparison
from yolo_qreg.findings.gains import Gains, Unit
from yolo_qreg.findings.names import method_title, paper_order, title_of
from yolo_qreg.report.table import (
    GAIN,
    Cell,
    Column,
    Columns,
    Row,
    Table,
    count_cell,
    gain_cell,
    kind_cell,
    number_cell,
    table,
    table_of,
    text_cell,
)

SCORES: dict[Quantity, str] = {"map50_95": "mAP@[.50:.95]", "map50": "AP50"}
HASH = 12
"""Digits of a hash that are shown; the whole one is in its tooltip and in run.json."""


def headline(found: Comparison) -> Table:
    """Return the paper's Table 1 in our form: mAP@[.50:.95] in points, rPC in percent, size in MB."""
    return table_of(found.units, _headline(found), found.baseline)


def _headline(found: Comparison) -> Columns[Unit]:
    summaries, sizes = found.summaries(), {model.name: model.size_mb for model in found.results.models}

    def percent(fraction: float | None, digits: int = 2) -> Cell:
        return number_cell(None if fraction is None else 100 * fraction, digits)

    return {
        Column("model", "model", words=True): lambda unit: text_cell(unit.label),
        Column("quantizer", "quantizer", words=True): lambda unit: text_cell(unit.method and method_title(unit.method)),
        Column("bits", "bits"): lambda unit: count_cell(unit.bits),
        Column("corrupted", "corrupted mAP"): lambda unit: percent(summaries[unit.label].corrupted),
        Column("gain", GAIN): lambda unit: gain_cell(found.gain(unit.label)),
        Column("equation5", "Eq. 5"): lambda u: number_cell(summaries[u.label].equation5, of=found.gain(u.label)),
        Column("clean", "clean mAP"): lambda unit: percent(summaries[unit.label].clean),
        Column("mpc", "mPC"): lambda unit: percent(summaries[unit.label].mpc),
        Column("rpc", "rPC, %"): lambda unit: percent(summaries[unit.label].rpc, 1),
        Column("mb", "MB"): lambda unit: number_cell(sizes[unit.label]),
    }


def beside_the_paper(found: Comparison) -> Table | None:
    """Return the paper's Table 1 beside our numbers; None unless it is about some model, its classes and the 19."""
    known = [unit for unit in found.units if found.printed(unit).points is not None]
    if not found.comparable() or len(known) < 2:
        return None
    shown = ("model", "corrupted", "gain", "equation5")
    ours = {
        replace(column, group="ours" if column.key != "model" else ""): cell
        for column, cell in _headline(found).items()
        if column.key in shown
    }
    return table_of(known, {**ours, **of_the_paper(found)}, found.baseline)


def of_the_paper(gains: Gains) -> Columns[Unit]:
    """Return the columns of what the paper's Table 1 prints."""

    def gain(unit: Unit) -> Cell:
        known = unit != gains.baseline and gains.printed(unit).points is not None
        return number_cell(paper.gain(unit.method, unit.bits) if known else None, sign=True)

    def column(key: str, title: str) -> Column:
        return Column(f"paper_{key}", title, "paper, Table 1", paper=True)

    return {
        column("map", "mAP"): lambda unit: number_cell(gains.printed(unit).points),
        column("gain", "gain"): gain,
        column("equation5", "Eq. 5"): lambda unit: number_cell(gains.printed(unit).equation5),
    }


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
    shown = (*((level,) for level in (0, *found.severities)), found.severities)
    columns = (
        Column("model", "model", words=True),
        Column("score", "score", words=True),
        Column("severity_0", CLEAN),
        *(Column(f"severity_{level}", str(level)) for level in found.severities),
        Column("mean", "mean"),
    )

    def row(unit: Unit, quantity: Quantity) -> Row:
        points = (found.at(unit.label, levels, quantity) for levels in shown)
        cells = (text_cell(unit.label), text_cell(SCORES[quantity]), *map(number_cell, points))
        return Row(cells, "second" if quantity == "map50" else "")

    return table(columns, (row(unit, quantity) for unit in found.units for quantity in SCORES))


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
    columns: Columns[Model] = {
        Column("model", "model", words=True): lambda model: text_cell(model.name),
        Column("file", "file", words=True): lambda model: text_cell(model.file, code=True),
        Column("weights", "weights", words=True): lambda model: kind_cell(model.method, model.bits),
        Column("mb", "MB"): lambda model: number_cell(model.size_mb),
        Column("SHA-256", "SHA-256", words=True): lambda model: text_cell(
            model.sha256[:HASH], code=True, note=model.sha256
        ),
        Column("run folder", "run folder", words=True): lambda model: text_cell(model.run, code=True),
    }
    return table_of(found.results.models, columns)
