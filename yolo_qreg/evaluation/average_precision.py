"""Average precision of COCO (Lin et al. 2014) and Pascal VOC (Everingham et al. 2010).

Letters: B resamples, n images, N detections of one class, K of them true positives at some threshold, S
ranges of areas.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.matching import (
    IOU_50,
    IOU_75,
    IOU_THRESHOLDS,
    SIZES,
    ClassMatches,
    Matches,
    SizeMatches,
)

RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
"""COCO's recall thresholds, as pycocotools computes them: 7 of 20 found is below RECALLS[35] = 35 * .01."""

EXACT_IN_FLOAT32 = 2**24
"""Whole numbers below this, and their sums, are exact in float32."""

BLOCK = 2**17
"""Values in one temporary array, about: 1 MB of float64."""


class CocoSummary(TypedDict):
    """COCO's point estimates, fractions 0..1; None where there is no ground truth to judge by."""

    map50_95: float | None
    map50: float | None
    map75: float | None
    map_small: float | None
    map_medium: float | None
    map_large: float | None
    class_ap50_95: dict[str, float | None]
    class_ap50: dict[str, float | None]


def average_precision(matches: Matches, weights: NDArray[np.integer[Any]] | None = None) -> NDArray[np.float64]:
    """Return COCO's average precision by class and IoU threshold.

    Args:
        matches: Of the data set.
        weights: How many times each image counts, whole numbers [n]; None for once.

    Returns:
        float64 [classes, 10], 0..1, NaN for classes without ground truth.
    """
    if weights is None:
        weights = np.ones(matches.images, np.int64)
    return np.asarray(resampled_average_precision(matches, np.asarray(weights)[None])[0])


def resampled_average_precision(matches: Matches, weights: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return COCO's average precision of data sets in which images occur several times or not at all.

    It is what `COCOeval.accumulate` gives for a data set with such copies side by side, to rounding of the mean of 101
    numbers. (Detections of one class with equal scores in one image alternate there, a b a b; here each counts at once,
    a a b b.)

    Args:
        matches: Of the data set with every image once.
        weights: How many times each image counts, whole numbers [B, n].

    Returns:
        float64 [B, classes, 10], 0..1, NaN where a class has no ground truth.

    Raises:
        InputError: `weights` has another shape or type, or a negative value.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != matches.images:
        raise InputError(f"weights have shape {weights.shape}; give one column for each of {matches.images} images")
    if weights.dtype.kind not in "iu" or (weights.size and weights.min() < 0):
        raise InputError(f"weights of type {weights.dtype} must be whole numbers, 0 or more: how often an image counts")
    counts = weights.astype(np.int32)
    result = np.empty((len(counts), len(matches.classes), len(IOU_THRESHOLDS)))
    for label, found in enumerate(matches.classes):
        result[:, label] = _class_average_precision(found, counts)
    return result


def _class_average_precision(found: ClassMatches, weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the average precision of one class, float64 [B, 10]; see `resampled_average_precision`.

    Precision has its peaks at true positives, so only they are looked at, those of all thresholds together: an entry
    that is a false positive at one of them, or has weight 0, lies on the curve or below its envelope. Each of COCO's
    recall thresholds belongs to the first entry that reaches it, so average precision is the sum of
    envelope * (number of thresholds reached first) / 101.
    """
    truths = weights @ found.truths
    result = np.zeros((len(weights), len(IOU_THRESHOLDS)))
    columns = np.flatnonzero(found.true_positive.any(axis=0))
    if len(columns):
        before = _detections_before(found.image, columns, weights)
        hits, image = found.true_positive[:, columns], found.image[columns]
        reached, start = _thresholds_reached(truths)
        block = max(1, BLOCK // hits.size)
        for first in range(0, len(weights), block):
            rows = slice(first, first + block)
            true = np.cumsum(weights[rows, None, image] * hits, axis=2, dtype=np.int32)
            all_detections = weights[rows].astype(before.dtype) @ before
            precision = true / (all_detections[:, None].astype(np.float64) + np.spacing(1))
            envelope = np.maximum.accumulate(precision[:, :, ::-1], axis=2)[:, :, ::-1]
            new = np.diff(reached[start[rows, None, None] + true], axis=2, prepend=0)
            result[rows] = np.einsum("btk,btk->bt", envelope, new) / len(RECALLS)
    result[truths == 0] = np.nan
    return result


def _detections_before(
    image: NDArray[np.int32], columns: NDArray[np.intp], weights: NDArray[np.int32]
) -> NDArray[np.floating[Any]]:
    """Return how many detections each image has up to and with each column, [n, K].

    Weights times this matrix is the number of detections in a resample: a product for BLAS in place of a sum over all
    N detections, and exact, because its numbers are whole and below 2**24 (float32) or 2**53 (float64).
    """
    images = weights.shape[1]
    segment = np.searchsorted(columns, np.arange(columns[-1] + 1))
    cells = image[: columns[-1] + 1].astype(np.intp) * len(columns) + segment
    new = np.bincount(cells, minlength=images * len(columns)).reshape(images, len(columns))
    exact = int(weights.max(initial=0)) * len(image) < EXACT_IN_FLOAT32
    return np.cumsum(new, axis=1).astype(np.float32 if exact else np.float64)


def _thresholds_reached(truths: NDArray[np.int64]) -> tuple[NDArray[np.int16], NDArray[np.intp]]:
    """Return how many of `RECALLS` are reached, as a table, and where each resample's part of it starts, [B].

    Entry start + k is the number of thresholds <= k / truths in float64, the comparison of pycocotools.
    """
    totals, inverse = np.unique(truths, return_inverse=True)
    parts = [np.searchsorted(RECALLS, np.arange(total + 1) / max(total, 1), side="right") for total in totals]
    starts = np.cumsum(totals + 1) - (totals + 1)
    return np.concatenate(parts).astype(np.int16), starts[inverse]


def voc_ap50(matches: Matches, points: Literal["11", "all"]) -> NDArray[np.float64]:
    """Return Pascal VOC's average precision at IoU .5 by class, float64 [classes], NaN without ground truth.

    "11" is VOC 2007: the mean of the best precision at a recall of 0, .1, ... 1 or more. "all" is VOC 2010 and later:
    the area below the monotone curve. The curves are VOC's; which detection is a true positive is decided as COCO does,
    where a detection whose best object is taken may have the second best (VOC counts it as false).

    Raises:
        InputError: `points` is neither.
    """
    if points not in ("11", "all"):
        raise InputError(f"points={points!r} is unknown; choose '11' (VOC 2007) or 'all' (VOC 2010)")
    result = np.full(len(matches.classes), np.nan)
    for label, found in enumerate(matches.classes):
        total = int(found.truths.sum())
        if total == 0:
            continue
        hits = found.true_positive[IOU_50]
        true = np.cumsum(hits)
        envelope = np.maximum.accumulate((true / np.arange(1, len(hits) + 1))[::-1])[::-1]
        if points == "11":  # whole numbers: true / total >= tenth / 10
            first = np.searchsorted(10 * true, np.arange(11) * total)
            result[label] = np.append(envelope, 0.0)[first].mean()
        else:
            result[label] = envelope[hits].sum() / total
    return result


def coco_summary(matches: Matches) -> CocoSummary:
    """Return COCO's point estimates, as pycocotools' COCOeval has them with its default settings."""
    by_threshold = average_precision(matches)
    by_size = np.array([_size_average_precision(found) for found in matches.sizes]).reshape(
        -1, len(SIZES), len(IOU_THRESHOLDS)
    )
    small, medium, large = (mean_of_defined(by_size[:, size]) for size in range(len(SIZES)))
    return CocoSummary(
        map50_95=mean_of_defined(by_threshold),
        map50=mean_of_defined(by_threshold[:, IOU_50]),
        map75=mean_of_defined(by_threshold[:, IOU_75]),
        map_small=small,
        map_medium=medium,
        map_large=large,
        class_ap50_95=dict(zip(matches.names, map(mean_of_defined, by_threshold), strict=True)),
        class_ap50=dict(zip(matches.names, map(mean_of_defined, by_threshold[:, IOU_50]), strict=True)),
    )


def _size_average_precision(found: SizeMatches) -> NDArray[np.float64]:
    """Return the average precision of one class in each range of areas, float64 [S, 10], NaN without ground truth.

    As `_class_average_precision`, but of the data set as it is, and which detections count depends on the threshold.
    """
    columns = found.true_positive.any(axis=(0, 1))
    true = np.cumsum(found.true_positive, axis=2)[..., columns]
    precision = true / (np.cumsum(found.counts, axis=2)[..., columns] + np.spacing(1))
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    truths = found.truths[:, None, None]
    reached = np.searchsorted(RECALLS, true / np.maximum(truths, 1), side="right")
    result = (envelope * np.diff(reached, axis=2, prepend=0)).sum(axis=2) / len(RECALLS)
    return np.where(truths[..., 0] > 0, result, np.nan)


def mean_of_defined(values: NDArray[np.float64] | np.float64) -> float | None:
    """Return the mean of what is defined; None for nothing."""
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else None
