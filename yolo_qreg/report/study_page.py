"""The page of a study: its claims first, then what they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from yolo_qreg.evaluation.results import FEW_PICTURES
from yolo_qreg.findings import paper
from yolo_qreg.findings.claims import GROUPS, VERDICTS, Judged
from yolo_qreg.findings.gather import Findings
from yolo_qreg.findings.losses import LOSSES, PARTS
from yolo_qreg.findings.names import kind_of, method_title
from yolo_qreg.report import charts, markup, palette
from yolo_qreg.report import page as common
from yolo_qreg.report import setup as setup_section
from yolo_qreg.report import study_gains as gains
from yolo_qreg.report.markup import Html, el, join
from yolo_qreg.report.study_figures import FIG1_BITS, fig1_units, loss_charts, slots
from yolo_qreg.report.study_gaps import gap_tables
from yolo_qreg.report.study_wording import claim_numbers, claim_paper, duration, state_text, trouble
from yolo_qreg.report.text import DASH

TITLE = "Quantized detectors against their FP32 twins, over seeds"
DIFFERENCES = (
    "Differences are a model minus the FP32 twin of its seed. A number in parentheses is undecided: its 95% interval "
    "includes 0. "
)
ONE_SEED = (
    "What is decided here is decided for these trainings: another seed may well decide otherwise, which intervals over "
    "pictures do not show. Losses have no interval "
    "at all, so claims about them stay undecided."
)
VERDICTS_NOTE = (
    "Supported: every difference that the claim is about has the claimed sign, and its interval excludes 0; where it "
    "is about most corruptions, more than half of the 19 do. Not supported: the data show the opposite. "
)
CHANCE = "Of twenty differences that are none in truth, about one is decided by chance. "
GAPS = (
    "Losses at the last epoch, summed over box, cls and dfl unless said otherwise; the gap is validation minus "
    "training. Training losses are measured on augmented pictures while the weights of an epoch still move, validation "
    "losses on plain pictures with averaged weights after it. So a gap may be negative, and only differences between "
    "trainings mean something. Changes are against the twin of the same seed, with 95% intervals over seeds alone."
)
LOSS_NOTE = (
    "Fig. 1 of the paper shows validation objectness loss, which the anchor-free YOLOv5n of Ultralytics does not have; "
    "these are the losses that it has. Lines are means over seeds, bands reach from the lowest seed to the highest."
)


def document(findings: Findings, judged: Sequence[Judged], colours: palette.Name) -> str:
    """Return the page as text."""
    style = resources.files("yolo_qreg.report").joinpath("study.css").read_text("utf-8")
    parts = (
        _header(findings),
        _headline(findings, judged),
        *((gains.table1(findings, findings.pool), gains.maps(findings, findings.pool)) if findings.pool else ()),
        _losses(findings),
        _gaps(findings),
        _runs(findings),
        _setup(findings),
    )
    return common.whole(f"{TITLE}: {findings.study.data}", parts, colours, style)


def _header(findings: Findings) -> Html:
    pool = findings.pool
    seeds = pool.seeds[pool.twin] if pool else ()
    said = f"{'Seed' if len(seeds) == 1 else 'Seeds'} {', '.join(map(str, seeds))}."
    subject = f"{common.subject(pool.results)} {said}" if pool else "Nothing was evaluated yet."
    return el("header", el("h1", TITLE), el("p", subject, class_="subject"))


def _headline(findings: Findings, judged: Sequence[Judged]) -> Html:
    pool = findings.pool
    counts = {verdict: sum(entry.verdict == verdict for entry in judged) for verdict in VERDICTS}
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    images = pool.results.score(pool.twin).images if pool else FEW_PICTURES
    groups = (
        (el("h3", title), el("ul", (_claim(entry) for entry in judged if entry.claim.group == group), class_="claims"))
        for group, title in GROUPS.items()
    )
    data_name = pool.results.setup.get("data", findings.study.data) if pool else findings.study.data
    comparable = (
        join(el("span", "paper", class_="tag"), f" marks numbers printed in {paper.CITATION}, for Pascal VOC. ")
        if findings.voc
        else f"All is judged on {data_name}; the paper's numbers are for Pascal VOC and do not stand beside these. "
    )
    notes = (
        f"Only {images} pictures: do not rely on these intervals. " if images < FEW_PICTURES else None,
        VERDICTS_NOTE,
        CHANCE if pool and not gains.one_seed(pool) else None,
        DIFFERENCES,
        gains.cover(pool) if pool else None,
        comparable,
    )
    return el(
        "section",
        el("p", f"Of {len(judged)} claims of the paper about detection: {tally}.", class_="tally"),
        el("p", el("strong", "There is one seed only. "), ONE_SEED) if pool and gains.one_seed(pool) else None,
        _missing(findings),
        *(piece for pair in groups for piece in pair),
        el("p", notes, class_="note"),
        id="headline",
    )


def _claim(entry: Judged) -> Html:
    ours, theirs = claim_numbers(entry), claim_paper(entry)
    return el(
        "li",
        el("span", entry.verdict, class_=f"verdict {entry.verdict.replace(' ', '-')}"),
        el("p", f"{entry.claim.text}. ", el("small", entry.claim.source)),
        el(
            "span",
            el("span", ours) if ours else None,
            el("span", el("span", "paper", class_="tag"), f" {theirs}") if theirs else None,
            class_="figures",
        )
        if ours or theirs
        else None,
    )


def _missing(findings: Findings) -> Html | None:
    reasons = [(training.run.name, trouble(training)) for training in findings.trainings]
    lines = [join(el("code", name), f": {reason}") for name, reason in reasons if reason]
    lines += [join(note) for note in findings.unusable]
    if not lines:
        return None
    done = sum(training.evaluated for training in findings.trainings)
    return el(
        "div",
        el("strong", f"This is a part of the study: {done} of {len(findings.trainings)} trainings are in it."),
        el("ul", (el("li", line) for line in lines)),
        class_="missing",
    )


def _losses(findings: Findings) -> Html | None:
    parts = [piece for method in findings.study.methods for piece in _method_losses(findings, method)]
    if not parts:
        return None
    shown = " and ".join(map(str, FIG1_BITS))
    return common.section(
        "losses",
        "Losses of the trainings: Fig. 1",
        el("p", f"{LOSS_NOTE} As in the figure, FP32 with {shown} bits; other widths are in losses.csv."),
        *parts,
    )


def _method_losses(findings: Findings, method: str) -> Iterable[Html]:
    found = {part: loss_charts(findings, method, part) for part in PARTS}
    if not any(found.values()):
        return
    colours = slots(findings)
    yield el("h3", method_title(method))
    yield charts.key((kind_of(u.method, u.bits), colours[u.label]) for u in fig1_units(findings, method))
    first = [series[0] for series in found.values() if series]
    each = [chart for series in found.values() for chart in series[1:]]
    yield el("div", (common.chart_figure(chart, charts.LARGE) for chart in first), class_="charts")
    yield el(
        "details",
        el("summary", f"Each loss: {', '.join(LOSSES)}"),
        el("div", (common.chart_figure(chart, charts.MEDIUM) for chart in each), class_="charts"),
    )


def _gaps(findings: Findings) -> Html | None:
    tables = gap_tables(findings)
    return common.section("gaps", "Training against validation loss", el("p", GAPS), *tables) if tables else None


def _runs(findings: Findings) -> Html:
    planned = findings.study.epochs
    head = el(
        "tr",
        (el("th", name, scope="col") for name in ("run", "state")),
        (el("th", name, scope="col", class_="num") for name in (f"epochs of {planned}", "time", "best epoch")),
        el("th", "why it is not in the report", scope="col"),
    )
    body = []
    for training in findings.trainings:
        history, progress = training.history, training.progress
        epochs = max(progress.epochs, history.epochs if history else 0)
        seconds = max(progress.seconds, history.seconds if history else 0.0)
        best = history.best_epoch if history else None
        values = (str(epochs), duration(seconds), DASH if best is None else str(best))
        body.append(
            el(
                "tr",
                el("th", training.run.name, scope="row"),
                el("td", state_text(training)),
                (el("td", value, class_="num") for value in values),
                el("td", trouble(training), class_="reason"),
            )
        )
    commands = [el("li", el("code", training.command)) for training in findings.trainings if training.command]
    return common.section(
        "runs",
        "Trainings",
        markup.table(head, body),
        el("p", "Best epoch: the one with the highest mAP in validation, whose weights were evaluated.", class_="note"),
        el("details", el("summary", "Commands, from the study's folder"), el("ul", commands, class_="commands"))
        if commands
        else None,
    )


def _in_lines(value: Any) -> Any:
    """Return settings with their lists as text."""
    if isinstance(value, Mapping):
        return {key: _in_lines(item) for key, item in value.items()}
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _setup(findings: Findings) -> Html:
    pool = findings.pool
    links = [
        el("li", el("a", f"Seed {seed}", href=f"seed-{seed}/report.html"))
        for seed in (pool.seeds[pool.twin] if pool else ())
    ]
    note = setup_section.note(pool.results) if pool else None
    files = ("table1.csv", "maps.csv", "gaps.csv", "claims.csv", "losses.csv")
    return common.section(
        "setup",
        "What was run",
        el("p", "The page of each seed, with severities, classes and pictures:") if links else None,
        el("ul", links) if links else None,
        el("p", note) if note else None,
        el("h3", "The study"),
        setup_section.value_of(_in_lines(findings.study.to_dict())),
        (el("h3", "The evaluations"), setup_section.facts(pool.results)) if pool else None,
        el(
            "p",
            "Beside this page: ",
            (join(el("code", name), ", ") for name in files),
            "and the figures as PNG and PDF in ",
            el("code", "figures"),
            ".",
            class_="note",
        ),
    )
