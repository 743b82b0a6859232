"""The cells of an evaluation: what is to be done, and the names under which it is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from corruptions.frost import frost_textures
from yolo_qreg.config import STRIDE
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.cells import NAME_DIGITS, Cell
from yolo_qreg.evaluation.damage import Damage
from yolo_qreg.evaluation.models import Subject
from yolo_qreg.evaluation.results import CLEAN, OVER_SEVERITIES
from yolo_qreg.evaluation.sweep import Task
from yolo_qreg.host.datasets import LabelledPicture
from yolo_qreg.host.predict import device_type
from yolo_qreg.pictures import COLOUR

PICTURE_VERSIONS = ("yolo_qreg", "numpy", "cv2", "PIL")
"""Modules whose release damaged pictures depend on."""
MODEL_VERSIONS = ("ultralytics", "torch", "torchvision")
"""Those that detections depend on as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to evaluate, and how.

    Attributes:
        data: YAML file of the data set; its `val` split is used.
        out: Folder of the results.
        cells: Folder of the finished work, which several evaluations may share; None for one inside `out`.
        imgsz: Longer side of the pictures as models see them, in pixels; a multiple of 32.
        corruptions: In published order.
        severities: Each 1 to 5.
        batch: Pictures at a time.
        device: As the host names it; "" lets it choose.
        device_kind: cpu, cuda or mps, where cells are filled on other machines; None for what `device` is here.
        workers: Processes that make pictures and resample; 0 for none.
        threads: That models run in on a CPU; None for as many as it has cores.
        limit: Number of pictures, spread evenly over the split; None for all.
        seed: Of the corruptions' random numbers and of the bootstrap.
        resamples: Of the bootstrap.
        cache: Folder to keep corrupted pictures in; None to keep none.
        textures: Folder of frost textures; None for the default.
        strict: Whether a picture that cannot be used is an error; else it is left out, and named in the results.

    Raises:
        InputError: The image size is no multiple of 32.
    """

    data: Path
    out: Path
    imgsz: int
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    batch: int = 16
    device: str = ""
    workers: int = 0
    threads: int | None = None
    limit: int | None = None
    seed: int = 0
    resamples: int = 1000
    cache: Path | None = None
    textures: str | None = None
    strict: bool = False
    cells: Path | None = None
    device_kind: str | None = None

    @property
    def kind_of_device(self) -> str:
        """Kind of device that models run on: cpu, cuda or mps."""
        return self.device_kind or device_type(self.device)

    def __post_init__(self) -> None:
        """Check the image size, which the host would round without a word."""
        if self.imgsz < STRIDE or self.imgsz % STRIDE:
            nearest = max(STRIDE, round(self.imgsz / STRIDE) * STRIDE)
            raise InputError(f"imgsz={self.imgsz} is no multiple of {STRIDE}; use {nearest}")


def make_tasks(subjects: Sequence[Subject], settings: Settings, digest: str, channels: int = COLOUR) -> list[Task]:
    """Return a task for clean pictures and one for each corruption and severity.

    Args:
        subjects: The models.
        settings: What to evaluate.
        digest: Of the pictures and their boxes.
        channels: Of the pictures.

    Raises:
        InputError: The folder of frost textures has none.
    """
    versions = {name: release_of(name) for name in (*MODEL_VERSIONS, *PICTURE_VERSIONS)}
    common = {"data": digest, "imgsz": settings.imgsz, "batch": settings.batch}
    common |= {"device": settings.kind_of_device}
    common |= {"padding": "square"} if needs_squares(subjects) else {}
    kinds = [(CLEAN, OVER_SEVERITIES)]
    kinds += [(name, severity) for name in settings.corruptions for severity in settings.severities]
    store = settings.cells or settings.out / "cells"
    tasks = []
    for corruption, severity in kinds:
        key = {**common, "corruption": corruption, "severity": severity}
        key |= {"seed": settings.seed} if corruption != CLEAN else {}
        key |= {"textures": _frost_digest(settings.textures)} if corruption == "frost" else {}
        cells = {
            subject.model.name: Cell(
                store / subject.model.sha256[:NAME_DIGITS],
                {**key, "weights": subject.model.sha256, "versions": versions | _runtime_of(subject.path)},
            )
            for subject in subjects
        }
        damage = Damage(
            corruption=corruption,
            severity=severity,
            channels=channels,
            seed=settings.seed,
            textures=settings.textures,
            cache=_cache(settings, corruption, channels),
        )
        tasks.append(Task(damage, cells))
    return tasks


def needs_squares(subjects: Sequence[Subject]) -> bool:
    """Whether pictures are padded to squares: as soon as one model needs it, so that all see the same pixels."""
    return any(subject.path.suffix != ".pt" for subject in subjects)


def _runtime_of(weights: Path) -> dict[str, str]:
    """Return the release of what runs an export beside the host: other runtimes and releases round otherwise."""
    if weights.suffix == ".onnx":
        name = "onnxruntime"
    elif any(weights.glob("*.xml")):
        name = "openvino"
    else:
        return {}
    return {name: release_of(name)} if find_spec(name) else {}  # without one the host says what is missing


def _cache(settings: Settings, corruption: str, channels: int) -> Path | None:
    """Return the folder of the pictures that one seed and these releases make."""
    if settings.cache is None:
        return None
    versions = {name: release_of(name) for name in PICTURE_VERSIONS}
    parts: list[Any] = [settings.seed, versions, _frost_digest(settings.textures) if corruption == "frost" else None]
    parts += [channels] if channels != COLOUR else []
    return settings.cache / hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:NAME_DIGITS]


def digest_of(pictures: Sequence[LabelledPicture], names: Sequence[str], channels: int = COLOUR) -> str:
    """Hash class names, channels, and names, bytes and boxes of the pictures: what a data set is, wherever it lies."""
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    digest.update(b"" if channels == COLOUR else f"channels {channels}".encode())
    for picture in pictures:
        digest.update(picture.path.name.encode("utf-8", "surrogatepass"))
        digest.update(hashlib.sha256(picture.path.read_bytes()).digest())
        digest.update(picture.labels.tobytes() + picture.boxes.tobytes())
    return digest.hexdigest()


@cache
def _frost_digest(textures: str | None) -> str:
    digest = hashlib.sha256()
    try:
        found = frost_textures(textures).pictures
    except ValueError as error:
        raise InputError(str(error)) from error
    for texture in found:
        digest.update(str(texture.shape).encode() + texture.tobytes())
    return digest.hexdigest()


@cache
def release_of(module: str) -> str:
    """Return the release of a module as it says itself: one package of several may have brought it, or none."""
    release: str = import_module(module).__version__
    return release.partition("+")[0]  # a build for another accelerator is the same release
