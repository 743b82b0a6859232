"""Clean mAP of a weight file, as Ultralytics measures it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from yolo_qreg.host.loading import safe_loading


@dataclass(frozen=True, slots=True)
class CleanScore:
    """mAP on clean pictures, as fractions.

    Attributes:
        map50_95: Mean AP over IoU thresholds .50:.05:.95.
        map50: Mean AP at IoU .50.
    """

    map50_95: float
    map50: float


def validate(weights: Path, data: Path, **settings: Any) -> CleanScore:
    """Run the host's `val` quietly; `settings` are the host's own, such as imgsz, batch and device.

    Args:
        weights: A .pt file of ours or of Ultralytics.
        data: The data set's YAML file; its `val` split is used.
        settings: Further settings of `YOLO.val`.
    """
    with tempfile.TemporaryDirectory() as folder, safe_loading():  # the host makes one also when it draws nothing
        metrics = YOLO(str(weights)).val(data=str(data), verbose=False, plots=False, project=folder, **settings)
    return CleanScore(float(metrics.box.map), float(metrics.box.map50))
