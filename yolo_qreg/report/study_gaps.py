"""How far validation losses end above training losses, as tables of the page."""

from __future__ import annotations

from collections.abc import Callable

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.findings.gather import Findings
from yolo_qreg.findings.losses import LOSSES, Gap
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.spread import over_seeds
from yolo_qreg.report import markup
from yolo_qreg.report.markup import Html, el
from yolo_qreg.report.study_wording import LOSS_DIGITS, loss_text
from yolo_qreg.report.text import DASH, data, number, signed

MEANS: dict[str, Callable[[Gap], float]] = {
    "training": lambda gap: gap.training_sum,
    "validation": lambda gap: gap.validation_sum,
    "gap": lambda gap: gap.of(),
    "rise": lambda gap: gap.rise,
}
CHANGES = ("validation", "gap", "rise")


def gap_tables(findings: Findings) -> tuple[Html, ...]:
    """Return the means over seeds, and each training with each loss; nothing where no training came to its end."""
    if not any(training.gap for training in findings.trainings):
        return ()
    rise = "Rise: how far the validation loss ends above its lowest value."
    return (
        _by_unit(findings),
        el("p", rise, class_="note"),
        el("details", el("summary", "Each training and each loss"), _by_run(findings)),
    )


def _by_unit(findings: Findings) -> Html:
    groups = el(
        "tr",
        el("th", "", colspan="2"),
        el("th", "mean", colspan=str(len(MEANS)), scope="colgroup", class_="group"),
        el("th", "change against FP32 [95% interval]", colspan=str(len(CHANGES)), scope="colgroup", class_="group"),
    )
    head = el(
        "tr",
        el("th", "weights", scope="col"),
        (el("th", name, scope="col", class_="num") for name in ("seeds", *MEANS, *CHANGES)),
    )
    body = []
    for unit in findings.units:
        gaps = findings.gaps(unit.label)
        if not gaps:
            continue
        means = (over_seeds({seed: take(gap) for seed, gap in gaps.items()}) for take in MEANS.values())
        base = unit == findings.units[0]
        changes = (None if base else findings.loss_change(unit.label, MEANS[name]) for name in CHANGES)
        body.append(
            el(
                "tr",
                el("th", kind_of(unit.method, unit.bits), scope="row"),
                el("td", str(len(gaps)), class_="num"),
                (el("td", data(found.value, number(found.value, LOSS_DIGITS)), class_="num") for found in means),
                (_change(found) for found in changes),
            )
        )
    return markup.table((groups, head), body)


def _change(found: Estimate | None) -> Html:
    if found is None:
        return el("td", DASH, class_="num")
    ink = "undecided" if not found.decided else "worse" if found.value > 0 else "better"
    return el("td", data(found.value, loss_text(found), class_=f"ink {ink}"), class_="num")


def _by_run(findings: Findings) -> Html:
    names = ("epoch", "training", "validation", "gap", "against twin", *(f"gap, {loss}" for loss in LOSSES))
    head = el("tr", el("th", "run", scope="col"), (el("th", name, scope="col", class_="num") for name in names))
    body = []
    for training in findings.trainings:
        gap = training.gap
        if gap is None:
            continue
        sums = (gap.training_sum, gap.validation_sum, gap.of())
        change = findings.gap_change(training)
        parts = (gap.of(loss) if loss in gap.training else None for loss in LOSSES)
        body.append(
            el(
                "tr",
                el("th", training.run.name, scope="row"),
                el("td", str(gap.epoch), class_="num"),
                (el("td", data(value, number(value, LOSS_DIGITS)), class_="num") for value in sums),
                el("td", data(change, signed(change, LOSS_DIGITS)), class_="num"),
                (el("td", data(value, number(value, LOSS_DIGITS)), class_="num") for value in parts),
            )
        )
    return markup.table(head, body)
