"""The bootstrap over images: how much mean average precision would vary with other images of the same kind.

Letters: B resamples, n images. Comparisons are paired: draw the weights once, use them for the baseline, the model and
every corruption, and subtract the results; each resample then sees the same images on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.average_precision import resampled_average_precision
from yolo_qreg.evaluation.estimate import LEVEL, critical
from yolo_qreg.evaluation.matching import IOU_50, IOU_75, Matches


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """COCO's metrics in each resample, fractions 0..1; NaN where no class has ground truth.

    Attributes:
        map50_95: float64 [B], mean over classes and the ten IoU thresholds.
        map50: float64 [B], at IoU .50.
        map75: float64 [B], at IoU .75.
        class_ap50_95: float64 [B, classes], NaN where the class has no ground truth in the resample.
    """

    map50_95: NDArray[np.float64]
    map50: NDArray[np.float64]
    map75: NDArray[np.float64]
    class_ap50_95: NDArray[np.float64]


class Interval(NamedTuple):
    """A confidence interval; both ends NaN where nothing is known."""

    low: float
    high: float


def image_weights(n_images: int, resamples: int = 1000, seed: int = 0) -> NDArray[np.uint16]:
    """Draw data sets of `n_images` with replacement (Efron 1979).

    Rows come one after the other from PCG64, so fewer resamples are the first rows of more. Equal arguments give equal
    weights with one release of numpy, which may change `Generator.integers` (NEP 19).

    Returns:
        uint16 [B, n]: how often each image occurs; each row sums to n.

    Raises:
        InputError: There is no image or no resample to draw.

    >>> image_weights(5, resamples=2).sum(axis=1).tolist()
    [5, 5]
    """
    if n_images < 1 or resamples < 1:
        raise InputError(f"{resamples} resamples of {n_images} images: both must be 1 or more; raise them")
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = np.empty((resamples, n_images), np.uint16)
    for row in weights:
        row[:] = np.bincount(rng.integers(n_images, size=n_images), minlength=n_images)
    return weights


def bootstrap_map(matches: Matches, weights: NDArray[np.integer[Any]]) -> Resampled:
    """Return COCO's metrics for each resample; a class without ground truth there is left out of its means.

    Args:
        matches: Of the data set with every image once.
        weights: How often each image occurs, whole numbers [B, n], from `image_weights`.

    Raises:
        InputError: `weights` does not fit the images, or is not whole numbers of 0 or more.
    """
    by_threshold = resampled_average_precision(matches, weights)
    by_class = by_threshold.mean(axis=2)
    return Resampled(
        map50_95=_mean_of_defined(by_class),
        map50=_mean_of_defined(by_threshold[:, :, IOU_50]),
        map75=_mean_of_defined(by_threshold[:, :, IOU_75]),
        class_ap50_95=by_class,
    )


def interval(estimate: float, resampled: ArrayLike, level: float = LEVEL) -> Interval:
    """Return the normal interval: the estimate, and to either side its standard error times 1.96 (for 95%).

    The standard error is the standard deviation of the resampled values. Their mean and their tails are not used:
    resampling repeats pictures, which raises mAP, of rare classes most (docs/evaluate.md compares the alternatives).

    Args:
        estimate: Of the data set itself.
        resampled: The same in each resample [B], NaN left out.
        level: Its coverage.

    Raises:
        InputError: `level` is not between 0 and 1.

    >>> low, high = interval(0.5, [0.4, 0.6, 0.8])
    >>> round(low, 3), round(high, 3)
    (0.108, 0.892)
    """
    if not 0 < level < 1:
        raise InputError(f"level={level!r} must lie between 0 and 1; write 0.95 for 95%")
    numbers = np.asarray(resampled, np.float64)
    known = numbers[~np.isnan(numbers)]
    if known.size < 2:
        return Interval(np.nan, np.nan)
    half = critical(level=level) * float(known.std(ddof=1))
    return Interval(estimate - half, estimate + half)


def _mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis without NaN, which remains where there is nothing else."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis=-1) / defined.sum(axis=-1))
