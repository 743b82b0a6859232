"""The figures of an analysis as data."""

from __future__ import annotations

from collections.abc import Mapping

from yolo_qreg.analysis.records import Analysis, ModelAnalysis
from yolo_qreg.findings.analysis import (
    KINDS,
    MEASURES,
    QUANTITIES,
    Kind,
    Quantity,
    fit,
    mean_profile,
    measured,
    noise_summaries,
    predicted,
    rank_correlations,
    single_layers,
)
from yolo_qreg.findings.names import kind_of, method_title
from yolo_qreg.report.panels import Chart, Line, Mark, Scatter
from yolo_qreg.report.text import MINUS, interval, number

AXES = {"outputs": "squared change of outputs", "loss": "rise of the loss"}
BY = {"gaussian": "Gaussian noise", "quantized": "true errors"}


def noise_charts(found: Analysis, titles: Mapping[str, str]) -> tuple[Chart, ...]:
    """Return for each method the noise over widths, of each model: medians, and bands from worst to best layer."""
    methods = dict.fromkeys(row.method for model in found.models for row in model.noise)
    return tuple(chart for method in methods if (chart := _noise_chart(found, titles, method)))


def _noise_chart(found: Analysis, titles: Mapping[str, str], method: str) -> Chart | None:
    lines = []
    first = True
    for index, model in enumerate(found.models):
        known = sorted(
            (s.bits, s.sqnr_db, s.lowest_db, s.highest_db)
            for s in noise_summaries(model)
            if s.method == method and None not in (s.bits, s.sqnr_db)  # a plan has no place on this axis
        )
        if not known:
            continue
        x, middle, *ends = zip(*known, strict=True)
        band = tuple(zip(*ends, strict=True)) if first else ()
        lines.append(Line(titles[model.name], index, tuple(map(float, x)), middle, band=band))
        first = False
    if not lines:
        return None
    ticks = tuple((bits, f"{bits:g}") for bits in sorted({bits for line in lines for bits in line.x}))
    return Chart(f"{method_title(method)}: weights over errors", tuple(lines), "bits", ticks, "dB, median over layers")


def theorem_plots(model: ModelAnalysis) -> tuple[Scatter, ...]:
    """Return measured against predicted rises of single layers, for outputs and loss by noise and by true errors."""
    plots = (_theorem_plot(model, quantity, kind) for quantity in QUANTITIES for kind in KINDS)
    return tuple(plot for plot in plots if plot)


def _theorem_plot(model: ModelAnalysis, quantity: Quantity, kind: Kind) -> Scatter | None:
    colours = _colours(model)
    marks = tuple(
        Mark(x, y, colours[row.method, row.bits], f"{row.layer}, {kind_of(row.method, row.bits)}: {y:.3g}")
        for row in single_layers(model.rises)
        if (x := predicted(row, quantity)) > 0 and (y := measured(row, quantity, kind)) > 0
    )
    if not marks:
        return None
    line = fit(model.rises, quantity, kind)
    slope = f": slope {number(line.slope.value, 2)}, ratio {line.ratio:.2g}" if line else ""
    return Scatter(
        f"{AXES[quantity].capitalize()}, {BY[kind]}{slope}",
        marks,
        "predicted",
        "measured",
        tuple((kind_of(*pair), index) for pair, index in colours.items()),
        log=True,
    )


def _colours(model: ModelAnalysis) -> dict[tuple[str, int | None], int]:
    pairs = dict.fromkeys((row.method, row.bits) for row in model.rises)
    return {pair: index for index, pair in enumerate(pairs, start=1)}


def profile_chart(found: Analysis, titles: Mapping[str, str]) -> Chart:
    """Return the rise of the loss along random directions, of each model: means over directions."""
    lines = []
    for index, model in enumerate(found.models):
        sharp = model.sharpness
        rises = [[value - sharp.training_loss for value in losses] for losses in sharp.profiles]
        band = tuple((min(values), max(values)) for values in zip(*rises, strict=True))
        lines.append(Line(titles[model.name], index, tuple(sharp.distances), mean_profile(model), band=band))
    ticks = tuple((distance, f"{distance:g}".replace("-", MINUS)) for distance in (-0.4, -0.2, 0.0, 0.2, 0.4))
    label = "distance, in norms of filters"
    return Chart("Loss along random directions", tuple(lines), label, ticks, "rise of the loss", marked=False)


def rank_plots(found: Analysis, titles: Mapping[str, str], gap: str) -> tuple[Scatter, ...]:
    """Return each measure against a gap, with a point for each model; those without a correlation are left out.

    Models of several seeds have the colour of their kind.
    """
    kinds = {model.name: kind_of(model.method, model.bits) for model in found.models}
    several = len(set(kinds.values())) < len(kinds)
    called = kinds if several else {name: titles[name] for name in kinds}
    order = {name: index for index, name in enumerate(dict.fromkeys(called.values()))}
    places = {name: order[called[name]] for name in kinds}
    names = tuple(order.items())
    plots = []
    for rank in rank_correlations(found):
        if rank.correlation is None or rank.gap != gap:
            continue
        marks = tuple(Mark(x, y, places[name], f"{titles[name]}: {x:.3g}, {y:.3g}") for name, x, y in rank.points)
        said = f"{number(rank.correlation.value, 2)} {interval(rank.correlation, 2)}"
        plots.append(Scatter(f"{MEASURES[rank.measure][0]}: {said}", marks, "", "", names, small=True))
    return tuple(plots)
