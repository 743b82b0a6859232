"""What an evaluation found, as data: scores, deltas and what was run.

mAP is a fraction in scores and points (x 100) in deltas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from yolo_qreg.evaluation.estimate import Estimate

CLEAN = "clean"
ALL = "all"
"""The mean over every corruption that was evaluated: the paper's, where these are the 19."""
BENCHMARK = "benchmark"
"""The mean over those among the benchmark's 15: mPC."""
OVER_SEVERITIES = 0
"""The severity of a mean over severities, and of clean pictures."""

Kind: TypeAlias = tuple[str, int]
"""Corruption and severity: a kind of pictures, or a mean over several."""
Quantity: TypeAlias = Literal["map50_95", "map50"]
"""A score by the name of its field."""

FEW_PICTURES = 30
"""Below this many a bootstrap over pictures says little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How one model does on one kind of pictures; a missing number is one that the data do not define.

    Attributes:
        model: Its name in this evaluation.
        corruption: `clean` or one of the 19.
        severity: 1 to 5, 0 for clean.
        images: Number of pictures.
        map50_95: mAP@[.50:.95] of COCO, 0..1, as the others.
        map50: AP at IoU .50.
        map75: AP at IoU .75.
        small: mAP@[.50:.95] of boxes below 32^2 px.
        medium: From 32^2 to 96^2 px.
        large: Above.
        voc07_ap50: AP50 by 11 points, as in VOC 2007.
        voc_ap50: AP50 by all points, as in VOC from 2010.
    """

    model: str
    corruption: str
    severity: int
    images: int
    map50_95: float
    map50: float
    map75: float
    small: float | None
    medium: float | None
    large: float | None
    voc07_ap50: float
    voc_ap50: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """A model's AP of one class; None where the pictures hold none of it."""

    model: str
    corruption: str
    severity: int
    name: str
    map50_95: float | None
    map50: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta(Estimate):
    """How much better a model is than the baseline on the same pictures, in points of mAP@[.50:.95].

    Its value is model minus baseline, its interval that of a paired bootstrap over pictures.

    Attributes:
        model: The model.
        corruption: `clean`, one of the 19, `all` or `benchmark`.
        severity: 1 to 5, or 0: clean, or the mean over the severities evaluated.
    """

    model: str
    corruption: str
    severity: int

    @property
    def points(self) -> float:
        """The value, by its unit."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model under evaluation.

    Attributes:
        name: Unique in the evaluation.
        file: Name of the weight file, without folders.
        sha256: Of the file, or of the files of a folder.
        method: Quantizer; None for float models and files that do not say.
        bits: Of most weights; 32 for float, None where the file does not say.
        size_mb: Of the weights, packed where they are quantized; MB are 10^6 bytes.
        run: Run folder of its training, where that lies beside the weights.
    """

    name: str
    file: str
    sha256: str
    method: str | None
    bits: int | None
    size_mb: float
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """An evaluation.

    Attributes:
        models: In the order given; the baseline among them.
        baseline: Name of the baseline.
        corruptions: Those evaluated, in published order.
        severities: Those evaluated.
        scores: One for each model, corruption and severity, and one for each model on clean pictures.
        class_scores: The same by class.
        deltas: For each model but the baseline: of each score, of means over severities (severity 0), and of the means
            `all` and `benchmark`, per severity and over all.
        setup: What else the results depend on or were made with: data, image size, seed, versions, commands.
    """

    models: tuple[Model, ...]
    baseline: str
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    scores: tuple[Score, ...]
    class_scores: tuple[ClassScore, ...] = ()
    deltas: tuple[Delta, ...] = ()
    setup: dict[str, Any] = field(default_factory=dict)

    def score(self, model: str, corruption: str = CLEAN, severity: int = OVER_SEVERITIES) -> Score:
        """Return one score.

        Raises:
            KeyError: There is none.
        """
        for score in self.scores:
            if (score.model, score.corruption, score.severity) == (model, corruption, severity):
                return score
        raise KeyError((model, corruption, severity))

    def mean(
        self,
        model: str,
        corruptions: Iterable[str],
        severities: Iterable[int] | None = None,
        quantity: Quantity = "map50_95",
    ) -> float:
        """Return a model's mean score over corruptions and severities (all evaluated ones by default), 0..1."""
        wanted, levels = set(corruptions), set(self.severities if severities is None else severities)
        values = [
            getattr(s, quantity)
            for s in self.scores
            if s.model == model and s.corruption in wanted and s.severity in levels
        ]
        if not values:
            raise KeyError((model, sorted(wanted)))
        return math.fsum(values) / len(values)

    def delta(self, model: str, corruption: str, severity: int = OVER_SEVERITIES) -> Delta:
        """Return one delta.

        Raises:
            KeyError: There is none.
        """
        for delta in self.deltas:
            if (delta.model, delta.corruption, delta.severity) == (model, corruption, severity):
                return delta
        raise KeyError((model, corruption, severity))
