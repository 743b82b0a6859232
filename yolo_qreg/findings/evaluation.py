"""What one evaluation says: means over corruptions and severities, and gains by corruption and by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from corruptions import select
from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, Delta, Model, Results
from yolo_qreg.evaluation.summary import Summary, summarize
from yolo_qreg.findings import paper
from yolo_qreg.findings.gains import Unit


@dataclass(frozen=True, slots=True)
class ClassGain:
    """What one model gains on one class in points; None where no picture holds it."""

    name: str
    clean: float | None
    corrupted: float | None


class Comparison:
    """The models of an evaluation against its baseline.

    Attributes:
        results: The evaluation.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self._deltas: dict[tuple[str, str, int], Delta] = {
            (delta.model, delta.corruption, delta.severity): delta for delta in results.deltas
        }

    @property
    def units(self) -> tuple[Unit, ...]:
        """All models, in their order."""
        return tuple(_unit(model) for model in self.results.models)

    @property
    def baseline(self) -> Unit:
        """The model that the others are held against."""
        return next(unit for unit in self.units if unit.label == self.results.baseline)

    @property
    def compared(self) -> tuple[Unit, ...]:
        """The others."""
        return tuple(unit for unit in self.units if unit.label != self.results.baseline)

    @property
    def corruptions(self) -> tuple[str, ...]:
        """In published order."""
        return self.results.corruptions

    @property
    def severities(self) -> tuple[int, ...]:
        """From the least."""
        return tuple(sorted(self.results.severities))

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the data."""
        return tuple(dict.fromkeys(score.name for score in self.results.class_scores))

    @property
    def pictures(self) -> int:
        """How many models were shown."""
        return self.results.score(self.results.baseline).images

    @property
    def setup(self) -> dict[str, Any]:
        """What else the numbers depend on."""
        return self.results.setup

    @property
    def voc(self) -> bool:
        """Whether the pictures are labelled with the classes that the paper's numbers are about."""
        return paper.is_voc(self.classes)

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
        members: Iterable[str] = {
            ALL: self.results.corruptions,
            BENCHMARK: [corruption for corruption in self.results.corruptions if corruption in select(["benchmark"])],
        }.get(name, (name,))
        return 100 * self.results.mean(unit, members, (0,) if name == CLEAN else None)

    def at(
        self,
        unit: str,
        severities: Iterable[int],
        quantity: Literal["map50_95", "map50"] = "map50_95",
        corruptions: Iterable[str] | None = None,
    ) -> float:
        """Return a mean score in points over severities, 0 for clean pictures, and corruptions, all by default."""
        levels = set(severities)
        names = {CLEAN} if levels == {0} else set(self.results.corruptions if corruptions is None else corruptions)
        values = [
            getattr(score, quantity)
            for score in self.results.scores
            if score.model == unit and score.corruption in names and score.severity in levels
        ]
        return 100 * math.fsum(values) / len(values)

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
            for name in (unit, self.results.baseline)
        )
        gains: dict[str, dict[bool, list[float]]] = {name: {True: [], False: []} for name in self.classes}
        for (name, corruption, severity), value in ours.items():
            other = base.get((name, corruption, severity))
            if value is not None and other is not None:
                gains[name][corruption == CLEAN].append(100 * (value - other))
        return tuple(ClassGain(name, _mean(kinds[True]), _mean(kinds[False])) for name, kinds in gains.items())

    def printed(self) -> dict[str, paper.Map]:
        """Return by model the paper's heat map of it: same quantizer and bits, classes of Pascal VOC."""
        known = {(entry.method, entry.bits): entry for entry in paper.maps()} if self.voc else {}
        pairs = ((unit.label, known.get((unit.method or "", unit.bits or 0))) for unit in self.compared)
        return {label: entry for label, entry in pairs if entry}


def _unit(model: Model) -> Unit:
    return Unit(model.name, model.method, model.bits)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
