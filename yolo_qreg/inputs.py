"""What a command was given, looked for on disk before torch or the host is loaded: weights, runs, data sets."""

from __future__ import annotations

import json
from pathlib import Path

from yolo_qreg.data.identity import RECORD
from yolo_qreg.data.registry import NAMED_DATA
from yolo_qreg.errors import InputError
from yolo_qreg.settings import host_folder
from yolo_qreg.trust import REMEDY, trusted

SETTINGS = "args.yaml"
"""In a run folder: the training's arguments, as the host writes them."""
_DATA_ONLY = (".pt", ".onnx")
"""Weight files that are read without running code in them; an OpenVINO folder is another."""
_YAML = (".yaml", ".yml")
_LONGEST_HEADER = 100_000_000
"""Bytes of a header of safetensors, by its format: text does not begin like that."""


def checkpoint_of(source: Path) -> Path:
    """Return the checkpoint that a run folder or file stands for.

    Raises:
        InputError: If there is none.
    """
    if source.is_dir():
        best = source / "weights" / "best.pt"
        if not best.is_file():
            raise InputError(f"{source} holds no weights/best.pt; name a finished run, or one checkpoint of it")
        return best
    if not source.is_file():
        raise InputError(f"{source} is not a file; name a .pt checkpoint, such as RUN/weights/best.pt")
    return source


def described_file(source: Path) -> Path:
    """Return what `info` is to describe: a file, the checkpoint of a run folder, or an OpenVINO folder.

    Raises:
        InputError: If there is none.
    """
    if source.is_dir() and any(source.glob("*.xml")):
        return source
    return checkpoint_of(source)


def analyzed(source: Path) -> Path:
    """Return a path that is a run folder, a .pt file, or the folder of a study.

    Raises:
        InputError: It is neither.
    """
    if source.is_dir() and (source / "study.yaml").is_file():
        return source
    return measured(source)


def measured(source: Path) -> Path:
    """Return a path that is a run folder or a .pt file.

    Raises:
        InputError: It is neither.
    """
    check_unpacked(checkpoint_of(source))
    if checkpoint_of(source).suffix != ".pt":
        raise InputError(f"{source} is no .pt file, which derivatives need; name a run folder or a .pt file")
    return source


def packed_file(path: Path) -> Path:
    """Return a path that is a file, as a packed one has to be.

    Raises:
        InputError: If it is none.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; name a packed one, such as best-lsq-4bit.safetensors")
    return path


def is_safetensors(path: Path) -> bool:
    """Tell from its first bytes whether a file is in safetensors format: the length of JSON in 8 bytes, then that."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        begin = file.read(9)
    return begin[8:] == b"{" and int.from_bytes(begin[:8], "little") <= _LONGEST_HEADER


def check_unpacked(path: Path) -> None:
    """Check that weights are not packed, where those that the host runs are needed.

    Raises:
        InputError: They are.
    """
    if is_safetensors(path):
        raise InputError(f"{path} is packed; 'yolo-qreg unpack {path}' makes a .pt file of it")


def last_checkpoint(run: Path) -> Path:
    """Return what --resume continues: the last.pt of a run folder, the checkpoint itself, or the folder to begin again.

    Raises:
        InputError: If there is nothing to continue.
    """
    last = run / "weights" / "last.pt" if run.is_dir() else run
    if not last.is_file() and saved_nothing(run):
        return run
    if not last.is_file():
        raise InputError(f"{last} does not exist; --resume takes a run folder that holds weights/last.pt")
    return last


def saved_nothing(folder: Path) -> bool:
    """Tell whether a folder is that of a training of ours which was killed before it saved all of its first weights."""
    file = folder / SETTINGS
    ours = file.is_file() and "\nquant:" in file.read_text(encoding="utf-8", errors="replace")
    if not ours or (folder / "weights" / "last.pt").is_file():  # which is written after all others
        return False
    return not any(folder.glob("weights/*.pt")) or _unfinished(folder)


def _unfinished(folder: Path) -> bool:
    """Tell whether a run noted that it is not finished; of one that is, last.pt may have been removed."""
    try:
        return bool(json.loads((folder / RECORD).read_text(encoding="utf-8"))["finished"] is False)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def weights_to_run(given: Path) -> Path:
    """Return the weight file, or the folder of an exported model, that a path stands for; of a run, its best.pt.

    Raises:
        InputError: If it is neither.
    """
    if (given / "weights" / "best.pt").is_file():
        return given / "weights" / "best.pt"
    if not given.exists():
        raise InputError(f"{given} does not exist; name a weight file, an exported folder or a run folder")
    if given.is_dir() and not any(given.glob("*.xml")) and not (given / "metadata.yaml").is_file():
        raise InputError(f"{given} is neither a run folder (no weights/best.pt) nor an exported model")
    check_unpacked(given)
    graph = any(given.glob("*.xml")) if given.is_dir() else given.suffix.lower() in _DATA_ONLY
    if not graph and not trusted():
        raise InputError(f"{given} is no .pt, .onnx or OpenVINO folder; other formats can hold code: {REMEDY}")
    return given


def check_data(data: str | Path) -> None:
    """Check that a data set has a name of ours, or is a YAML file that exists or that the host ships.

    Raises:
        InputError: If not.
    """
    if str(data) in NAMED_DATA:
        return
    path = Path(data)
    if path.suffix not in _YAML:
        raise InputError(f"data={data} is neither voc, shapes nor a YAML file")
    if not path.is_file() and not (path.parent == Path() and _shipped_by_host("datasets", path.name)):
        raise InputError(f"data={data} does not exist; name a data set's YAML file, voc or shapes")


def check_model_file(model: str | Path) -> None:
    """Check that a model is a file, or has a bare name, which the host may know or fetch.

    Raises:
        InputError: If not, or the file is packed.
    """
    path = Path(model)
    check_unpacked(path)
    if not str(model) or (not path.is_file() and path.parent != Path()):
        raise InputError(f"model={model} is not a file; name a .pt checkpoint or a model YAML such as yolov5n.yaml")


def _shipped_by_host(kind: str, name: str) -> bool:
    return any(file.name == name for file in (host_folder() / "cfg" / kind).rglob("*"))
