"""What an analysis says: noise by width, how far the theorem's predictions hold, and what goes with the gaps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Literal

import numpy as np

from yolo_qreg.analysis.curvature import ALL
from yolo_qreg.analysis.records import Analysis, ModelAnalysis, NoiseRow, RiseRow
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation import result_files
from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.summary import summarize
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.ranks import rank_correlation
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.study.plan import Study

Quantity = Literal["outputs", "loss"]
Kind = Literal["gaussian", "quantized"]
QUANTITIES: tuple[Quantity, ...] = ("outputs", "loss")
KINDS: tuple[Kind, ...] = ("gaussian", "quantized")
CORRUPTED, OVERFIT = "corrupted", "overfit"
GAPS = {
    CORRUPTED: "clean minus corrupted mAP, points",
    OVERFIT: "validation minus training loss",
}
"""What a model that generalizes less has more of."""
_SEED = re.compile(r"-seed\d+$")
"""Ends names of a study's models."""


def groups(found: Analysis) -> dict[str, tuple[ModelAnalysis, ...]]:
    """Return models that differ by nothing but the seed together, under what figures call them.

    That is their kind where it tells them apart, the name without the seed elsewhere.
    """
    by_name: dict[str, list[ModelAnalysis]] = {}
    for model in found.models:
        by_name.setdefault(_SEED.sub("", model.name), []).append(model)
    kinds = {name: kind_of(models[0].method, models[0].bits) for name, models in by_name.items()}
    values = list(kinds.values())
    return {(name if values.count(kinds[name]) > 1 else kinds[name]): tuple(models) for name, models in by_name.items()}


def without_terms(found: Analysis) -> tuple[str, ...]:
    """Return the `groups` of models whose files hold no float weights, of which the theorem says nothing."""
    return tuple(name for name, models in groups(found).items() if not any(model.rises for model in models))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSummary:
    """The errors of one quantizer over the layers of a network; medians unless said otherwise.

    Attributes:
        sqnr_db: Of the weights to the errors, in dB; None where nothing but zeros is quantized, or without an error.
        lowest_db: In the worst layer.
        highest_db: In the best layer.
        uniform_db: What s^2 / 12 would give; None where levels are not even.
        against_uniform: Variance over s^2 / 12.
        correlation: Of errors and weights.
        kurtosis: Of errors.
    """

    method: str
    bits: int | None
    own: bool
    sqnr_db: float | None
    lowest_db: float | None
    highest_db: float | None
    uniform_db: float | None
    against_uniform: float | None
    correlation: float | None
    kurtosis: float | None


def noise_summaries(model: ModelAnalysis) -> tuple[NoiseSummary, ...]:
    """Return a summary for each quantizer, by method and falling width."""
    groups: dict[tuple[str, int | None], list[NoiseRow]] = {}
    for row in model.noise:
        groups.setdefault((row.method, row.bits), []).append(row)
    return tuple(_summary(rows) for rows in groups.values())


def noise_by_width(models: Iterable[ModelAnalysis], method: str) -> tuple[tuple[int, float, float, float], ...]:
    """Return for each width the ratio of weights to errors in dB, a mean over models, and that of the worst and best.

    A plan of widths has no place in it.
    """
    rows: dict[int, list[tuple[float, float, float]]] = {}
    for summary in (s for model in models for s in noise_summaries(model) if s.method == method):
        levels = summary.sqnr_db, summary.lowest_db, summary.highest_db
        if summary.bits is not None and None not in levels:
            rows.setdefault(summary.bits, []).append(levels)  # type: ignore[arg-type]
    columns = {bits: tuple(zip(*rows[bits], strict=True)) for bits in sorted(rows)}
    return tuple((bits, fmean(middle), min(low), max(high)) for bits, (middle, low, high) in columns.items())


def _summary(rows: Sequence[NoiseRow]) -> NoiseSummary:
    levels = [-_db(row.relative) for row in rows if 0 < row.relative < math.inf]
    pairs = [(row.variance, row.uniform, row.relative) for row in rows if row.uniform and 0 < row.relative < math.inf]
    uniform = [-_db(relative * even / variance) for variance, even, relative in pairs]
    return NoiseSummary(
        method=rows[0].method,
        bits=rows[0].bits,
        own=rows[0].own,
        sqnr_db=_median(levels),
        lowest_db=min(levels, default=None),
        highest_db=max(levels, default=None),
        uniform_db=median(uniform) if uniform else None,
        against_uniform=median([variance / even for variance, even, _ in pairs]) if pairs else None,
        correlation=_median(row.correlation for row in rows),
        kurtosis=_median(row.kurtosis for row in rows),
    )


def _db(ratio: float) -> float:
    return 10 * math.log10(ratio)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How measured rises follow predicted ones, over single layers and all quantizers.

    Attributes:
        slope: Of the logarithms, by least squares: 1 where they are proportional. Its interval takes points for
            independent.
        ratio: Geometric mean of measured over predicted.
        points: How many there are.
        left_out: How many more have no logarithm, as the prediction or the measured rise is not above 0.
    """

    slope: Estimate
    ratio: float
    points: int
    left_out: int


def predicted(row: RiseRow, quantity: Quantity) -> float:
    """Return what the theorem predicts."""
    return row.predicted_outputs if quantity == "outputs" else row.predicted_loss


def measured(row: RiseRow, quantity: Quantity, kind: Kind) -> float:
    """Return what was measured."""
    value: float = getattr(row, f"{kind}_{quantity}")
    return value


def single_layers(rows: Iterable[RiseRow]) -> tuple[RiseRow, ...]:
    """Return the rows of single layers."""
    return tuple(row for row in rows if row.layer != ALL)


def whole(rows: Iterable[RiseRow]) -> tuple[RiseRow, ...]:
    """Return the rows of all layers at once, one for each quantizer."""
    return tuple(row for row in rows if row.layer == ALL)


def fit(rows: Iterable[RiseRow], quantity: Quantity, kind: Kind) -> Fit | None:
    """Return how measured rises follow predicted ones; None with fewer than three points."""
    pairs = [(predicted(row, quantity), measured(row, quantity, kind)) for row in single_layers(rows)]
    kept = [(x, y) for x, y in pairs if x > 0 and y > 0]
    if len(kept) < 3:
        return None
    x, y = np.log10(np.array(kept)).T
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    error = math.sqrt(float(rest @ rest) / (len(kept) - 2) / float(centred @ centred))
    reach = 1.96 * error
    return Fit(
        slope=Estimate(value=slope, low=slope - reach, high=slope + reach),
        ratio=float(10 ** (y - x).mean()),
        points=len(kept),
        left_out=len(pairs) - len(kept),
    )


MEASURES: dict[str, tuple[str, Callable[[ModelAnalysis], float | None]]] = {
    "noise": ("noise of the weights, relative", lambda model: _own_noise(model)),
    "predicted_outputs": ("theorem: predicted change of outputs", lambda model: _own(model, "predicted_outputs")),
    "predicted_loss": ("predicted rise of the loss", lambda model: _own(model, "predicted_loss")),
    "quantized_loss": ("measured rise by quantization", lambda model: _own(model, "quantized_loss")),
    "gradient": ("gradient norm, relative", lambda model: model.sharpness.gradient_norm),
    "sam": ("SAM", lambda model: _middle(model.sharpness.sam)),
    "asam": ("adaptive SAM", lambda model: _middle(model.sharpness.asam)),
    "trace": ("Hessian trace", lambda model: model.sharpness.trace),
    "relative_trace": ("Hessian trace, relative", lambda model: model.sharpness.relative_trace),
    "eigenvalue": ("top eigenvalue, relative", lambda model: model.sharpness.eigenvalue),
}
"""What may go with generalization: a name for readers, and its value for a model."""


def relative_noise(rows: Sequence[NoiseRow]) -> float | None:
    """Return the mean of relative variances over the weights of layers; None without any."""
    total = sum(row.weights for row in rows)
    return sum(row.relative * row.weights for row in rows) / total if total else None


def _own_noise(model: ModelAnalysis) -> float | None:
    """Return the noise of the quantizer that a model was trained with."""
    return 0.0 if model.bits == FLOAT_BITS else relative_noise([row for row in model.noise if row.own])


def _own(model: ModelAnalysis, name: str) -> float | None:
    """Return a value of all layers at once for the quantizer that a model was trained with; 0 for float."""
    if model.bits == FLOAT_BITS:
        return 0.0
    return next((getattr(row, name) for row in whole(model.rises) if row.own), None)


def _middle(by_radius: Mapping[str, float]) -> float:
    """Return the value of the middle radius."""
    values = list(by_radius.values())
    return values[len(values) // 2]


def gap(found: Analysis, model: ModelAnalysis, name: str) -> float | None:
    """Return a model's gap; None where that is not known."""
    if name == OVERFIT:
        return model.sharpness.validation_loss - model.sharpness.training_loss
    return found.corrupted_gaps.get(model.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """How a measure goes with a gap over models.

    Attributes:
        measure: A key of `MEASURES`.
        gap: A key of `GAPS`.
        points: By model its name, measure and gap.
        correlation: Spearman's; None of too few models.
    """

    measure: str
    gap: str
    points: tuple[tuple[str, float, float], ...]
    correlation: Estimate | None


def rank_correlations(found: Analysis) -> tuple[Rank, ...]:
    """Return every measure against every gap that is known of some models."""
    made = []
    for name in GAPS:
        for measure, (_, value_of) in MEASURES.items():
            known = [(model.name, value_of(model), gap(found, model, name)) for model in found.models]
            points = tuple((label, x, y) for label, x, y in known if x is not None and y is not None)
            if len(points) > 1:
                values = [x for _, x, _ in points], [y for _, _, y in points]
                made.append(Rank(measure=measure, gap=name, points=points, correlation=rank_correlation(*values)))
    return tuple(made)


def corrupted_gaps(study: Study, folder: Path) -> dict[str, float]:
    """Return by model how many points of mAP it has less on corrupted pictures than on clean ones.

    Args:
        study: The study.
        folder: Its folder; evaluations that are missing or damaged are left out.
    """
    found: dict[str, float] = {}
    for seed in study.seeds:
        place = folder / f"seed-{seed}"
        if not (place / result_files.RUN).is_file():
            continue
        try:
            summaries = summarize(result_files.load(place))
        except (InputError, KeyError):
            continue
        found |= {summary.model: 100 * (summary.clean - summary.corrupted) for summary in summaries}
    return found


def rise_along(models: Iterable[ModelAnalysis]) -> tuple[tuple[float, float, float], ...]:
    """Return by distance the rise of the loss along random directions of all models: mean, lowest and highest."""
    rises = [
        [value - model.sharpness.training_loss for value in losses]
        for model in models
        for losses in model.sharpness.profiles
    ]
    return tuple((fmean(values), min(values), max(values)) for values in zip(*rises, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """What all models say together.

    Attributes:
        slopes: Of measured over predicted changes of outputs by Gaussian noise, lowest and highest; None without any.
        true_ratio: Lowest and highest ratio of what true errors do to outputs over what is predicted.
        steepest: Name of the model whose loss rises most by adaptive SAM.
        flattest: Name of that whose loss rises least.
    """

    slopes: tuple[float, float] | None
    true_ratio: tuple[float, float] | None
    steepest: str
    flattest: str


def overall(found: Analysis) -> Overall:
    """Return what all models say together."""
    slopes = [f.slope.value for model in found.models if (f := fit(model.rises, "outputs", "gaussian"))]
    ratios = [f.ratio for model in found.models if (f := fit(model.rises, "outputs", "quantized"))]
    order = sorted(found.models, key=lambda model: _middle(model.sharpness.asam))
    return Overall(
        slopes=(min(slopes), max(slopes)) if slopes else None,
        true_ratio=(min(ratios), max(ratios)) if ratios else None,
        steepest=order[-1].name,
        flattest=order[0].name,
    )
