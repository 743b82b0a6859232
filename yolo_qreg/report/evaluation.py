"""The page, the figures and the summary of one evaluation, from its CSV and JSON files alone.

Example:
    `write_report(Path("results"))` writes results/report.html and results/figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from yolo_qreg.evaluation import result_files
from yolo_qreg.evaluation.results import Results
from yolo_qreg.files import write_text
from yolo_qreg.findings import paper
from yolo_qreg.findings.evaluation import Comparison
from yolo_qreg.findings.losses import LOSSES, History, histories_of
from yolo_qreg.report import evaluation_tables, gain_panels
from yolo_qreg.report.figures import Sheet, write_figures
from yolo_qreg.report.gallery import Picture, read_gallery
from yolo_qreg.report.loss_panels import loss_charts
from yolo_qreg.report.page import PAGE, render
from yolo_qreg.report.palette import Name, check
from yolo_qreg.report.panels import Chart, HeatMap
from yolo_qreg.report.render import to_text
from yolo_qreg.report.text import BLIND, file_names

DIFFICULT = "difficult"
"""What the setup of data with such boxes calls them."""
CHARTS_PER_ROW, DOTS_PER_ROW = 5, 4


def write_report(folder: Path, results: Results | None = None, palette: str = "paper") -> Path:
    """Write FOLDER/report.html and FOLDER/figures, each file whole or as it was.

    Args:
        folder: Where the results lie, and perhaps a folder `gallery` of pictures.
        results: Those of the folder by default.
        palette: `paper` (green and red) or `accessible` (blue and orange).

    Returns:
        The page.
    """
    colours = check(palette)
    found = result_files.load(folder) if results is None else results
    losses = histories_of(found, folder)
    write_figures(folder, sheets(Comparison(found), losses), colours)
    page = document(found, losses, read_gallery(folder, found.corruptions), colours)
    write_text(folder / PAGE, page)
    return folder / PAGE


def document(results: Results, losses: Mapping[str, History], pictures: tuple[Picture, ...], colours: Name) -> str:
    """Return the page as text."""
    found = Comparison(results)
    gains, several = found.class_gains(), len(found.severities) > 1
    known = results.setup.get("gallery")
    held = {row.name for rows in gains.values() for row in rows}
    return render(
        "evaluation",
        colours,
        found=found,
        headline=evaluation_tables.headline(found),
        overview=gain_panels.overview(found) if found.compared else None,
        maps=_maps(found),
        severity=_severity_charts(found) if several else (),
        each_severity=gain_panels.corruption_charts(found) if several else (),
        severities=evaluation_tables.severities(found),
        dots=gain_panels.class_dots(found),
        classes=evaluation_tables.classes(gains),
        absent=[name for name in found.classes if name not in held],
        pictures=pictures,
        gallery=known if isinstance(known, dict) else {},
        losses=_losses(found, losses),
        paper=paper.CITATION,
        beside=evaluation_tables.beside_the_paper(found),
        pairs=_pairs(found),
        corruptions=evaluation_tables.corruptions(found),
        models=evaluation_tables.models(found),
        difficult=_has_difficult(found),
        setup={"baseline": results.baseline, **results.setup},
    )


def sheets(found: Comparison, losses: Mapping[str, History]) -> tuple[Sheet, ...]:
    """Return what FOLDER/figures holds, as far as there is something to show."""
    files = file_names([unit.label for unit in found.compared])
    made = [Sheet(f"heatmap-{name}", (panel,)) for name, panel in zip(files.values(), _maps(found), strict=True)]
    if found.compared:
        made.append(Sheet("gains", (gain_panels.overview(found),)))
    if len(found.severities) > 1:
        made.append(Sheet("severity", _severity_charts(found), 2))
        made.append(Sheet("severity-by-corruption", gain_panels.corruption_charts(found), CHARTS_PER_ROW))
    made.append(Sheet("classes", gain_panels.class_dots(found), DOTS_PER_ROW))
    made.append(Sheet("losses", _losses(found, losses), 3))
    return tuple(sheet for sheet in made if sheet.panels)


def print_summary(results: Results, echo: Callable[[str], object] = click.echo) -> None:
    """Tell the results line by line, in ASCII."""
    found = Comparison(results)
    headline = evaluation_tables.headline(found).without("quantizer")
    gains = evaluation_tables.gains_by_corruption(found)
    blocks = [to_text(headline)]
    if found.compared:
        blocks.append("Gain in points:\n" + to_text(gains, brief=True))
    if found.compared and found.blind:
        blocks.append(BLIND)
    elif any(cell.ink == "undecided" for row in (*headline.rows, *gains.rows) for cell in row.cells):
        blocks.append("in parentheses: undecided, the 95% interval includes 0")
    for line in "\n\n".join(blocks).splitlines():
        echo(line)


def _maps(found: Comparison) -> list[HeatMap]:
    kinds = {unit.label: unit.kind for unit in found.compared}
    return [ours for (ours,) in gain_panels.heat_maps(found, kinds, paper=False).values()]


def _pairs(found: Comparison) -> list[HeatMap]:
    """Return our heat map and the paper's for each model that both know."""
    kinds = {unit.label: unit.kind for unit in found.compared if found.printed(unit).cells}
    return [panel for pair in gain_panels.heat_maps(found, kinds, paper=True).values() for panel in pair]


def _severity_charts(found: Comparison) -> tuple[Chart, ...]:
    mean = gain_panels.severity_chart(found, found.corruptions, "Mean mAP over the corruptions")
    gain = gain_panels.gain_chart(found)
    return (mean, gain) if gain else (mean,)


def _losses(found: Comparison, losses: Mapping[str, History]) -> tuple[Chart, ...]:
    runs = {unit.title: (losses[unit.label],) if unit.label in losses else () for unit in found.units}
    return loss_charts(runs, LOSSES)


def _has_difficult(found: Comparison) -> bool:
    """Tell whether the page has to say what became of difficult boxes: the data have some, the setup is silent."""
    voc = paper.is_voc(found.classes) or "voc" in str(found.setup.get("data", "")).lower()
    return voc and not any(DIFFICULT in key.lower() for key in found.setup)
