"""Settings of short trainings, what they leave, and how tests look at it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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
STEPS_PER_EPOCH = IMAGES["train"] // SETTINGS["batch"]
TINY = Path(__file__).with_name("tiny.yaml")
TINY_CONVS = 15
"""Conv blocks of it; four more convolutions end its head."""
TINY_RANGES = 11
"""Tensors that enter these blocks."""
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


def python(code: str, *args: object, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process."""
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def overrides(data: Path, project: Path, config: QuantConfig | None, **settings: Any) -> dict[str, Any]:
    """Return the overrides of a trainer that builds its own model."""
    given = {"model": "yolov5n.yaml", "data": str(data), "project": str(project), "name": "run", "mode": "train"}
    quant = {} if config is None else {"quant": config.to_dict()}
    return SETTINGS | given | {"task": "detect"} | quant | settings


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copy a state dict."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Assert that two state dicts are equal bit for bit."""
    assert list(a) == list(b)
    different = [key for key, value in a.items() if not torch.equal(value, b[key])]
    assert not different, different[:6]


def images() -> Tensor:
    """Return a batch of pictures in 0..1."""
    return torch.rand(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
