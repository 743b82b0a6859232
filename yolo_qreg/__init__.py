"""Quantization-aware training for Ultralytics YOLOv5n, and what it does to robustness.

Importing this package loads neither torch nor ultralytics: the names below are looked up on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_qreg.analysis.allocation import Allocation, Budget
    from yolo_qreg.analysis.config import AnalysisConfig
    from yolo_qreg.analysis.records import Analysis
    from yolo_qreg.analysis.sensitivity_config import SensitivityConfig
    from yolo_qreg.analysis.sensitivity_record import Sensitivity
    from yolo_qreg.api import (
        allocate,
        analyze,
        describe,
        evaluate,
        export_weights,
        load_results,
        quantize,
        resume,
        run_study,
        sensitivity,
        train,
        train_in_turn,
        unpack,
        write_report,
    )
    from yolo_qreg.config import Calibration, QuantConfig, TrainConfig
    from yolo_qreg.errors import InputError
    from yolo_qreg.evaluation.config import EvalConfig
    from yolo_qreg.evaluation.results import Delta, Results, Score
    from yolo_qreg.host.trainer import QATTrainer
    from yolo_qreg.patch import bake, quantize_convs
    from yolo_qreg.quant.base import WeightQuantizer
    from yolo_qreg.quant.registry import MethodSpec, Option, register_method
    from yolo_qreg.study.plan import Study, load_study

__version__ = "0.2.0"

_HOMES = {
    "Allocation": "yolo_qreg.analysis.allocation",
    "Analysis": "yolo_qreg.analysis.records",
    "AnalysisConfig": "yolo_qreg.analysis.config",
    "Budget": "yolo_qreg.analysis.allocation",
    "Calibration": "yolo_qreg.config",
    "Delta": "yolo_qreg.evaluation.results",
    "EvalConfig": "yolo_qreg.evaluation.config",
    "InputError": "yolo_qreg.errors",
    "MethodSpec": "yolo_qreg.quant.registry",
    "Option": "yolo_qreg.quant.registry",
    "QATTrainer": "yolo_qreg.host.trainer",
    "QuantConfig": "yolo_qreg.config",
    "Results": "yolo_qreg.evaluation.results",
    "Score": "yolo_qreg.evaluation.results",
    "Sensitivity": "yolo_qreg.analysis.sensitivity_record",
    "SensitivityConfig": "yolo_qreg.analysis.sensitivity_config",
    "Study": "yolo_qreg.study.plan",
    "TrainConfig": "yolo_qreg.config",
    "WeightQuantizer": "yolo_qreg.quant.base",
    "allocate": "yolo_qreg.api",
    "analyze": "yolo_qreg.api",
    "bake": "yolo_qreg.patch",
    "describe": "yolo_qreg.api",
    "evaluate": "yolo_qreg.api",
    "export_weights": "yolo_qreg.api",
    "load_results": "yolo_qreg.api",
    "load_study": "yolo_qreg.study.plan",
    "quantize": "yolo_qreg.api",
    "quantize_convs": "yolo_qreg.patch",
    "register_method": "yolo_qreg.quant.registry",
    "resume": "yolo_qreg.api",
    "run_study": "yolo_qreg.api",
    "sensitivity": "yolo_qreg.api",
    "train": "yolo_qreg.api",
    "train_in_turn": "yolo_qreg.api",
    "unpack": "yolo_qreg.api",
    "write_report": "yolo_qreg.api",
}

__all__ = [
    "Allocation",
    "Analysis",
    "AnalysisConfig",
    "Budget",
    "Calibration",
    "Delta",
    "EvalConfig",
    "InputError",
    "MethodSpec",
    "Option",
    "QATTrainer",
    "QuantConfig",
    "Results",
    "Score",
    "Sensitivity",
    "SensitivityConfig",
    "Study",
    "TrainConfig",
    "WeightQuantizer",
    "__version__",
    "allocate",
    "analyze",
    "bake",
    "describe",
    "evaluate",
    "export_weights",
    "load_results",
    "load_study",
    "quantize",
    "quantize_convs",
    "register_method",
    "resume",
    "run_study",
    "sensitivity",
    "train",
    "train_in_turn",
    "unpack",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, found or not."""
    return sorted({*globals(), *__all__})
