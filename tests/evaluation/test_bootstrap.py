from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic_detections import data_set, pycocotools_average_precision, repeated

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation import average_precision as average_precision_module
from yolo_qreg.evaluation.average_precision import average_precision, resampled_average_precision
from yolo_qreg.evaluation.bootstrap import bootstrap_map, image_weights, interval
from yolo_qreg.evaluation.detections import Detections, GroundTruth
from yolo_qreg.evaluation.matching import ClassMatches, Matches, match


def with_ties_between_images_only(found: Detections) -> Detections:
    """Return the detections with scores that are all different within an image and mostly equal between images."""
    order = np.argsort(found.image, kind="stable")
    image = found.image[order]
    rank = np.arange(len(image)) - np.searchsorted(image, image)
    return Detections(image, found.label[order], 1 - rank / 1000, found.boxes[order])  # type: ignore[arg-type]


@pytest.mark.parametrize("ties", [False, True], ids=["distinct scores", "ties between images"])
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_copies_of_images(seed: int, ties: bool) -> None:
    """Each resample has the average precision by pycocotools of a data set in which its images are repeated."""
    truth, found = data_set(seed)
    if ties:
        found = with_ties_between_images_only(found)
    weights = image_weights(len(truth.image_ids), resamples=4, seed=seed)
    ours = resampled_average_precision(match(truth, found), weights)
    for row, expected in zip(weights, ours, strict=True):
        copied = pycocotools_average_precision(*repeated(truth, found, row))
        np.testing.assert_allclose(copied, expected, rtol=0, atol=1e-12)


def test_weights_of_one_are_the_data_set_itself() -> None:
    """All resamples of one of each image equal the point estimates."""
    truth, found = data_set(0)
    matches = match(truth, found)
    resampled = bootstrap_map(matches, np.ones((3, len(truth.image_ids)), int))
    point = average_precision(matches)
    np.testing.assert_allclose(resampled.class_ap50_95, np.tile(point.mean(axis=1), (3, 1)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(resampled.map50_95, np.nanmean(point), rtol=0, atol=1e-12)
    np.testing.assert_allclose(resampled.map50, np.nanmean(point[:, 0]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(resampled.map75, np.nanmean(point[:, 5]), rtol=0, atol=1e-12)


def test_blocks_and_number_types_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another block size, or float64 for large sums, changes no bit."""
    truth, found = data_set(1)
    matches, weights = match(truth, found), image_weights(len(truth.image_ids), resamples=20)
    expected = resampled_average_precision(matches, weights)
    monkeypatch.setattr(average_precision_module, "BLOCK", 1)
    monkeypatch.setattr(average_precision_module, "EXACT_IN_FLOAT32", 1)
    np.testing.assert_array_equal(resampled_average_precision(matches, weights), expected)


def test_a_class_without_ground_truth_in_a_resample_is_left_out() -> None:
    """Its entry is NaN, the mean is over the others, and without any class that is NaN too."""
    truth = GroundTruth(("a", "b"), [[9, 9]] * 2, [0, 1], [0, 1], [[0, 0, 5, 5]] * 2, ("cat", "dog"))  # type: ignore[arg-type]
    found = Detections([0], [0], [0.5], [[0, 0, 5, 5]])  # type: ignore[arg-type]
    resampled = bootstrap_map(match(truth, found), np.array([[1, 1], [2, 0], [0, 2], [0, 0]]))
    np.testing.assert_allclose(resampled.map50_95, [0.5, 1, 0, np.nan])
    np.testing.assert_allclose(resampled.class_ap50_95, [[1, 0], [1, np.nan], [np.nan, 0], [np.nan, np.nan]])


def test_equal_detections_do_not_differ_in_any_resample() -> None:
    """With the same weights the difference of a model and itself is exactly 0, whatever the order of its detections."""
    truth, found = data_set(3)
    order = np.random.default_rng(0).permutation(len(found.image))
    shuffled = Detections(found.image[order], found.label[order], found.score[order], found.boxes[order])
    weights = image_weights(len(truth.image_ids), resamples=100)
    baseline, model = (bootstrap_map(match(truth, each), weights) for each in (found, shuffled))
    np.testing.assert_array_equal(model.map50_95 - baseline.map50_95, 0.0)
    np.testing.assert_array_equal(model.class_ap50_95, baseline.class_ap50_95)


def test_weights_are_draws_with_replacement() -> None:
    """Rows sum to n, each image occurs once on average with the variance of the multinomial distribution."""
    weights = image_weights(50, resamples=2000, seed=1)
    assert weights.shape == (2000, 50)
    assert weights.dtype == np.uint16
    assert (weights.sum(axis=1) == 50).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=5 / np.sqrt(2000))
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.03)


def test_weights_depend_on_the_seed_alone() -> None:
    """The same seed gives the same rows, fewer resamples the first of them; another seed gives others."""
    weights = image_weights(30, resamples=20, seed=5)
    np.testing.assert_array_equal(image_weights(30, resamples=20, seed=5), weights)
    np.testing.assert_array_equal(image_weights(30, resamples=7, seed=5), weights[:7])
    assert (image_weights(30, resamples=20, seed=6) != weights).any()


@pytest.mark.parametrize(("images", "resamples"), [(0, 5), (5, 0)])
def test_there_must_be_something_to_draw(images: int, resamples: int) -> None:
    """No image and no resample are errors."""
    with pytest.raises(InputError, match="both must be 1 or more"):
        image_weights(images, resamples)


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    """For a plain mean the bootstrap's standard error has a closed form: the root of the variance by n."""
    values = np.random.default_rng(2).gamma(2, size=40)
    weights = image_weights(40, resamples=20_000)
    low, high = interval(float(values.mean()), weights @ values / 40)
    half = 1.959964 * values.std() / np.sqrt(40)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=0.01)


def test_intervals_leave_nan_out() -> None:
    """They are about the estimate, whatever the mean of the resamples; of fewer than two resamples they are NaN."""
    assert interval(7.0, [np.nan, 1.0, 3.0]) == pytest.approx((7 - 1.959964 * 2**0.5, 7 + 1.959964 * 2**0.5))
    assert interval(7.0, [1.0, 3.0], 0.9) == pytest.approx((7 - 1.644854 * 2**0.5, 7 + 1.644854 * 2**0.5))
    assert np.isnan(interval(0.25, [0.25, np.nan])).all()


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_share(level: float) -> None:
    """Percentages and the ends are refused."""
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        interval(1.0, [1.0, 2.0], level)


def random_detector(rng: np.random.Generator, truths: NDArray[np.int64]) -> Matches:
    """Return what a detector that finds 60% of the objects, with two false detections per image, would give."""
    hits = np.repeat(np.arange(len(truths)), rng.binomial(truths, 0.6))
    false = np.repeat(np.arange(len(truths)), rng.poisson(2, len(truths)))
    score = np.concatenate([rng.beta(4, 2, len(hits)), rng.beta(2, 4, len(false))])
    order = np.argsort(-score)
    found = ClassMatches(
        image=np.concatenate([hits, false])[order].astype(np.int32),
        score=score[order].astype(np.float32),
        true_positive=np.tile((np.arange(len(order)) < len(hits))[order], (10, 1)),
        truths=truths,
    )
    return Matches(images=len(truths), names=("cat",), classes=(found,))


def test_intervals_cover_no_difference_as_often_as_they_say() -> None:
    """Of two detectors of equal skill, the 90% interval of the difference has 0 in it in 90% of the data sets."""
    repetitions, images, level = 200, 40, 0.9
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(repetitions):
        truths = rng.poisson(3, images)
        weights = image_weights(images, resamples=200, seed=seed)
        baseline, model = (random_detector(rng, truths) for _ in range(2))
        estimate = average_precision(model).mean() - average_precision(baseline).mean()
        resampled = bootstrap_map(model, weights).map50_95 - bootstrap_map(baseline, weights).map50_95
        low, high = interval(estimate, resampled, level)
        covered += low <= 0 <= high
    deviation = np.sqrt(level * (1 - level) / repetitions)
    assert abs(covered / repetitions - level) < 3 * deviation
