"""What the paper printed for YOLOv5n on Pascal VOC, from `paper.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from statistics import fmean

from corruptions import CORRUPTIONS
from yolo_qreg.data.voc_classes import class_names
from yolo_qreg.evaluation.results import ALL
from yolo_qreg.quant.registry import FLOAT_BITS

CITATION = "AskariHemmat et al., QReg: On Regularization Effects of Quantization"
PRINTED_DIGITS = 2
"""Of means and differences of what the paper prints."""
CORRUPTIONS_OF_TABLE1 = 19
LOST = "lost"
"""Stands in the file for a number that our copy of the paper lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What the paper prints of a quantizer at a width; numbers that our copy of it lost are None.

    Attributes:
        figure: Where its heat map is.
        cells: The map: points by corruption, `clean` first; empty where there is none.
        points: Mean mAP over the 19 corruptions, by Table 1.
        equation5: By Table 1.
    """

    figure: str = ""
    cells: Mapping[str, float | None] = field(default_factory=dict)
    points: float | None = None
    equation5: float | None = None


@cache
def _by_kind() -> dict[tuple[str | None, int], Printed]:
    text = resources.files("yolo_qreg.findings").joinpath("paper.csv").read_text(encoding="utf-8")
    groups: dict[tuple[str | None, int], list[dict[str, str]]] = {}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        groups.setdefault((row["method"] or None, int(row["bits"])), []).append(row)
    return {kind: _printed(rows) for kind, rows in groups.items()}


def _printed(rows: list[dict[str, str]]) -> Printed:
    values = {
        (row["quantity"], row["corruption"]): None if row["value"] == LOST else float(row["value"]) for row in rows
    }
    return Printed(
        figure=next((row["source"] for row in rows if row["quantity"] == "delta"), ""),
        cells={corruption: value for (quantity, corruption), value in values.items() if quantity == "delta"},
        points=values.get(("map", ALL)),
        equation5=values.get(("equation5", ALL)),
    )


def printed(method: str | None, bits: int | None) -> Printed:
    """Return what the paper prints of a quantizer at a width, or of full precision (None and 32): for others nothing.

    Example:
        >>> printed("dorefa", 8).points, printed("dorefa", 8).cells["fog"], printed("dorefa", 5).points
        (30.34, -0.4, None)
    """
    return _by_kind().get((method, bits or 0), Printed())


def gain(method: str | None, bits: int | None, corruption: str = ALL) -> float | None:
    """Return a gain that the paper prints, in points; that over all 19 is Table 1's, or the mean of what Fig. 6 has."""
    ours, base = printed(method, bits), printed(None, FLOAT_BITS)
    if corruption != ALL:
        return ours.cells.get(corruption)
    if ours.points is not None and base.points is not None:
        return round(ours.points - base.points, PRINTED_DIGITS)
    return _mean(ours.cells.get(name) for name in CORRUPTIONS)


def lead(method: str, bits: int, other: int) -> float | None:
    """Return how much more a width gains than another in the paper, in points; by Fig. 6, over cells that both have."""
    ours, theirs = printed(method, bits), printed(method, other)
    if ours.points is not None and theirs.points is not None:
        return round(ours.points - theirs.points, PRINTED_DIGITS)
    pairs = [(ours.cells.get(name), theirs.cells.get(name)) for name in CORRUPTIONS]
    return _mean(None if one is None or two is None else one - two for one, two in pairs)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), PRINTED_DIGITS) if known else None


def is_voc(classes: Iterable[str]) -> bool:
    """Tell whether these are the classes of Pascal VOC, in whatever order: what the paper's numbers are about."""
    return {name.lower().replace(" ", "") for name in classes} == set(class_names())


METHODS = tuple(sorted({method for method, _ in _by_kind() if method}))
"""The quantizers that it has numbers of."""
