"""What models are compared in, whether once or over seeds: units, and what each gains on the baseline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import ALL, Results
from yolo_qreg.findings import paper
from yolo_qreg.findings.names import kind_of
from yolo_qreg.quant.registry import FLOAT_BITS


@dataclass(frozen=True, slots=True)
class Unit:
    """What is compared: a model of one evaluation, or a quantizer at a width over the seeds of a study.

    Attributes:
        label: Unique.
        title: In headings and keys.
        name: In a sentence, and in the picture of what that says.
        method: Quantizer; None for FP32, and where a file does not say.
        bits: Of weights; None where a file does not say.
    """

    label: str
    title: str
    name: str
    method: str | None
    bits: int | None

    @property
    def kind(self) -> str:
        """What it is, such as "8-bit DoReFa"."""
        return kind_of(self.method, self.bits)


@dataclass(frozen=True, kw_only=True)
class Gains(ABC):
    """Units against a baseline on the same pictures, clean and corrupted.

    Attributes:
        units: The baseline before those that are held against it.
        results: The evaluation; of several, one that stands for what all have in common.
    """

    units: tuple[Unit, ...]
    results: Results

    @abstractmethod
    def gain(self, unit: str, corruption: str = ALL, severity: int = 0) -> Estimate | None:
        """Return what a unit gains on the baseline in points; None where that is not known."""

    def ranked(self) -> list[tuple[Unit, Estimate]]:
        """Return what each unit gains on corrupted pictures, the best first, as far as that is known."""
        known = [(unit, gain) for unit in self.compared if (gain := self.gain(unit.label))]
        return sorted(known, key=lambda entry: -entry[1].value)

    @property
    def baseline(self) -> Unit:
        """What the others are held against."""
        return self.units[0]

    @property
    def compared(self) -> tuple[Unit, ...]:
        """The others."""
        return self.units[1:]

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Those evaluated, in published order."""
        return self.results.corruptions

    @property
    def severities(self) -> tuple[int, ...]:
        """Those evaluated, from the least."""
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
        """Whether the paper's numbers may stand beside these: for classes of Pascal VOC, held against FP32."""
        return self.baseline.method is None and paper.is_voc(self.classes)

    def comparable(self, corruption: str = ALL) -> bool:
        """Tell whether a number of the paper may stand beside that for a corruption, or for all."""
        return self.voc and (corruption != ALL or len(self.corruptions) == paper.CORRUPTIONS_OF_TABLE1)

    def printed(self, unit: Unit) -> paper.Printed:
        """Return what the paper prints of a unit; nothing where that may not stand beside what is found here."""
        if not self.voc:
            return paper.Printed()
        return paper.printed(None, FLOAT_BITS) if unit == self.baseline else paper.printed(unit.method, unit.bits)
