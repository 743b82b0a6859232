"""The figures of an analysis as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolo_qreg.analysis.records import Analysis, ModelAnalysis
from yolo_qreg.findings.analysis import (
    GAPS,
    KINDS,
    MEASURES,
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


def theorem_plots(found: Analysis, titles: Mapping[str, str]) -> dict[str, tuple[Scatter, ...]]:
    """Return measured against predicted rises of single layers, for outputs and loss by noise and by true errors.

    Each float model has plots of its own, for many quantizers; quantized ones, each with its own, are in one.
    """
    every = [model for model in found.models if model.rises]
    alike = [model for model in every if model.bits != FLOAT_BITS]
    shown = {titles[model.name]: [model] for model in every if model not in alike}
    if alike:
        shown[TOGETHER if len(alike) > 1 else titles[alike[0].name]] = alike
    plots = {
        name: tuple(
            plot for quantity in QUANTITIES for kind in KINDS if (plot := _theorem_plot(models, quantity, kind))
        )
        for name, models in shown.items()
    }
    return {name: made for name, made in plots.items() if made}


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
        plots.append(
            Scatter(f"{MEASURES[rank.measure][0]}: {said}", marks, "", GAPS[gap], tuple(key.items()), small=True)
        )
    return tuple(plots)
