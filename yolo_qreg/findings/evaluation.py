"""What one evaluation says: means over corruptions and severities, and gains by corruption and by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from corruptions import select
from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, Delta, Quantity, Results
from yolo_qreg.evaluation.summary import Summary, summarize
from yolo_qreg.findings.gains import Gains, Unit
from yolo_qreg.findings.names import short_names


@dataclass(frozen=True, slots=True)
class ClassGain:
    """What one model gains on one class in points; None where no picture holds it."""

    name: str
    clean: float | None
    corrupted: float | None


class Comparison(Gains):
    """The models of an evaluation against its baseline."""

    def __init__(self, results: Results) -> None:
        names = short_names(results.models)
        units = (Unit(m.name, m.name, names[m.name], m.method, m.bits) for m in results.models)
        super().__init__(units=tuple(sorted(units, key=lambda unit: unit.label != results.baseline)), results=results)

    @cached_property
    def _deltas(self) -> dict[tuple[str, str, int], Delta]:
        return {(delta.model, delta.corruption, delta.severity): delta for delta in self.results.deltas}

    @property
    def blind(self) -> bool:
        """Whether no model finds anything, as after few epochs: gains of 0 say nothing then."""
        return not any(score.map50_95 for score in self.results.scores)

    def gain(self, unit: str, corruption: str = ALL, severity: int = 0) -> Estimate | None:
        """Return what a model gains on the baseline in points; None where the evaluation does not say."""
        return self._deltas.get((unit, corruption, severity))

    def summaries(self) -> Mapping[str, Summary]:
        """Return the headline figures of each model."""
        return {summary.model: summary for summary in summarize(self.results)}

    @property
    def means(self) -> tuple[str, ...]:
        """What gains are known of beyond single corruptions: `all`, and `benchmark` where some of its 15 are there."""
        return (ALL, BENCHMARK) if BENCHMARK in {corruption for _, corruption, _ in self._deltas} else (ALL,)

    def mean(self, unit: str, name: str) -> float:
        """Return a model's mAP in points on clean pictures, under a corruption, or over several."""
        several = {ALL: self.corruptions, BENCHMARK: select(["benchmark"])}
        return self.at(unit, (0,) if name == CLEAN else self.severities, corruptions=several.get(name, (name,)))

    def at(
        self,
        unit: str,
        severities: Iterable[int],
        quantity: Quantity = "map50_95",
        corruptions: Iterable[str] | None = None,
    ) -> float:
        """Return a mean score in points over severities, 0 for clean pictures, and corruptions, all by default."""
        levels = tuple(severities)
        names = (CLEAN,) if levels == (0,) else self.corruptions if corruptions is None else corruptions
        return 100 * self.results.mean(unit, names, levels, quantity)

    def class_gains(self) -> dict[str, tuple[ClassGain, ...]]:
        """Return by model what it gains on each class, sorted by what the first gains on corrupted pictures.

        Means are over the pictures that both models have a score for; classes that no picture holds are left out.
        """
        found = {unit.label: self._class_gains(unit.label) for unit in self.compared}
        held = {row.name for rows in found.values() for row in rows if (row.clean, row.corrupted) != (None, None)}
        first = next(iter(found.values()), ())
        rank = {row.name: (row.corrupted is None, -(row.corrupted or 0)) for row in first}
        kept = {
            label: sorted((row for row in rows if row.name in held), key=lambda row: rank[row.name])
            for label, rows in found.items()
        }
        return {label: tuple(rows) for label, rows in kept.items() if rows}

    def _class_gains(self, unit: str) -> tuple[ClassGain, ...]:
        ours, base = (
            {(s.name, s.corruption, s.severity): s.map50_95 for s in self.results.class_scores if s.model == name}
            for name in (unit, self.baseline.label)
        )
        gains: dict[tuple[str, bool], list[float]] = {}
        for (name, corruption, severity), value in ours.items():
            other = base.get((name, corruption, severity))
            if value is not None and other is not None:
                gains.setdefault((name, corruption == CLEAN), []).append(100 * (value - other))
        means = {kind: math.fsum(values) / len(values) for kind, values in gains.items()}
        return tuple(ClassGain(name, means.get((name, True)), means.get((name, False))) for name in self.classes)
