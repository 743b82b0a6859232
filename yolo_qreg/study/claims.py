"""What the paper claims of detection, as data, and what a study's numbers say to each claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal, TypeAlias

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.results import ALL, CLEAN
from yolo_qreg.report import paper
from yolo_qreg.report.text import METHODS, title_of
from yolo_qreg.study.findings import Findings
from yolo_qreg.study.losses import Gap
from yolo_qreg.study.spread import SeedMean

PRINTED_DIGITS = 2
"""Of means and differences of what the paper prints."""
Verdict = Literal["supported", "not supported", "undecided", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "not supported", "undecided", "not tested")
Group = Literal["8 bits", "fewer bits", "overfitting"]
GROUPS: dict[Group, str] = {
    "8 bits": "8 bits generalize better than FP32",
    "fewer bits": "Fewer bits generalize worse",
    "overfitting": "Quantized training overfits less",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A number that a claim is about.

    Attributes:
        label: What it is of, where a claim has several.
        estimate: None where no run gives it.
        sign: 1 where the claim is that it is above 0, -1 for below.
        paper: What the paper has for it; None for nothing.
    """

    label: str = ""
    estimate: SeedMean | None
    sign: int
    paper: float | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether the data decide for the claim; None where they decide nothing."""
        if self.estimate is None or not self.estimate.decided:
            return None
        return self.estimate.value * self.sign > 0


Parts: TypeAlias = "Callable[[Findings], tuple[Part, ...]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of the paper.

    Attributes:
        key: Unique and short.
        group: Where it belongs.
        text: The claim as a sentence, in the form that a study can test.
        source: Where the paper makes it.
        parts: What gives its numbers.
        most: Whether it is about most of its parts; about all of them otherwise.
        unit: Of its numbers.
    """

    key: str
    group: Group
    text: str
    source: str
    parts: Parts
    most: bool = False
    unit: Literal["points", "loss"] = "points"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A claim with what a study says to it."""

    claim: Claim
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> Verdict:
        """All parts, or most of them, decide: for it, against it, or neither."""
        votes = [part.agrees for part in self.parts]
        if all(part.estimate is None for part in self.parts):
            return "not tested"
        if self.claim.most:
            half = len(votes) / 2
            return "supported" if votes.count(True) > half else _against(votes.count(False) > half)
        return "supported" if all(votes) else _against(False in votes)

    @property
    def seeds(self) -> int:
        """The fewest seeds behind a part that was tested; 0 where none was."""
        return min((part.estimate.seeds for part in self.parts if part.estimate), default=0)


def _against(opposite: bool) -> Verdict:
    return "not supported" if opposite else "undecided"


def judge(findings: Findings) -> tuple[Judged, ...]:
    """Hold every claim against a study."""
    return tuple(Judged(claim=claim, parts=claim.parts(findings)) for claim in CLAIMS)


def paper_gain(method: str, bits: int, corruption: str = ALL) -> float | None:
    """Return a gain that the paper prints, in points; that over all 19 is Table 1's, or the mean of what Fig. 6 has."""
    points = paper_cells(method, bits)
    if corruption != ALL:
        return points.get(corruption)
    printed = {(row.method, row.bits): row.points for row in paper.table1()}
    if (method, bits) in printed:
        return round(printed[method, bits] - printed[None, 32], PRINTED_DIGITS)
    known = [value for name, value in points.items() if name != CLEAN and value is not None]
    return round(math.fsum(known) / len(known), PRINTED_DIGITS) if known else None


def paper_lead(method: str, bits: int, other: int) -> float | None:
    """Return how much more a width gains than another in the paper, in points; by Fig. 6, over cells that both have."""
    if all((method, width) in {(row.method, row.bits) for row in paper.table1()} for width in (bits, other)):
        return round((paper_gain(method, bits) or 0.0) - (paper_gain(method, other) or 0.0), PRINTED_DIGITS)
    ours, theirs = paper_cells(method, bits), paper_cells(method, other)
    pairs = [(ours.get(name), theirs.get(name)) for name in CORRUPTIONS]
    known = [one - two for one, two in pairs if one is not None and two is not None]
    return round(math.fsum(known) / len(known), PRINTED_DIGITS) if known else None


def paper_cells(method: str | None, bits: int) -> Mapping[str, float | None]:
    """Return the paper's heat map of a quantizer at a width; nothing where it has none."""
    return next((entry.points for entry in paper.maps() if (entry.method, entry.bits) == (method, bits)), {})


def _label(method: str, bits: int) -> str:
    return f"{method}-{bits}bit"


def _gain(method: str, bits: int, corruption: str, sign: int, findings: Findings) -> tuple[Part, ...]:
    found = findings.pool.gain(_label(method, bits), corruption) if findings.pool else None
    printed = paper_gain(method, bits, corruption) if findings.comparable(corruption) else None
    return (Part(estimate=found, sign=sign, paper=printed),)


def _everywhere(method: str, bits: int, findings: Findings) -> tuple[Part, ...]:
    return tuple(
        Part(label=title_of(name), estimate=part.estimate, sign=part.sign, paper=part.paper)
        for name in CORRUPTIONS
        for part in _gain(method, bits, name, 1, findings)
    )


def _order(method: str, widths: tuple[int, ...], findings: Findings) -> tuple[Part, ...]:
    parts = []
    for more, fewer in pairwise(widths):
        labels = _label(method, more), _label(method, fewer)
        parts.append(
            Part(
                label=f"{more} against {fewer} bits",
                estimate=findings.pool.lead(*labels) if findings.pool else None,
                sign=1,
                paper=paper_lead(method, more, fewer) if findings.comparable() else None,
            )
        )
    return tuple(parts)


def _losses(method: str, bits: int, measure: Callable[[Gap], float], findings: Findings) -> tuple[Part, ...]:
    return (Part(estimate=findings.loss_change(_label(method, bits), measure), sign=-1),)


MEASURES: dict[str, tuple[str, Callable[[Gap], float], tuple[int, ...]]] = {
    "validation": ("The validation loss of {} ends lower than FP32's", lambda gap: gap.validation_sum, (8,)),
    "gap": ("The gap between training and validation loss of {} ends smaller than FP32's", lambda gap: gap.of(), (8,)),
    "rise": ("The validation loss of {} rises less after its lowest value than FP32's", lambda gap: gap.rise, (8, 4)),
}
"""How overfitting shows: a sentence, the measure (less is better), and the widths of which the paper claims it."""
SOURCE_TABLE, SOURCE_MAP = "Table 1", "Fig. 6"
SOURCE_MOST = "Sec. 4.1.3, Fig. 6"


def _source(method: str, corruption: str, *widths: int) -> str:
    """Return where the paper has a number, and whether our copy lost some of those that it is a mean of."""
    if (method, corruption) == ("dorefa", ALL):
        return SOURCE_TABLE
    lost = sum(value is None for bits in widths for value in paper_cells(method, bits).values())
    return f"{SOURCE_MAP}, of which our copy lost {lost} numbers" if lost else SOURCE_MAP


CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            key=f"{method}-8bit-{corruption}",
            group="8 bits",
            text=f"8-bit {title} gains on FP32 on {where} pictures",
            source=_source(method, corruption, 8),
            parts=partial(_gain, method, 8, corruption, 1),
        )
        for method, title in METHODS.items()
        for corruption, where in ((ALL, "corrupted"), (CLEAN, "clean"))
    ),
    *(
        Claim(
            key=f"{method}-8bit-most",
            group="8 bits",
            text=f"8-bit {title} gains under most of the corruptions",
            source=SOURCE_MOST,
            parts=partial(_everywhere, method, 8),
            most=True,
        )
        for method, title in METHODS.items()
    ),
    *(
        Claim(
            key=f"{method}-{bits}bit-{ALL}",
            group="fewer bits",
            text=f"{bits}-bit {title} loses against FP32 on corrupted pictures",
            source=_source(method, ALL, bits),
            parts=partial(_gain, method, bits, ALL, -1),
        )
        for method, title in METHODS.items()
        for bits in (4, 2)
    ),
    *(
        Claim(
            key=f"{method}-order",
            group="fewer bits",
            text=f"{title} is worse on corrupted pictures the fewer bits it has: 8, 4, 2",
            source=_source(method, ALL, 8, 4, 2),
            parts=partial(_order, method, (8, 4, 2)),
        )
        for method, title in METHODS.items()
    ),
    *(
        Claim(
            key=f"{method}-{bits}bit-{name}",
            group="overfitting",
            text=text.format(f"{bits}-bit {title}"),
            source="our measure of what Fig. 1 shows" if name == "gap" else "Fig. 1, which names no quantizer",
            parts=partial(_losses, method, bits, measure),
            unit="loss",
        )
        for name, (text, measure, widths) in MEASURES.items()
        for bits in widths
        for method, title in METHODS.items()
    ),
)
"""All that the paper claims of YOLOv5n, which is less than it claims of quantization."""
