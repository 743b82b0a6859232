from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from synthetic_detections import data_set, pycocotools_average_precision, pycocotools_evaluation

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.average_precision import RECALLS, average_precision, coco_summary, voc_ap50
from yolo_qreg.evaluation.detections import Detections, GroundTruth
from yolo_qreg.evaluation.matching import ClassMatches, Matches, match

DATA_SETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ties": {"score_levels": 4},
    "crowded": {"crowded": 400, "score_levels": 60},
    "dense": {"objects": 12.0, "noise": 1.0, "classes": 2},
    "sparse": {"images": 6, "objects": 1.0, "noise": 40.0},
}
NOTHING = Detections([], [], [], [])  # type: ignore[arg-type]


def matches_of(hits: Sequence[bool | int], truths: int) -> Matches:
    """Return one class in one image, its detections true or false at all thresholds, best first."""
    found = ClassMatches(
        image=np.zeros(len(hits), np.int32),
        score=np.linspace(1, 0, len(hits), dtype=np.float32),
        true_positive=np.tile(np.asarray(hits, bool), (10, 1)),
        truths=np.array([truths]),
    )
    return Matches(images=1, names=("cat",), classes=(found,))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", DATA_SETS.values(), ids=DATA_SETS)
def test_it_equals_pycocotools(seed: int, settings: dict[str, Any]) -> None:
    """Each class and threshold agrees to 1e-12, NaN for a class without ground truth."""
    truth, found = data_set(seed, **settings)
    expected = pycocotools_average_precision(truth, found)
    assert np.isnan(expected[-1]).all()
    np.testing.assert_allclose(average_precision(match(truth, found)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("truths", [1, 3, 10, 29, 100, 101, 347])
def test_recall_is_compared_as_in_pycocotools(truths: int) -> None:
    """With true positives only, average precision is the share of float64 thresholds that found / truths reaches."""
    for found in range(1, truths + 1):
        expected = np.count_nonzero(found / truths >= RECALLS) / 101
        np.testing.assert_allclose(average_precision(matches_of([1] * found, truths)), expected, rtol=0, atol=1e-12)


def test_a_threshold_can_lie_above_its_own_decimal() -> None:
    """7 of 20 do not reach the threshold .35 of pycocotools, which is 35 * .01 in float64: 35 of 101, not 36."""
    assert average_precision(matches_of([1] * 7, 20))[0, 0] == pytest.approx(35 / 101, abs=1e-12)


def test_true_positives_after_the_last_at_iou_50_count() -> None:
    """An exact detection behind a loose one on the same object has the average precision of rank 2 at IoU .75."""
    box, loose = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0]
    truth = GroundTruth(("a",), [[100, 100]], [0], [0], [box], ("cat",))  # type: ignore[arg-type]
    found = Detections([0, 0], [0, 0], [0.9, 0.8], [loose, box])  # type: ignore[arg-type]
    ours = average_precision(match(truth, found))
    np.testing.assert_allclose(ours[0], [1, 1, 1] + [0.5] * 7, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours, pycocotools_average_precision(truth, found), rtol=0, atol=1e-12)


def test_without_detections_it_is_zero() -> None:
    """Classes with ground truth have 0, others NaN."""
    truth, _ = data_set(0)
    ours = average_precision(match(truth, NOTHING))
    assert (ours[:-1] == 0).all()
    assert np.isnan(ours[-1]).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3, int), "give one column for each of 1 images"),
        (np.ones(1), "must be whole numbers"),
        (np.array([-1]), "must be whole numbers"),
    ],
)
def test_weights_are_counts_of_images(weights: Any, message: str) -> None:
    """Another length, fractions and negative numbers are refused."""
    with pytest.raises(InputError, match=message):
        average_precision(matches_of([1], 1), weights)


@pytest.mark.parametrize(
    ("hits", "truths", "eleven", "everything"),
    [
        ([1], 1, 1, 1),
        ([0], 1, 0, 0),
        ([], 2, 0, 0),
        ([0, 1], 1, 1 / 2, 1 / 2),
        # precision 1, 1/2, 2/3, 1/2, 3/5 at recall 1/4, 1/4, 1/2, 1/2, 3/4
        ([1, 0, 1, 0, 1], 4, (3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11, (1 + 2 / 3 + 3 / 5) / 4),
        # precision rises from 1/2 to 3/4, so the envelope is flat
        ([0, 1, 1, 1], 3, 3 / 4, 3 / 4),
        # recall .3 is reached by 3 of 10, whatever .1 + .1 + .1 is
        ([1, 1, 1], 10, 4 / 11, 3 / 10),
        ([1, 1, 1, 1, 1, 1, 1], 10, 8 / 11, 7 / 10),
    ],
)
def test_voc_by_hand(hits: list[int], truths: int, eleven: float, everything: float) -> None:
    """Both interpolations have the values worked out on paper."""
    matches = matches_of(hits, truths)
    np.testing.assert_allclose(voc_ap50(matches, "11"), [eleven], rtol=0, atol=1e-12)
    np.testing.assert_allclose(voc_ap50(matches, "all"), [everything], rtol=0, atol=1e-12)


def test_voc_looks_at_iou_50() -> None:
    """VOC's area below the curve differs from COCO's 101 points at IoU .5 by less than a hundredth and a bit."""
    truth, found = data_set(1, images=60)
    matches = match(truth, found)
    np.testing.assert_allclose(voc_ap50(matches, "all"), average_precision(matches)[:, 0], rtol=0, atol=0.015)


def test_voc_is_nan_without_ground_truth() -> None:
    """A class that does not occur has no average precision."""
    assert np.isnan(voc_ap50(matches_of([0], 0), "11")).all()
    assert np.isnan(voc_ap50(matches_of([0], 0), "all")).all()


def test_voc_has_two_interpolations() -> None:
    """Others are refused."""
    with pytest.raises(InputError, match="points='101' is unknown"):
        voc_ap50(matches_of([1], 1), "101")  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", DATA_SETS.values(), ids=DATA_SETS)
def test_the_summary_is_that_of_pycocotools(settings: dict[str, Any]) -> None:
    """All figures are COCOeval's: over all areas, by size and by class; None where it has -1."""
    truth, found = data_set(2, **settings)
    summary = coco_summary(match(truth, found))
    theirs = pycocotools_evaluation(truth, found)
    names = ("map50_95", "map50", "map75", "map_small", "map_medium", "map_large")
    ours = [summary[name] for name in names]  # type: ignore[literal-required]
    assert ours == pytest.approx([None if value < 0 else value for value in theirs.stats[:6]], abs=1e-12)
    precision = theirs.eval["precision"][:, :, :-1, 0, -1]  # without the last class, which has no ground truth
    assert list(summary["class_ap50_95"]) == list(truth.names)
    assert list(summary["class_ap50_95"].values())[:-1] == pytest.approx(precision.mean(axis=(0, 1)), abs=1e-12)
    assert list(summary["class_ap50"].values())[:-1] == pytest.approx(precision[0].mean(axis=0), abs=1e-12)
    assert summary["class_ap50"][truth.names[-1]] is summary["class_ap50_95"][truth.names[-1]] is None


def test_sizes_that_do_not_occur_are_none() -> None:
    """A border belongs to both sides; detections of other sizes and objects do not count."""
    borders = [[0.0, 0.0, 32.0, 32.0], [40.0, 40.0, 136.0, 136.0]]
    truth = GroundTruth(("a",), [[200, 200]], [0], [0], borders[:1], ("cat",))  # type: ignore[arg-type]
    summary = coco_summary(match(truth, Detections([0, 0], [0, 0], [0.9, 0.8], borders[::-1])))  # type: ignore[arg-type]
    assert summary["map_small"] == pytest.approx(1) and summary["map_large"] is None
    assert summary["map_medium"] == summary["map50_95"] == pytest.approx(0.5)


def test_the_summary_without_detections_is_zero() -> None:
    """A detector that finds nothing scores 0."""
    truth, _ = data_set(2)
    assert coco_summary(match(truth, NOTHING))["map50_95"] == 0


def test_the_summary_without_ground_truth_is_none() -> None:
    """Where there is nothing to find, no figure is defined."""
    truth = GroundTruth(("a",), [[100, 100]], [], [], [], ("cat",))  # type: ignore[arg-type]
    found = Detections([0], [0], [0.5], [[0, 0, 1, 1]])  # type: ignore[arg-type]
    summary = coco_summary(match(truth, found))
    assert summary["map50_95"] is summary["map_small"] is None
    assert summary["class_ap50"] == {"cat": None}
