"""One feeder for the trainings of a seed: its process, and the connections between it and them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from yolo_qreg.errors import InputError
from yolo_qreg.files import scratch_folder, sweep
from yolo_qreg.processes import PARENT, WITH_FEEDER
from yolo_qreg.study.plan import Study
from yolo_qreg.study.runs import Place

MEMORY = Path("/dev/shm")
"""Folder whose files lie in memory, where the system has one."""
ENOUGH = 2**30
"""Bytes that have to be free there: containers often have 64 MB, and 4 batches of 64 pictures at 640 px are 315 MB."""


@dataclass(slots=True)
class Shared:
    """Trainings that read the batches of one feeder.

    Attributes:
        connections: Of each, by the name of its run, until it is started.
    """

    connections: dict[str, Connection] = field(default_factory=dict)

    def environment(self, place: Place) -> Mapping[str, str]:
        """Return what tells a training where its batches come from."""
        found = self.connections.get(place.run.name)
        return {} if found is None else {WITH_FEEDER: str(found.fileno())}

    def release(self, place: Place) -> None:
        """Close this process's copy of what a training has or will not need: the feeder sees when that one ends."""
        if found := self.connections.pop(place.run.name, None):
            found.close()


def check_shareable(study: Study, jobs: int, ray: str | None, device: str) -> None:
    """Check that trainings of a study can read the same batches.

    Raises:
        InputError: They cannot.
    """
    if ray is not None:
        raise InputError("--share-batches works on one machine; leave out --ray, or --share-batches")
    if jobs < 2:
        raise InputError(
            f"--share-batches with --jobs {jobs}: there is nobody to share with; let 2 or more train at once"
        )
    if study.train.get("multi_scale"):
        raise InputError("--share-batches with multi_scale: sizes are drawn between batches; leave one of them out")
    if study.train.get("time"):
        raise InputError("--share-batches with time: each training has its own last epoch; leave one of them out")
    if "," in (device or str(study.train.get("device") or "")):
        raise InputError("--share-batches with several GPUs for a training: each reads its own part; name one device")


def waves(todo: Sequence[Place], at_once: int) -> list[list[Place]]:
    """Return which trainings are begun together: those of a seed, in groups that may work at once, equally large."""
    found = []
    for seed in dict.fromkeys(place.run.seed for place in todo):
        members = [place for place in todo if place.run.seed == seed]
        count = -(-len(members) // at_once)
        found += [members[len(members) * k // count : len(members) * (k + 1) // count] for k in range(count)]
    return found


def memory_folder() -> Path | None:
    """Return where batches lie best; None for the system's folder of temporary files."""
    return MEMORY if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ENOUGH else None


@contextmanager
def feeding(wave: Sequence[Place]) -> Iterator[Shared]:
    """Keep a process that makes the batches for some trainings; a single one makes its own.

    Args:
        wave: Trainings of one seed. The log of the process lies beside their runs.
    """
    if len(wave) < 2:
        yield Shared()
        return
    memory = memory_folder()
    sweep(memory, deep=False)
    pairs = {place.run.name: Pipe() for place in wave}
    theirs = [feeders for _, feeders in pairs.values()]
    log_path = wave[0].runs / f"batches-seed{wave[0].run.seed}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    shared = Shared({name: trainings for name, (trainings, _) in pairs.items()})
    with scratch_folder(".yolo-qreg-", memory) as folder, log_path.open("ab") as log:
        handles = [connection.fileno() for connection in theirs]
        process = subprocess.Popen(
            [sys.executable, "-m", "yolo_qreg.host.feeder", str(folder), *map(str, handles)],
            stdout=log,
            stderr=log,
            pass_fds=handles,
            env={**os.environ, "OMP_NUM_THREADS": "1", PARENT: str(os.getpid())},
            start_new_session=True,
        )
        for connection in theirs:
            connection.close()
        try:
            yield shared
        finally:
            for connection in shared.connections.values():
                connection.close()
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
