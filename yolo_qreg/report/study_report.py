"""The report of a study over its seeds, computed from the files of its folder alone.

Example:
    `write_study_report(load_study("out/study.yaml"), Path("out"))` writes out/report.html, tables and figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from yolo_qreg.evaluation.results import CLEAN, Results
from yolo_qreg.files import write_text
from yolo_qreg.findings.claims import Judged, judge
from yolo_qreg.findings.gather import gather
from yolo_qreg.findings.losses import write_histories
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.pool import Pool
from yolo_qreg.findings.spread import SeedMean
from yolo_qreg.report.page import PAGE
from yolo_qreg.report.palette import check
from yolo_qreg.report.study_figures import write_study_figures
from yolo_qreg.report.study_gains import one_seed
from yolo_qreg.report.study_page import document
from yolo_qreg.report.study_tables import write_tables
from yolo_qreg.report.study_wording import claim_numbers, claim_paper, points_text, spread_text, trouble
from yolo_qreg.report.terminal import GAP, aligned, ascii_text
from yolo_qreg.report.text import DASH, number
from yolo_qreg.study.plan import Study


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

    Raises:
        InputError: There is no such palette.
    """
    colours = check(palette)
    findings = gather(study, out, by_seed)
    judged = judge(findings)
    histories = {t.run.name: t.history for t in findings.trainings if t.history}
    write_histories(histories, out)
    write_tables(findings, judged, out)
    write_study_figures(findings, out, colours)
    page = document(findings, judged, colours)
    write_text(out / PAGE, page)
    return out / PAGE


def print_study_summary(
    study: Study,
    out: Path,
    by_seed: Mapping[int, Results] | None = None,
    echo: Callable[[str], object] = click.echo,
) -> None:
    """Tell Table 1 and the claims line by line, in ASCII.

    Args:
        study: The study.
        out: Its folder.
        by_seed: Its evaluations; by default those in OUT/seed-N.
        echo: What prints a line.
    """
    findings = gather(study, out, by_seed)
    blocks = [table1_text(findings.pool)] if findings.pool else ["nothing was evaluated yet"]
    blocks.append("\n".join(_claim_line(entry) for entry in judge(findings)))
    missing = [f"{t.run.name}: {trouble(t)}" for t in findings.trainings if trouble(t)]
    if missing:
        blocks.append("\n".join(("not in it:", *missing)))
    if findings.pool and one_seed(findings.pool):
        blocks.append("one seed: intervals cover other pictures, not other trainings")
    for line in "\n\n".join(blocks).splitlines():
        echo(ascii_text(line))


def table1_text(pool: Pool) -> str:
    """Return Table 1 over seeds in ASCII; mAP@[.50:.95] in points."""
    head = ("weights", "seeds", "corrupted", "gain [95% interval]", "Eq. 5", "clean", "gain [95% interval]")
    rows = [
        (
            kind_of(unit.method, unit.bits),
            str(len(pool.seeds[unit.label])),
            spread_text(pool.level(unit.label)),
            _points(pool.gain(unit.label)),
            number(pool.equation5(unit.label), 2),
            spread_text(pool.level(unit.label, CLEAN)),
            _points(pool.gain(unit.label, CLEAN)),
        )
        for unit in pool.units
    ]
    return aligned([head, *rows])


def _points(found: SeedMean | None) -> str:
    return points_text(found) if found else DASH


def _claim_line(entry: Judged) -> str:
    ours, theirs = claim_numbers(entry), claim_paper(entry)
    said = ": ".join(filter(None, (entry.claim.text, ours)))
    return f"{entry.verdict.upper():13}{GAP}{said}{f' (paper: {theirs})' if theirs else ''}"
