"""The evaluations of all seeds as one: a unit is a quantizer at a width, its numbers are means over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from yolo_qreg.config import QuantConfig
from yolo_qreg.evaluation.results import ALL, CLEAN, ClassScore, Delta, Model, Results, Score
from yolo_qreg.evaluation.summary import equation5
from yolo_qreg.findings.spread import SeedMean, difference, of_deltas, over_seeds
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.study.plan import Study

OF_ONE_SEED = ("command", "gallery")
"""What the setup of an evaluation says that is not about the study."""
Cell = tuple[str, int]
"""Corruption and severity."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A quantizer at a width: one training for each seed; no quantizer for FP32."""

    label: str
    method: str | None
    bits: int


def label_of(method: str, bits: int) -> str:
    """Return the label of a quantizer's unit at a width."""
    return QuantConfig(method=method, bits=bits).label


def units_of(study: Study) -> tuple[Unit, ...]:
    """Return the units of a study, FP32 first."""
    configs = {run.quant.label: run.quant for run in study.runs()}
    return tuple(
        Unit(label, None if config.bits == FLOAT_BITS else config.method, config.bits)
        for label, config in configs.items()
    )


@dataclass(frozen=True, slots=True)
class Pool:
    """What evaluations of several seeds say together.

    Attributes:
        units: Those with results, FP32 first.
        seeds: By unit, its seeds with results.
        deltas: By unit and cell, each seed's delta against its own twin; cells are those of `Results.deltas`.
        levels: By unit, mAP in points for each seed: clean, and the mean over corruptions and severities (`all`).
        results: Means over seeds in the form of one evaluation, so that its tables and figures serve here too: models
            are units, and intervals are those of `spread.SeedMean`.
    """

    units: tuple[Unit, ...]
    seeds: Mapping[str, tuple[int, ...]]
    deltas: Mapping[tuple[str, Cell], Mapping[int, Delta]]
    levels: Mapping[tuple[str, str], Mapping[int, float]]
    results: Results

    @property
    def twin(self) -> str:
        """The label of FP32."""
        return self.results.baseline

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
        if unit == self.twin:
            return None
        ours, twins = self.levels[unit, ALL], self.levels[self.twin, ALL]
        return math.fsum(equation5(twins[seed], points) for seed, points in ours.items()) / len(ours)


def pool(study: Study, by_seed: Mapping[int, Results]) -> Pool | None:
    """Put the evaluations of seeds together; None where there is none.

    Args:
        study: Says which model is which.
        by_seed: Of the same corruptions and severities.
    """
    named = {(run.quant.label, run.seed): run.name for run in study.runs()}
    held = {
        (label, seed): name
        for (label, seed), name in named.items()
        if seed in by_seed and name in {model.name for model in by_seed[seed].models}
    }
    units = tuple(unit for unit in units_of(study) if any(label == unit.label for label, _ in held))
    if not by_seed or not units or units[0].method is not None:
        return None
    renamed = {name: label for (label, _), name in held.items()}
    seeds = {unit.label: tuple(seed for label, seed in held if label == unit.label) for unit in units}
    deltas: dict[tuple[str, Cell], dict[int, Delta]] = {}
    for seed, results in by_seed.items():
        for delta in results.deltas:
            if delta.model in renamed:
                cell = (delta.corruption, delta.severity)
                deltas.setdefault((renamed[delta.model], cell), {})[seed] = delta
    return Pool(units, seeds, deltas, _levels(held, by_seed), _together(units, by_seed, renamed, deltas))


def _levels(
    held: Mapping[tuple[str, int], str], by_seed: Mapping[int, Results]
) -> dict[tuple[str, str], dict[int, float]]:
    found: dict[tuple[str, str], dict[int, float]] = {}
    for (label, seed), name in held.items():
        results = by_seed[seed]
        found.setdefault((label, CLEAN), {})[seed] = 100 * results.score(name).map50_95
        found.setdefault((label, ALL), {})[seed] = 100 * results.mean(name, results.corruptions)
    return found


def _together(
    units: Sequence[Unit],
    by_seed: Mapping[int, Results],
    renamed: Mapping[str, str],
    deltas: Mapping[tuple[str, Cell], Mapping[int, Delta]],
) -> Results:
    first = next(iter(by_seed.values()))
    everything = list(by_seed.values())
    models = {renamed[m.name]: m for results in reversed(everything) for m in results.models if m.name in renamed}
    setup = {
        key: value
        for key, value in first.setup.items()
        if key not in OF_ONE_SEED and all(results.setup.get(key) == value for results in everything)
    }
    return Results(
        models=tuple(_model(unit, models[unit.label]) for unit in units),
        baseline=units[0].label,
        corruptions=first.corruptions,
        severities=first.severities,
        scores=_means([s for r in everything for s in r.scores], renamed, lambda s: (s.corruption, s.severity)),
        class_scores=_means(
            [s for r in everything for s in r.class_scores], renamed, lambda s: (s.corruption, s.severity, s.name)
        ),
        deltas=tuple(_delta(label, *cell, of_deltas(found)) for (label, cell), found in deltas.items()),
        setup=setup,
    )


def _delta(label: str, corruption: str, severity: int, gain: SeedMean) -> Delta:
    return Delta(model=label, corruption=corruption, severity=severity, value=gain.value, low=gain.low, high=gain.high)


def _model(unit: Unit, model: Model) -> Model:
    return Model(name=unit.label, file=model.file, sha256="", method=unit.method, bits=unit.bits, size_mb=model.size_mb)


Row = TypeVar("Row", Score, ClassScore)


def _means(rows: Iterable[Row], renamed: Mapping[str, str], key: Callable[[Row], object]) -> tuple[Row, ...]:
    """Return one row for all that are of the same unit and key, its numbers their means as far as there are some."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        if row.model in renamed:
            groups.setdefault((renamed[row.model], key(row)), []).append(row)
    return tuple(_mean(group, renamed) for group in groups.values())


def _mean(group: Sequence[Row], renamed: Mapping[str, str]) -> Row:
    means: dict[str, Any] = {"model": renamed[group[0].model]}
    for entry in fields(group[0]):
        known = [value for value in (getattr(row, entry.name) for row in group) if isinstance(value, float)]
        if known:
            means[entry.name] = math.fsum(known) / len(known)
    return replace(group[0], **means)
