"""Random data sets with everything that makes matching hard, and pycocotools' own answer for them."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolo_qreg.evaluation.detections import Detections, GroundTruth


def random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return boxes in a picture of 640 x 480, small ones among them."""
    size = np.exp(rng.uniform(np.log(6), np.log(250), (count, 2)))
    corner = rng.uniform(0, [[640, 480]], (count, 2)) * 0.6
    return np.hstack([corner, corner + size]).astype(np.float32)


def data_set(
    seed: int,
    *,
    images: int = 25,
    classes: int = 4,
    objects: float = 5.0,
    noise: float = 8.0,
    score_levels: int | None = None,
    crowded: int = 0,
) -> tuple[GroundTruth, Detections]:
    """Return a random data set.

    The last class has no ground truth, some images have none and some no detections; objects are found zero to
    three times, some by exactly their own box or one box twice, and some are identical twins.

    Args:
        seed: Of the random numbers.
        images: Their number.
        classes: Their number.
        objects: Mean per image.
        noise: Mean number of false detections per image.
        score_levels: How many different scores occur; None for as many as detections.
        crowded: That many more detections of class 0 in image 0.
    """
    rng = np.random.default_rng(seed)
    image = rng.integers(images, size=int(objects * images))
    image = image[image % 7 != 3]
    label = rng.integers(max(classes - 1, 1), size=len(image))
    boxes = random_boxes(rng, len(image))
    twins = rng.random(len(image)) < 0.1
    image, label, boxes = (np.concatenate([part, part[twins]]) for part in (image, label, boxes))

    seen = np.repeat(np.arange(len(image)), rng.integers(0, 4, len(image)))
    side = boxes[seen, 2:] - boxes[seen, :2]
    shift = rng.choice([0.0, 0.05, 0.1, 0.2], (len(seen), 1)) * rng.normal(0, 1, (len(seen), 4)) * np.tile(side, 2)
    near = boxes[seen] + shift.astype(np.float32)
    near = np.hstack([np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:])])
    false = int(noise * images)
    found_image = np.concatenate([image[seen], rng.integers(images, size=false), np.zeros(crowded, int)])
    found_label = np.concatenate([label[seen], rng.integers(classes, size=false), np.zeros(crowded, int)])
    found_boxes = np.concatenate([near, random_boxes(rng, false + crowded)])
    order = rng.permutation(np.flatnonzero(found_image % 5 != 4))
    score = rng.permutation(len(order)) / len(order)
    if score_levels:
        score = np.floor(score * score_levels) / score_levels
    truth = GroundTruth(
        image_ids=tuple(f"{index:04}.jpg" for index in range(images)),
        sizes=np.tile([640, 480], (images, 1)),
        image=image,
        label=label,
        boxes=boxes,
        names=tuple(f"class {index}" for index in range(classes)),
    )
    return truth, Detections(found_image[order], found_label[order], score, found_boxes[order])


def repeated(
    truth: GroundTruth, detections: Detections, weights: NDArray[np.integer]
) -> tuple[GroundTruth, Detections]:
    """Return the data set in which each image is there `weights` times, copies side by side."""
    source = np.repeat(np.arange(len(truth.image_ids)), weights)

    def copies(image: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        rows = [np.flatnonzero(image == index) for index in source]
        new = np.repeat(np.arange(len(source)), [len(part) for part in rows])
        return np.concatenate([*rows, np.zeros(0, int)]).astype(int), new

    rows, image = copies(truth.image)
    found, found_image = copies(detections.image)
    return GroundTruth(
        image_ids=tuple(f"{copy}-{truth.image_ids[index]}" for copy, index in enumerate(source)),
        sizes=truth.sizes[source],
        image=image,
        label=truth.label[rows],
        boxes=truth.boxes[rows],
        names=truth.names,
    ), Detections(found_image, detections.label[found], detections.score[found], detections.boxes[found])


def pycocotools_evaluation(truth: GroundTruth, detections: Detections) -> COCOeval:
    """Return an accumulated COCOeval over the data set, loaded as its users load theirs (`COCO.loadRes`)."""

    def xywh(box: NDArray[np.float32]) -> list[float]:
        left, top, right, bottom = box.tolist()
        return [left, top, right - left, bottom - top]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": index + 1} for index in range(len(truth.image_ids))],
            "categories": [{"id": index + 1, "name": name} for index, name in enumerate(truth.names)],
            "annotations": [
                {"id": number + 1, "image_id": int(image) + 1, "category_id": int(label) + 1, "bbox": xywh(box)}
                | {"iscrowd": 0, "area": xywh(box)[2] * xywh(box)[3]}
                for number, (image, label, box) in enumerate(zip(truth.image, truth.label, truth.boxes, strict=True))
            ],
        }
        coco.createIndex()
        columns = zip(detections.image, detections.label, detections.score, detections.boxes, strict=True)
        results = coco.loadRes(
            [
                {"image_id": int(image) + 1, "category_id": int(label) + 1, "score": float(score), "bbox": xywh(box)}
                for image, label, score, box in columns
            ]
        )
        evaluation = COCOeval(coco, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def pycocotools_average_precision(truth: GroundTruth, detections: Detections) -> NDArray[np.float64]:
    """Return average precision [classes, 10] by pycocotools, NaN for classes without ground truth."""
    precision = pycocotools_evaluation(truth, detections).eval["precision"][:, :, :, 0, -1]
    return np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1)).T
