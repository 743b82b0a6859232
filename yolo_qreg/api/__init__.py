"""What the commands do, as functions: each command calls one of these and prints what it returns.

They share one manner. Settings are frozen dataclasses that are checked when made; bad input raises `InputError`, whose
one line says value, rule and remedy. Numbers of the API are fractions where they are scores (mAP 0..1) and points
(x 100) where they are differences. Progress and notes go to standard error unless `quiet`. Work that was interrupted
is continued by the same call. Heavy parts are imported where they are used: what can be refused without torch is so
at once.
"""

from __future__ import annotations

from yolo_qreg.api.analysis import allocate, analyze, sensitivity
from yolo_qreg.api.evaluation import evaluate, load_results, run_study, write_report
from yolo_qreg.api.exporting import Kind, describe, export_weights, unpack
from yolo_qreg.api.training import quantize, resume, train, train_in_turn

__all__ = [
    "Kind",
    "allocate",
    "analyze",
    "describe",
    "evaluate",
    "export_weights",
    "load_results",
    "quantize",
    "resume",
    "run_study",
    "sensitivity",
    "train",
    "train_in_turn",
    "unpack",
    "write_report",
]
