"""From the detections of a cell to its scores and its resampled mAP; runs in worker processes, without torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_qreg.evaluation.average_precision import coco_summary, voc_ap50
from yolo_qreg.evaluation.bootstrap import bootstrap_map, image_weights
from yolo_qreg.evaluation.detections import Detections, GroundTruth
from yolo_qreg.evaluation.matching import match
from yolo_qreg.files import write_atomic


def score(truth: GroundTruth, detections: Detections) -> dict[str, Any]:
    """Return COCO's metrics and VOC's AP50, as plain data; None where the pictures define none."""
    matches = match(truth, detections)
    return {
        **coco_summary(truth, detections),
        "voc07_ap50": _mean(voc_ap50(matches, "11")),
        "voc_ap50": _mean(voc_ap50(matches, "all")),
    }


def resample(truth: GroundTruth, detections: Path, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return mAP@[.50:.95] of a cell in each resample of the pictures, [B], kept beside the cell's detections.

    The resamples are the same for every cell of equally many pictures, which pairs models and corruptions.
    """
    kept = detections.with_name(f"{detections.stem}.resampled-{resamples}-{seed}.npy")
    if kept.is_file():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                values: NDArray[np.float64] = np.load(kept, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                values = np.empty(0)
        if values.shape == (resamples,):
            return values
    weights = image_weights(len(truth.image_ids), resamples, seed)
    values = bootstrap_map(match(truth, Detections.load(detections)), weights).map50_95
    write_atomic(kept, lambda file: np.save(file, values, allow_pickle=False))
    return values


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else None
