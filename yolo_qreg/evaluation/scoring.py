"""From the detections of a cell to its scores and its resampled mAP; runs in worker processes, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_qreg.evaluation.average_precision import CocoSummary, coco_summary, voc_ap50
from yolo_qreg.evaluation.bootstrap import bootstrap_map, image_weights
from yolo_qreg.evaluation.detections import Detections, GroundTruth
from yolo_qreg.evaluation.matching import match
from yolo_qreg.files import write_atomic

SCORES = CocoSummary.__annotations__.keys() | {"voc07_ap50", "voc_ap50"}
"""The entries of a cell's scores."""


def score(truth: GroundTruth, kept: Path) -> dict[str, Any]:
    """Return COCO's metrics and VOC's AP50 of kept detections, as plain data; None where the pictures define none."""
    detections = Detections.load(kept)
    matches = match(truth, detections)
    return {
        **coco_summary(truth, detections),
        "voc07_ap50": _mean(voc_ap50(matches, "11")),
        "voc_ap50": _mean(voc_ap50(matches, "all")),
    }


@dataclass(frozen=True, slots=True)
class Resample:
    """Computes mAP@[.50:.95] of cells in each resample of the pictures, and keeps it beside their detections.

    The resamples are the same for every cell of equally many pictures, which pairs models and corruptions.
    """

    truth: GroundTruth
    resamples: int
    seed: int

    def __call__(self, detections: Path) -> NDArray[np.float64]:
        """Return it, [B]."""
        weights = image_weights(len(self.truth.image_ids), self.resamples, self.seed)
        values = bootstrap_map(match(self.truth, Detections.load(detections)), weights).map50_95
        write_atomic(self._file(detections), lambda file: np.save(file, values, allow_pickle=False))
        return values

    def kept(self, detections: Path) -> NDArray[np.float64] | None:
        """Return what was kept, None where there is nothing or it is damaged."""
        try:
            values: NDArray[np.float64] = np.load(self._file(detections), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return values if values.shape == (self.resamples,) else None

    def _file(self, detections: Path) -> Path:
        return detections.with_name(f"{detections.stem}.resampled-{self.resamples}-{self.seed}.npy")


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else None
