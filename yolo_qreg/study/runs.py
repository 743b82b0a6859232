"""The trainings of a study: what is finished, and doing the rest in processes of their own."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from yolo_qreg.errors import InputError
from yolo_qreg.files import write_atomic
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.shipped import shipped, weights_folder
from yolo_qreg.study.plan import Run, Study

State = Literal["finished", "begun", "failed", "missing"]
MARK = "run.json"
"""Written last into the folder of a run: its command and how it ended."""
LOG = "training.log"
INTERRUPTED = (130, -signal.SIGINT)
OPTIONS = {"per_channel": "--per-channel", "init": "--init", "first_bits": "--first-bits", "last_bits": "--last-bits"}


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
        rows = _rows(self.folder / "results.csv")
        epochs, seconds = len(rows), float(rows[-1].get("time", 0)) if rows else 0.0
        try:
            mark = json.loads((self.folder / MARK).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Progress("begun" if self.folder.is_dir() else "missing", epochs, seconds)
        if mark["status"] == 0 and self.weights.is_file():
            return Progress("finished", epochs, seconds)
        return Progress("failed", epochs, seconds, mark["reason"])


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key.strip(): value.strip() for key, value in row.items() if key} for row in csv.DictReader(file)]


def places(study: Study, out: Path) -> list[Place]:
    """Return where the trainings of a study lie."""
    return [Place(run, out.resolve() / "runs") for run in study.runs()]


def command(study: Study, place: Place) -> list[str]:
    """Return the arguments of `yolo-qreg` that begin a training, or continue it where it was interrupted."""
    if (place.folder / "weights" / "last.pt").is_file():
        return ["train", "--resume", str(place.folder)]
    quant = place.run.quant
    words = ["train", "--bits", str(quant.bits)]
    if quant.bits != FLOAT_BITS:
        words += ["--method", quant.method, "--bn-images", str(quant.bn_images)]
        words += [word for glob in quant.skip for word in ("--skip", glob)]
        for name, option in OPTIONS.items():
            value = getattr(quant, name)
            if value not in (None, False, ""):
                words += [option] if value is True else [option, str(value)]
    words += ["--data", study.data, "--model", _model(study.model), "--seed", str(place.run.seed)]
    settings = {**study.train, "project": str(place.runs), "name": place.run.name, "exist_ok": True}
    return words + [f"{key}={value}" for key, value in settings.items()]


def _model(name: str) -> str:
    known = {path.stem for path in weights_folder().glob("*.json")}
    return str(shipped(name)) if name in known else name


Told = Callable[[Place, Progress], None]
"""Called when a training ends."""


@dataclass(slots=True)
class Trainer:
    """Does trainings, several at a time, each in a process of its own.

    Attributes:
        study: What to train.
        jobs: How many at a time.
    """

    study: Study
    jobs: int = 1
    _processes: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, todo: Iterable[Place], told: Told) -> None:
        """Do all; one that fails does not stop the others.

        Args:
            todo: What is not finished.
            told: Called as each ends.
        """
        with ThreadPoolExecutor(self.jobs) as threads:
            left: dict[Future[Progress], Place] = {threads.submit(self._train, place): place for place in todo}
            try:
                while left:
                    done, _ = wait(left, return_when=FIRST_COMPLETED)
                    for future in done:
                        told(left.pop(future), future.result())
            except BaseException:
                self._stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                for process in tuple(self._processes):
                    process.send_signal(signal.SIGINT)
                raise

    def _train(self, place: Place) -> Progress:
        try:
            return self._train_unless_done(place)
        except OSError as error:
            return Progress("failed", reason=f"{error.strerror} ({error.filename})")
        except InputError as error:  # a damaged checkpoint
            return Progress("failed", reason=str(error))

    def _train_unless_done(self, place: Place) -> Progress:
        place.folder.mkdir(parents=True, exist_ok=True)
        with (place.folder / LOG).open("ab") as log:
            while not _lock(log.fileno()):  # a study that was killed leaves its trainings, which hold the lock
                if self._stop.wait(1):
                    return place.progress()
            if (found := place.progress()).state == "finished":
                return found
            return self._train_alone(place, log)

    def _train_alone(self, place: Place, log: BinaryIO) -> Progress:
        if _ended(place):  # while nobody was there to note it
            return _note(place, {"status": 0, "reason": ""})
        words = command(self.study, place)
        (place.folder / MARK).unlink(missing_ok=True)
        start = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "yolo_qreg", *words],
            stdout=log,
            stderr=log,
            env=_environment(self.jobs),
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )
        self._processes.add(process)
        if self._stop.is_set():
            process.send_signal(signal.SIGINT)
        status = process.wait()
        self._processes.discard(process)
        if status in INTERRUPTED:
            return place.progress()
        mark: dict[str, Any] = {"status": status, "seconds": round(time.time() - start, 1)}
        mark |= {"command": shlex.join(["yolo-qreg", *words]), "reason": "" if status == 0 else _last_line(place)}
        return _note(place, mark)


def _ended(place: Place) -> bool:
    from yolo_qreg.host.checkpoint import can_resume  # loads torch, which --status has no need of

    last = place.folder / "weights" / "last.pt"
    return last.is_file() and not can_resume(last)


def _note(place: Place, mark: dict[str, Any]) -> Progress:
    """Write how a training ended, and return its progress."""
    text = json.dumps(mark, indent=1) + "\n"
    write_atomic(place.folder / MARK, lambda file: file.write(text.encode()))
    return place.progress()


def _lock(file: int) -> bool:
    """Take the lock of an open file, which processes that inherit the file hold too; False if another has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _environment(jobs: int) -> dict[str, str]:
    cores = max(1, (os.cpu_count() or 1) // jobs)
    return {"OMP_NUM_THREADS": str(cores), **os.environ}


def _last_line(place: Place) -> str:
    lines = (place.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


def check_same(study: Study, known: Study, out: Path) -> None:
    """Check that a study may go on in a folder: the grid may grow, what the trainings share may not change.

    Raises:
        InputError: It may not.
    """
    for name in ("data", "model", "train", "quant"):
        mine, theirs = getattr(study, name), getattr(known, name)
        if mine != theirs:
            raise InputError(f"{out} holds a study with {name} {theirs}, not {mine}; name another --out")


def time_left(progress: Sequence[Progress], epochs: int, jobs: int) -> float | None:
    """Return how many seconds the trainings that are not finished will take; None before the first epoch is over."""
    done = sum(entry.epochs for entry in progress)
    if not done:
        return None
    each = sum(entry.seconds for entry in progress) / done
    left = sum(epochs - entry.epochs for entry in progress if entry.state in ("begun", "missing"))
    return max(0.0, each * left / jobs)
