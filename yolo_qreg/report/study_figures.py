"""A study's heat maps and loss curves, for its page and as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from yolo_qreg.findings import paper
from yolo_qreg.findings.gather import Findings
from yolo_qreg.findings.losses import LOSSES, PARTS, SUM, Curve, mean_curve
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.pool import Pool, Unit
from yolo_qreg.report import figures, heatmap, palette
from yolo_qreg.report.charts import Chart, Line
from yolo_qreg.report.curves import epoch_chart
from yolo_qreg.report.study_wording import seeds_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIG1_BITS = (8, 4)
"""The widths of Fig. 1."""
PER_ROW = 1 + len(LOSSES)


def shared_limit(findings: Findings, pool: Pool) -> float:
    """Return the end of the scale of all heat maps on the page, the paper's among them where they are shown."""
    ours = [heatmap.cells_of(pool.results, unit.label) for unit in pool.units[1:]]
    theirs = [heatmap.cells_from(paper.cells(unit.method, unit.bits)) for unit in pool.units[1:] if findings.voc]
    return heatmap.limit_of((*ours, *theirs))


def fig1_units(findings: Findings, method: str) -> tuple[Unit, ...]:
    """Return whose losses are drawn: FP32 and the widths of Fig. 1, or all widths where the study has none of those."""
    ours = [unit for unit in findings.quantized if unit.method == method]
    chosen = [unit for unit in ours if unit.bits in FIG1_BITS] or ours
    return (findings.units[0], *chosen)


def slots(findings: Findings) -> dict[str, int]:
    """Return each unit's colour: 0 for FP32, then the others in order."""
    return {unit.label: index for index, unit in enumerate(findings.units)}


def loss_charts(findings: Findings, method: str, part: str) -> tuple[Chart, ...]:
    """Return the sum of a method's losses over epochs, then each loss, as means over seeds; `part` is val or train."""
    found = []
    for loss, title in {SUM: "sum of all", **LOSSES}.items():
        lines = (
            _line(kind_of(u.method, u.bits), slots(findings)[u.label], curve)
            for u in fig1_units(findings, method)
            if (curve := mean_curve(findings.histories(u.label), part, loss))
        )
        found.append(epoch_chart(f"{PARTS[part]}: {title}", tuple(lines)))
    return tuple(chart for chart in found if chart)


def _line(name: str, slot: int, curve: Curve) -> Line:
    return Line(name, slot, curve.epochs, curve.means, band=curve.band)


def write_study_figures(findings: Findings, out: Path, colours: palette.Name) -> tuple[Path, ...]:
    """Write OUT/figures: all heat maps, one for each unit, and the losses of each method."""
    return figures.write_named(out, _figures(findings, colours))


def _figures(findings: Findings, colours: palette.Name) -> Iterator[tuple[str, Figure]]:
    pool = findings.pool
    if pool:
        limit = shared_limit(findings, pool)
        quantized = pool.units[1:]
        kinds = {unit.label: kind_of(unit.method, unit.bits) for unit in quantized}
        cells = {unit.label: heatmap.cells_of(pool.results, unit.label) for unit in quantized}
        for label, kind in kinds.items():
            title = f"{kind} against FP32, points of mAP, {seeds_text(len(pool.seeds[label]))}"
            yield f"heatmap-{label}", figures.heatmap_figure(cells[label], limit, title, colours)
        if quantized:
            widths = max(sum(unit.method == method for unit in quantized) for method in findings.study.methods)
            maps = {f"{kinds[label]} against FP32": cells[label] for label in kinds}
            yield "heatmaps", figures.heatmaps_figure(maps, widths, limit, colours)
    for method in findings.study.methods:
        found = [chart for part in PARTS for chart in loss_charts(findings, method, part)]
        if found:
            yield f"losses-{method}", figures.charts_figure(found, PER_ROW, (2.4, 2.0))
