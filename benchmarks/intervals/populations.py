"""Populations that data sets are drawn from: real detections on many pictures, and simulated detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quick_map import resampled_map

from yolo_qreg.evaluation.matching import ClassMatches, Matches
from yolo_qreg.evaluation.results import CLEAN

ONE = "gaussian_noise"
"""The corruption that is looked at by itself."""
KINDS = (CLEAN, ONE, "mean")
"""Clean pictures, one corruption, and the mean over all that are evaluated."""
AS_GIVEN, COIN = "models", "coin"
PAIRS = (AS_GIVEN, COIN)
SIZES = {
    "one class": (12, 30, 100, 400),
    "rare classes": (12, 30, 100, 400),
    "shapes": (12, 30, 60, 200),
    "pictures": (100, 200, 400, 800),
}
OBJECTS = {"one class": (3.0,), "rare classes": (1.5, 0.6, 0.3, 0.15, 0.08, 0.04, 0.02, 0.01)}
"""Of simulated populations: objects of each class in a picture, on average."""
Pair = tuple[Matches, Matches]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Detections of two models on pictures that are taken for a whole population.

    Attributes:
        kinds: What both models found on each kind of pictures, clean first.
    """

    kinds: Mapping[str, Pair]

    @property
    def images(self) -> int:
        """How many pictures there are."""
        return self.kinds[CLEAN][0].images

    def draw(self, pair: str, size: int, rng: np.random.Generator) -> dict[str, Pair]:
        """Return a data set of some of the pictures."""
        chosen = np.sort(rng.choice(self.images, size, replace=False))
        found = {kind: (taken(a, chosen), taken(b, chosen)) for kind, (a, b) in self.kinds.items()}
        if pair == AS_GIVEN:
            return found
        heads = rng.random(size) < 0.5
        return {kind: (mixed(a, b, heads), mixed(b, a, heads)) for kind, (a, b) in found.items()}

    def truth(self, pair: str) -> dict[str, float]:
        """Return the differences on the whole population."""
        if pair == COIN:
            return dict.fromkeys(KINDS[: len(self.kinds)], 0.0)
        ones = np.ones((1, self.images), np.int64)
        return {kind: float(values[0]) for kind, values in differences(self.kinds, ones).items()}

    def stretch(self, pair: str, size: int) -> float:
        """Return how much more data sets of an endless population would scatter."""
        return 1.0 if pair == COIN else (1 - size / self.images) ** -0.5


def taken(matches: Matches, images: NDArray[np.intp]) -> Matches:
    """Return what was found on some images, given in ascending order: the matches of a data set of these alone."""
    new = np.full(matches.images, -1, np.int32)
    new[images] = np.arange(len(images), dtype=np.int32)
    classes = []
    for found in matches.classes:
        kept = new[found.image] >= 0
        classes.append(
            ClassMatches(new[found.image[kept]], found.score[kept], found.true_positive[:, kept], found.truths[images])
        )
    return Matches(len(images), matches.names, tuple(classes))


def shortened(pair: Pair) -> Pair:
    """Return both models' matches without what scores below every true positive of a class, which changes no AP."""
    limits = [
        min(float(found.score[found.true_positive.any(axis=0)].min(initial=np.inf)) for found in both)
        for both in zip(*(matches.classes for matches in pair), strict=True)
    ]
    first, second = (
        Matches(matches.images, matches.names, tuple(map(_above, matches.classes, limits))) for matches in pair
    )
    return first, second


def _above(found: ClassMatches, limit: float) -> ClassMatches:
    kept = found.score >= limit
    return ClassMatches(found.image[kept], found.score[kept], found.true_positive[:, kept], found.truths)


def mixed(first: Matches, second: Matches, heads: NDArray[np.bool_]) -> Matches:
    """Return what the first model found on the images of `heads`, and the second on the others."""
    classes = []
    for one, other in zip(first.classes, second.classes, strict=True):
        mine, its = heads[one.image], ~heads[other.image]
        image = np.concatenate([one.image[mine], other.image[its]])
        score = np.concatenate([one.score[mine], other.score[its]])
        order = np.lexsort((image, -score))  # stable, so the detections of an image keep theirs
        true = np.concatenate([one.true_positive[:, mine], other.true_positive[:, its]], axis=1)
        classes.append(ClassMatches(image[order], score[order], true[:, order], one.truths))
    return Matches(first.images, first.names, tuple(classes))


@dataclass(frozen=True, slots=True)
class Simulated:
    """Two detectors that find objects at random, on pictures that never repeat.

    Attributes:
        objects: Mean number of objects of each class in a picture.
        skills: Of the two, the share of objects that they find where they differ in truth.
    """

    objects: tuple[float, ...]
    skills: tuple[float, float] = (0.6, 0.5)
    many: int = 5_000
    times: int = 12

    def draw(self, pair: str, size: int, rng: np.random.Generator) -> dict[str, Pair]:
        """Return a data set."""
        truths = rng.poisson(self.objects, (size, len(self.objects)))
        first, second = self.skills if pair == AS_GIVEN else (self.skills[0], self.skills[0])
        return {CLEAN: (random_detector(rng, truths, first), random_detector(rng, truths, second))}

    def truth(self, pair: str) -> dict[str, float]:
        """Return the mean difference of data sets so large that it hardly varies."""
        if pair == COIN:
            return {CLEAN: 0.0}
        rng, ones = np.random.default_rng(0), np.ones((1, self.many), np.uint16)
        found = [differences(self.draw(pair, self.many, rng), ones)[CLEAN] for _ in range(self.times)]
        return {CLEAN: float(np.mean(found))}

    def stretch(self, pair: str, size: int) -> float:
        """Return 1: the population is endless."""
        return 1.0


def random_detector(rng: np.random.Generator, truths: NDArray[np.integer[Any]], skill: float = 0.6) -> Matches:
    """Return what a detector would give that finds a share of the objects, and other things too.

    Args:
        rng: Source of random numbers.
        truths: Objects by picture and class, [n, classes].
        skill: The share; there are about as many false detections as objects that it finds.
    """
    classes = []
    for wanted in truths.T:
        hits = np.repeat(np.arange(len(wanted)), rng.binomial(wanted, skill))
        false = rng.integers(len(wanted), size=rng.poisson(2 / 3 * wanted.mean() * len(wanted)))
        score = np.concatenate([rng.beta(4, 2, len(hits)), rng.beta(2, 4, len(false))]).astype(np.float32)
        order = np.argsort(-score, kind="stable")
        image = np.concatenate([hits, false])[order].astype(np.int32)
        true = np.tile((np.arange(len(order)) < len(hits))[order], (10, 1))
        classes.append(ClassMatches(image, score[order], true, wanted.astype(np.int64)))
    return Matches(len(truths), tuple(map(str, range(truths.shape[1]))), tuple(classes))


def differences(kinds: Mapping[str, Pair], weights: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return second minus first in mAP for each weighting [B] of the pictures, of what `KINDS` names."""
    found = {
        kind: resampled_map(second, weights) - resampled_map(first, weights) for kind, (first, second) in kinds.items()
    }
    corrupted = [values for kind, values in found.items() if kind != CLEAN]
    if len(corrupted) > 1:
        found[KINDS[-1]] = np.mean(corrupted, axis=0)
    return {kind: found[kind] for kind in KINDS if kind in found}
