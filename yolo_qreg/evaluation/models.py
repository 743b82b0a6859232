"""The models of an evaluation: found, named and described before anything is run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolo_qreg.data.shapes import CLASS_NAMES as SHAPES_NAMES
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.results import Model
from yolo_qreg.export.describe import describe
from yolo_qreg.inputs import weights_to_run
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.shipped import shipped


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with the place of its weights, and how it was trained where the file says.

    Attributes:
        model: What it is.
        path: The weight file, or folder of an export.
        imgsz: Image size of its training, in pixels.
        data: Data set of its training.
        names: Class names, in class order.
    """

    model: Model
    path: Path
    imgsz: int | None = None
    data: str | None = None
    names: tuple[str, ...] = ()


def subjects(weights: Iterable[Path]) -> list[Subject]:
    """Return the models that weights hold, each once, under names that differ.

    Args:
        weights: Files or exported folders that the host runs, or run folders, of which weights/best.pt is taken.

    Raises:
        InputError: One does not exist or is damaged.
    """
    found: dict[str, Subject] = {}
    for given in weights:
        path = weights_to_run(given)
        digest = _sha256(path)
        if digest not in found:
            name = _unused(_name(path), {subject.model.name for subject in found.values()})
            found[digest] = _subject(path, name, digest)
    return list(found.values())


def _name(path: Path) -> str:
    """Name a run by its folder, other checkpoints by their file, exports by file or folder with the ending."""
    run = _run_of(path)
    own = path.stem if run is None else run.name
    name = own if path.suffix == ".pt" else path.name
    return os.fsencode(name).decode(errors="replace")  # it goes into tables and figures, which take no other bytes


def _run_of(path: Path) -> Path | None:
    """Return the run folder that weights lie in."""
    run = path.resolve().parent.parent
    return run if path.parent.name == "weights" and (run / "args.yaml").is_file() else None


def _unused(name: str, taken: set[str]) -> str:
    number = 2
    unused = name
    while unused in taken:
        unused, number = f"{name}-{number}", number + 1
    return unused


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(file.relative_to(path).as_posix().encode() if path.is_dir() else b"")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _subject(path: Path, name: str, digest: str) -> Subject:
    run = _run_of(path)
    folder = None if run is None else str(run)
    if path.suffix != ".pt":
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        size_mb = sum(file.stat().st_size for file in files) / 1e6
        exported = Model(name=name, file=path.name, sha256=digest, method=None, bits=None, size_mb=size_mb, run=folder)
        return Subject(exported, path)
    found = describe(path)
    widths = [layer.bits for layer in found.layers]
    size = found.totals.packed_bytes if widths else found.totals.float32_bytes
    model = Model(
        name=name,
        file=path.name,
        sha256=digest,
        method=found.config.method if found.config and widths else None,
        bits=max(set(widths), key=widths.count) if widths else FLOAT_BITS,
        size_mb=size / 1e6,
        run=folder,
    )
    return Subject(model, path, found.training.imgsz, found.training.data, found.names)


def training_size(chosen: Iterable[Subject]) -> int | None:
    """Return the image size that all models which say one were trained at; None where they differ or none says."""
    sizes = {subject.imgsz for subject in chosen} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def training_data(chosen: Iterable[Subject]) -> str | None:
    """Return the data set of the models' training; None where they differ or it is not on this machine."""
    subjects = [subject for subject in chosen if subject.data]
    paths = {Path(str(subject.data)) for subject in subjects}
    found = {str(path) for path in paths if path.is_absolute() and path.is_file()}
    if not found and any(map(_knows_shapes, subjects)):
        return "shapes"
    return found.pop() if len(found) == 1 else None


def newest_quantized(runs: Path) -> Path:
    """Return the newest run folder with quantized weights.

    Args:
        runs: Folder of run folders.

    Raises:
        InputError: There is none.
    """
    for run, quant, _ in _runs(runs):
        if quant != FLOAT_BITS:
            return run
    raise InputError(f"there is no quantized run in {runs}; train one (yolo-qreg train --bits 8), or name weights")


def find_twin(subject: Subject) -> Path | None:
    """Return the newest FP32 run beside a model's run that was trained on the same data; None if there is none.

    For models of the embedded `shapes` the shipped FP32 weights will do.
    """
    if subject.model.run is not None:
        run = Path(subject.model.run)
        runs = _runs(run.parent)
        data = [data for path, _, data in runs if path == run]
        for path, bits, other in runs:
            if bits == FLOAT_BITS and other in data:
                return path
    return shipped("shapes-fp32") if _knows_shapes(subject) else None


def _knows_shapes(subject: Subject) -> bool:
    return subject.names == SHAPES_NAMES


def _runs(folder: Path) -> list[tuple[Path, int, str]]:
    """Return finished runs of ours with their bits and data, newest first."""
    found = []
    for file in sorted(folder.glob("*/args.yaml"), key=lambda file: file.stat().st_mtime, reverse=True):
        settings = _settings(file)
        quant = settings.get("quant")
        if isinstance(quant, dict) and (file.parent / "weights" / "best.pt").is_file():
            found.append((file.parent, int(quant.get("bits", FLOAT_BITS)), str(settings.get("data"))))
    return found


def _settings(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
