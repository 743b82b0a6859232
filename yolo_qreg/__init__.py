"""Quantization-aware training for Ultralytics YOLOv5n, and what it does to robustness.

Importing this package loads neither torch nor ultralytics: the names below are looked up on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_qreg.config import QuantConfig, TrainConfig
    from yolo_qreg.errors import InputError
    from yolo_qreg.host.run import train
    from yolo_qreg.host.trainer import QATTrainer
    from yolo_qreg.patch import bake, quantize_convs

__version__ = "0.1.0"

_HOMES = {
    "InputError": "yolo_qreg.errors",
    "QATTrainer": "yolo_qreg.host.trainer",
    "QuantConfig": "yolo_qreg.config",
    "TrainConfig": "yolo_qreg.config",
    "bake": "yolo_qreg.patch",
    "quantize_convs": "yolo_qreg.patch",
    "train": "yolo_qreg.host.run",
}

__all__ = ["InputError", "QATTrainer", "QuantConfig", "TrainConfig", "__version__", "bake", "quantize_convs", "train"]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
