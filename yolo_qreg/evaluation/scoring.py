"""From the detections of a cell to its scores and its resampled mAP; runs in worker processes, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_qreg.evaluation.average_precision import coco_summary, voc_ap50
from yolo_qreg.evaluation.bootstrap import bootstrap_map, image_weights
from yolo_qreg.evaluation.cells import DROPPED, Cell
from yolo_qreg.evaluation.detections import GroundTruth
from yolo_qreg.evaluation.matching import match


def score(truth: GroundTruth, cell: Cell) -> dict[str, Any]:
    """Return COCO's metrics and VOC's AP50 of kept detections, as plain data; None where the pictures define none."""
    detections = cell.detections()
    matches = match(truth, detections)
    return {
        **coco_summary(matches),
        "voc07_ap50": _mean(voc_ap50(matches, "11")),
        "voc_ap50": _mean(voc_ap50(matches, "all")),
        DROPPED: detections.dropped,
    }


@dataclass(frozen=True, slots=True)
class Resample:
    """Computes mAP@[.50:.95] of cells in each resample of the pictures, and keeps it beside their detections.

    The resamples are the same for every cell of equally many pictures, which pairs models and corruptions.
    """

    truth: GroundTruth
    resamples: int
    seed: int

    def __call__(self, cell: Cell) -> NDArray[np.float64]:
        """Return it, [B]."""
        weights = image_weights(len(self.truth.image_ids), self.resamples, self.seed)
        values = bootstrap_map(match(self.truth, cell.detections()), weights).map50_95
        cell.keep_resampled(values, self.seed)
        return values

    def kept(self, cell: Cell) -> NDArray[np.float64] | None:
        """Return what was kept, None where there is nothing or it is damaged."""
        return cell.resampled(self.resamples, self.seed)


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else None
