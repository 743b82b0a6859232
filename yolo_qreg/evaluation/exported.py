"""What an export costs in mAP: beside the weights that it was made from, and beside their FP32 twin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.config import Settings
from yolo_qreg.evaluation.evaluate import evaluate
from yolo_qreg.evaluation.models import find_baseline, subjects, training_data
from yolo_qreg.evaluation.results import CLEAN, OVER_SEVERITIES, Results
from yolo_qreg.evaluation.workers import default_workers
from yolo_qreg.files import scratch_folder
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.progress import Watch
from yolo_qreg.quant.registry import FLOAT_BITS

DEVICE = "cpu"
"""What exported models run on."""


def data_to_check(source: Path, data: str | Path | None) -> Path:
    """Return the data set on whose `val` split an export is measured: the one named, or that of the training.

    Raises:
        InputError: It is not on this machine.
    """
    if data is not None:
        return resolve_data(data)
    try:
        found, _ = training_data(subjects([source]))
    except InputError as error:
        raise InputError(
            str(error).replace("name one with --data", "measure it with yolo-qreg eval-corrupted")
        ) from error
    return resolve_data(found)


def check_map(source: Path, exported: Path, data: Path, *, imgsz: int, watch: Callable[[int], Watch]) -> dict[str, Any]:
    """Measure an exported model, the weights that it was made from and their FP32 twin on clean pictures.

    Args:
        source: A checkpoint of ours.
        exported: What was made of it.
        data: YAML file; its `val` split is used, pictures padded to squares.
        imgsz: Sides of the exported model's pictures in pixels.
        watch: As of `evaluate`.

    Returns:
        Plain data: mAP@[.50:.95] of each as fractions, and the exported model's differences in points, with 95%
        intervals of a paired bootstrap over the pictures.
    """
    (own,) = subjects([source])
    twin = find_baseline(own) if own.model.bits != FLOAT_BITS else None
    chosen = subjects([*([twin] if twin else []), source, exported])
    roles = dict(zip(["FP32 twin", "weights", "exported"][-len(chosen) :], chosen, strict=True))
    with scratch_folder(".yolo-qreg-") as folder:
        settings = Settings(
            data=data,
            out=folder,
            imgsz=imgsz,
            corruptions=(),
            severities=(),
            device=DEVICE,
            workers=default_workers(DEVICE),
        )
        others = [role for role in roles if role != "exported"]
        results = {role: evaluate(chosen, roles[role].model.name, settings, watch) for role in others}
    found = results["weights"]
    scores = {role: found.score(subject.model.name, CLEAN, OVER_SEVERITIES) for role, subject in roles.items()}
    name = roles["exported"].model.name
    return {
        "data": found.setup["data"],
        "split": "val",
        "pictures": found.setup["pictures"],
        "mAP50-95": {role: score.map50_95 for role, score in scores.items()},
        "points": {f"exported against {role}": _points(results[role], name) for role in others},
    }


def _points(results: Results, name: str) -> dict[str, float | None]:
    delta = results.delta(name, CLEAN)
    return {"difference": delta.points, "low": delta.low, "high": delta.high}
