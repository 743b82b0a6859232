"""Run a training from a `TrainConfig`, or resume one, with the host's failures turned into one-line errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ultralytics.utils import DEFAULT_CFG_DICT

from yolo_qreg.config import TrainConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.trainer import QATTrainer

_OURS = {"data": "--data", "model": "--model", "seed": "--seed", "resume": "--resume"}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a training; the message says how to continue it."""


def train(config: TrainConfig) -> Path:
    """Train as `config` says and return the run folder, which holds weights/best.pt and weights/last.pt.

    Raises:
        InputError: If a setting, the data set or the model file is wrong.
    """
    settings = check_settings(config.settings)
    name = settings.pop("name", None) or config.quant.label
    model = str(config.model)
    if Path(model).parent != Path() and not Path(model).is_file():  # the host knows and fetches bare names
        raise InputError(f"model={model} is not a file; name a .pt checkpoint or a model YAML such as yolov5n.yaml")
    overrides = settings | {
        "name": name,
        "data": str(resolve_data(config.data)),
        "model": model,
        "seed": config.seed,
        "quant": config.quant,
        "mode": "train",
        "task": "detect",
    }
    return _run(overrides)


def resume(run: Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Continue an interrupted run from its last.pt.

    Args:
        run: A run folder or a checkpoint of one.
        settings: Settings that the host lets change on resuming, such as device or workers.

    Raises:
        InputError: If there is no checkpoint, it is not one of ours, or the training had finished.
    """
    last = run / "weights" / "last.pt" if run.is_dir() else run
    if not last.is_file():
        raise InputError(f"{last} does not exist; --resume takes a run folder that holds weights/last.pt")
    _, ckpt = checkpoint.load(last)
    state = checkpoint.state_of(ckpt, last)
    if not state.resume:
        raise InputError(f"{last} is of a training that finished; start a new one with --model {last}")
    return _run({**check_settings(settings or {}), "resume": str(last), "mode": "train", "task": "detect"})


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check keys against the host's training settings.

    Raises:
        InputError: If a key is unknown (with the nearest right one) or belongs to an option of ours.
    """
    for key in settings:
        if key in _OURS:
            raise InputError(f"{key}=... is set by an option; use {_OURS[key]}")
        if key not in DEFAULT_CFG_DICT and key not in {"augmentations", "save_dir"}:
            near = get_close_matches(key, DEFAULT_CFG_DICT, n=1, cutoff=0)[0]
            raise InputError(f"{key!r} is not an Ultralytics training setting; did you mean {near!r}?")
    return dict(settings)


def _run(overrides: dict[str, Any]) -> Path:
    with _input_errors(FileNotFoundError, SyntaxError, TypeError, ValueError, RuntimeError):
        trainer = QATTrainer(overrides=overrides)  # checks settings, data set and checkpoint; trains nothing
    try:
        with _input_errors(FileNotFoundError, ConnectionError):
            trainer.train()
    except InputError:
        trainer.discard_empty_run()
        raise
    except KeyboardInterrupt as stop:
        raise Interrupted(_how_to_go_on(trainer)) from stop
    return Path(trainer.save_dir)


def _how_to_go_on(trainer: QATTrainer) -> str:
    if trainer.last.exists():
        return f"interrupted; continue with: yolo-qreg train --resume {trainer.save_dir}"
    return f"interrupted in the first epoch: nothing to resume in {trainer.save_dir}"


@contextmanager
def _input_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Raise the given exceptions of the host as `InputError` with their message on one line."""
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        text = str(error).replace("\u274c", "").replace("\ufe0f", "")  # the host's crosses
        raise InputError(" ".join(text.split()) or type(error).__name__) from error
