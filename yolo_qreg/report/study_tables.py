"""The tables of a study, and the words in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.results import CLEAN
from yolo_qreg.findings import paper
from yolo_qreg.findings.claims import Judged, Part
from yolo_qreg.findings.gains import Unit
from yolo_qreg.findings.gather import Findings, Training
from yolo_qreg.findings.losses import LOSSES, SUM, Gap
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.findings.pool import Pool
from yolo_qreg.findings.spread import MOST_SEEDS, over_seeds
from yolo_qreg.report.evaluation_tables import paper_cells, paper_columns
from yolo_qreg.report.table import (
    GAIN,
    Cell,
    Column,
    Row,
    Table,
    count_cell,
    gain_cell,
    kind_cell,
    mean_cell,
    number_cell,
    table,
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
    "run",
    "epoch",
    "training_sum",
    "validation_sum",
    "gap_sum",
    "gap_change",
    "turn",
    "rise",
    "best_epoch",
    "seconds",
)
"""Columns of losses by run that are shown; all are in gaps.csv."""


def table1(findings: Findings, pool: Pool) -> Table:
    """Return Table 1 over seeds, mAP@[.50:.95] in points, beside the paper's where that is about the same data."""
    printed = {(row.method, row.bits): row for row in paper.table1()} if findings.comparable() else {}
    columns = (
        Column("", "weights", words=True),
        Column("seeds", "seeds"),
        Column("mb", "MB"),
        Column("corrupted", "corrupted mAP"),
        Column("gain", GAIN),
        Column("equation5", "Eq. 5"),
        Column("clean", "clean mAP"),
        Column("clean_gain", GAIN),
        *(paper_columns() if printed else ()),
    )

    def row(unit: Unit) -> Row:
        gain = pool.gain(unit.label)
        cells = (
            kind_cell(unit.method, unit.bits),
            count_cell(len(pool.seeds[unit.label])),
            number_cell(pool.sizes[unit.label]),
            mean_cell(pool.level(unit.label)),
            gain_cell(gain),
            number_cell(pool.equation5(unit.label), doubtful=gain is not None and not gain.decided),
            mean_cell(pool.level(unit.label, CLEAN)),
            gain_cell(pool.gain(unit.label, CLEAN)),
            *(paper_cells(printed.get((unit.method, unit.bits or 0))) if printed else ()),
        )
        return Row(cells, "base" if unit == pool.baseline else "")

    return table(columns, map(row, pool.units))


def maps(findings: Findings, pool: Pool) -> Table:
    """Return a row for each quantized unit with results and each cell of the paper's heat maps."""
    columns = (
        Column("", "weights", words=True),
        Column("cell", "cell"),
        Column("corruption", "corruption", words=True),
        Column("", GAIN),
        Column("paper", "paper", paper=True),
    )
    rows = []
    for unit in pool.compared:
        printed = paper.cells(unit.method, unit.bits or 0) if findings.voc else {}
        for index, name in enumerate(paper_order(CORRUPTIONS)):
            gain = gain_cell(pool.gain(unit.label, name))
            which = (kind_cell(unit.method, unit.bits), count_cell(index), Cell(title_of(name), {"": name}))
            rows.append((*which, gain, number_cell(printed.get(name), 1, sign=True)))
    return table(columns, rows)


def gains_by_corruption(pool: Pool) -> Table:
    """Return what each unit gains on clean pictures and under each corruption."""
    columns = (
        Column("corruption", "corruption", words=True),
        *(Column(unit.label, GAIN, unit.kind) for unit in pool.compared),
    )
    rows = (
        (text_cell(title_of(name)), *(gain_cell(pool.gain(unit.label, name)) for unit in pool.compared))
        for name in paper_order(pool.corruptions)
    )
    return table(columns, rows)


def losses_by_unit(findings: Findings) -> Table:
    """Return losses at the end of trainings as means over seeds, and how they differ from the twins'."""
    columns = (
        Column("", "weights", words=True),
        Column("seeds", "seeds"),
        *(Column(name, name, "mean") for name in MEANS),
        *(Column(f"change_{name}", name, "change against FP32 [95% interval]") for name in CHANGES),
    )
    rows = []
    for unit in findings.units:
        gaps, base = findings.gaps(unit.label), unit == findings.units[0]
        changes = (None if base else findings.loss_change(unit.label, MEANS[name]) for name in CHANGES)
        if gaps:
            means = (over_seeds({seed: take(gap) for seed, gap in gaps.items()}).value for take in MEANS.values())
            cells = (
                kind_cell(unit.method, unit.bits),
                count_cell(len(gaps)),
                *(number_cell(mean, LOSS_DIGITS) for mean in means),
                *(gain_cell(change, LOSS_DIGITS, less_is_better=True) for change in changes),
            )
            rows.append(Row(cells, "base" if base else ""))
    return table(columns, rows)


def losses_by_run(findings: Findings) -> Table:
    """Return losses at the end of each training that came to it, and their change from its twin's."""
    kinds = (("training", "training"), ("validation", "validation"), ("gap", "gap"))
    columns = (
        Column("run", "training", words=True),
        Column("unit", "unit", words=True),
        Column("seed", "seed"),
        Column("epoch", "epoch"),
        *(Column(f"{key}_{loss}", f"{title}, {loss}") for key, title in kinds for loss in LOSSES),
        Column(f"training_{SUM}", "training loss"),
        Column(f"validation_{SUM}", "validation loss"),
        Column(f"gap_{SUM}", "gap"),
        Column("turn", "lowest validation loss at epoch"),
        Column("rise", "rise since"),
        Column("gap_change", "gap minus the twin's"),
        Column("best_epoch", "best epoch"),
        Column("seconds", "time"),
    )
    return table(columns, (_losses_of(findings, t, t.gap) for t in findings.trainings if t.gap))


def _losses_of(findings: Findings, training: Training, gap: Gap) -> tuple[Cell, ...]:
    history = training.history
    assert history is not None
    each = (
        *(gap.training.get(loss) for loss in LOSSES),
        *(gap.validation.get(loss) for loss in LOSSES),
        *(gap.of(loss) if loss in gap.training else None for loss in LOSSES),
    )
    return (
        text_cell(training.run.name),
        text_cell(training.run.quant.label),
        count_cell(training.run.seed),
        count_cell(gap.epoch),
        *(number_cell(value, LOSS_DIGITS) for value in (*each, gap.training_sum, gap.validation_sum, gap.of())),
        count_cell(gap.turn),
        number_cell(gap.rise, LOSS_DIGITS),
        number_cell(findings.gap_change(training), LOSS_DIGITS, sign=True),
        count_cell(history.best_epoch),
        Cell(duration(history.seconds), {"": history.seconds}),
    )


def runs(findings: Findings) -> Table:
    """Return the state of every training."""
    columns = (
        Column("run", "training", words=True),
        Column("state", "state", words=True),
        Column("epochs", f"epochs of {findings.study.epochs}"),
        Column("seconds", "time"),
        Column("best_epoch", "best epoch"),
        Column("reason", "why it is not in the report", words=True),
    )

    def row(training: Training) -> tuple[Cell, ...]:
        history, progress = training.history, training.progress
        seconds = max(progress.seconds, history.seconds if history else 0.0)
        return (
            text_cell(training.run.name),
            text_cell(state_text(training)),
            count_cell(max(progress.epochs, history.epochs if history else 0)),
            Cell(duration(seconds), {"": seconds}),
            count_cell(history.best_epoch if history else None),
            text_cell(trouble(training)),
        )

    return table(columns, map(row, findings.trainings))


def state_text(training: Training) -> str:
    """Return the state of a training in a word or two."""
    kept = not (training.evaluated and training.progress.state == "missing")
    return training.progress.state if kept else "finished, folder not kept"


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


@dataclass(frozen=True, slots=True)
class Said:
    """A claim with what a study and the paper have for it, in words; nothing where they have nothing."""

    entry: Judged
    ours: str
    paper: str


def said(judged: Iterable[Judged]) -> tuple[Said, ...]:
    """Put the numbers behind claims into words."""
    return tuple(Said(entry, claim_numbers(entry), claim_paper(entry)) for entry in judged)


def claims(judged: Iterable[Judged]) -> Table:
    """Return what a study says to each claim."""
    titles = ("claim", "source", "verdict", "here", "paper")
    rows = (
        (
            text_cell(entry.entry.claim.text),
            text_cell(entry.entry.claim.source),
            text_cell(entry.entry.verdict),
            text_cell(entry.ours or None),
            text_cell(entry.paper or None),
        )
        for entry in said(judged)
    )
    return table((Column(title, title, words=True) for title in titles), rows)


def claim_parts(judged: Sequence[Judged]) -> Table:
    """Return a row for each number of each claim."""
    names = ("claim", "text", "verdict", "part", "claimed_sign", "unit", "", "paper", "source")
    rows = (
        (
            *(text_cell(text) for text in (entry.claim.key, entry.claim.text, entry.verdict, part.label)),
            count_cell(part.sign),
            text_cell(entry.claim.unit),
            gain_cell(part.estimate, LOSS_DIGITS if entry.claim.unit == "loss" else None),
            number_cell(part.paper),
            text_cell(entry.claim.source),
        )
        for entry in judged
        for part in entry.parts
    )
    return table((Column(name, name or GAIN, words=True) for name in names), rows)


def claim_numbers(entry: Judged) -> str:
    """Return what a study found for a claim, and over how many seeds; nothing where it was not tested."""
    if entry.verdict == "not tested":
        return ""
    after = " (one seed)" if entry.seeds == 1 else f", {seeds_text(entry.seeds)}"
    text = _counts(entry) if entry.claim.most else "; ".join(_number(entry, part) for part in entry.parts)
    return f"{text}{', for these trainings' if entry.seeds == 1 else ''}{after}{_what_would_decide(entry)}"


def _what_would_decide(entry: Judged) -> str:
    """Return what an undecided claim about one number lacks; nothing for others, and after one seed."""
    found = entry.parts[0].estimate
    if len(entry.parts) > 1 or found is None or found.excess is None or found.sd is None:
        return ""
    needed = f"{found.seeds_needed}" if found.seeds_needed else f"more than {MOST_SEEDS}"
    narrow = number(max(found.excess, 1.1), 1)
    return f"; an interval {narrow} times as narrow would decide: {needed} seeds that scatter as these"


def _number(entry: Judged, part: Part) -> str:
    label = f"{part.label}: " if part.label else ""
    if part.estimate is None:
        return f"{label}not tested"
    if entry.claim.unit == "loss":
        return f"{label}{with_interval(part.estimate, LOSS_DIGITS)} of loss"
    return f"{label}{with_interval(part.estimate)} points"


def _counts(entry: Judged) -> str:
    votes = entry.votes
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
