"""What a training began from: its data set and its model, recorded in its checkpoints and in its run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ultralytics.data.base import BaseDataset
from ultralytics.data.utils import check_det_dataset, img2label_paths
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.downloads import attempt_download_asset

from yolo_qreg.data.identity import DataIdentity, split_identity
from yolo_qreg.errors import InputError
from yolo_qreg.files import absolute
from yolo_qreg.host.quiet import quiet

SPLITS = ("train", "val")
UNKNOWN = "not recorded"
_NOT_LEARNED = frozenset({
    "cache", "cfg", "channels_last", "compile", "deterministic", "device", "exist_ok", "mode", "name", "plots",
    "profile", "project", "resume", "save", "save_dir", "save_period", "task", "verbose", "workers",  # of running it
    "data", "model", "pretrained", "seed",  # compared in another way
    "agnostic_nms", "augment", "dnn", "dynamic", "embed", "format", "half", "int8", "keras", "line_width", "nms",
    "opset", "optimize", "quantize", "retina_masks", "save_conf", "save_crop", "save_frames", "save_json", "save_txt",
    "show", "show_boxes", "show_conf", "show_labels", "simplify", "source", "stream_buffer", "tracker", "vid_stride",
    "visualize", "workspace",  # of prediction and export
})  # fmt: skip
"""Settings of the host that do not change what is learned, or are compared in another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """What a model was before its training.

    Attributes:
        name: The model YAML or weight file that was named.
        architecture: Hash of the model YAML that the host built, without the number of classes.
        weights: Hash of the weight file that it began with; None from scratch.
    """

    name: str
    architecture: str
    weights: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a training began from."""

    data: DataIdentity
    model: ModelIdentity

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON and checkpoints."""
        return {"data": self.data.to_dict(), "model": asdict(self.model)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any] | None) -> Origin | None:
        """Read what `to_dict` wrote; None where nothing was, as in files of earlier releases and in exports."""
        try:
            data, model = (found or {})["data"], (found or {})["model"]
            return cls(data=DataIdentity.from_dict(data), model=ModelIdentity(**model))
        except (KeyError, TypeError, AttributeError):
            return None

    def at(self, data: str) -> Origin:
        """Return the same with the data set in another place."""
        return replace(self, data=replace(self.data, path=data))


@dataclass(frozen=True, slots=True)
class Training:
    """A training as it is compared with another.

    Attributes:
        settings: The host's training arguments, as in args.yaml.
        origin: What it began from; None where that was not recorded.
    """

    settings: Mapping[str, Any]
    origin: Origin | None

    def differences(self, other: Training) -> tuple[str, ...]:
        """Return in what another training differs that would be this one's twin, each as "this against that".

        Twins share model or starting weights, data content, seed and all settings that change what is learned.
        """
        return (*self._model(other), *self._data(other), *self._schedule(other))

    def _model(self, other: Training) -> tuple[str, ...]:
        mine, theirs = ((t.origin.model if t.origin else None) for t in (self, other))
        if mine is None or theirs is None:
            names = {str(t.settings.get("model") or UNKNOWN) for t in (self, other)}
            return () if len(names) == 1 and UNKNOWN not in names else (f"model: {UNKNOWN}",)
        if (mine.architecture, mine.weights) == (theirs.architecture, theirs.weights):
            return ()
        if mine.name != theirs.name:
            return (f"model {mine.name} against {theirs.name}",)
        what = "starting weights" if mine.architecture == theirs.architecture else "layers"
        return (f"model {mine.name}: other {what}",)

    def _data(self, other: Training) -> tuple[str, ...]:
        if self.origin and other.origin:
            return tuple(f"data: {text}" for text in self.origin.data.differences(other.origin.data))
        mine, theirs = str(self.settings.get("data")), str(other.settings.get("data"))
        return () if mine == theirs and Path(mine).is_absolute() else (f"data: {UNKNOWN}",)

    def _schedule(self, other: Training) -> tuple[str, ...]:
        keys = [key for key in (*DEFAULT_CFG_DICT, "augmentations") if key not in _NOT_LEARNED]
        pairs = ((key, *(_setting(t.settings, key) for t in (self, other))) for key in ("seed", "grad_l1", *keys))
        return tuple(f"{key} {mine} against {theirs}" for key, mine, theirs in pairs if mine != theirs)


def identify_data(data: str | Path, splits: Sequence[str] = SPLITS) -> DataIdentity:
    """Return what a data set is.

    Args:
        data: Its YAML file.
        splits: Those to look at.

    Raises:
        InputError: It is not there, or cannot be used.
    """
    place = SimpleNamespace(prefix="", fraction=1.0)
    try:
        with quiet():
            found = check_det_dataset(str(data), autodownload=False)
            files = {split: BaseDataset.get_img_files(place, found[split]) for split in splits}
    except (OSError, RuntimeError, AssertionError, SyntaxError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"data={data}: {' '.join(str(error).split())[:300]}") from error
    return DataIdentity(
        path=str(absolute(data)),
        names=tuple(str(found["names"][i]) for i in range(len(found["names"]))),
        channels=int(found.get("channels", 3)),
        splits={
            split: split_identity(zip(map(Path, pictures), map(Path, img2label_paths(pictures)), strict=True))
            for split, pictures in files.items()
        },
    )


def identify_model(given: str | None, pretrained: str | Path | bool | None, built: Mapping[str, Any]) -> ModelIdentity:
    """Return what a model was before its training.

    Args:
        given: The model YAML or weight file as it was named.
        pretrained: The host's setting: a weight file, or whether to keep the weights of `given`.
        built: The model YAML that the host built.
    """
    start = pretrained if isinstance(pretrained, (str, Path)) else given if pretrained is not False else None
    file = Path(attempt_download_asset(str(start))) if str(start).endswith(".pt") else None  # by now it is here
    shape = {key: value for key, value in built.items() if key not in {"nc", "yaml_file", "channels", "ch"}}
    return ModelIdentity(
        name=Path(str(given)).name,
        architecture=_hash(json.dumps(shape, sort_keys=True, default=str).encode()),
        weights=_hash(file.read_bytes()) if file is not None and file.is_file() else None,
    )


def confirm_data(given: str | Path | None, recorded: DataIdentity, run: str | Path) -> Path:
    """Return the YAML file that a training goes on with: where its data set was, or where it is said to be now.

    Args:
        given: Where it is now; None for where it was.
        recorded: What it was.
        run: The training, for messages.

    Raises:
        InputError: It is not there, or it has another content.
    """
    path = Path(given or recorded.path)
    if not path.is_file():
        lost = f"{run} was trained on {path}, which is not there" if given is None else f"data={path} does not exist"
        raise InputError(f"{lost}; name where that data set is now with --data")
    differences = identify_data(path, tuple(recorded.splits)).differences(recorded)
    if differences:
        raise InputError(
            f"data={path} is not what {run} was trained on ({'; '.join(differences)}, now against then); "
            "name that data set with --data, or start a new run"
        )
    return absolute(path)


def _setting(settings: Mapping[str, Any], key: str) -> Any:
    if key == "grad_l1":  # the one thing in the loss that is no setting of the host
        return (settings.get("quant") or {}).get(key, 0.0)
    value = settings.get(key, DEFAULT_CFG_DICT.get(key))
    return list(value) if isinstance(value, tuple) else value


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
