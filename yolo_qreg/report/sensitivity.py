"""What single quantized layers cost: the CSV file, the picture and the lines of a terminal."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_qreg.analysis.sensitivity_record import LayerCost, Sensitivity
from yolo_qreg.files import write_atomic, write_text
from yolo_qreg.report import palette
from yolo_qreg.report.drawing import one_style
from yolo_qreg.report.figures import DPI, NO_DATES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CSV = "sensitivity.csv"
PICTURE = "sensitivity"
WORST = 8
"""Layers that are printed."""
_LAYER_INCHES, _LEAST_INCHES, _PANEL_INCHES, _SIDE_INCHES = 0.13, 5.0, 1.5, 1.2
_SPAN = 1e5
"""From the largest rise down to where the axis, which is logarithmic, ends; what is less, or negative, is not drawn."""


def write_sensitivity(found: Sensitivity, folder: Path) -> tuple[Path, ...]:
    """Write numbers and pictures into a folder; return the files."""
    table = folder / CSV
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [entry.name for entry in fields(LayerCost)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(cost) for cost in found.layers)
    write_text(table, text.getvalue())
    return (table, *_draw(found, folder))


def _draw(found: Sensitivity, folder: Path) -> list[Path]:
    """Draw one panel for each width: bars of measured rises, and dots of estimated ones."""
    from matplotlib.figure import Figure

    layers, widths = list(found.by_layer), found.widths
    size = _SIDE_INCHES + max(_LEAST_INCHES, _LAYER_INCHES * len(layers)), _SIDE_INCHES + _PANEL_INCHES * len(widths)
    written = []
    with one_style():
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        panels = figure.subplots(len(widths), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        top = max((max(cost.loss_rise, cost.estimate) for cost in found.layers), default=0.0)
        top = top if top > 0 else 1.0
        for axes, bits in zip(panels, widths, strict=True):
            _panel(axes, found, bits, top)
        panels[0].legend(loc="upper right", ncols=3, fontsize=7)
        panels[-1].set_xticks(range(len(layers)), [name.removesuffix(".conv") for name in layers], rotation=90)
        panels[-1].tick_params(axis="x", labelsize=5.5)
        for ending, metadata in NO_DATES.items():
            path = folder / f"{PICTURE}.{ending}"
            write_atomic(path, partial(figure.savefig, format=ending, metadata=metadata, dpi=DPI))
            written.append(path)
    return written


def _panel(axes: Axes, found: Sensitivity, bits: int, top: float) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    costs = [by_width[bits] for by_width in found.by_layer.values()]
    measured = [max(cost.loss_rise, 0.0) for cost in costs]
    estimated = [cost.estimate if cost.estimate > top / _SPAN else math.nan for cost in costs]
    colours: list[Any] = [tuple(value / 255 for value in rgb) for rgb in palette.LINES["light"][1:3]]
    places = range(len(costs))
    axes.bar(places, measured, color=colours[0], width=0.7, label="measured rise of the loss of a picture")
    axes.plot(places, estimated, ".", color=colours[1], markersize=5, label="estimated: variance x trace / 2")
    axes.set_yscale("log")
    axes.set_ylim(top / _SPAN, 2 * top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=[value / 255 for value in palette.weak("faint")], linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlim(-1, len(costs))
    axes.set_title(f"{bits} bits in one layer; all others float")


def summary(found: Sensitivity) -> list[str]:
    """Return what a terminal shows: the layers that cost most at the fewest bits."""
    bits = min(found.widths)
    costs = sorted((c for c in found.layers if c.bits == bits), key=lambda c: c.loss_rise, reverse=True)
    lines = [f"float weights: loss {found.loss:.4f}, mAP {100 * found.map50_95:.2f} on the pictures looked at"]
    lines.append(f"{'layer':<32}{'bits':>5}{'loss':>10}{'estimate':>10}{'mAP':>8}")
    for cost in costs[:WORST]:
        rises = f"{cost.loss_rise:>+10.4f}{cost.estimate:>+10.4f}{-100 * cost.map_drop:>+8.2f}"
        lines.append(f"{cost.layer:<32}{cost.bits:>5}{rises}")
    return lines
