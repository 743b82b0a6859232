"""What the paper printed for YOLOv5n on Pascal VOC, from `paper.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

CITATION = "AskariHemmat et al., QReg: On Regularization Effects of Quantization"
ALL = "all"


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
    text = resources.files("yolo_qreg.report").joinpath("paper.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Fact(
            source=row["source"],
            method=row["method"] or None,
            bits=int(row["bits"]),
            corruption=row["corruption"],
            quantity=row["quantity"],
            value=float(row["value"]) if row["value"] else None,
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
