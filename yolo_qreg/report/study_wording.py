"""How estimates, verdicts and trainings are put into words, on the page and on terminals."""

from __future__ import annotations

from datetime import timedelta

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.findings.claims import Judged, Part
from yolo_qreg.findings.gather import Training
from yolo_qreg.findings.spread import SeedMean
from yolo_qreg.report.text import DASH, PLUS_MINUS, digits_of, interval, number, signed

LOSS_DIGITS = 3


def seeds_text(seeds: int) -> str:
    """Return how many seeds there are.

    Example:
        >>> seeds_text(1), seeds_text(3)
        ('one seed', '3 seeds')
    """
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def points_text(found: Estimate) -> str:
    """Return a gain in points with its interval, in parentheses where it is undecided."""
    text = signed(found.value, digits_of(found))
    return f"{text if found.decided else f'({text})'} {interval(found)}"


def loss_text(found: Estimate) -> str:
    """Return a change of a loss with its interval, as far as there is one."""
    text = signed(found.value, LOSS_DIGITS)
    if found.interval is None:
        return f"({text})"
    low, high = (number(end, LOSS_DIGITS) for end in found.interval)
    return f"{text if found.decided else f'({text})'} [{low}, {high}]"


def spread_text(found: SeedMean, digits: int = 2) -> str:
    """Return a mean and its standard deviation over seeds, where there is one.

    Example:
        >>> spread_text(SeedMean(value=25.0, values=((0, 24.0), (1, 26.0)))) == f"25.00 {PLUS_MINUS} 1.41"
        True
    """
    text = number(found.value, digits)
    return text if found.sd is None else f"{text} {PLUS_MINUS} {number(found.sd, digits)}"


def claim_numbers(entry: Judged) -> str:
    """Return what a study found for a claim, and over how many seeds; nothing where it was not tested."""
    if entry.verdict == "not tested":
        return ""
    after = " (one seed)" if entry.seeds == 1 else f", {seeds_text(entry.seeds)}"
    said = _counts(entry) if entry.claim.most else "; ".join(_number(entry, part) for part in entry.parts)
    return f"{said}{', for these trainings' if entry.seeds == 1 else ''}{after}"


def _number(entry: Judged, part: Part) -> str:
    label = f"{part.label}: " if part.label else ""
    if part.estimate is None:
        return f"{label}not tested"
    if entry.claim.unit == "loss":
        return f"{label}{loss_text(part.estimate)} of loss"
    return f"{label}{points_text(part.estimate)} points"


def _counts(entry: Judged) -> str:
    votes = [part.agrees for part in entry.parts]
    tested = sum(part.estimate is not None for part in entry.parts)
    undecided = tested - votes.count(True) - votes.count(False)
    return f"of {tested}, {votes.count(True)} are better, {votes.count(False)} worse, {undecided} undecided"


def claim_paper(entry: Judged) -> str:
    """Return what the paper prints for a claim; nothing where it prints no number that could stand beside ours."""
    known = [part for part in entry.parts if part.paper is not None]
    if entry.claim.most and known:
        return f"{sum((part.paper or 0) > 0 for part in known)} of {len(known)} better"
    return "; ".join(f"{part.label}: " * bool(part.label) + _printed(part.paper or 0.0) for part in known)


def _printed(points: float) -> str:
    """Return a number of the paper: its cells have one digit, its means two."""
    return signed(points, 1 if round(points, 1) == points else 2)


def trouble(training: Training) -> str:
    """Return why a training is not part of the report; nothing where it is."""
    if training.evaluated:
        return ""
    progress = training.progress
    return {
        "finished": "trained, not evaluated",
        "failed": f"failed after {progress.epochs} epochs ({progress.reason})",
        "begun": f"not finished, {progress.epochs} epochs done",
        "missing": "not begun",
    }[progress.state]


def state_text(training: Training) -> str:
    """Return the state of a training in a word or two."""
    if training.evaluated and training.progress.state == "missing":
        return "finished, folder not kept"
    return training.progress.state


def duration(seconds: float) -> str:
    """Return a time in hours, minutes and seconds; a dash for none."""
    return str(timedelta(seconds=round(seconds))) if seconds else DASH
