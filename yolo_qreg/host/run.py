"""Run a training from a `TrainConfig`, or resume one, with the host's failures turned into one-line errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import guess_model_task, yaml_model_load
from ultralytics.utils import LOGGER, YAML
from ultralytics.utils.torch_utils import select_device

from yolo_qreg.config import TrainConfig
from yolo_qreg.errors import InputError, first_line
from yolo_qreg.host import build, checkpoint, history
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.loading import safe_loading
from yolo_qreg.host.model import family_of
from yolo_qreg.host.origin import confirm_data
from yolo_qreg.host.place import take_run
from yolo_qreg.host.trainer import QATTrainer
from yolo_qreg.inputs import SETTINGS, check_model_file, last_checkpoint
from yolo_qreg.settings import FIXED, OPTIONS, check_settings, host_settings
from yolo_qreg.trust import REMEDY, trusted

_OF_THE_MACHINE = {"batch", "cache", "device", "imgsz", "workers"}
"""Settings that may be given on resuming where the host is not asked which it takes."""
_NOT_OF_A_RECIPE = ("cfg", "name", "quant", "save_dir")
_CHECKS = (
    AssertionError,
    ConnectionError,
    FileNotFoundError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What the host raises while it checks settings, data set and model."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a training; the message says how to continue it."""


def train(config: TrainConfig) -> Path:
    """Train as `config` says and return the run folder, which holds weights/best.pt and weights/last.pt.

    Raises:
        InputError: If a setting, the data set or the model file is wrong.
    """
    settings = _with_recipe(check_settings(config.settings))
    name = settings.pop("name", None) or config.quant.full_label
    model = str(config.model)
    check_start(model, settings.get("pretrained"))
    overrides = settings | {
        "name": name,
        "data": str(resolve_data(config.data)),
        "model": model,
        "seed": config.seed,
        "quant": config.quant,
    }
    return _run(overrides | FIXED)


def resume(run: Path, settings: Mapping[str, Any] | None = None, data: str | Path | None = None) -> Path:
    """Continue an interrupted run from its last.pt, or finish it where its last epoch was over.

    A run that was interrupted before it saved anything is begun again in its folder.

    Args:
        run: A run folder or a checkpoint of one.
        settings: Settings that the host lets change on resuming, such as device or workers.
        data: Where the data set of the run is now, if it was moved.

    Raises:
        InputError: If there is no checkpoint, it is not one of ours, the training had finished, its data set is gone or
            has other content, a setting may not change, or another process trains in the folder.
    """
    last = last_checkpoint(run)
    overrides = check_settings(settings or {})
    if data is not None:
        overrides["data"] = str(resolve_data(data))
    if last.is_dir():
        return _begin_again(last.resolve(), overrides)
    if not checkpoint.can_resume(last):
        history.mark_finished(_folder_of(last))  # it may have been killed before it could note that
        raise InputError(f"{last} is of a training that finished; start a new one with --model {last}")
    if checkpoint.has_epochs_left(last):
        return _run(overrides | {"resume": str(last)} | FIXED)
    _check_unchanged(overrides)
    folder = _folder_of(last)
    lock = take_run(folder)
    try:
        checkpoint.finish_run(last)
        history.mark_finished(folder)
    finally:
        lock.release()
    return folder


def _folder_of(last: Path) -> Path:
    """Return the run folder of a last.pt; one that lies elsewhere was copied there, and is a run by itself."""
    folder = last.resolve().parent
    return folder.parent if folder.name == "weights" else folder


def _begin_again(run: Path, changes: Mapping[str, Any]) -> Path:
    """Train in the folder of a run that saved nothing, by its own settings."""
    _check_unchanged(changes)
    try:
        held = history.asked_of(run) or dict(YAML.load(run / SETTINGS))
    except Exception as error:  # whatever the parsers of YAML and of text raise
        raise InputError(f"{run / SETTINGS} holds no settings ({first_line(error)}); begin a new run") from error
    own = {key: value for key, value in held.items() if key in host_settings() or key in {"augmentations", "quant"}}
    check_start(str(own.get("model")), own.get("pretrained"))
    origin = history.origin_of(run)
    if origin is not None:
        changes = {**changes, "data": str(confirm_data(changes.get("data"), origin.data, run.name))}
    LOGGER.info(f"yolo-qreg: {run} had saved nothing yet: it is begun again")
    return _run(own | dict(changes) | {"resume": False, "save_dir": str(run)} | FIXED)


def _check_unchanged(changes: Mapping[str, Any]) -> None:
    """Check that what is given on resuming means nothing to a training of which no epoch, or every one, is over."""
    for key, value in changes.items():
        if key not in _OF_THE_MACHINE | {"data"}:
            raise InputError(f"{key}={value} cannot change on resuming; drop it, or start a new run")


def check_values(settings: Mapping[str, Any]) -> None:
    """Check values of settings, and the device, as the host does when a training begins.

    Raises:
        InputError: One cannot be used.
    """
    with _input_errors(*_CHECKS):
        select_device(get_cfg(overrides=_with_recipe(check_settings(settings))).device, verbose=False)


def _with_recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """Put a recipe file given as cfg=FILE under the other settings, such as the args.yaml of another training.

    What options set is not taken from it, nor where that training put its results.
    """
    path = settings.pop("cfg", None)
    if path is None:
        return settings
    try:
        recipe = dict(YAML.load(path))
    except Exception as error:  # whatever the parsers of YAML and of text raise
        raise InputError(
            f"cfg={path} holds no settings ({first_line(error)}); write lines such as lr0: 0.01"
        ) from error
    passed = {key: value for key, value in recipe.items() if key not in {*OPTIONS, *FIXED, *_NOT_OF_A_RECIPE}}
    return check_settings(passed) | settings


def check_start(model: str, pretrained: object) -> None:
    """Check what a training begins from: the model, and the weight file of pretrained=FILE.

    Raises:
        InputError: One cannot be used.
    """
    check_model(model)
    if isinstance(pretrained, (str, Path)) and (Path(pretrained).parent != Path() or Path(pretrained).is_file()):
        checkpoint.load(pretrained)


def check_model(model: str) -> None:
    """Check that a model exists and detects; bare names of files that the host fetches are left to it.

    Raises:
        InputError: It does not.
    """
    check_model_file(model)
    path = Path(model)
    if path.suffix == ".pt" and path.is_file():
        loaded, _ = checkpoint.load(path)
        task, family = getattr(loaded, "task", None), family_of(loaded)
    elif path.suffix in {".yaml", ".yml"}:
        layers = _read_model_yaml(model)
        task, family = guess_model_task(layers), family_of(layers)
    else:
        return
    if family is not None:
        raise InputError(
            f"model={model} is of {family}, which the host trains otherwise; name one such as yolov5n.yaml"
        )
    if task != "detect":
        raise InputError(f"model={model} is for {task}; name a detection model such as yolov5n.yaml")


def _read_model_yaml(model: str) -> dict[str, Any]:
    """Return a model YAML that has layers; unless files are trusted, one that names layers and nothing else."""
    try:
        description: dict[str, Any] = yaml_model_load(model)
        guess_model_task(description)
    except Exception as error:  # whatever the parser raises, and what the host misses in what was parsed
        raise InputError(
            f"model={model} is not a model YAML ({first_line(error)}); name one such as yolov5n.yaml"
        ) from error
    if not trusted():
        try:
            build.check_yaml(description)
        except ValueError as error:
            raise InputError(f"model={model}: {error}, and building it may run code; {REMEDY}") from error
    return description


def _run(overrides: dict[str, Any]) -> Path:
    with safe_loading():
        return _train(overrides)


def _train(overrides: dict[str, Any]) -> Path:
    with _input_errors(*_CHECKS):
        trainer = QATTrainer(overrides=overrides)  # checks settings, data set and checkpoint; trains nothing
    try:
        trainer.train()
    except KeyboardInterrupt as stop:
        begun = "" if trainer.last.exists() else " (nothing was saved yet: it begins again)"
        raise Interrupted(f"interrupted; continue with: yolo-qreg train --resume {trainer.save_dir}{begun}") from stop
    except (InputError, *_CHECKS) as error:
        if hasattr(trainer, "epoch"):
            raise
        trainer.discard_empty_run()  # no epoch has begun: the host was still checking what it was given
        with _input_errors(*_CHECKS):
            raise error
    return Path(trainer.save_dir)


@contextmanager
def _input_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Raise the given exceptions of the host as `InputError` with their message on one line."""
    try:
        yield
    except (InputError, BrokenPipeError):  # the latter, a ConnectionError, is of our own output
        raise
    except kinds as error:
        text = str(error).replace("\u274c", "").replace("\ufe0f", "")  # the host's crosses
        raise InputError(" ".join(text.split()) or type(error).__name__) from error
