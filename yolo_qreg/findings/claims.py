"""What the paper claims of detection, as data, and what a study's numbers say to each claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal, TypeAlias

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
    def agrees(self) -> bool:
        """Whether the number is on the side of the claim, decided or not."""
        return self.estimate is not None and self.estimate.value * self.sign > 0


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
    def votes(self) -> list[bool | None]:
        """Whether each part is for the claim; None where the data decide nothing: the many of `most` all together."""
        found = [part.estimate for part in self.parts]
        each = [estimate is not None and estimate.decided for estimate in found]
        decided = decided_together(found) if self.claim.most else each
        return [part.agrees if answer else None for part, answer in zip(self.parts, decided, strict=True)]

    @property
    def verdict(self) -> Verdict:
        """All parts, or most of them, decide: for it, against it, or neither."""
        votes = self.votes
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
    """Hold every claim against a study; what the paper claims of its quantizers is asked of the study's others too."""
    others = [method for method in findings.study.methods if method not in paper.METHODS]
    return tuple(Judged(claim=claim, parts=claim.parts(findings)) for claim in claims_of((*paper.METHODS, *others)))


def _gain(method: str, bits: int, corruption: str, sign: int, findings: Findings) -> tuple[Part, ...]:
    found = findings.pool.gain(findings.label(method, bits), corruption) if findings.pool else None
    printed = paper.gain(method, bits, corruption) if findings.comparable(corruption) else None
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
        labels = findings.label(method, more), findings.label(method, fewer)
        parts.append(
            Part(
                label=f"{more} against {fewer} bits",
                estimate=findings.pool.lead(*labels) if findings.pool else None,
                sign=1,
                paper=paper.lead(method, more, fewer) if findings.comparable() else None,
            )
        )
    return tuple(parts)


def _losses(method: str, bits: int, measure: Callable[[Gap], float], findings: Findings) -> tuple[Part, ...]:
    return (Part(estimate=findings.loss_change(findings.label(method, bits), measure), sign=-1),)


MEASURES: dict[str, tuple[str, Callable[[Gap], float], tuple[int, ...]]] = {
    "validation": ("The validation loss of {} ends lower than FP32's", lambda gap: gap.validation_sum, (8,)),
    "gap": ("The gap between training and validation loss of {} ends smaller than FP32's", lambda gap: gap.of(), (8,)),
    "rise": ("The validation loss of {} rises less after its lowest value than FP32's", lambda gap: gap.rise, (8, 4)),
}
"""How overfitting shows: a sentence, the measure (less is better), and the widths of which the paper claims it."""
WIDTHS = (8, 4, 2)
SOURCE_TABLE, SOURCE_MAP, SOURCE_MOST = "Table 1", "Fig. 6", "Sec. 4.1.3, Fig. 6"
SOURCE_OTHER = "claimed of quantization, not of this quantizer"


def _source(method: str, corruption: str, *widths: int) -> str:
    """Return where the paper has a number, and whether our copy lost some of those that it is a mean of."""
    if method not in paper.METHODS:
        return SOURCE_OTHER
    if (method, corruption) == ("dorefa", ALL):
        return SOURCE_TABLE
    lost = sum(value is None for bits in widths for value in paper.cells(method, bits).values())
    return f"{SOURCE_MAP}, of which our copy lost {lost} numbers" if lost else SOURCE_MAP


def claims_of(methods: Iterable[str]) -> tuple[Claim, ...]:
    """Return the claims about quantizers, by group, without widths that a quantizer is not defined for.

    They are all that the paper says of YOLOv5n, which is less than it says of quantization.
    """
    found = [claim for method in methods for claim in (*_gains(method), *_overfitting(method))]
    return tuple(sorted(found, key=lambda claim: list(GROUPS).index(claim.group)))


def _defined(method: str, widths: Iterable[int]) -> tuple[int, ...]:
    return tuple(bits for bits in widths if method not in METHODS or bits in METHODS[method].bits)


def _gains(method: str) -> Iterator[Claim]:
    widths = _defined(method, WIDTHS)
    if 8 in widths:
        for corruption, where in ((ALL, "corrupted"), (CLEAN, "clean")):
            yield Claim(
                key=f"{method}-8bit-{corruption}",
                group="8 bits",
                text=f"{kind_of(method, 8)} gains on FP32 on {where} pictures",
                source=_source(method, corruption, 8),
                parts=partial(_gain, method, 8, corruption, 1),
            )
        yield Claim(
            key=f"{method}-8bit-most",
            group="8 bits",
            text=f"{kind_of(method, 8)} gains under most of the corruptions",
            source=SOURCE_MOST if method in paper.METHODS else SOURCE_OTHER,
            parts=partial(_everywhere, method, 8),
            most=True,
        )
    for bits in widths:
        if bits < 8:
            yield Claim(
                key=f"{method}-{bits}bit-{ALL}",
                group="fewer bits",
                text=f"{kind_of(method, bits)} loses against FP32 on corrupted pictures",
                source=_source(method, ALL, bits),
                parts=partial(_gain, method, bits, ALL, -1),
            )
    if len(widths) > 1:
        order = ", ".join(map(str, widths))
        yield Claim(
            key=f"{method}-order",
            group="fewer bits",
            text=f"{method_title(method)} is worse on corrupted pictures the fewer bits it has: {order}",
            source=_source(method, ALL, *widths),
            parts=partial(_order, method, widths),
        )


def _overfitting(method: str) -> Iterator[Claim]:
    for name, (text, measure, widths) in MEASURES.items():
        for bits in _defined(method, widths):
            yield Claim(
                key=f"{method}-{bits}bit-{name}",
                group="overfitting",
                text=text.format(kind_of(method, bits)),
                source="our measure of what Fig. 1 shows" if name == "gap" else "Fig. 1, which names no quantizer",
                parts=partial(_losses, method, bits, measure),
                unit="loss",
            )
