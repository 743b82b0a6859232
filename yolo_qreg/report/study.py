"""The report of a study over its seeds: page, tables and figures, from the files of its folder alone.

Example:
    `write_study_report(load_study("out/study.yaml"), Path("out"))` writes out/report.html, tables and figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from yolo_qreg.evaluation.results import Results
from yolo_qreg.files import write_text
from yolo_qreg.findings import paper
from yolo_qreg.findings.claims import GROUPS, VERDICTS, Claim, judge
from yolo_qreg.findings.gather import Findings, gather
from yolo_qreg.findings.losses import LOSSES, write_histories
from yolo_qreg.findings.pool import Pool
from yolo_qreg.report import gain_panels, study_tables
from yolo_qreg.report.figures import Sheet, write_figures
from yolo_qreg.report.loss_panels import FIG1_BITS, SUMS, loss_charts
from yolo_qreg.report.page import PAGE, render
from yolo_qreg.report.palette import Name, check
from yolo_qreg.report.panels import Chart, HeatMap
from yolo_qreg.report.render import GAP, ascii_text, to_csv, to_text
from yolo_qreg.report.table import Table, table
from yolo_qreg.report.text import seeds_text
from yolo_qreg.study.plan import Study

FILES = ("table1.csv", "maps.csv", "gaps.csv", "claims.csv", "losses.csv")


def write_study_report(
    study: Study, out: Path, palette: str = "paper", by_seed: Mapping[int, Results] | None = None
) -> Path:
    """Write OUT/report.html, its tables as CSV files and OUT/figures, each file whole or as it was.

    Args:
        study: The study.
        out: Its folder.
        palette: `paper` (green and red) or `accessible` (blue and orange).
        by_seed: Its evaluations; by default those in OUT/seed-N, as far as there are some.

    Returns:
        The page.
    """
    colours = check(palette)
    findings = gather(study, out, by_seed)
    judged = judge(findings)
    write_histories({t.run.name: t.history for t in findings.trainings if t.history}, out)
    for name, data in csv_files(findings, judged).items():
        write_text(out / name, to_csv(data))
    write_figures(out, sheets(findings), colours)
    write_text(out / PAGE, document(findings, judged, colours))
    return out / PAGE


def csv_files(findings: Findings, judged: Sequence[Claim]) -> dict[str, Table]:
    """Return the tables beside the page by name; mAP and gains in points, unknown numbers empty."""
    pool, empty = findings.pool, table((), ())
    return {
        "table1.csv": study_tables.table1(pool) if pool else empty,
        "maps.csv": study_tables.maps(pool) if pool else empty,
        "gaps.csv": study_tables.losses_by_run(findings),
        "claims.csv": study_tables.claim_parts(judged),
    }


def document(findings: Findings, judged: Sequence[Claim], colours: Name) -> str:
    """Return the page as text."""
    pool, methods = findings.pool, findings.study.methods
    maps = _maps(pool) if pool else {}
    return render(
        "study",
        colours,
        findings=findings,
        pool=pool,
        verdicts=VERDICTS,
        groups=GROUPS,
        claims=judged,
        numbers=study_tables.claim_numbers,
        printed=study_tables.claim_paper,
        missing=_missing(findings),
        paper=paper.CITATION,
        overview=gain_panels.overview(pool) if pool and pool.compared else None,
        table1=study_tables.table1(pool).without("mb") if pool else None,
        map_rows=[
            [maps[unit.label] for unit in findings.quantized if unit.method == method and unit.label in maps]
            for method in methods
        ],
        maps=[panel for pair in maps.values() for panel in pair],
        gains=study_tables.gains_by_corruption(pool) if pool else None,
        sums={method: _losses(findings, method, SUMS) for method in methods},
        losses={method: _losses(findings, method, LOSSES) for method in methods},
        loss_names=LOSSES,
        shown_bits=FIG1_BITS,
        bn_images=sorted({run.quant.bn_images or 0 for run in findings.study.runs()}),
        by_unit=study_tables.losses_by_unit(findings),
        by_run=study_tables.losses_by_run(findings).without("unit", "seed"),
        runs=study_tables.runs(findings),
        settings=_in_lines(findings.study.to_dict()),
        files=FILES,
    )


def sheets(findings: Findings) -> tuple[Sheet, ...]:
    """Return what OUT/figures holds: heat maps, one for each unit and all together, gains, and losses by method."""
    made, pool, methods = [], findings.pool, findings.study.methods
    if pool and pool.compared:
        maps = {label: ours for label, (ours, *_) in _maps(pool).items()}
        widths = max(sum(unit.method == method for unit in pool.compared) for method in methods)
        made += [Sheet(f"heatmap-{label}", (panel,)) for label, panel in maps.items()]
        made += [Sheet("heatmaps", tuple(maps.values()), widths)]
        made += [Sheet("gains", (gain_panels.overview(pool),))]
    for method in methods:
        if charts := _losses(findings, method, {**SUMS, **LOSSES}):
            made.append(Sheet(f"losses-{method}", charts, 1 + len(LOSSES)))
    return tuple(made)


def print_study_summary(
    study: Study,
    out: Path,
    by_seed: Mapping[int, Results] | None = None,
    echo: Callable[[str], object] = click.echo,
) -> None:
    """Tell Table 1 and the claims line by line, in ASCII; by default those of the evaluations in OUT/seed-N."""
    findings = gather(study, out, by_seed)
    pool = findings.pool
    shown = ("", "seeds", "corrupted", "gain", "equation5", "clean", "clean_gain")
    blocks = [to_text(study_tables.table1(pool).only(*shown)) if pool else "nothing was evaluated yet"]
    blocks.append("\n".join(map(_claim_line, judge(findings))))
    if missing := _missing(findings):
        blocks.append("\n".join(("not in it:", *(f"{name}: {reason}" for name, reason in missing.items()))))
    if pool and pool.most_seeds == 1:
        blocks.append("one seed: intervals cover other pictures, not other trainings")
    for line in "\n\n".join(blocks).splitlines():
        echo(ascii_text(line))


def _claim_line(claim: Claim) -> str:
    ours, printed = study_tables.claim_numbers(claim), study_tables.claim_paper(claim)
    text = f"{claim.text}: {ours}" if ours else claim.text
    return f"{claim.verdict.upper():13}{GAP}{text}{f' (paper: {printed})' if printed else ''}"


def _missing(findings: Findings) -> dict[str, str]:
    found = {training.run.name: study_tables.trouble(training) for training in findings.trainings}
    return {name: reason for name, reason in found.items() if reason}


def _maps(pool: Pool) -> dict[str, tuple[HeatMap, ...]]:
    """Return by unit our heat map and the paper's, where it has one of the same data, all on one scale."""
    about = {unit.label: seeds_text(len(pool.seeds[unit.label])) for unit in pool.compared}
    return gain_panels.heat_maps(pool, about, paper=True)


def _losses(findings: Findings, method: str, kinds: Mapping[str, str]) -> tuple[Chart, ...]:
    """Return losses of FP32 and a quantizer at the widths of Fig. 1, or at all where the study has none of those."""
    ours = [unit for unit in findings.quantized if unit.method == method]
    chosen = [unit for unit in ours if unit.bits in FIG1_BITS] or ours
    return loss_charts({unit.title: findings.histories(unit.label) for unit in (findings.units[0], *chosen)}, kinds)


def _in_lines(value: Any) -> Any:
    """Return settings with their lists as text."""
    if isinstance(value, Mapping):
        return {key: _in_lines(item) for key, item in value.items()}
    return ", ".join(map(str, value)) if isinstance(value, list) else value
