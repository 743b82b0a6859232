"""What tables hold, from scores: means over corruptions, mPC, rPC, Equation 5, and gains with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corruptions import select
from yolo_qreg.evaluation.bootstrap import interval
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, OVER_SEVERITIES, Delta, Kind, Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One model's row of the headline table; mAP@[.50:.95] as fractions.

    Attributes:
        model: Its name.
        clean: On clean pictures.
        corrupted: Mean over every corruption and severity evaluated: the paper's Table 1 where these are the 19.
        mpc: Mean performance under corruption: over those of the benchmark's 15; None where none of them was evaluated.
        rpc: Relative performance under corruption: mpc / clean; None where one is missing or clean is 0.
        equation5: The paper's Equation 5, gain over the baseline on corrupted pictures; None for the baseline.
    """

    model: str
    clean: float
    corrupted: float
    mpc: float | None
    rpc: float | None
    equation5: float | None


def equation5(baseline_points: float, points: float) -> float:
    """Return 100 log10((100 - baseline) / (100 - model)), Equation 5 of the paper, from mAP in points.

    The paper writes log; its own figures are those of the logarithm to base 10.

    Example:
        >>> round(equation5(28.78, 30.34), 2)
        0.96
    """
    if max(baseline_points, points) >= 100:  # a perfect model has no error left to compare
        return math.inf if points > baseline_points else -math.inf if points < baseline_points else 0.0
    return 100 * math.log10((100 - baseline_points) / (100 - points))


def summarize(results: Results) -> tuple[Summary, ...]:
    """Return a row for every model, in their order.

    Raises:
        KeyError: A score is missing.
    """
    benchmark = [name for name in results.corruptions if name in select(["benchmark"])]
    baseline = results.mean(results.baseline, results.corruptions)
    rows = []
    for model in results.models:
        clean = results.score(model.name).map50_95
        corrupted = results.mean(model.name, results.corruptions)
        mpc = results.mean(model.name, benchmark) if benchmark else None
        rows.append(
            Summary(
                model=model.name,
                clean=clean,
                corrupted=corrupted,
                mpc=mpc,
                rpc=mpc / clean if mpc is not None and clean else None,
                equation5=None if model.name == results.baseline else equation5(100 * baseline, 100 * corrupted),
            )
        )
    return tuple(rows)


Resamples = Mapping[tuple[str, Kind], NDArray[np.float64]]
"""mAP [B] in each resample of the pictures, by model and kind of pictures."""


def deltas_of(results: Results, resampled: Resamples) -> tuple[Delta, ...]:
    """Return what each model gains on the baseline, with the interval of a paired bootstrap over pictures.

    Args:
        results: With all scores.
        resampled: mAP of every model on every kind of pictures, in the same resamples of these.
    """
    deltas = []
    base = results.baseline
    for model in (model.name for model in results.models if model.name != base):
        for corruption, severity, kinds in _averages(results):
            points = [results.score(model, *k).map50_95 - results.score(base, *k).map50_95 for k in kinds]
            value = math.fsum(points) / len(points)
            ends = interval(value, np.mean([resampled[model, k] - resampled[base, k] for k in kinds], axis=0))
            low, high = (None if math.isnan(end) else 100 * end for end in ends)
            deltas.append(
                Delta(
                    model=model,
                    corruption=corruption,
                    severity=severity,
                    value=100 * value,
                    low=low,
                    high=high,
                )
            )
    return tuple(deltas)


def _averages(results: Results) -> list[tuple[str, int, list[Kind]]]:
    """Return what deltas are of: a corruption or a set of them, a severity or 0 for all, and the cells averaged."""
    levels = results.severities
    groups: dict[str, list[str]] = {name: [name] for name in results.corruptions}
    groups[ALL] = list(results.corruptions)
    groups[BENCHMARK] = [name for name in results.corruptions if name in select(["benchmark"])]
    found: list[tuple[str, int, list[Kind]]] = [(CLEAN, OVER_SEVERITIES, [(CLEAN, OVER_SEVERITIES)])]
    for group, names in ((group, names) for group, names in groups.items() if names):
        found.append((group, OVER_SEVERITIES, [(name, level) for name in names for level in levels]))
        found += [(group, level, [(name, level) for name in names]) for level in levels]
    return found
