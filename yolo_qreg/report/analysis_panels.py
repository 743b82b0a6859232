"""The figures of an analysis as data."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_qreg.analysis.records import Analysis, ModelAnalysis
from yolo_qreg.findings.analysis import (
    CORRUPTED,
    KINDS,
    MEASURES,
    OVERFIT,
    QUANTITIES,
    Kind,
    Quantity,
    fit,
    groups,
    measured,
    noise_by_width,
    predicted,
    rank_correlations,
    rise_along,
    single_layers,
)
from yolo_qreg.findings.names import kind_of, method_title
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.report.panels import Chart, Line, Mark, Scatter
from yolo_qreg.report.text import MINUS, interval, number

AXES = {"outputs": "squared change of outputs", "loss": "rise of the loss"}
LOST = {CORRUPTED: "points of mAP lost", OVERFIT: f"validation {MINUS} training loss"}
"""What the axis of a gap is called."""
BY = {"gaussian": "Gaussian noise", "quantized": "true errors"}
TOGETHER = "/quantized"
"""What the quantized models' figure of the theorem is called where there are several; no model is called so."""


def noise_charts(found: Analysis) -> tuple[Chart, ...]:
    """Return for each method the noise over widths: medians over layers, and a band from worst to best layer."""
    methods = dict.fromkeys(row.method for model in found.models for row in model.noise)
    return tuple(chart for method in methods if (chart := _noise_chart(found, method)))


def _noise_chart(found: Analysis, method: str) -> Chart | None:
    lines: list[Line] = []
    for index, (name, models) in enumerate(groups(found).items()):
        known = noise_by_width(models, method)
        if not known:
            continue
        x, middle, *ends = zip(*known, strict=True)
        band = () if lines else tuple(zip(*ends, strict=True))
        lines.append(Line(name, index, tuple(map(float, x)), middle, band=band))
    if not lines:
        return None
    ticks = tuple((bits, f"{bits:g}") for bits in sorted({bits for line in lines for bits in line.x}))
    return Chart(f"{method_title(method)}: weights over errors, dB", tuple(lines), "bits", ticks)


def theorem_groups(found: Analysis) -> dict[str, tuple[ModelAnalysis, ...]]:
    """Return which models a figure of the theorem shows, by what it is called.

    Float ones, each under many quantizers, have one for all seeds; quantized ones, each by its own, are in one.
    """
    known = {name: tuple(model for model in models if model.rises) for name, models in groups(found).items()}
    known = {name: models for name, models in known.items() if models}
    alike = [name for name, models in known.items() if models[0].bits != FLOAT_BITS]
    shown = {name: models for name, models in known.items() if name not in alike}
    if alike:
        shown[TOGETHER if len(alike) > 1 else alike[0]] = tuple(model for name in alike for model in known[name])
    return shown


def theorem_plots(models: Sequence[ModelAnalysis]) -> tuple[Scatter, ...]:
    """Return measured against predicted rises of single layers, for outputs and loss by noise and by true errors."""
    plots = (_theorem_plot(models, quantity, kind) for quantity in QUANTITIES for kind in KINDS)
    return tuple(plot for plot in plots if plot)


def _theorem_plot(models: Sequence[ModelAnalysis], quantity: Quantity, kind: Kind) -> Scatter | None:
    rows = [row for model in models for row in model.rises]
    pairs = dict.fromkeys((row.method, row.bits) for row in rows)
    colours = {pair: index for index, pair in enumerate(pairs, start=1)}
    marks = tuple(
        Mark(x, y, colours[row.method, row.bits], f"{row.layer}, {kind_of(row.method, row.bits)}: {y:.3g}")
        for row in single_layers(rows)
        if (x := predicted(row, quantity)) > 0 and (y := measured(row, quantity, kind)) > 0
    )
    if not marks:
        return None
    line = fit(rows, quantity, kind)
    slope = f": slope {number(line.slope.value, 2)}, ratio {line.ratio:#.2g}".rstrip(".") if line else ""
    return Scatter(
        f"{AXES[quantity].capitalize()}, {BY[kind]}{slope}",
        marks,
        "predicted",
        "measured",
        tuple((kind_of(*pair), index) for pair, index in colours.items()),
        log=True,
    )


def profile_chart(found: Analysis) -> Chart:
    """Return the rise of the loss along random directions: means over directions and seeds, and bands of all."""
    lines = []
    for index, (name, models) in enumerate(groups(found).items()):
        middle, *ends = zip(*rise_along(models), strict=True)
        distances = tuple(models[0].sharpness.distances)
        lines.append(Line(name, index, distances, middle, band=tuple(zip(*ends, strict=True))))
    ticks = tuple((distance, f"{distance:g}".replace("-", MINUS)) for distance in (-0.4, -0.2, 0.0, 0.2, 0.4))
    label = "distance, in norms of filters"
    return Chart("Rise of the loss along random directions", tuple(lines), label, ticks, marked=False)


def rank_plots(found: Analysis, gap: str) -> tuple[Scatter, ...]:
    """Return each measure against a gap, with a point for each model; those without a correlation are left out."""
    members = {model.name: name for name, models in groups(found).items() for model in models}
    key = {name: index for index, name in enumerate(groups(found))}
    plots = []
    for rank in rank_correlations(found):
        if rank.correlation is None or rank.gap != gap:
            continue
        marks = tuple(Mark(x, y, key[members[name]], f"{name}: {x:.3g}, {y:.3g}") for name, x, y in rank.points)
        said = f"{number(rank.correlation.value, 2)} {interval(rank.correlation, 2)}"
        title = f"{MEASURES[rank.measure][0]}:\n{said}"
        plots.append(Scatter(title, marks, "", LOST[gap], tuple(key.items()), small=True))
    return tuple(plots)
