"""What models are compared in, whether once or over seeds: units, and what each gains on the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import ALL
from yolo_qreg.findings.names import kind_of


@dataclass(frozen=True, slots=True)
class Unit:
    """What is compared: a model of one evaluation, or a quantizer at a width over the seeds of a study.

    Attributes:
        label: Unique.
        method: Quantizer; None for FP32, and where a file does not say.
        bits: Of weights; None where a file does not say.
    """

    label: str
    method: str | None
    bits: int | None

    @property
    def kind(self) -> str:
        """What it is, such as "8-bit DoReFa"."""
        return kind_of(self.method, self.bits)


class Gains(Protocol):
    """Units against a baseline on the same pictures, clean and corrupted."""

    @property
    def baseline(self) -> Unit:
        """What the others are held against."""
        ...

    @property
    def compared(self) -> tuple[Unit, ...]:
        """All others, in order."""
        ...

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Those evaluated."""
        ...

    @property
    def severities(self) -> tuple[int, ...]:
        """Those evaluated."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what is labelled in the pictures."""
        ...

    @property
    def pictures(self) -> int:
        """How many there are."""
        ...

    @property
    def setup(self) -> dict[str, Any]:
        """What else the numbers depend on."""
        ...

    def gain(self, unit: str, corruption: str = ALL, severity: int = 0) -> Estimate | None:
        """Return what a unit gains on the baseline in points; None where that is not known."""
        ...


def ranked(gains: Gains) -> tuple[tuple[Unit, Estimate], ...]:
    """Return what each unit gains on corrupted pictures, the best first, as far as that is known."""
    known = [(unit, gain) for unit in gains.compared if (gain := gains.gain(unit.label))]
    return tuple(sorted(known, key=lambda entry: -entry[1].value))
