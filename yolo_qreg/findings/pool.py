"""The evaluations of all seeds as one: a unit is a quantizer at a width, its numbers are means over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yolo_qreg.evaluation.results import ALL, CLEAN, Delta, Results
from yolo_qreg.evaluation.summary import equation5
from yolo_qreg.findings.gains import Unit
from yolo_qreg.findings.spread import SeedMean, difference, of_deltas, over_seeds
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.study.plan import Study

OF_ONE_SEED = ("command", "gallery")
"""What the setup of an evaluation says that is not about the study."""
Damage = tuple[str, int]
"""Corruption and severity."""


def units_of(study: Study) -> tuple[Unit, ...]:
    """Return the units of a study, FP32 first."""
    configs = {run.quant.label: run.quant for run in study.runs()}
    return tuple(
        Unit(label, None if config.bits == FLOAT_BITS else config.method, config.bits)
        for label, config in configs.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What evaluations of several seeds say together.

    Attributes:
        units: Those with results, FP32 first.
        seeds: By unit, its seeds with results.
        deltas: By unit and damage, each seed's delta against its own twin: the damage is that of `Results.deltas`.
        levels: By unit, mAP in points for each seed: clean, and the mean over corruptions and severities (`all`).
        corruptions: Those evaluated, in published order.
        severities: Those evaluated.
        classes: The names of what is labelled in the pictures.
        pictures: How many there are.
        sizes: By unit, of its weights in MB.
        setup: What all seeds were evaluated with.
    """

    units: tuple[Unit, ...]
    seeds: Mapping[str, tuple[int, ...]]
    deltas: Mapping[tuple[str, Damage], Mapping[int, Delta]]
    levels: Mapping[tuple[str, str], Mapping[int, float]]
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    classes: tuple[str, ...]
    pictures: int
    sizes: Mapping[str, float]
    setup: dict[str, Any]

    @property
    def baseline(self) -> Unit:
        """FP32."""
        return self.units[0]

    @property
    def compared(self) -> tuple[Unit, ...]:
        """The quantized ones."""
        return self.units[1:]

    @property
    def fewest_seeds(self) -> int:
        """Of any unit."""
        return min(map(len, self.seeds.values()))

    @property
    def most_seeds(self) -> int:
        """Of any unit."""
        return max(map(len, self.seeds.values()))

    def gain(self, unit: str, corruption: str = ALL, severity: int = 0) -> SeedMean | None:
        """Return what a unit gains on its twins in points; None where that is not known."""
        found = self.deltas.get((unit, (corruption, severity)))
        return of_deltas(found) if found else None

    def lead(self, unit: str, other: str, corruption: str = ALL) -> SeedMean | None:
        """Return how much more a unit gains than another one."""
        first, second = (self.deltas.get((label, (corruption, 0)), {}) for label in (unit, other))
        return difference(first, second)

    def level(self, unit: str, corruption: str = ALL) -> SeedMean:
        """Return a unit's mAP in points on clean or on corrupted pictures."""
        return over_seeds(self.levels[unit, corruption])

    def equation5(self, unit: str) -> float | None:
        """Return the mean over seeds of Equation 5 against the twin of the seed; None for FP32."""
        if unit == self.baseline.label:
            return None
        ours, twins = self.levels[unit, ALL], self.levels[self.baseline.label, ALL]
        return math.fsum(equation5(twins[seed], points) for seed, points in ours.items()) / len(ours)


def pool(study: Study, by_seed: Mapping[int, Results]) -> Pool | None:
    """Put the evaluations of seeds together; None where there is none.

    Args:
        study: Says which model is which.
        by_seed: Of the same corruptions and severities.
    """
    runs = {(seed, model.name): model for seed, results in by_seed.items() for model in results.models}
    held = {run.name: run for run in study.runs() if (run.seed, run.name) in runs}
    units = tuple(unit for unit in units_of(study) if any(run.quant.label == unit.label for run in held.values()))
    if not units or units[0].method is not None:
        return None
    deltas: dict[tuple[str, Damage], dict[int, Delta]] = {}
    for seed, results in by_seed.items():
        for delta in results.deltas:
            if run := held.get(delta.model):
                deltas.setdefault((run.quant.label, (delta.corruption, delta.severity)), {})[seed] = delta
    levels: dict[tuple[str, str], dict[int, float]] = {}
    for name, run in held.items():
        results = by_seed[run.seed]
        levels.setdefault((run.quant.label, CLEAN), {})[run.seed] = 100 * results.score(name).map50_95
        levels.setdefault((run.quant.label, ALL), {})[run.seed] = 100 * results.mean(name, results.corruptions)
    first = next(iter(by_seed.values()))
    return Pool(
        units=units,
        seeds={unit.label: tuple(levels[unit.label, ALL]) for unit in units},
        deltas=deltas,
        levels=levels,
        corruptions=first.corruptions,
        severities=tuple(sorted(first.severities)),
        classes=tuple(dict.fromkeys(score.name for score in first.class_scores)),
        pictures=first.score(first.baseline).images,
        sizes={run.quant.label: runs[run.seed, name].size_mb for name, run in reversed(held.items())},
        setup={
            key: value
            for key, value in first.setup.items()
            if key not in OF_ONE_SEED and all(results.setup.get(key) == value for results in by_seed.values())
        },
    )
