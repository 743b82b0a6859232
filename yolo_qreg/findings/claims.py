"""What the paper claims of detection, and what a study's numbers say to each claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.estimate import decided_together
from yolo_qreg.evaluation.results import ALL, CLEAN
from yolo_qreg.findings import paper
from yolo_qreg.findings.gather import Findings
from yolo_qreg.findings.losses import Gap
from yolo_qreg.findings.names import kind_of, method_title, title_of
from yolo_qreg.findings.spread import SeedMean
from yolo_qreg.quant.registry import METHODS

Verdict = Literal["supported", "not supported", "undecided", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "not supported", "undecided", "not tested")
EIGHT_BITS, FEWER_BITS, OVERFITTING = GROUPS = (
    "8 bits generalize better than FP32",
    "Fewer bits generalize worse",
    "Quantized training overfits less",
)


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
    def agrees(self) -> bool:
        """Whether the number is on the side of the claim, decided or not."""
        return self.estimate is not None and self.estimate.value * self.sign > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of the paper, with what a study says to it.

    Attributes:
        key: Unique and short.
        group: One of `GROUPS`.
        text: The claim as a sentence, in the form that a study can test.
        source: Where the paper makes it.
        parts: The study's numbers.
        most: Whether it is about most of its parts; about all of them otherwise.
        unit: Of its numbers.
    """

    key: str
    group: str
    text: str
    source: str
    parts: tuple[Part, ...]
    most: bool = False
    unit: Literal["points", "loss"] = "points"

    @property
    def votes(self) -> list[bool | None]:
        """Whether each part is for the claim; None where the data decide nothing: the many of `most` all together."""
        found = [part.estimate for part in self.parts]
        each = [estimate is not None and estimate.decided for estimate in found]
        decided = decided_together(found) if self.most else each
        return [part.agrees if answer else None for part, answer in zip(self.parts, decided, strict=True)]

    @property
    def verdict(self) -> Verdict:
        """All parts, or most of them, decide: for it, against it, or neither."""
        votes = self.votes
        if all(part.estimate is None for part in self.parts):
            return "not tested"
        if self.most:
            half = len(votes) / 2
            supported, opposed = votes.count(True) > half, votes.count(False) > half
        else:
            supported, opposed = all(votes), False in votes
        return "supported" if supported else "not supported" if opposed else "undecided"

    @property
    def seeds(self) -> int:
        """The fewest seeds behind a part that was tested; 0 where none was."""
        return min((part.estimate.seeds for part in self.parts if part.estimate), default=0)


def judge(findings: Findings) -> tuple[Claim, ...]:
    """Hold a study against every claim, by group; what the paper says of its quantizers is asked of others too.

    The claims are all that the paper says of YOLOv5n, which is less than it says of quantization. Widths that a
    quantizer is not defined for are left out.
    """
    others = [method for method in findings.study.methods if method not in paper.METHODS]
    found = [
        claim
        for method in (*paper.METHODS, *others)
        for claim in (*_gains(findings, method), *_overfitting(findings, method))
    ]
    return tuple(sorted(found, key=lambda claim: GROUPS.index(claim.group)))


MEASURES: dict[str, tuple[str, Callable[[Gap], float], tuple[int, ...]]] = {
    "validation": ("The validation loss of {} ends lower than FP32's", lambda gap: gap.validation_sum, (8,)),
    "gap": ("The gap between training and validation loss of {} ends smaller than FP32's", lambda gap: gap.of(), (8,)),
    "rise": ("The validation loss of {} rises less after its lowest value than FP32's", lambda gap: gap.rise, (8, 4)),
}
"""How overfitting shows: a sentence, the measure (less is better), and the widths of which the paper claims it."""
WIDTHS = (8, 4, 2)
SOURCE_TABLE, SOURCE_MAP, SOURCE_MOST = "Table 1", "Fig. 6", "Sec. 4.1.3, Fig. 6"
SOURCE_OTHER = "claimed of quantization, not of this quantizer"


def _defined(method: str, widths: Iterable[int]) -> tuple[int, ...]:
    return tuple(bits for bits in widths if method not in METHODS or bits in METHODS[method].bits)


def _gains(findings: Findings, method: str) -> Iterator[Claim]:
    widths = _defined(method, WIDTHS)
    if 8 in widths:
        for corruption, where in ((ALL, "corrupted"), (CLEAN, "clean")):
            yield Claim(
                key=f"{method}-8bit-{corruption}",
                group=EIGHT_BITS,
                text=f"{kind_of(method, 8)} gains on FP32 on {where} pictures",
                source=_source(method, corruption, 8),
                parts=(_gain(findings, method, 8, corruption, 1),),
            )
        yield Claim(
            key=f"{method}-8bit-most",
            group=EIGHT_BITS,
            text=f"{kind_of(method, 8)} gains under most of the corruptions",
            source=SOURCE_MOST if method in paper.METHODS else SOURCE_OTHER,
            parts=tuple(_gain(findings, method, 8, name, 1, title_of(name)) for name in CORRUPTIONS),
            most=True,
        )
    for bits in widths:
        if bits < 8:
            yield Claim(
                key=f"{method}-{bits}bit-{ALL}",
                group=FEWER_BITS,
                text=f"{kind_of(method, bits)} loses against FP32 on corrupted pictures",
                source=_source(method, ALL, bits),
                parts=(_gain(findings, method, bits, ALL, -1),),
            )
    if len(widths) > 1:
        order = ", ".join(map(str, widths))
        yield Claim(
            key=f"{method}-order",
            group=FEWER_BITS,
            text=f"{method_title(method)} is worse on corrupted pictures the fewer bits it has: {order}",
            source=_source(method, ALL, *widths),
            parts=tuple(_lead(findings, method, more, fewer) for more, fewer in pairwise(widths)),
        )


def _overfitting(findings: Findings, method: str) -> Iterator[Claim]:
    for name, (text, measure, widths) in MEASURES.items():
        for bits in _defined(method, widths):
            change = findings.loss_change(findings.label(method, bits), measure)
            yield Claim(
                key=f"{method}-{bits}bit-{name}",
                group=OVERFITTING,
                text=text.format(kind_of(method, bits)),
                source="our measure of what Fig. 1 shows" if name == "gap" else "Fig. 1, which names no quantizer",
                parts=(Part(estimate=change, sign=-1),),
                unit="loss",
            )


def _gain(findings: Findings, method: str, bits: int, corruption: str, sign: int, label: str = "") -> Part:
    pool = findings.pool
    found = pool.gain(findings.label(method, bits), corruption) if pool else None
    printed = paper.gain(method, bits, corruption) if pool and pool.comparable(corruption) else None
    return Part(label=label, estimate=found, sign=sign, paper=printed)


def _lead(findings: Findings, method: str, more: int, fewer: int) -> Part:
    pool = findings.pool
    found = pool.lead(findings.label(method, more), findings.label(method, fewer)) if pool else None
    printed = paper.lead(method, more, fewer) if pool and pool.comparable() else None
    return Part(label=f"{more} against {fewer} bits", estimate=found, sign=1, paper=printed)


def _source(method: str, corruption: str, *widths: int) -> str:
    """Return where the paper has a number, and whether our copy lost some of those that it is a mean of."""
    if method not in paper.METHODS:
        return SOURCE_OTHER
    printed = [paper.printed(method, bits) for bits in widths]
    if corruption == ALL and all(entry.points is not None for entry in printed):
        return SOURCE_TABLE
    lost = sum(value is None for entry in printed for value in entry.cells.values())
    return f"{SOURCE_MAP}, of which our copy lost {lost} numbers" if lost else SOURCE_MAP
