"""The evaluations of all seeds as one: a unit is a quantizer at a width, its numbers are means over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from yolo_qreg.evaluation.results import ALL, CLEAN, Delta, Kind, Results
from yolo_qreg.evaluation.summary import equation5
from yolo_qreg.findings.gains import Gains, Unit
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.spread import SeedMean, difference, of_deltas, over_seeds
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.study.plan import Study

OF_ONE_SEED = ("command", "gallery")
"""What the setup of an evaluation says that is not about the study."""


def units_of(study: Study) -> tuple[Unit, ...]:
    """Return the units of a study, FP32 first."""
    found = []
    for config in {run.quant.label: run.quant for run in study.runs()}.values():
        method = None if config.bits == FLOAT_BITS else config.method
        kind = kind_of(method, config.bits)
        found.append(Unit(config.label, kind, kind, method, config.bits))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Pool(Gains):
    """What evaluations of several seeds say together; its units are those with results, FP32 first.

    Attributes:
        deltas: By unit and kind of pictures, each seed's delta against its own twin.
        levels: By unit, mAP in points for each seed: clean, and the mean over corruptions and severities (`all`).
        sizes: By unit, of its weights in MB.
    """

    deltas: Mapping[tuple[str, Kind], Mapping[int, Delta]]
    levels: Mapping[tuple[str, str], Mapping[int, float]]
    sizes: Mapping[str, float]

    @property
    def seeds(self) -> dict[str, tuple[int, ...]]:
        """By unit, its seeds with results."""
        return {unit.label: tuple(self.levels[unit.label, ALL]) for unit in self.units}

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

    def lead(self, unit: str, other: str) -> SeedMean | None:
        """Return how much more a unit gains on corrupted pictures than another one."""
        first, second = (self.deltas.get((label, (ALL, 0)), {}) for label in (unit, other))
        return difference(first, second)

    def level(self, unit: str, corruption: str = ALL) -> SeedMean:
        """Return a unit's mAP in points on clean or on corrupted pictures."""
        return over_seeds(self.levels[unit, corruption])

    def equation5(self, unit: str) -> float | None:
        """Return the mean over seeds of Equation 5 against the twin of the seed; None for FP32."""
        if unit == self.baseline.label:
            return None
        ours, twins = self.levels[unit, ALL], self.levels[self.baseline.label, ALL]
        return fmean(equation5(twins[seed], points) for seed, points in ours.items())


def pool(study: Study, by_seed: Mapping[int, Results]) -> Pool | None:
    """Put the evaluations of seeds together; None where there is none.

    Args:
        study: Says which model is which.
        by_seed: Of the same corruptions and severities.
    """
    labels = {run.name: run.quant.label for run in study.runs()}
    deltas: dict[tuple[str, Kind], dict[int, Delta]] = {}
    levels: dict[tuple[str, str], dict[int, float]] = {}
    sizes: dict[str, float] = {}
    for seed, results in by_seed.items():
        for model in (model for model in results.models if model.name in labels):
            label = labels[model.name]
            levels.setdefault((label, CLEAN), {})[seed] = 100 * results.score(model.name).map50_95
            levels.setdefault((label, ALL), {})[seed] = 100 * results.mean(model.name, results.corruptions)
            sizes.setdefault(label, model.size_mb)
        for delta in (delta for delta in results.deltas if delta.model in labels):
            deltas.setdefault((labels[delta.model], (delta.corruption, delta.severity)), {})[seed] = delta
    units = tuple(unit for unit in units_of(study) if unit.label in sizes)
    if not units or units[0].bits != FLOAT_BITS:
        return None
    first, *others = by_seed.values()
    setup = {
        key: value
        for key, value in first.setup.items()
        if key not in OF_ONE_SEED and all(results.setup.get(key) == value for results in others)
    }
    return Pool(units=units, results=replace(first, setup=setup), deltas=deltas, levels=levels, sizes=sizes)
