"""The report of an analysis: page, tables and figures, from what it found alone.

Example:
    `write_analysis_report(load(Path("out")), Path("out"))` writes out/report.html, tables and figures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from yolo_qreg.analysis.records import Analysis
from yolo_qreg.files import write_text
from yolo_qreg.findings.analysis import GAPS, overall, rank_correlations, without_terms
from yolo_qreg.report import analysis_panels, analysis_tables
from yolo_qreg.report.figures import Sheet, write_figures
from yolo_qreg.report.page import PAGE, render
from yolo_qreg.report.palette import Name, check
from yolo_qreg.report.render import ascii_text, to_csv, to_text
from yolo_qreg.report.table import Table
from yolo_qreg.report.text import file_names

FILES = {
    "noise.csv": analysis_tables.noise_rows,
    "theorem.csv": analysis_tables.rise_rows,
    "fits.csv": analysis_tables.fits,
    "sharpness.csv": analysis_tables.sharpness,
    "profiles.csv": analysis_tables.profile_rows,
    "ranks.csv": analysis_tables.ranks,
}
"""What stands beside the page, and what makes it."""
RANKS_PER_ROW = 4
DERIVATIVES = ("trace", "relative_trace", "eigenvalue")
"""Columns of sharpness."""


def write_analysis_report(found: Analysis, out: Path, palette: str = "paper") -> Path:
    """Write OUT/report.html, its tables as CSV files and OUT/figures, each file whole or as it was.

    Args:
        found: The analysis.
        out: Folder.
        palette: `paper` (green and red) or `accessible` (blue and orange).

    Returns:
        The page.

    Raises:
        InputError: There is no such palette.
    """
    colours = check(palette)
    for name, make in FILES.items():
        write_text(out / name, to_csv(make(found)))
    write_figures(out, sheets(found), colours)
    write_text(out / PAGE, document(found, colours))
    return out / PAGE


def document(found: Analysis, colours: Name) -> str:
    """Return the page as text."""
    titles = analysis_tables.titles(found)
    return render(
        "analysis",
        colours,
        found=found,
        titles=titles,
        noise=analysis_panels.noise_charts(found),
        noise_table=analysis_tables.noise(found),
        plots={
            name: shown
            for name, models in analysis_panels.theorem_groups(found).items()
            if (shown := analysis_panels.theorem_plots(models))
        },
        together=analysis_panels.TOGETHER,
        rises=analysis_tables.rises(found),
        fits=analysis_tables.fits(found),
        profile=analysis_panels.profile_chart(found),
        sharpness=_in_two(analysis_tables.sharpness(found)),
        gaps={GAPS[gap]: shown for gap in GAPS if (shown := analysis_panels.rank_plots(found, gap))},
        ranks=analysis_tables.ranks(found),
        overall=overall(found),
        bare=without_terms(found),
        files=list(FILES),
        setup=found.setup,
    )


def _in_two(data: Table) -> tuple[Table, Table]:
    """Return the table of sharpness as two that fit a page: losses and their rises, and derivatives."""
    return data.without("gradient", *DERIVATIVES), data.only("model", "gradient", *DERIVATIVES)


def sheets(found: Analysis) -> tuple[Sheet, ...]:
    """Return what OUT/figures holds, as far as there is something to show."""
    alike = analysis_panels.theorem_groups(found)
    called = {name: models[0].name if len(models) == 1 else name for name, models in alike.items()}
    files = file_names(list(called.values()))
    made = [Sheet("noise", analysis_panels.noise_charts(found), 2)]
    made += [
        Sheet(f"theorem-{files[called[name]]}", analysis_panels.theorem_plots(models), 2)
        for name, models in alike.items()
    ]
    made.append(Sheet("directions", (analysis_panels.profile_chart(found),)))
    made += [Sheet(f"ranks-{gap}", analysis_panels.rank_plots(found, gap), RANKS_PER_ROW) for gap in GAPS]
    return tuple(sheet for sheet in made if sheet.panels)


def print_analysis_summary(found: Analysis, echo: Callable[[str], object] = click.echo) -> None:
    """Tell the tables line by line, in ASCII.

    Args:
        found: The analysis.
        echo: What prints a line.
    """
    blocks: dict[str, Table] = {
        "Noise of quantized weights": analysis_tables.noise(found).without("own", "lowest", "highest"),
        "Noise in all layers at once: predicted by the theorem, and measured": analysis_tables.rises(found),
        "Single layers: slope of measured over predicted, logarithms": analysis_tables.fits(found),
        "Rise of the loss around the weights": _in_two(analysis_tables.sharpness(found))[0],
        "Derivatives of the loss, of weights in units of their layer": _in_two(analysis_tables.sharpness(found))[1],
    }
    if any(rank.correlation for rank in rank_correlations(found)):
        blocks["Rank correlation over models"] = analysis_tables.ranks(found)
    for title, data in blocks.items():
        if data.rows and len(data.columns) > 1:
            for line in f"{title}\n{to_text(data)}\n".splitlines():
                echo(ascii_text(line))
