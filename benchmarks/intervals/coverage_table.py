"""What draws say of each method: coverage of two targets, and width."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from draws import read
from interval_methods import METHODS
from numpy.typing import NDArray
from populations import COIN, KINDS, OBJECTS, PAIRS, SIZES

from yolo_qreg.evaluation.results import FEW_PICTURES

COLUMNS = ("population", "pair", "pictures", "kind", "draws", "difference", "average_difference", "method")
COLUMNS += ("holds_population", "holds_average", "width")


@dataclass(frozen=True, slots=True)
class Setting:
    """What many data sets of one sort say of the methods.

    Attributes:
        draws: How many there are.
        truth: The difference on the population.
        average: The mean of the estimates.
        of_truth: By method, the share of intervals that hold the population's difference.
        of_average: The share that hold what data sets of this size give on average.
        width: Mean, in points of mAP.
    """

    population: str
    pair: str
    size: int
    kind: str
    draws: int
    truth: float
    average: float
    of_truth: Mapping[str, float]
    of_average: Mapping[str, float]
    width: Mapping[str, float]


def settings_of(folder: Path) -> list[Setting]:
    """Sum up the files of draws."""
    found = []
    for population in SIZES:
        groups: dict[tuple[str, int, str], list[dict[str, str]]] = {}
        for row in read(folder / f"{population}.csv"):
            groups.setdefault((row["pair"], int(row["size"]), row["kind"]), []).append(row)
        found += [_setting(population, *key, rows) for key, rows in sorted(groups.items(), key=_place)]
    return found


def _place(item: tuple[tuple[str, int, str], Any]) -> tuple[int, int, int]:
    pair, size, kind = item[0]
    return size, PAIRS.index(pair), KINDS.index(kind)


def _setting(population: str, pair: str, size: int, kind: str, rows: Sequence[Mapping[str, str]]) -> Setting:
    def column(name: str) -> NDArray[np.float64]:
        return np.array([float(row[name]) for row in rows])

    estimate, truth, stretch = column("estimate"), column("truth"), column("stretch")
    average = np.zeros(len(rows)) if pair == COIN else np.full(len(rows), np.nanmean(estimate))
    shares: list[dict[str, float]] = []
    for target in (truth, average):
        moved = estimate + (target - estimate) * stretch
        shares.append({m: float(((column(f"{m} l") <= moved) & (moved <= column(f"{m} h"))).mean()) for m in METHODS})
    width = {method: 100 * float((column(f"{method} h") - column(f"{method} l")).mean()) for method in METHODS}
    return Setting(
        population, pair, size, kind, len(rows), 100 * truth[0], 100 * float(np.nanmean(estimate)), *shares, width
    )


def write_csv(found: Sequence[Setting], path: Path) -> None:
    """Write a row for each setting and method."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in found:
            facts = (one.population, one.pair, one.size, one.kind, one.draws, f"{one.truth:.3f}", f"{one.average:.3f}")
            for method in METHODS:
                shares = (f"{share[method]:.4f}" for share in (one.of_truth, one.of_average))
                writer.writerow([*facts, method, *shares, f"{one.width[method]:.3f}"])


def table(found: Sequence[Setting]) -> str:
    """Return coverage in percent as Markdown: by population and size the worst and the mean, then over everything."""
    head = ["population", "pictures", *METHODS]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    groups: dict[tuple[str, int], list[Setting]] = {}
    for one in found:
        groups.setdefault((one.population, one.size), []).append(one)
    for (population, size), rows in groups.items():
        cells = (_span([one.of_truth[method] for one in rows]) for method in METHODS)
        lines.append(f"| {population} | {size} | {' | '.join(cells)} |")
    real = [one for one in found if one.population not in OBJECTS and one.size >= FEW_PICTURES] or found
    for name, shares in {
        "shapes, pictures: the population's difference": [one.of_truth for one in real],
        "shapes, pictures: that of such data sets on average": [one.of_average for one in real],
    }.items():
        cells = (_span([share[method] for share in shares]) for method in METHODS)
        lines.append(f"| {name} | {FEW_PICTURES} and more | {' | '.join(cells)} |")
    widths = (np.mean([one.width[method] / one.width["percentile"] for one in real]) for method in METHODS)
    lines.append(f"| width, by percentile's | {FEW_PICTURES} and more | {' | '.join(f'{w:.2f}' for w in widths)} |")
    return "\n".join(lines)


def _span(shares: Sequence[float]) -> str:
    return f"{100 * min(shares):.1f} ({100 * float(np.mean(shares)):.1f})"
