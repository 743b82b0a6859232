"""Which detections are true positives, exactly as pycocotools decides it (`COCOeval.evaluateImg`, `accumulate`).

Letters: n images, D detections and G ground truths of one class in one image, N detections of one class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.detections import Detections, GroundTruth, extents

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""COCO's ten (Lin et al. 2014), computed as pycocotools does; some differ in the last bit from .05 steps."""

IOU_50, IOU_75 = 0, 5
"""Positions of .50 and .75 in `IOU_THRESHOLDS`."""


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
class Matches:
    """All classes of a data set.

    Attributes:
        images: Number of images, n.
        names: Class names.
        classes: One entry per class, in the order of `names`.
    """

    images: int
    names: tuple[str, ...]
    classes: tuple[ClassMatches, ...]


def match(truth: GroundTruth, detections: Detections, max_detections: int = 100) -> Matches:
    """Assign detections to ground truths greedily, highest score first.

    A detection takes the free ground truth of its class and image with the highest IoU, if that reaches the threshold;
    of several equal ones the last. All areas count and no ground truth is a crowd.

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
    classes = tuple(_match_class(truth, detections, label, max_detections) for label in range(len(truth.names)))
    return Matches(images=len(truth.image_ids), names=truth.names, classes=classes)


def _match_class(truth: GroundTruth, detections: Detections, label: int, max_detections: int) -> ClassMatches:
    chosen = _best_of_each_image(detections, label, max_detections)
    objects = np.flatnonzero(truth.label == label)
    objects = objects[np.argsort(truth.image[objects], kind="stable")]
    image, score = detections.image[chosen], detections.score[chosen]
    truths = np.bincount(truth.image[objects], minlength=len(truth.image_ids))
    found, wanted = _xywh(detections.boxes[chosen]), _xywh(truth.boxes[objects])

    true_positive = np.zeros((len(IOU_THRESHOLDS), len(chosen)), bool)
    for index in np.intersect1d(image, truth.image[objects]):
        columns = slice(*np.searchsorted(image, [index, index + 1]))
        rows = slice(*np.searchsorted(truth.image[objects], [index, index + 1]))
        iou = mask.iou(found[columns], wanted[rows], [0] * (rows.stop - rows.start))  # its bits decide, so its code
        true_positive[:, columns] = _match_image(iou)

    order = np.argsort(-score, kind="stable")
    return ClassMatches(image[order], score[order], true_positive[:, order], truths.astype(np.int64))


def _best_of_each_image(detections: Detections, label: int, max_detections: int) -> NDArray[np.intp]:
    """Return indices of a class's detections by image, then by falling score, then as given; the best of each image."""
    chosen = np.flatnonzero(detections.label == label)
    image = detections.image[chosen]
    chosen = chosen[np.lexsort((-detections.score[chosen], image))]
    image = detections.image[chosen]
    rank = np.arange(len(chosen)) - np.searchsorted(image, image)
    return chosen[rank < max_detections]


def _match_image(iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which detections are true positives, bool [10, D], from IoU [D, G], highest score first."""
    detections, truths = iou.shape
    thresholds = np.arange(len(IOU_THRESHOLDS))
    true_positive = np.zeros((len(thresholds), detections), bool)
    free = np.ones((len(thresholds), truths), bool)
    for detection in np.flatnonzero(iou.max(axis=1) >= IOU_THRESHOLDS[0]):
        open_iou = np.where(free, iou[detection], -1.0)
        best = truths - 1 - open_iou[:, ::-1].argmax(axis=1)  # the last of equals
        hit = open_iou[thresholds, best] >= IOU_THRESHOLDS
        true_positive[hit, detection] = True
        free[thresholds[hit], best[hit]] = False
    return true_positive


def _xywh(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return boxes as pycocotools has them: float64 [N, 4], x, y, width, height."""
    return np.hstack([boxes[:, :2].astype(np.float64), extents(boxes)])
