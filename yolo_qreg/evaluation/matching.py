"""Which detections are true positives, exactly as pycocotools decides it (`COCOeval.evaluateImg`, `accumulate`).

Letters: n images, D detections and G ground truths of one class in one image, N detections of one class, S ranges of
areas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.detections import LARGEST_AREA, Detections, GroundTruth, areas, extents

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""COCO's ten (Lin et al. 2014), computed as pycocotools does; some differ in the last bit from .05 steps."""

IOU_50, IOU_75 = 0, 5
"""Positions of .50 and .75 in `IOU_THRESHOLDS`."""

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, LARGEST_AREA)}
"""COCO's ranges of areas, in square pixels; an area on a border belongs to both."""
_RANGES = np.array([(0.0, LARGEST_AREA), *SIZES.values()])
"""All areas first."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """The detections of one class, highest score first (equal scores: by image, then as given).

    Attributes:
        image: int32 [N], index of the image.
        score: float32 [N], falling.
        true_positive: bool [10, N], by IoU threshold.
        truths: int64 [n], ground truths of the class in each image.
    """

    image: NDArray[np.int32]
    score: NDArray[np.float32]
    true_positive: NDArray[np.bool_]
    truths: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SizeMatches:
    """The same detections where only objects of one range of areas are to be found, for each range of `SIZES`.

    Attributes:
        true_positive: bool [S, 10, N].
        counts: bool [S, 10, N], whether it is a true or a false positive: not if it takes an object of another size, or
            none and is of another size itself.
        truths: int64 [S], ground truths of the class.
    """

    true_positive: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    truths: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """All classes of a data set.

    Attributes:
        images: Number of images, n.
        names: Class names.
        classes: One entry per class, in the order of `names`.
        sizes: The same by range of areas.
    """

    images: int
    names: tuple[str, ...]
    classes: tuple[ClassMatches, ...]
    sizes: tuple[SizeMatches, ...] = ()


def match(truth: GroundTruth, detections: Detections, max_detections: int = 100) -> Matches:
    """Assign detections to ground truths greedily, highest score first.

    A detection takes the free ground truth of its class and image with the highest IoU, if that reaches the threshold;
    of several equal ones the last. No ground truth is a crowd. Where areas are limited, one of another area is taken
    only if none of the range can be.

    Args:
        truth: The objects of all images.
        detections: Indices refer to `truth`.
        max_detections: How many count per image and class (not per image), highest scores first.

    Returns:
        The matches at all ten IoU thresholds.

    Raises:
        InputError: A detection lies in an image or class that `truth` lacks, or max_detections is below 1.
    """
    if max_detections < 1:
        raise InputError(f"max_detections={max_detections} must be 1 or more; COCO uses 100")
    for field, known in (("image", len(truth.image_ids)), ("label", len(truth.names))):
        indices = getattr(detections, field)
        if indices.size and indices.max() >= known:
            raise InputError(f"detections have {field} {indices.max()}, the ground truth {known}; use its own indices")
    found = [_match_class(truth, detections, label, max_detections) for label in range(len(truth.names))]
    classes, sizes = zip(*found, strict=True) if found else ((), ())
    return Matches(images=len(truth.image_ids), names=truth.names, classes=classes, sizes=sizes)


def _match_class(
    truth: GroundTruth, detections: Detections, label: int, max_detections: int
) -> tuple[ClassMatches, SizeMatches]:
    chosen = _best_of_each_image(detections, label, max_detections)
    objects = np.flatnonzero(truth.label == label)
    objects = objects[np.argsort(truth.image[objects], kind="stable")]
    image, score = detections.image[chosen], detections.score[chosen]
    truths = np.bincount(truth.image[objects], minlength=len(truth.image_ids))
    found, wanted = _xywh(detections.boxes[chosen]), _xywh(truth.boxes[objects])
    inside = _in_ranges(areas(truth.boxes[objects]))

    true_positive = np.zeros((len(_RANGES), len(IOU_THRESHOLDS), len(chosen)), bool)
    counts = np.repeat(_in_ranges(areas(detections.boxes[chosen]))[:, None], len(IOU_THRESHOLDS), axis=1)
    for index in np.intersect1d(image, truth.image[objects]):
        columns = slice(*np.searchsorted(image, [index, index + 1]))
        rows = slice(*np.searchsorted(truth.image[objects], [index, index + 1]))
        iou = mask.iou(found[columns], wanted[rows], [0] * (rows.stop - rows.start))  # its bits decide, so its code
        _match_image(iou, inside[:, rows], true_positive[..., columns], counts[..., columns])

    order = np.argsort(-score, kind="stable")
    true_positive, counts = true_positive[..., order], counts[..., order]
    return (
        ClassMatches(image[order], score[order], true_positive[0], truths.astype(np.int64)),
        SizeMatches(true_positive[1:], counts[1:], inside[1:].sum(axis=1)),
    )


def _in_ranges(area: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which areas lie in which range, bool [1 + S, ...]."""
    return np.asarray((area >= _RANGES[:, :1]) & (area <= _RANGES[:, 1:]))


def _best_of_each_image(detections: Detections, label: int, max_detections: int) -> NDArray[np.intp]:
    """Return indices of a class's detections by image, then by falling score, then as given; the best of each image."""
    chosen = np.flatnonzero(detections.label == label)
    image = detections.image[chosen]
    chosen = chosen[np.lexsort((-detections.score[chosen], image))]
    image = detections.image[chosen]
    rank = np.arange(len(chosen)) - np.searchsorted(image, image)
    return chosen[rank < max_detections]


def _match_image(
    iou: NDArray[np.float64], inside: NDArray[np.bool_], true_positive: NDArray[np.bool_], counts: NDArray[np.bool_]
) -> None:
    """Set which detections of an image are true positives, and which count, both bool [1 + S, 10, D].

    Args:
        iou: [D, G], highest score first.
        inside: Which ground truths lie in which range of areas, bool [1 + S, G].
        true_positive: All false.
        counts: What holds for detections that take nothing.
    """
    truths = iou.shape[1]
    ranges, thresholds = np.ogrid[: len(inside), : len(IOU_THRESHOLDS)]
    free = np.ones((len(inside), len(IOU_THRESHOLDS), truths), bool)
    for detection in np.flatnonzero(iou.max(axis=1) >= IOU_THRESHOLDS[0]):
        near = free & (iou[detection] >= IOU_THRESHOLDS[:, None])
        wanted = near & inside[:, None]
        near = np.where(wanted.any(axis=2, keepdims=True), wanted, near)
        best = truths - 1 - np.where(near, iou[detection], -1.0)[..., ::-1].argmax(axis=2)  # the last of equals
        taken, of_range = near.any(axis=2), inside[ranges, best]
        true_positive[..., detection] = taken & of_range
        counts[..., detection] = np.where(taken, of_range, counts[..., detection])
        free[ranges, thresholds, best] &= ~taken


def _xywh(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return boxes as pycocotools has them: float64 [N, 4], x, y, width, height."""
    return np.hstack([boxes[:, :2].astype(np.float64), extents(boxes)])
