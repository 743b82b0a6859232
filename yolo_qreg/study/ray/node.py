"""Tasks of Ray, as a machine of the cluster does them: they get everything as values and return everything as values.

Nodes need not share a file system with the study; they need this package and, unless it is made on first use, the data
set at the same place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from yolo_qreg import __version__
from yolo_qreg.data.shapes import cache_folder
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation import evaluate
from yolo_qreg.evaluation.cells import MODEL_VERSIONS, release_of
from yolo_qreg.evaluation.config import Settings
from yolo_qreg.evaluation.material import load_material
from yolo_qreg.evaluation.models import Subject, single_class
from yolo_qreg.files import locked, scratch_folder, sweep
from yolo_qreg.host.datasets import prepare_for_trainings, resolve_data
from yolo_qreg.host.origin import identify_data
from yolo_qreg.study.plan import Run, Study
from yolo_qreg.study.runs import LOG, Place, command
from yolo_qreg.study.training import ended, interrupt, start
from yolo_qreg.trust import trusting

Files = dict[str, bytes]
"""Contents of a folder's files by path."""

LOGGER = logging.getLogger(__name__)
TEMPORARY = ".yolo-qreg-"
"""How names of this machine's folders begin that hold a task's files."""
POLL = 0.5
"""Seconds between looks at a training."""
ENDED = b"it had ended before that\n"
"""What the log of a training says whose machine was lost between its last epoch and the word of it."""
LAST = "weights/last.pt"
"""What a training is continued from, by its path in the run folder."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training to do, or to continue.

    Attributes:
        study: Its schedule; the model is taken from `model` where that is not None.
        run: Which one.
        model: Weights to start from.
        fingerprint: Of the data set and the releases, where the study is.
        trust: Whether files may run code, as the study was told.
        release: Of this package, where the study is.
    """

    study: Study
    run: Run
    model: bytes | None
    fingerprint: str
    trust: bool = False
    release: str = __version__


@dataclass(frozen=True, slots=True)
class CellsJob:
    """One kind of pictures to show to models.

    Attributes:
        subjects: The models.
        settings: Of the evaluation; its folders are of no use on a node.
        data: The data set as the study names it.
        corruption: `clean` or one of the 19.
        severity: 1 to 5, 0 for clean.
        names: Of the cells to fill, by model.
        trust: Whether files may run code, as the study was told.
        release: Of this package, where the study is.
    """

    subjects: tuple[Subject, ...]
    settings: Settings
    data: str
    corruption: str
    severity: int
    names: dict[str, str]
    trust: bool = False
    release: str = __version__


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an epoch changed.

    Attributes:
        files: Those of the run folder that are new or other.
        log: What was said since the last one.
        status: Of the process, where it has ended.
    """

    files: Files
    log: bytes
    status: int | None = None


def train(job: TrainingJob, files: Files) -> Iterator[Delivery]:
    """Do a training, and yield its files as epochs end; the last one has the status.

    Args:
        job: What to train.
        files: Of its run folder so far.

    Raises:
        InputError: The node has other pictures or other releases than the study.
    """
    _check_release(job.release)
    sweep(Path(gettempdir()), deep=False)
    with trusting(job.trust), scratch_folder(TEMPORARY) as folder:
        if fingerprint(job.study) != job.fingerprint:
            raise InputError(
                f"node {platform.node()} would not train the same: its pictures or labels of {job.study.data}, or its "
                f"releases of {', '.join(MODEL_VERSIONS)} differ from those here; make them equal"
            )
        study = job.study
        if job.model is not None:
            own = folder / Path(study.model).name
            own.write_bytes(job.model)
            study = replace(study, model=str(own))
        place = Place(job.run, folder / "runs")
        write_files(place.folder, files)
        if ended(place.folder):
            yield Delivery({}, ENDED, 0)
        else:
            yield from _watch(study, place)


def train_there(job: TrainingJob, folder: Path, keeper: Any) -> int:
    """Do a training on a node, send its files to the keeper as epochs end, and return its status."""
    ray: Any = import_module("ray")
    status = None
    for delivery in train(job, ray.get(keeper.begin.remote(folder))):
        ray.get(keeper.take.remote(folder, delivery))
        status = delivery.status
    assert status is not None
    return status


def _watch(study: Study, place: Place) -> Iterator[Delivery]:
    path = place.folder / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log, path.open("rb") as said:
        process = start(command(study, place), log, os.environ)
        try:
            known: State = _states(place.folder)
            while process.poll() is None:
                time.sleep(POLL)
                if _state(place.folder / LAST) != known.get(LAST):
                    files, known = _changed(place.folder, known)
                    yield Delivery(files, said.read())
            yield Delivery(_changed(place.folder, known)[0], said.read(), process.returncode)
        finally:
            interrupt(process, signal.SIGKILL)


State = Mapping[str, tuple[int, int]]
"""Time of change in nanoseconds and size, by path."""


def _states(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        hidden = path.name == LOG or any(part.startswith(".") for part in name.parts)
        if not hidden and (state := _state(path)):
            found[name.as_posix()] = state
    return found


def _state(path: Path) -> tuple[int, int] | None:
    """Return that of a file; None for a folder, and for what is gone, as temporary files are."""
    with suppress(FileNotFoundError):
        facts = path.stat()
        return (facts.st_mtime_ns, facts.st_size) if path.is_file() else None
    return None


def _changed(folder: Path, known: State) -> tuple[Files, State]:
    """Return the files that are new or other than those known, and the states of all; a training may go on meanwhile.

    last.pt, which an epoch writes last, is read first: so nothing that comes with it is older, and no log ends before
    the epoch that a training is continued from.
    """
    state = _state(folder / LAST)
    last = {LAST: (folder / LAST).read_bytes()} if state else {}
    now = _states(folder)
    now.pop(LAST, None)  # one that came after the look is of the next delivery
    if state:
        now[LAST] = state
    news = [name for name in now if known.get(name) != now[name]]
    return {name: last[name] if name in last else (folder / name).read_bytes() for name in news}, now


def fill(job: CellsJob, *weights: bytes) -> Files:
    """Return the files of cells, by their path in a store.

    Args:
        job: Which cells.
        weights: Of the models, in their order.

    Raises:
        InputError: The node has other pictures or other releases than the study, or cannot use them.
    """
    _check_release(job.release)
    sweep(Path(gettempdir()), deep=False)
    with trusting(job.trust), scratch_folder(TEMPORARY) as folder:
        store = folder / "cells"
        chosen = []
        for number, (subject, content) in enumerate(zip(job.subjects, weights, strict=True)):
            path = folder / f"{number}{subject.path.suffix}"
            path.write_bytes(content)
            chosen.append(replace(subject, path=path))
        data = resolve_data(job.data)
        settings = replace(job.settings, data=data, out=folder, cells=store, cache=None, device_kind=None)
        ready = evaluate.prepare(chosen, settings, _material(data, settings.limit, single_class=single_class(chosen)))
        damage = next(damage for damage in ready.cells if damage.kind == (job.corruption, job.severity))
        by_model = ready.cells[damage]
        if {model: cell.name for model, cell in by_model.items()} != job.names:
            raise InputError(
                f"node {platform.node()} would not get the same numbers: its pictures of {job.data}, its device or its "
                "releases of torch, ultralytics, numpy, opencv-python or pillow differ from those here; make them equal"
            )
        evaluate.fill(replace(ready, cells={damage: by_model}), lambda *_: None)
        return read_files(store)


def fingerprint(study: Study) -> str:
    """Return a hash of what trainings of a study depend on: the content of its data set, and releases."""
    return _fingerprint(study.data, bool(study.train.get("single_cls")))


@cache
def _fingerprint(data: str, single_class: bool) -> str:
    path = resolve_data(data)
    lock = cache_folder() / "locks" / f"scan-{platform.node()}"
    # The host keeps what it found; tasks of one machine must not write that at once.
    with locked(lock, lambda: LOGGER.warning(f"waiting for another process that reads {path} ({lock})")):
        prepare_for_trainings(path, single_class=single_class)
        content = {**identify_data(path).to_dict(), "path": ""}
    releases = [release_of(name) for name in MODEL_VERSIONS]
    return hashlib.sha256(json.dumps([releases, content], sort_keys=True).encode()).hexdigest()


_material = cache(load_material)
"""A node reads a data set once for all of its tasks."""


def _check_release(release: str) -> None:
    if release != __version__:
        raise InputError(f"a node has yolo-qreg {__version__}, the study {release}; install the same everywhere")


def read_files(folder: Path) -> Files:
    """Return the files of a folder, without the log of a training and what is being written."""
    return _changed(folder, {})[0]


def write_files(folder: Path, files: Files) -> None:
    """Write what `read_files` returned."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
