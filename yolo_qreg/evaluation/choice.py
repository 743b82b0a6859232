"""What an evaluation takes where it was not told: models, the FP32 twin, data and image size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.config import EvalConfig
from yolo_qreg.evaluation.damage import default_workers
from yolo_qreg.evaluation.models import (
    Subject,
    find_twin,
    newest_quantized,
    subjects,
    training_data,
    training_size,
)
from yolo_qreg.evaluation.tasks import Settings
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.predict import device_type
from yolo_qreg.progress import Tell
from yolo_qreg.quant.registry import FLOAT_BITS

RUNS = Path("runs/detect")
DEFAULT_SIZE = 640


def choose(weights: Sequence[Path], baseline: Path | None, tell: Tell) -> tuple[list[Subject], str]:
    """Return the models, the baseline first, and the baseline's name; tell what was taken unasked.

    Raises:
        InputError: Weights do not exist or are damaged, or there is nothing to take.
    """
    found = subjects(weights or [newest_quantized(RUNS)])
    if baseline is not None:
        both = subjects([baseline, *(subject.path for subject in found)])
        return both, both[0].model.name
    floats = [subject for subject in found if subject.model.bits == FLOAT_BITS]
    if len(floats) == 1:
        return [*floats, *(subject for subject in found if subject is not floats[0])], floats[0].model.name
    twin = next((path for subject in found if (path := find_twin(subject))), None)
    if twin is None:
        raise InputError(f"{found[0].path} has no FP32 twin beside it; train one with --bits 32, or name --baseline")
    both = subjects([twin, *(subject.path for subject in found)])
    tell(f"models: {', '.join(str(s.path) for s in both[1:])}; FP32 twin: {both[0].path}")
    return both, both[0].model.name


def settle(config: EvalConfig, chosen: Sequence[Subject], tell: Tell) -> Settings:
    """Return the settings of an evaluation of these models, with what `config` leaves open filled in.

    Raises:
        InputError: There is no data set to evaluate on.
    """
    from corruptions import select

    named = training_data(chosen) if config.data is None else config.data
    if named is None:
        raise InputError("the weights name no data set that is on this machine; name one with --data")
    size = config.imgsz or training_size(chosen)
    if size is None:
        tell(f"the weights do not agree on an image size: taking {DEFAULT_SIZE} (--imgsz)")
    return Settings(
        data=resolve_data(named),
        out=Path(config.out),
        imgsz=size or DEFAULT_SIZE,
        corruptions=select(config.corruptions),
        severities=tuple(config.severities),
        batch=config.batch,
        device=config.device,
        workers=default_workers(device_type(config.device)) if config.workers is None else config.workers,
        limit=config.limit,
        seed=config.seed,
        resamples=config.resamples,
        cache=None if config.cache is None else Path(config.cache),
        textures=None if config.textures is None else str(config.textures),
        strict=config.strict,
    )
