"""The tables of a study, and the words in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from statistics import fmean

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.results import CLEAN
from yolo_qreg.findings.claims import Claim, Part
from yolo_qreg.findings.gains import Unit
from yolo_qreg.findings.gather import Findings, Training
from yolo_qreg.findings.losses import LOSSES, SUM, Gap, History
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.findings.pool import Pool
from yolo_qreg.findings.spread import MOST_SEEDS
from yolo_qreg.report.evaluation_tables import of_the_paper
from yolo_qreg.report.table import (
    GAIN,
    Cell,
    Column,
    Columns,
    Table,
    count_cell,
    gain_cell,
    kind_cell,
    mean_cell,
    number_cell,
    table,
    table_of,
    text_cell,
)
from yolo_qreg.report.text import duration, number, seeds_text, signed, with_interval

LOSS_DIGITS = 3
MEANS: dict[str, Callable[[Gap], float]] = {
    "training": lambda gap: gap.training_sum,
    "validation": lambda gap: gap.validation_sum,
    "gap": lambda gap: gap.of(),
    "rise": lambda gap: gap.rise,
}
CHANGES = ("validation", "gap", "rise")
SHOWN_OF_RUNS = (
    *("run", "epoch", "training_sum", "validation_sum", "gap_sum", "gap_change"),
    *("turn", "rise", "best_epoch", "seconds"),
)
"""Columns of losses by run that are shown; all are in gaps.csv."""
WEIGHTS = Column("", "weights", words=True)


def table1(pool: Pool) -> Table:
    """Return Table 1 over seeds, mAP@[.50:.95] in points, beside the paper's where that is about the same data."""
    columns: Columns[Unit] = {
        WEIGHTS: lambda unit: kind_cell(unit.method, unit.bits),
        Column("seeds", "seeds"): lambda unit: count_cell(len(pool.seeds[unit.label])),
        Column("mb", "MB"): lambda unit: number_cell(pool.sizes[unit.label]),
        Column("corrupted", "corrupted mAP"): lambda unit: mean_cell(pool.level(unit.label)),
        Column("gain", GAIN): lambda unit: gain_cell(pool.gain(unit.label)),
        Column("equation5", "Eq. 5"): lambda u: number_cell(pool.equation5(u.label), of=pool.gain(u.label)),
        Column("clean", "clean mAP"): lambda unit: mean_cell(pool.level(unit.label, CLEAN)),
        Column("clean_gain", GAIN): lambda unit: gain_cell(pool.gain(unit.label, CLEAN)),
    }
    return table_of(pool.units, {**columns, **(of_the_paper(pool) if pool.comparable() else {})}, pool.baseline)


def maps(pool: Pool) -> Table:
    """Return a row for each quantized unit with results and each cell of the paper's heat maps."""
    columns = (
        WEIGHTS,
        Column("cell", "cell"),
        Column("corruption", "corruption", words=True),
        Column("", GAIN),
        Column("paper", "paper", paper=True),
    )
    rows = (
        (
            kind_cell(unit.method, unit.bits),
            count_cell(index),
            Cell(title_of(name), {"": name}),
            gain_cell(pool.gain(unit.label, name)),
            number_cell(pool.printed(unit).cells.get(name), 1, sign=True),
        )
        for unit in pool.compared
        for index, name in enumerate(paper_order(CORRUPTIONS))
    )
    return table(columns, rows)


def gains_by_corruption(pool: Pool) -> Table:
    """Return what each unit gains on clean pictures and under each corruption."""
    columns = (
        Column("corruption", "corruption", words=True),
        *(Column(unit.label, GAIN, unit.title) for unit in pool.compared),
    )
    rows = (
        (text_cell(title_of(name)), *(gain_cell(pool.gain(unit.label, name)) for unit in pool.compared))
        for name in paper_order(pool.corruptions)
    )
    return table(columns, rows)


def losses_by_unit(findings: Findings) -> Table:
    """Return losses at the end of trainings as means over seeds, and how they differ from the twins'."""
    base = findings.units[0]

    def mean(take: Callable[[Gap], float], unit: Unit) -> Cell:
        return number_cell(fmean(map(take, findings.gaps(unit.label).values())), LOSS_DIGITS)

    def change(take: Callable[[Gap], float], unit: Unit) -> Cell:
        found = None if unit == base else findings.loss_change(unit.label, take)
        return gain_cell(found, LOSS_DIGITS, less_is_better=True)

    versus = "change against FP32 [95% interval]"
    columns: Columns[Unit] = {
        WEIGHTS: lambda unit: kind_cell(unit.method, unit.bits),
        Column("seeds", "seeds"): lambda unit: count_cell(len(findings.gaps(unit.label))),
        **{Column(name, name, "mean"): partial(mean, take) for name, take in MEANS.items()},
        **{Column(f"change_{name}", name, versus): partial(change, MEANS[name]) for name in CHANGES},
    }
    return table_of([unit for unit in findings.units if findings.gaps(unit.label)], columns, base)


def losses_by_run(findings: Findings) -> Table:
    """Return losses at the end of each training that came to it, and their change from its twin's."""
    columns = (
        Column("run", "training", words=True),
        Column("unit", "unit", words=True),
        Column("seed", "seed"),
        Column("epoch", "epoch"),
        *(Column(f"{key}_{loss}", f"{key}, {loss}") for key in ("training", "validation", "gap") for loss in LOSSES),
        Column(f"training_{SUM}", "training loss"),
        Column(f"validation_{SUM}", "validation loss"),
        Column(f"gap_{SUM}", "gap"),
        Column("turn", "lowest validation loss at epoch"),
        Column("rise", "rise since"),
        Column("gap_change", "gap minus the twin's"),
        Column("best_epoch", "best epoch"),
        Column("seconds", "time"),
    )

    def row(training: Training, gap: Gap, history: History) -> tuple[Cell, ...]:
        each = (
            *(gap.training.get(loss) for loss in LOSSES),
            *(gap.validation.get(loss) for loss in LOSSES),
            *(gap.of(loss) if loss in gap.training else None for loss in LOSSES),
            *(gap.training_sum, gap.validation_sum, gap.of()),
        )
        return (
            text_cell(training.run.name),
            text_cell(training.run.quant.label),
            count_cell(training.run.seed),
            count_cell(gap.epoch),
            *(number_cell(value, LOSS_DIGITS) for value in each),
            count_cell(gap.turn),
            number_cell(gap.rise, LOSS_DIGITS),
            number_cell(findings.gap_change(training), LOSS_DIGITS, sign=True),
            count_cell(history.best_epoch),
            Cell(duration(history.seconds), {"": history.seconds}),
        )

    return table(columns, (row(t, t.gap, t.history) for t in findings.trainings if t.gap and t.history))


def runs(findings: Findings) -> Table:
    """Return the state of every training."""

    def state(training: Training) -> Cell:
        gone = training.evaluated and training.progress.state == "missing"
        return text_cell("finished, folder not kept" if gone else training.progress.state)

    def epochs(training: Training) -> Cell:
        return count_cell(max(training.progress.epochs, training.history.epochs if training.history else 0))

    def seconds(training: Training) -> Cell:
        value = max(training.progress.seconds, training.history.seconds if training.history else 0.0)
        return Cell(duration(value), {"": value})

    columns: Columns[Training] = {
        Column("run", "training", words=True): lambda training: text_cell(training.run.name),
        Column("state", "state", words=True): state,
        Column("epochs", f"epochs of {findings.study.epochs}"): epochs,
        Column("seconds", "time"): seconds,
        Column("best_epoch", "best epoch"): lambda training: count_cell(
            training.history.best_epoch if training.history else None
        ),
        Column("reason", "why it is not in the report", words=True): lambda training: text_cell(trouble(training)),
    }
    return table_of(findings.trainings, columns)


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


def claims(judged: Iterable[Claim]) -> Table:
    """Return what a study says to each claim."""
    columns: Columns[Claim] = {
        Column("claim", "claim", words=True): lambda claim: text_cell(claim.text),
        Column("source", "source", words=True): lambda claim: text_cell(claim.source),
        Column("verdict", "verdict", words=True): lambda claim: text_cell(claim.verdict),
        Column("here", "here", words=True): lambda claim: text_cell(claim_numbers(claim) or None),
        Column("paper", "paper", words=True): lambda claim: text_cell(claim_paper(claim) or None),
    }
    return table_of(judged, columns)


def claim_parts(judged: Iterable[Claim]) -> Table:
    """Return a row for each number of each claim."""
    names = ("claim", "text", "verdict", "part", "claimed_sign", "unit", "", "paper", "source")
    rows = (
        (
            *(text_cell(text) for text in (claim.key, claim.text, claim.verdict, part.label)),
            count_cell(part.sign),
            text_cell(claim.unit),
            gain_cell(part.estimate, LOSS_DIGITS if claim.unit == "loss" else None),
            number_cell(part.paper),
            text_cell(claim.source),
        )
        for claim in judged
        for part in claim.parts
    )
    return table((Column(name, name or GAIN, words=True) for name in names), rows)


def claim_numbers(claim: Claim) -> str:
    """Return what a study found for a claim, and over how many seeds; nothing where it was not tested."""
    if claim.verdict == "not tested":
        return ""
    after = ", for these trainings (one seed)" if claim.seeds == 1 else f", {seeds_text(claim.seeds)}"
    text = _counts(claim) if claim.most else "; ".join(_number(claim, part) for part in claim.parts)
    return f"{text}{after}{_what_would_decide(claim)}"


def _what_would_decide(claim: Claim) -> str:
    """Return what an undecided claim about one number lacks; nothing for others, and after one seed."""
    found = claim.parts[0].estimate
    if len(claim.parts) > 1 or found is None or found.excess is None or found.sd is None:
        return ""
    text = f"; an interval {number(max(found.excess, 1.1), 1)} times as narrow would decide"
    if found.takes_pictures:
        return f"{text}, which takes more pictures"
    return f"{text}: {found.seeds_needed or f'more than {MOST_SEEDS}'} seeds that scatter as these"


def _number(claim: Claim, part: Part) -> str:
    label = f"{part.label}: " if part.label else ""
    if part.estimate is None:
        return f"{label}not tested"
    digits, unit = (LOSS_DIGITS, "of loss") if claim.unit == "loss" else (None, "points")
    return f"{label}{with_interval(part.estimate, digits)} {unit}"


def _counts(claim: Claim) -> str:
    votes = claim.votes
    tested = sum(part.estimate is not None for part in claim.parts)
    undecided = tested - votes.count(True) - votes.count(False)
    return f"of {tested}, {votes.count(True)} are better, {votes.count(False)} worse, {undecided} undecided"


def claim_paper(claim: Claim) -> str:
    """Return what the paper prints for a claim; nothing where it prints no number that could stand beside ours."""
    known = [(part.label, part.paper) for part in claim.parts if part.paper is not None]
    if claim.most and known:
        return f"{sum(points > 0 for _, points in known)} of {len(known)} better"
    return "; ".join(f"{label}: " * bool(label) + _printed(points) for label, points in known)


def _printed(points: float) -> str:
    """Return a number of the paper: its cells have one digit, its means two."""
    return signed(points, 1 if round(points, 1) == points else 2)
