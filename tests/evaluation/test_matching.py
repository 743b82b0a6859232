from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic_detections import data_set, pycocotools_evaluation

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.detections import Detections, GroundTruth
from yolo_qreg.evaluation.matching import IOU_50, IOU_75, IOU_THRESHOLDS, ClassMatches, match


def one_image(truth: list[list[float]], found: list[list[float]], score: list[float]) -> ClassMatches:
    """Return the matches of one class in one image."""
    objects = GroundTruth(("a",), np.array([[100, 100]]), [0] * len(truth), [0] * len(truth), truth, ("cat",))  # type: ignore[arg-type]
    return match(objects, Detections([0] * len(found), [0] * len(found), score, found)).classes[0]  # type: ignore[arg-type]


def test_thresholds_are_those_of_pycocotools() -> None:
    """Ten, equal in every bit."""
    truth, found = data_set(0, images=6)
    np.testing.assert_array_equal(IOU_THRESHOLDS, pycocotools_evaluation(truth, found).params.iouThrs)
    assert (IOU_THRESHOLDS[IOU_50], IOU_THRESHOLDS[IOU_75]) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (0, {}),
        (1, {"score_levels": 5}),
        (2, {"score_levels": 1}),
        (3, {"crowded": 300, "score_levels": 40}),
        (4, {"objects": 12.0, "classes": 2}),
    ],
)
def test_every_detection_is_judged_as_by_pycocotools(seed: int, settings: dict[str, Any]) -> None:
    """In each image and class the true positives at the ten thresholds are those of COCOeval, in its order."""
    truth, found = data_set(seed, **settings)
    evaluation = pycocotools_evaluation(truth, found)
    ours = match(truth, found)
    every_area = evaluation.params.areaRng[0]
    by_class: dict[int, list[Any]] = {label: [] for label in range(len(truth.names))}
    for result in evaluation.evalImgs:
        if result is not None and result["aRng"] == every_area:
            by_class[result["category_id"] - 1].append(result)
    for label, results in by_class.items():
        theirs = np.concatenate([result["dtMatches"] > 0 for result in results], axis=1)
        score = np.concatenate([result["dtScores"] for result in results])
        image = np.repeat([result["image_id"] - 1 for result in results], [len(r["dtScores"]) for r in results])
        order = np.argsort(-score, kind="mergesort")
        np.testing.assert_array_equal(ours.classes[label].image, image[order])
        np.testing.assert_array_equal(ours.classes[label].score, score[order])
        np.testing.assert_array_equal(ours.classes[label].true_positive, theirs[:, order])
        assert ours.classes[label].truths.sum() == sum(len(result["gtIds"]) for result in results)


def test_a_taken_object_leaves_the_second_best() -> None:
    """Of two detections on one object the second is true only if another object overlaps it enough."""
    box, beside = [0.0, 0.0, 10.0, 10.0], [2.0, 0.0, 12.0, 10.0]
    found = one_image([box, beside], [box, box, box], [0.9, 0.8, 0.7])
    assert found.true_positive[IOU_50].tolist() == [True, True, False]
    assert found.true_positive[IOU_75].tolist() == [True, False, False]


def test_of_equal_overlaps_the_last_object_is_taken() -> None:
    """A detection between two objects takes the later one, which leaves the earlier for the next detection."""
    left, right, between = [0.0, 0.0, 10.0, 10.0], [4.0, 0.0, 14.0, 10.0], [2.0, 0.0, 12.0, 10.0]
    assert one_image([left, right], [between, left], [0.9, 0.8]).true_positive[IOU_50].tolist() == [True, True]
    assert one_image([right, left], [between, left], [0.9, 0.8]).true_positive[IOU_50].tolist() == [True, False]


def test_a_detection_can_be_true_at_a_higher_threshold_only() -> None:
    """An object taken by a loose detection at IoU .5 is still free at .75 for an exact one with a lower score."""
    box, loose = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0]
    found = one_image([box], [loose, box], [0.9, 0.8])
    assert found.true_positive[IOU_50].tolist() == [True, False]
    assert found.true_positive[IOU_75].tolist() == [False, True]


def test_the_limit_holds_per_image_and_class() -> None:
    """Of each image and class the best remain, among equal scores the first given; other classes do not count."""
    truth, _ = data_set(0, images=2)
    label = np.repeat([0, 1], 5)
    found = Detections(np.zeros(10, int), label, [0.5] * 4 + [0.9] + [0.5] * 5, np.zeros((10, 4)))  # type: ignore[arg-type]
    kept = match(truth, found, max_detections=3)
    assert [len(matches.image) for matches in kept.classes] == [3, 3, 0, 0]
    np.testing.assert_array_equal(kept.classes[0].score, np.float32([0.9, 0.5, 0.5]))


def test_truths_are_counted_by_image() -> None:
    """Images without objects have 0."""
    truth, found = data_set(5)
    for label, matches in enumerate(match(truth, found).classes):
        expected = [np.sum((truth.image == index) & (truth.label == label)) for index in range(len(truth.image_ids))]
        assert matches.truths.tolist() == expected


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [(2, 0, "detections have image 2, the ground truth 2"), (0, 9, "detections have label 9, the ground truth 4")],
)
def test_detections_of_another_data_set_are_refused(image: int, label: int, message: str) -> None:
    """An index beyond the ground truth's images or classes is an error."""
    truth, _ = data_set(0, images=2)
    with pytest.raises(InputError, match=message):
        match(truth, Detections([image], [label], [0.5], [[0, 0, 1, 1]]))  # type: ignore[arg-type]


def test_a_limit_of_none_is_refused() -> None:
    """At least one detection counts."""
    truth, found = data_set(0, images=2)
    with pytest.raises(InputError, match="max_detections=0 must be 1 or more"):
        match(truth, found, max_detections=0)
