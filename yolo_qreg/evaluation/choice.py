"""What an evaluation takes where it was not told: models, the FP32 twin, data and image size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.config import EvalConfig, Settings
from yolo_qreg.evaluation.models import (
    Subject,
    compare,
    find_baseline,
    newest_quantized,
    subjects,
    training_data,
    training_size,
)
from yolo_qreg.evaluation.workers import default_workers
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.history import read_run
from yolo_qreg.host.predict import device_type
from yolo_qreg.progress import Tell
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.settings import DEFAULT_SIZE

MOST_DIFFERENCES = 6
"""That are said in one line; run.json has all."""


def choose(weights: Sequence[Path], baseline: Path | None, tell: Tell) -> tuple[list[Subject], str]:
    """Return the models, the baseline first, and the baseline's name; tell what was taken unasked.

    Raises:
        InputError: Weights do not exist or are damaged, or there is nothing to take.
    """
    found = subjects(weights or [newest_quantized()])
    floats = [subject for subject in found if subject.model.bits == FLOAT_BITS]
    if baseline is None and len(floats) == 1:
        both = [*floats, *(subject for subject in found if subject is not floats[0])]
    else:
        base = baseline or next((path for subject in found if (path := find_baseline(subject))), None)
        if base is None:
            raise InputError(f"{found[0].path} has no FP32 twin; train one with --bits 32, or name --baseline")
        both = subjects([base, *(subject.path for subject in found)])
    for subject in both:
        if subject.model.run and (run := read_run(Path(subject.model.run))) and not run.finished:
            tell(f"{run.folder} is not finished: its best weights so far are taken")
    _tell_baseline(both, tell, unasked=baseline is None and len(floats) != 1)
    return both, both[0].model.name


def _tell_baseline(both: Sequence[Subject], tell: Tell, *, unasked: bool) -> None:
    """Say which models are held against what, and whether that is their FP32 twin."""
    base = both[0]
    apart = {name: found for name, found in compare(both, base.model.name).items() if found}
    if unasked:
        models = ", ".join(str(subject.path) for subject in both[1:])
        tell(f"models: {models}; {'baseline' if apart else 'FP32 twin'}: {base.path}")
    for name, found in apart.items():
        shown = [*found[:MOST_DIFFERENCES], *(["..."] if len(found) > MOST_DIFFERENCES else [])]
        tell(f"{base.model.name} is not the FP32 twin of {name}: {', '.join(shown)} ({name} against the baseline)")


def settle(config: EvalConfig, chosen: Sequence[Subject], tell: Tell) -> Settings:
    """Return the settings of an evaluation of these models, with what `config` leaves open filled in.

    Raises:
        InputError: There is no data set to evaluate on.
    """
    from corruptions import select

    named: str | Path | None = config.data
    if named is None:
        named, changed = training_data(chosen)
        if changed:
            tell(f"{named} has changed since the training: {'; '.join(changed)} (now against then)")
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
        jobs=config.jobs,
        limit=config.limit,
        seed=config.seed,
        resamples=config.resamples,
        cache=None if config.cache is None else Path(config.cache),
        textures=None if config.textures is None else str(config.textures),
        strict=config.strict,
    )
