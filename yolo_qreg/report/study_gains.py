"""What is gained or lost against FP32, over seeds: Table 1 and the heat maps of Fig. 6, as sections of the page."""

from __future__ import annotations

from yolo_qreg.evaluation.results import CLEAN
from yolo_qreg.findings import paper
from yolo_qreg.findings.gather import Findings
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.pool import Pool, Unit
from yolo_qreg.findings.spread import SeedMean
from yolo_qreg.report import comparison, heatmap, markup
from yolo_qreg.report import page as common
from yolo_qreg.report.headline import gain_cell
from yolo_qreg.report.markup import Html, el
from yolo_qreg.report.study_figures import shared_limit
from yolo_qreg.report.study_wording import seeds_text, spread_text
from yolo_qreg.report.text import MINUS, PLUS_MINUS, data, number

SEVERAL_COVER = "Intervals cover other pictures (a bootstrap) and other seeds (Student's t), in quadrature. "
SOME_COVER = "Where there is one seed they cover other pictures only, not other trainings. "
ONE_COVERS = "Intervals cover other pictures only, not other trainings: there is one seed. "
PRINTED = ("mAP", "gain", "Eq. 5")


def one_seed(pool: Pool) -> bool:
    """Tell whether no unit has more than one seed."""
    return max(map(len, pool.seeds.values())) == 1


def cover(pool: Pool) -> str:
    """Return what intervals say: nothing of other trainings where there is one seed."""
    if one_seed(pool):
        return ONE_COVERS
    return SEVERAL_COVER + (SOME_COVER if min(map(len, pool.seeds.values())) == 1 else "")


def table1(findings: Findings, pool: Pool) -> Html:
    """Return the section of Table 1, beside the paper's where that is about the same data."""
    printed = {(row.method, row.bits): row for row in paper.table1()} if findings.comparable() else {}
    groups = el(
        "tr",
        el("th", "", colspan="2"),
        el("th", "corrupted pictures", colspan="4", scope="colgroup", class_="group"),
        el("th", "clean pictures", colspan="3", scope="colgroup", class_="group"),
        el("th", el("span", "paper, Table 1", class_="tag"), colspan="3", scope="colgroup", class_="group from-paper")
        if printed
        else None,
    )
    names = ("seeds", "mAP", "gain [95% interval]", "Eq. 5", "mAP", "gain [95% interval]")
    head = el(
        "tr",
        el("th", "weights", scope="col"),
        (_head(name) for name in names),
        (el("th", name, scope="col", class_="num from-paper") for name in PRINTED if printed),
    )
    body = []
    for unit in pool.units:
        gains = [pool.gain(unit.label), pool.gain(unit.label, CLEAN)]
        theirs = comparison.printed_cells(printed.get((unit.method, unit.bits)), printed[None, 32]) if printed else ()
        value = pool.equation5(unit.label)
        body.append(
            el(
                "tr",
                el("th", kind_of(unit.method, unit.bits), scope="row"),
                el("td", str(len(pool.seeds[unit.label])), class_="num"),
                _level(pool.level(unit.label)),
                gain_cell(gains[0]),
                el("td", data(value, _bracketed(number(value, 2), gains[0])), class_="num"),
                _level(pool.level(unit.label, CLEAN)),
                gain_cell(gains[1]),
                theirs,
                class_="base" if unit.label == pool.twin else None,
            )
        )
    sd = f" {PLUS_MINUS} standard deviation over seeds" if len(pool.seeds[pool.twin]) > 1 else ""
    return common.section(
        "table1",
        "Table 1, over seeds",
        el(
            "p",
            f"mAP@[.50:.95] in points{sd}; corrupted: mean over every corruption and severity. Eq. 5: ",
            el("span", "100 log", el("sub", "10"), f"((100 {MINUS} FP32) / (100 {MINUS} model))", class_="nb"),
            f", the mean over seeds. {cover(pool)}",
        ),
        markup.table((groups, head), body),
    )


def _head(name: str) -> Html:
    pair = name.startswith("gain")
    return el(
        "th", name, scope="colgroup" if pair else "col", colspan="2" if pair else None, class_="pair" if pair else "num"
    )


def _level(found: SeedMean) -> Html:
    return el("td", data(found.value, spread_text(found)), class_="num")


def _bracketed(text: str, gain: SeedMean | None) -> str:
    return f"({text})" if gain and not gain.decided else text


def maps(findings: Findings, pool: Pool) -> Html | None:
    """Return the section of heat maps, each above the paper's; nothing without a quantized unit."""
    units = pool.units[1:]
    if not units:
        return None
    limit = shared_limit(findings, pool)
    methods = list(dict.fromkeys(unit.method for unit in units))
    rows = (
        el("div", (_map(findings, pool, unit, limit) for unit in units if unit.method == method), class_="maps")
        for method in methods
    )
    cells = [cell for unit in units for cell in heatmap.cells_of(pool.results, unit.label)]
    lost = findings.voc and any(None in paper.cells(unit.method, unit.bits).values() for unit in units)
    blank = [
        "not evaluated" if any(cell.side == "blank" for cell in cells) else "",
        "number lost in our copy of the paper" if lost else "",
    ]
    theirs = "; the paper's stand below, without intervals" if findings.voc else ""
    return common.section(
        "maps",
        "Gain or loss by corruption: Fig. 6",
        el(
            "p",
            f"Points of mAP against the FP32 twin, {common.averaged(pool.results)} and over seeds; all maps share one "
            f"scale{theirs}. {cover(pool)}",
        ),
        *rows,
        heatmap.legend(limit, " or ".join(filter(None, blank)) or None),
    )


def _map(findings: Findings, pool: Pool, unit: Unit, limit: float) -> Html:
    kind = el("b", kind_of(unit.method, unit.bits))
    ours = el(
        "figure",
        el("figcaption", kind, f" {seeds_text(len(pool.seeds[unit.label]))}"),
        heatmap.grid(heatmap.cells_of(pool.results, unit.label), limit),
        class_="map",
    )
    printed = paper.cells(unit.method, unit.bits) if findings.voc else {}
    if not printed:
        return ours
    theirs = el(
        "figure",
        el("figcaption", kind, " ", el("span", "paper, Fig. 6", class_="tag")),
        heatmap.grid(heatmap.cells_from(printed), limit),
        class_="map from-paper",
    )
    return el("div", ours, theirs, class_="pair-of-maps")
