"""Doing the trainings of a study, several at a time; one that fails does not stop the others."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from yolo_qreg.errors import InputError
from yolo_qreg.files import write_atomic
from yolo_qreg.processes import ENDING, PARENT, WITH_FEEDER
from yolo_qreg.study.plan import Study
from yolo_qreg.study.runs import LOG, MARK, Place, Progress, command
from yolo_qreg.study.sharing import Shared, feeding, waves

if TYPE_CHECKING:
    from yolo_qreg.evaluation.evaluate import Evaluation
    from yolo_qreg.progress import Watch

INTERRUPTED = 130
"""Status of a training that was stopped and can be continued."""
STOPPED = {status for number in ENDING for status in (-number, 128 + number)}
"""Statuses of one that a signal stopped."""
PATIENCE = 15
"""Seconds that trainings have to end in after a signal."""

Fill = Callable[["Evaluation", "Watch"], object]
"""Fills the missing cells of an evaluation."""
Told = Callable[[Place, Progress], None]
"""Called when a training ends."""


class Site(Protocol):
    """Where the work of a study is done."""

    @property
    def device(self) -> str:
        """Of trainings and models, as the host names it; "" lets it choose."""
        ...

    @property
    def kind(self) -> str | None:
        """Kind of device that models run on: cpu, cuda or mps; None for what `device` is here."""
        ...

    @property
    def at_once(self) -> int:
        """How many trainings it takes at a time."""
        ...

    def waves(self, todo: Sequence[Place]) -> Generator[Sequence[Place]]:
        """Yield trainings that are done side by side; the next ones when these have ended."""
        ...

    def train(self, study: Study, place: Place, log: BinaryIO) -> int:
        """Do or continue a training until it ends; return its exit status, `INTERRUPTED` if it is to be continued.

        Raises:
            InputError: It cannot be done, for this reason.
        """
        ...

    def release(self, place: Place) -> None:
        """Let others go on without a training, which has ended or will not be done."""
        ...

    def stop(self) -> None:
        """Interrupt all trainings; called from another thread."""
        ...

    def fill(self, data: str) -> Fill:
        """Return what fills the missing cells of an evaluation of a data set."""
        ...


@dataclass(slots=True)
class Trainer:
    """Does trainings.

    Attributes:
        study: What to train.
        site: Where.
    """

    study: Study
    site: Site
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, todo: Sequence[Place], told: Told) -> None:
        """Do all; one that fails does not stop the others.

        Args:
            todo: What is not finished.
            told: Called as each ends.
        """
        with closing(self.site.waves(todo)) as waves:
            for wave in waves:
                self._run(wave, told)

    def _run(self, todo: Iterable[Place], told: Told) -> None:
        with ThreadPoolExecutor(self.site.at_once) as threads:
            left: dict[Future[Progress], Place] = {threads.submit(self._train, place): place for place in todo}
            try:
                while left:
                    done, _ = wait(left, return_when=FIRST_COMPLETED)
                    for future in done:
                        told(left.pop(future), future.result())
            except BaseException:
                self._stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                self.site.stop()
                raise

    def _train(self, place: Place) -> Progress:
        try:
            return self._train_unless_done(place)
        except OSError as error:
            return Progress("failed", reason=f"{error.strerror} ({error.filename})")
        except InputError as error:  # a damaged checkpoint
            return Progress("failed", reason=str(error))
        except Exception as error:  # whatever it is, the others go on
            return Progress("failed", reason=f"{type(error).__name__}: {error}")
        finally:
            self.site.release(place)

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
        if ended(place.folder):  # while nobody was there to note it
            return self._note(place, 0, "")
        (place.folder / MARK).unlink(missing_ok=True)
        try:
            status = INTERRUPTED if self._stop.is_set() else self.site.train(self.study, place, log)
            reason = "" if status == 0 else _last_line(place)
        except InputError as error:
            status, reason = 2, str(error)
        if status == INTERRUPTED:
            return place.progress()
        return self._note(place, status, reason)

    def _note(self, place: Place, status: int, reason: str) -> Progress:
        """Write how a training ended, and return its progress."""
        line = shlex.join(["yolo-qreg", *command(self.study, place, anew=True)])
        text = json.dumps({"status": status, "command": line, "reason": reason}, indent=1) + "\n"
        write_atomic(place.folder / MARK, lambda file: file.write(text.encode()))
        return place.progress()


@dataclass(slots=True)
class Machine:
    """This machine: trainings as processes, each with its share of the cores.

    Attributes:
        at_once: How many share them.
        device: As the host names it; "" lets it choose.
        kind: None: it is seen here what kind of device that is.
        share: Whether trainings of a seed that work at once read the same batches.
    """

    at_once: int = 1
    device: str = ""
    kind: str | None = None
    share: bool = False
    _shared: Shared = field(default_factory=Shared)
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopped: bool = False

    def waves(self, todo: Sequence[Place]) -> Generator[Sequence[Place]]:
        """Yield all, or those of one feeder, while it works."""
        for wave in waves(todo, self.at_once) if self.share else [todo]:
            with feeding(wave if self.share else []) as self._shared:
                yield wave

    def train(self, study: Study, place: Place, log: BinaryIO) -> int:
        """Do one and wait for it."""
        threads = max(1, (os.cpu_count() or 1) // self.at_once)
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ, **self._shared.environment(place)}
        process = start(command(study, place), log, environment)
        self._running.add(process)
        if self._stopped:
            interrupt(process)
        self._shared.release(place)
        status = process.wait()
        self._running.discard(process)
        return INTERRUPTED if status in STOPPED or (status and self._stopped) else status

    def release(self, place: Place) -> None:
        """Keep nothing open that a training was to have."""
        self._shared.release(place)

    def stop(self) -> None:
        """Send all what Ctrl-C sends, again where that was lost, and kill what has not ended in time."""
        self._stopped = True
        running = tuple(self._running)
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            for process in running:
                interrupt(process, number)
            end = time.monotonic() + PATIENCE
            for process in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, end - time.monotonic()))

    def fill(self, data: str) -> Fill:
        """Return what fills cells in this process, and in workers that make the pictures."""
        from yolo_qreg.evaluation.evaluate import fill  # loads torch

        return fill


def start(words: Sequence[str], log: BinaryIO, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `yolo-qreg` in a session of its own, out of reach of this terminal's Ctrl-C, that ends with this process.

    Args:
        words: Its arguments.
        log: Takes what it says.
        environment: Of the process.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "yolo_qreg", *words],
        stdout=log,
        stderr=log,
        pass_fds=[int(environment[WITH_FEEDER])] if WITH_FEEDER in environment else [],
        env={**environment, PARENT: str(os.getpid())},
        start_new_session=True,
    )


def interrupt(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGINT) -> None:
    """Send a signal to a process that `start` started and to its children, as a terminal does."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def ended(folder: Path) -> bool:
    """Tell whether the training of a run folder has reached its end.

    Raises:
        InputError: Its checkpoint is damaged, or not one of ours.
    """
    from yolo_qreg.host.checkpoint import can_resume  # loads torch, which --status has no need of

    last = folder / "weights" / "last.pt"
    return last.is_file() and not can_resume(last)


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """Keep others from training in a place.

    Raises:
        InputError: Somebody does.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    with (place.folder / LOG).open("ab") as log:
        if not _lock(log.fileno()):
            raise InputError(f"{place.folder} is being trained in; wait for that, or end it first")
        yield


def is_trained_in(folder: Path) -> bool:
    """Tell whether somebody trains in a run folder of a study now."""
    if not (folder / LOG).is_file():
        return False
    with (folder / LOG).open("ab") as log:
        return not _lock(log.fileno())


def _lock(file: int) -> bool:
    """Take the lock of an open file, which processes that inherit the file hold too; False if another has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_line(place: Place) -> str:
    lines = (place.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
