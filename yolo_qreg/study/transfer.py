"""Finished trainings on their way from one machine's study to another's: weights, logs, and the hash of each file.

A manifest lists them: in a tar file of packed weights, small enough to travel, or in the folder of a study that was
trained, for a copy of the folder. What arrives is checked against it before anything is written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from yolo_qreg import __version__
from yolo_qreg.data.identity import RECORD
from yolo_qreg.errors import InputError
from yolo_qreg.files import scratch_folder, write_atomic
from yolo_qreg.sealed import read_sealed, sealed, write_sealed
from yolo_qreg.study.plan import GRID, MACHINE, Study, study_from
from yolo_qreg.study.runs import LOG, MARK, Place, check_same, places, whereabouts

MANIFEST = "trained.json"
FORMAT = "yolo-qreg trainings 1"
WEIGHTS = "weights/best.pt"
PACKED = "weights/best.safetensors"
CARRIED = (WEIGHTS, PACKED, "args.yaml", "results.csv", "quantization.csv", RECORD, LOG, MARK)
"""Files of a run folder that travel, as far as there are such; weights in one of the two forms."""
LARGEST = 1 << 30
"""Bytes that a file may have."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Trainings that were checked and can be taken over.

    Attributes:
        study: What they are trainings of.
        files: By name of the training, its files by their path in a run folder.
    """

    study: Study
    files: Mapping[str, Mapping[str, Path]]


def write_manifest(study: Study, out: Path) -> Path:
    """Note in a study's folder the finished trainings and the hashes of their files, so that a copy can be checked."""
    runs = {place.run.name: _carried(place) for place in _finished(study, out)}
    hashes = {name: {key: _sha256(file) for key, file in files.items()} for name, files in runs.items()}
    write_sealed(out / MANIFEST, _manifest(study, hashes))
    return out / MANIFEST


def export(study: Study, out: Path, target: Path) -> list[Place]:
    """Write the finished trainings of a study into a tar file, their weights packed; return which.

    Raises:
        InputError: None is finished, or the file cannot be written.
    """
    from yolo_qreg.export.packed import to_packed

    found = _finished(study, out)
    if not found:
        raise InputError(f"{out} has no finished training to export; see --status")
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(".yolo-qreg-", out) as folder:
        runs = {}
        for place in found:
            packed = to_packed(place.folder, folder / f"{place.run.name}.safetensors")
            runs[place.run.name] = {PACKED: packed, **{k: v for k, v in _carried(place).items() if k != WEIGHTS}}
        hashes = {name: {key: _sha256(file) for key, file in files.items()} for name, files in runs.items()}
        (folder / MANIFEST).write_bytes(sealed(_manifest(study, hashes)))

        def write(stream: Any) -> None:
            with tarfile.open(fileobj=stream, mode="w:gz") as tar:
                tar.add(folder / MANIFEST, MANIFEST)
                for name, files in runs.items():
                    for key, file in files.items():
                        tar.add(file, f"runs/{name}/{key}")

        write_atomic(target, write)
    return found


def adopted(sources: Sequence[Path], known: Study | None, out: Path) -> Study:
    """Return the study that trainings from elsewhere belong to, its grid as large as they need.

    Args:
        sources: What is to be imported.
        known: What they are to become part of; None for what they say themselves.
        out: Folder of the study, for messages.

    Raises:
        InputError: A source is none, is damaged, or was trained by another schedule.
    """
    for source in sources:
        with _opened(source, out) as arrival:
            theirs = arrival.study
        known = theirs if known is None else known
        check_same(replace(theirs, data=known.data, model=known.model), known, out)
        grid = {name: (*getattr(known, name), *getattr(theirs, name)) for name in GRID}
        known = replace(known, **grid)  # type: ignore[arg-type]
    assert known is not None
    return known


def take_over(source: Path, study: Study, out: Path) -> tuple[list[Place], list[Place]]:
    """Make the run folders of trainings that were done elsewhere; return those, and those that were here before.

    Args:
        source: A tar file that `export` wrote, or a folder with a manifest.
        study: What they become part of.
        out: Its folder.

    Raises:
        InputError: The source is damaged or incomplete; nothing of it is taken over then.
    """
    taken, kept = [], []
    with _opened(source, out) as arrival:
        for place in places(study, out):
            if (files := arrival.files.get(place.run.name)) is None:
                continue
            if place.progress().state == "finished":
                kept.append(place)
                continue
            _settle(place, files, study, source)
            taken.append(place)
    return taken, kept


def _settle(place: Place, files: Mapping[str, Path], study: Study, source: Path) -> None:
    """Write the files of a training into its folder; the mark that it is finished comes last."""
    from yolo_qreg.export.packed import unpack
    from yolo_qreg.study.training import alone

    with alone(place):
        shutil.rmtree(place.folder / "weights", ignore_errors=True)  # of a training that was begun here
        place.weights.parent.mkdir(parents=True)
        if PACKED in files:
            unpack(files[PACKED], place.weights)
        for key, file in files.items():
            if key == "args.yaml":
                _write(place.folder / key, _local_settings(file, place, study))
            elif key == RECORD:
                _write(place.folder / key, _local_record(file, study))
            elif key not in (PACKED, MARK):
                _write(place.folder / key, file.read_bytes())
        mark = json.loads(files[MARK].read_text(encoding="utf-8"))
        mark |= {"imported": {"from": source.name, **{key: _sha256(file) for key, file in files.items()}}}
        _write(place.folder / MARK, (json.dumps(mark, indent=1) + "\n").encode())


def _local_settings(file: Path, place: Place, study: Study) -> bytes:
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    here = {"data": study.data, "project": str(place.runs), "save_dir": str(place.folder)}
    return yaml.safe_dump({**settings, **here}, sort_keys=False).encode()


def _local_record(file: Path, study: Study) -> bytes:
    """Name the place that the data set has here; its content is compared wherever it is used."""
    found = json.loads(file.read_text(encoding="utf-8"))
    if found.get("origin"):  # a training that an earlier release began has none
        found["origin"]["data"]["path"] = whereabouts(study.data)
    found.pop("asked", None)  # settings with places of the other machine; this training is over
    return (json.dumps(found, indent=1) + "\n").encode()


@contextmanager
def _opened(source: Path, out: Path) -> Iterator[Arrival]:
    """Yield the trainings that a tar file or a folder holds, all of them checked."""
    if source.is_dir():
        yield _checked(source, source)
        return
    if not source.is_file():
        raise InputError(f"{source} does not exist; name a file that study --export wrote, or a study's folder")
    out.mkdir(parents=True, exist_ok=True)
    with scratch_folder(".yolo-qreg-", out) as folder:
        try:
            with tarfile.open(source) as tar:
                for member in tar:
                    if member.isfile() and member.name in _wanted(folder) and member.size <= LARGEST:
                        target = folder / member.name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        stream = tar.extractfile(member)
                        assert stream is not None
                        with target.open("wb") as file:
                            shutil.copyfileobj(stream, file)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise InputError(f"{source} is no whole tar file ({error}); copy it again") from error
        yield _checked(folder, source)


def _wanted(folder: Path) -> set[str]:
    """Return the names in a tar file that are taken out of it: the manifest, which comes first, and what it lists."""
    manifest = read_sealed(folder / MANIFEST)
    runs = manifest.get("runs") if manifest else None
    listed = runs if isinstance(runs, dict) else {}
    return {MANIFEST, *(f"runs/{name}/{key}" for name in listed for key in CARRIED if "/" not in name)}


def _checked(folder: Path, source: Path) -> Arrival:
    """Read a manifest, and check every file that it lists.

    Raises:
        InputError: There is none, or a file is missing or not what it was.
    """
    manifest = read_sealed(folder / MANIFEST)
    if manifest is None:
        raise InputError(f"{source} has no whole {MANIFEST}; make it with study --train-only or study --export")
    if manifest.get("format") != FORMAT:
        raise InputError(f"{source} is of release {manifest.get('yolo-qreg')} of yolo-qreg; install that release")
    plan, runs = manifest.get("study"), manifest.get("runs")
    if not isinstance(plan, dict) or not isinstance(runs, dict):
        raise InputError(f"{source} has a {MANIFEST} without study or runs; make it with study --export")
    study = study_from(plan)
    names = {run.name for run in study.runs()}
    found = {}
    for name, hashes in runs.items():
        listed = isinstance(hashes, dict) and hashes.keys() <= set(CARRIED) and MARK in hashes
        if name not in names or not listed:
            raise InputError(f"{source} lists {name!r} otherwise than study --export does; export it again")
        found[name] = {key: folder / "runs" / name / key for key in hashes}
        for key, file in found[name].items():
            if not file.is_file() or _sha256(file) != hashes[key]:
                raise InputError(f"{source}: {name}/{key} is missing or not what was exported (sha256); copy it again")
    return Arrival(study, found)


def _manifest(study: Study, hashes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    study = replace(study, train={key: value for key, value in study.train.items() if key not in MACHINE})
    return {"format": FORMAT, "yolo-qreg": __version__, "study": study.to_dict(), "runs": hashes}


def _finished(study: Study, out: Path) -> list[Place]:
    return [place for place in places(study, out) if place.progress().state == "finished"]


def _carried(place: Place) -> dict[str, Path]:
    return {key: file for key in CARRIED if (file := place.folder / key).is_file()}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    write_atomic(path, lambda file: file.write(content))
