"""The trainings of a study: where they lie, how far they are, and the command that does one."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from yolo_qreg.data.identity import RECORD
from yolo_qreg.errors import InputError
from yolo_qreg.files import absolute
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.shipped import shipped, weights_folder
from yolo_qreg.study.plan import MACHINE, Run, Study

State = Literal["finished", "begun", "failed", "missing"]
RESULTS_CSV = "results.csv"
"""The host's table of epochs, in the folder of a run."""
MARK = "run.json"
"""Written last into the folder of a run: its command and how it ended."""
LOG = "training.log"
OPTIONS = {
    "per_channel": "--per-channel",
    "init": "--init",
    "first_bits": "--first-bits",
    "last_bits": "--last-bits",
    "bn_tune": "--bn-tune",
    "activations": "--activations",
    "activation_method": "--activation-method",
    "activation_grid": "--activation-grid",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is.

    Attributes:
        state: "begun" may be under way or interrupted.
        epochs: How many are finished.
        seconds: Of these, as the host counts them.
        reason: Last line of the log of one that failed.
    """

    state: State
    epochs: int = 0
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one training lies."""

    run: Run
    runs: Path

    @property
    def folder(self) -> Path:
        """The run folder, which the host fills."""
        return self.runs / self.run.name

    @property
    def weights(self) -> Path:
        """Its result."""
        return self.folder / "weights" / "best.pt"

    def progress(self) -> Progress:
        """Look at the files."""
        times = _times(self.folder / RESULTS_CSV)
        epochs, seconds = len(times), seconds_of(times)
        mark = read_mark(self.folder)
        if "status" not in mark:
            return Progress("begun" if self.folder.is_dir() else "missing", epochs, seconds)
        if mark["status"] == 0 and self.weights.is_file():
            return Progress("finished", epochs, seconds)
        return Progress("failed", epochs, seconds, str(mark.get("reason", "")))


def read_mark(folder: Path) -> dict[str, Any]:
    """Return how a training ended; nothing where that was not noted, or is damaged."""
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by heading, as far as it is one; a killed training may leave the last one torn."""
    rows: list[dict[str, str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace", newline="") as file, suppress(csv.Error):
            rows.extend({key.strip(): value or "" for key, value in row.items() if key} for row in csv.DictReader(file))
    return rows


def _times(path: Path) -> list[float]:
    """Return the host's clock at the end of each epoch."""
    found = []
    for row in read_rows(path):
        with suppress(ValueError):
            found.append(float(row.get("time", "")))
    return found


def seconds_of(times: Sequence[float]) -> float:
    """Return how long epochs took from the host's clock, which begins anew where a training is continued."""
    return sum(now - (before if now >= before else 0) for before, now in zip((0, *times), times, strict=False))


def places(study: Study, out: Path) -> list[Place]:
    """Return where the trainings of a study lie."""
    return [Place(run, out.resolve() / "runs") for run in study.runs()]


def command(study: Study, place: Place, anew: bool = False) -> list[str]:
    """Return the arguments of `yolo-qreg` that begin a training, or continue it where it was interrupted.

    Args:
        study: Says how.
        place: Which, and where it lies.
        anew: Return those that begin it in any case.
    """
    if not anew and (place.folder / "weights" / "last.pt").is_file():
        device = [f"device={study.train['device']}"] if "device" in study.train else []
        return ["train", "--resume", str(place.folder), "--data", study.data, *device]
    quant = place.run.quant
    words = ["train", "--bits", str(quant.bits), "--bn-images", str(quant.bn_images)]
    if quant.bits != FLOAT_BITS:
        words += ["--method", quant.method]
        words += [word for glob in quant.skip for word in ("--skip", glob)]
        words += [word for name, value in quant.options.items() for word in ("--option", f"{name}={value}")]
        for name, option in OPTIONS.items():
            value = getattr(quant, name)
            if value not in (None, False, ""):
                words += [option] if value is True else [option, str(value)]
    words += ["--data", study.data, "--model", model_of(study), "--seed", str(place.run.seed)]
    settings = {**study.train, "project": str(place.runs), "name": place.run.name, "exist_ok": True}
    return words + [f"{key}={value}" for key, value in settings.items()]


def model_of(study: Study) -> str:
    """Return what trainings start from: shipped weights by their file."""
    name = study.model
    known = {path.stem for path in weights_folder().glob("*.json")}
    return str(shipped(name)) if name in known else name


def whereabouts(name: str) -> str:
    """Return the absolute path of a file; other names, such as voc or yolov5n.yaml, as they are."""
    return str(absolute(name)) if Path(name).is_file() else name


def check_same(study: Study, known: Study, out: Path) -> None:
    """Check that a study may go on in a folder: the grid may grow, what the trainings share may not change.

    A data set in another place is left to those who compare its content with what trainings noted as they began.

    Raises:
        InputError: It may not.
    """
    for name in ("data", "model", "train", "quant", "bn_images"):
        mine, theirs = getattr(study, name), getattr(known, name)
        if name == "train":
            mine, theirs = ({k: v for k, v in found.items() if k not in MACHINE} for found in (mine, theirs))
        elif name in {"data", "model"}:
            mine, theirs = whereabouts(mine), whereabouts(theirs)
        if mine != theirs and not (name == "data" and any(out.glob(f"runs/*/{RECORD}"))):
            raise InputError(f"{out} holds a study with {name} {theirs}, not {mine}; name another --out")


def time_left(progress: Sequence[Progress], epochs: int, jobs: int) -> float | None:
    """Return how many seconds the trainings that are not finished will take; None before the first epoch is over."""
    done = sum(entry.epochs for entry in progress)
    if not done:
        return None
    each = sum(entry.seconds for entry in progress) / done
    left = sum(epochs - entry.epochs for entry in progress if entry.state in ("begun", "missing"))
    return max(0.0, each * left / jobs)
