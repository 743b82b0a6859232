"""What the paper printed for YOLOv5n on Pascal VOC, from `paper.csv`."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from corruptions import CORRUPTIONS
from yolo_qreg.data.voc_classes import class_names
from yolo_qreg.evaluation.results import ALL, CLEAN

CITATION = "AskariHemmat et al., QReg: On Regularization Effects of Quantization"
PRINTED_DIGITS = 2
"""Of means and differences of what the paper prints."""
CORRUPTIONS_OF_TABLE1 = 19
LOST = "lost"
"""Stands in the file for a number that our copy of the paper lost."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A number in the paper.

    Attributes:
        source: Figure or table.
        method: Quantizer; None for full precision.
        bits: Of weights.
        corruption: `clean`, one of the 19, or `all` for their mean.
        quantity: `delta` (points of mAP), `map` (points) or `equation5`.
        value: None where our copy of the paper lost it.
    """

    source: str
    method: str | None
    bits: int
    corruption: str
    quantity: str
    value: float | None


@cache
def facts() -> tuple[Fact, ...]:
    """Return all of them, in the order of the file."""
    text = resources.files("yolo_qreg.findings").joinpath("paper.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Fact(
            source=row["source"],
            method=row["method"] or None,
            bits=int(row["bits"]),
            corruption=row["corruption"],
            quantity=row["quantity"],
            value=None if row["value"] == LOST else float(row["value"]),
        )
        for row in rows
    )


@dataclass(frozen=True, slots=True)
class Map:
    """A heat map of Fig. 6: points by corruption, None where our copy lost the number."""

    source: str
    method: str
    bits: int
    points: dict[str, float | None]


def maps() -> tuple[Map, ...]:
    """Return the six maps of Fig. 6, DoReFa before LSQ and more bits first."""
    found: dict[tuple[str, int], Map] = {}
    for fact in facts():
        if fact.quantity == "delta" and fact.method:
            entry = found.setdefault((fact.method, fact.bits), Map(fact.source, fact.method, fact.bits, {}))
            entry.points[fact.corruption] = fact.value
    return tuple(found[key] for key in sorted(found, key=lambda key: (key[0], -key[1])))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of Table 1: mean mAP over the 19 corruptions in points, and Equation 5."""

    method: str | None
    bits: int
    points: float
    equation5: float | None


def table1() -> tuple[Row, ...]:
    """Return the rows of Table 1 for YOLOv5n on VOC, full precision first."""
    means = {(f.method, f.bits): f.value for f in facts() if f.quantity == "map"}
    gains = {(f.method, f.bits): f.value for f in facts() if f.quantity == "equation5"}
    return tuple(
        Row(method, bits, value, gains.get((method, bits)))
        for (method, bits), value in sorted(means.items(), key=lambda item: -item[0][1])
        if value is not None
    )


def gain(method: str, bits: int, corruption: str = ALL) -> float | None:
    """Return a gain that the paper prints, in points; that over all 19 is Table 1's, or the mean of what Fig. 6 has."""
    points = cells(method, bits)
    if corruption != ALL:
        return points.get(corruption)
    printed = {(row.method, row.bits): row.points for row in table1()}
    if (method, bits) in printed:
        return round(printed[method, bits] - printed[None, 32], PRINTED_DIGITS)
    known = [value for name, value in points.items() if name != CLEAN and value is not None]
    return round(math.fsum(known) / len(known), PRINTED_DIGITS) if known else None


def lead(method: str, bits: int, other: int) -> float | None:
    """Return how much more a width gains than another in the paper, in points; by Fig. 6, over cells that both have."""
    if all((method, width) in {(row.method, row.bits) for row in table1()} for width in (bits, other)):
        return round((gain(method, bits) or 0.0) - (gain(method, other) or 0.0), PRINTED_DIGITS)
    ours, theirs = cells(method, bits), cells(method, other)
    pairs = [(ours.get(name), theirs.get(name)) for name in CORRUPTIONS]
    known = [one - two for one, two in pairs if one is not None and two is not None]
    return round(math.fsum(known) / len(known), PRINTED_DIGITS) if known else None


def cells(method: str | None, bits: int) -> Mapping[str, float | None]:
    """Return the paper's heat map of a quantizer at a width; nothing where it has none."""
    return next((entry.points for entry in maps() if (entry.method, entry.bits) == (method, bits)), {})


def is_voc(classes: Iterable[str]) -> bool:
    """Tell whether these are the classes of Pascal VOC, in whatever order: what the paper's numbers are about."""
    return {name.lower().replace(" ", "") for name in classes} == set(class_names())


METHODS = tuple(sorted({fact.method for fact in facts() if fact.method}))
"""The quantizers that it has numbers of."""
