"""mAP of resamples by compiled code, many times as fast where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_qreg.evaluation.average_precision import RECALLS, _detections_before, _thresholds_reached
from yolo_qreg.evaluation.bootstrap import bootstrap_map
from yolo_qreg.evaluation.matching import Matches

try:
    from numba import njit
except ImportError:  # the same numbers, many times slower
    njit = None

EPSILON = float(np.spacing(1))
THRESHOLDS = len(RECALLS)


def resampled_map(matches: Matches, weights: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return what `bootstrap_map` does, mAP@[.50:.95] for each weighting [B] of the images, by compiled code."""
    if njit is None:
        return bootstrap_map(matches, weights).map50_95
    counts = weights.astype(np.int32)
    by_class = np.zeros((len(counts), len(matches.classes), 10))
    for label, found in enumerate(matches.classes):
        truths = counts @ found.truths
        columns = np.flatnonzero(found.true_positive.any(axis=0))
        if len(columns):
            seen = counts.astype(np.float32) @ _detections_before(found.image, columns, counts).astype(np.float32)
            reached, start = _thresholds_reached(truths)
            level, column = np.nonzero(found.true_positive[:, columns])
            ends = np.searchsorted(level, np.arange(11))
            compiled(counts[:, found.image[columns]], column, ends, seen, reached, start, by_class[:, label])
        by_class[truths == 0, label] = np.nan
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(by_class.mean(axis=2), axis=1) / (~np.isnan(by_class[:, :, 0])).sum(axis=1))


def areas(
    counts: NDArray[np.int32],
    columns: NDArray[np.intp],
    ends: NDArray[np.intp],
    seen: NDArray[np.float32],
    reached: NDArray[np.int16],
    start: NDArray[np.intp],
    result: NDArray[np.float64],
) -> None:
    """Fill in the average precision of one class [B, 10]; see `average_precision._class_average_precision`."""
    precision, thresholds = np.empty(len(columns)), np.empty(len(columns), np.int64)
    for row in range(len(counts)):
        for level in range(len(ends) - 1):
            found = true = 0
            for column in columns[ends[level] : ends[level + 1]]:
                if counts[row, column]:
                    true += counts[row, column]
                    precision[found] = true / (np.float64(seen[row, column]) + EPSILON)
                    thresholds[found] = reached[start[row] + true]
                    found += 1
            area = best = 0.0
            for place in range(found - 1, -1, -1):
                best = max(best, precision[place])
                area += best * (thresholds[place] - (thresholds[place - 1] if place else 0))
            result[row, level] = area / THRESHOLDS


compiled = njit(cache=True)(areas) if njit else areas
