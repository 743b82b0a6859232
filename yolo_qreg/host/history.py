"""The runs of this user, wherever they lie: each is noted when it begins, and what a run is stands in its folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ultralytics.utils import SETTINGS as HOST_SETTINGS

from yolo_qreg.data.identity import RECORD
from yolo_qreg.files import write_atomic
from yolo_qreg.host.origin import Origin, Training
from yolo_qreg.inputs import SETTINGS
from yolo_qreg.quant.registry import FLOAT_BITS

INDEX = "runs"
"""In the state folder: one file for each run, which holds its path."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times quicker, where PyYAML was built with it


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run folder with weights, as its settings tell.

    Attributes:
        folder: Where it lies.
        bits: Bit width of its weights; 32 for an FP32 twin.
        finished: Whether its training is over; runs of earlier releases do not tell, and count as finished.
        training: How it was trained.
    """

    folder: Path
    bits: int
    finished: bool
    training: Training


def state_folder() -> Path:
    """Where the index of runs is kept: `$XDG_STATE_HOME/yolo-qreg`, else `~/.local/state/yolo-qreg`."""
    shared = os.environ.get("XDG_STATE_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "state") / "yolo-qreg"


def note_run(folder: Path, origin: Origin | None, asked: Mapping[str, Any] | None = None) -> None:
    """Write into the folder of a run that begins what its training begins from, and into the index where it lies.

    Args:
        folder: Of the run.
        origin: Its data set and model; None where that is not known.
        asked: The settings before the host chose those that were left to it; None for a run that is resumed.
    """
    record: dict[str, Any] = {"finished": False, "origin": origin.to_dict() if origin else None}
    _write_record(folder, record if asked is None else {**record, "asked": dict(asked)})
    place = str(folder.resolve())
    entry = state_folder() / INDEX / hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    with suppress(OSError):  # a home that cannot be written to: runs are still found where the host puts them
        for other, noted in _index():
            if not noted.is_dir() and noted.parent.is_dir():  # else its disk may be away
                other.unlink(missing_ok=True)
        _write(entry, place)


def mark_finished(folder: Path) -> None:
    """Note that the training of a run is over."""
    record = _record(folder)
    if record and not record.get("finished"):
        _write_record(folder, {**record, "finished": True})


def origin_of(folder: Path) -> Origin | None:
    """Return what the training of a run folder began from; None where that was not recorded."""
    return Origin.from_dict(_record(folder).get("origin"))


def asked_of(folder: Path) -> dict[str, Any] | None:
    """Return the settings that a training was begun with; None where that was not recorded."""
    found = _record(folder).get("asked")
    return found if isinstance(found, dict) else None


def past_runs(beside: Path | None = None) -> Iterator[PastRun]:
    """Return the runs with weights, the newest first: those noted, and those where the host puts them.

    Args:
        beside: A run folder; its neighbours are looked at as well.
    """
    folders = {folder for _, folder in _index()}
    places = [Path(HOST_SETTINGS["runs_dir"]) / "detect", Path("runs/detect"), *([beside.parent] if beside else [])]
    folders |= {file.parent.resolve() for place in places for file in place.glob(f"*/{SETTINGS}")}
    for folder in _newest_first(folders):
        if (run := read_run(folder)) is not None:
            yield run


def read_run(folder: Path) -> PastRun | None:
    """Return what a run folder tells; None if it holds no weights of ours."""
    if not (folder / "weights" / "best.pt").is_file():
        return None
    try:
        settings = yaml.load(_text(folder / SETTINGS), _Loader)  # a safe one
        bits = int(settings["quant"].get("bits", FLOAT_BITS))
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, RecursionError):  # not ours, or damaged
        return None
    record = _record(folder)
    return PastRun(
        folder,
        bits,
        bool(record.get("finished", True)),
        Training(settings, Origin.from_dict(record.get("origin"))),
    )


def _index() -> list[tuple[Path, Path]]:
    """Return the files of the index, each with the run folder that it names."""
    found = ((entry, _text(entry)) for entry in (state_folder() / INDEX).glob("[!.]*"))
    return [(entry, Path(place)) for entry, place in found if place]


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    """Return run folders by when their training was begun, continued or finished."""
    times = {}
    for folder in folders:
        with suppress(OSError):
            times[folder] = (folder / SETTINGS).stat().st_mtime_ns
    return sorted(times, key=lambda folder: (times[folder], str(folder)), reverse=True)


def _record(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(folder / RECORD))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    _write(folder / RECORD, json.dumps(record, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    write_atomic(path, lambda file: file.write(text.encode("utf-8", "surrogatepass")))


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8", "surrogatepass")
    except (OSError, ValueError):
        return ""
