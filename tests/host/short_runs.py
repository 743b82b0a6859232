"""Settings of short trainings, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from yolo_qreg import QATTrainer, QuantConfig

IMAGES = {"train": 8, "val": 4}
SIDE_PX = 64
SETTINGS: dict[str, Any] = {
    "imgsz": SIDE_PX,
    "batch": 4,
    "nbs": 4,
    "workers": 0,
    "amp": False,
    "device": "cpu",
    "plots": False,
    "verbose": False,
    "optimizer": "SGD",
    "warmup_epochs": 0,
}
"""Two steps an epoch, without accumulation."""
LSQ = QuantConfig(method="lsq", bits=4, per_channel=True, last_bits=8, bn_images=0)


class Run(NamedTuple):
    """A finished training."""

    trainer: QATTrainer
    folder: Path
    config: QuantConfig

    @property
    def best(self) -> Path:
        """The weight file of the best epoch."""
        return self.folder / "weights" / "best.pt"
