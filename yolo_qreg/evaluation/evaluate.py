"""An evaluation from weights to results: sweep, scores, deltas with intervals."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions import select
from corruptions.frost import frost_textures
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.bootstrap import interval
from yolo_qreg.evaluation.cells import NAME_DIGITS, Cell
from yolo_qreg.evaluation.damage import Damage, Workshop, available_cores, start_worker
from yolo_qreg.evaluation.detections import GroundTruth
from yolo_qreg.evaluation.gallery import SHOWN_SCORE, choose_picture, write_gallery
from yolo_qreg.evaluation.models import Subject
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, OVER_SEVERITIES, ClassScore, Delta, Results, Score
from yolo_qreg.evaluation.scoring import resample
from yolo_qreg.evaluation.sweep import Sweep, Task, Watch
from yolo_qreg.host.datasets import LabelledPicture, validation_pictures
from yolo_qreg.host.predict import Detector, device_type, one_thread

VERSIONS = ("yolo-qreg", "ultralytics", "torch", "torchvision", "numpy", "opencv-python", "pillow")
"""Packages whose release a cell depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to evaluate, and how.

    Attributes:
        data: YAML file of the data set; its `val` split is used.
        out: Folder of the results.
        cells: Folder of the finished work, which several evaluations may share; None for one inside `out`.
        imgsz: Side that pictures are letterboxed to.
        corruptions: In published order.
        severities: Each 1 to 5.
        batch: Pictures at a time.
        device: As the host names it; "" lets it choose.
        workers: Processes that make pictures and resample; 0 for none.
        limit: Number of pictures, spread evenly over the split; None for all.
        seed: Of the corruptions' random numbers and of the bootstrap.
        resamples: Of the bootstrap.
        cache: Folder to keep corrupted pictures in; None to keep none.
        textures: Folder of frost textures; None for the default.
        strict: Whether a picture that cannot be used is an error; else it is left out, and named in the results.
    """

    data: Path
    out: Path
    imgsz: int
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    batch: int = 16
    device: str = ""
    workers: int = 0
    limit: int | None = None
    seed: int = 0
    resamples: int = 1000
    cache: Path | None = None
    textures: str | None = None
    strict: bool = False
    cells: Path | None = None


def evaluate(subjects: Sequence[Subject], baseline: str, settings: Settings, watch: Callable[[int], Watch]) -> Results:
    """Run what is missing, and return the results of everything.

    Args:
        subjects: The models, the baseline among them.
        baseline: Its name.
        settings: What to evaluate.
        watch: Called with how many pictures models have to see, each counted once per model and damage; returns what
            is told of progress.

    Raises:
        InputError: Data or weights cannot be used, or do not fit each other.
    """
    found = validation_pictures(settings.data, strict=settings.strict)
    pictures = sorted(spread(found.pictures, settings.limit), key=_aspect)
    truth = _truth(pictures, found.names)
    tasks = _tasks(subjects, settings, _digest(pictures))

    @cache
    def detector(name: str, copy: int) -> Detector:
        path = next(subject.path for subject in subjects if subject.model.name == name)
        loaded = Detector(
            path, imgsz=settings.imgsz, batch=settings.batch, device=settings.device, square=_square(subjects)
        )
        _check_names(loaded, found.names, path, settings.data)
        return loaded

    missing = sum(len(task.missing()) for task in tasks)
    cores = available_cores() if device_type(settings.device) == "cpu" else 1
    with Workshop(settings.workers if missing else 0, ahead=settings.batch) as workshop, one_thread():
        Sweep(
            detectors=detector,
            paths=[picture.path for picture in pictures],
            truth=truth,
            workshop=workshop,
            watch=watch(missing * len(pictures)),
            copies=math.ceil(cores / len(subjects)),
            at_once=cores,
        ).run(tasks)
    results = _results(subjects, baseline, settings, tasks, truth)
    severity = sorted(settings.severities)[len(settings.severities) // 2] if settings.severities else 0
    image = choose_picture(truth, tasks[0].cells[baseline].detections())
    write_gallery(tasks, truth, image, severity, settings.out)
    shown = {"picture": Path(truth.image_ids[image]).name, "severity": severity, "least score": SHOWN_SCORE}
    left_out = {"pictures left out": [path.name for path in found.unusable]} if found.unusable else {}
    return replace(results, setup={**results.setup, **left_out, "gallery": shown})


def spread(pictures: list[LabelledPicture], limit: int | None) -> list[LabelledPicture]:
    """Return some of the pictures, evenly spread over all; all without a limit."""
    if limit is None or limit >= len(pictures):
        return pictures
    return [pictures[i * len(pictures) // limit] for i in range(limit)]


def _aspect(picture: LabelledPicture) -> float:
    """Height by width; batches of similar shapes are padded least, and are those of the host's `val`."""
    width, height = picture.size
    return height / width


def _truth(pictures: Sequence[LabelledPicture], names: tuple[str, ...]) -> GroundTruth:
    counts = [len(picture.labels) for picture in pictures]
    return GroundTruth(
        image_ids=tuple(str(picture.path) for picture in pictures),
        sizes=np.array([picture.size for picture in pictures], np.int32),
        image=np.repeat(np.arange(len(pictures), dtype=np.int32), counts),
        label=np.concatenate([picture.labels for picture in pictures]),
        boxes=np.concatenate([picture.boxes for picture in pictures]),
        names=names,
    )


def _digest(pictures: Sequence[LabelledPicture]) -> str:
    """Hash names, bytes and boxes of the pictures: what a data set is, wherever it lies."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(picture.path.name.encode())
        digest.update(hashlib.sha256(picture.path.read_bytes()).digest())
        digest.update(picture.labels.tobytes() + picture.boxes.tobytes())
    return digest.hexdigest()


def _tasks(subjects: Sequence[Subject], settings: Settings, data: str) -> list[Task]:
    frost = _frost_digest(settings.textures) if "frost" in settings.corruptions else None
    versions = {name: _version(name) for name in VERSIONS}
    kinds = [(CLEAN, OVER_SEVERITIES)]
    kinds += [(name, severity) for name in settings.corruptions for severity in settings.severities]
    tasks = []
    for corruption, severity in kinds:
        key: dict[str, Any] = {"corruption": corruption, "severity": severity, "data": data, "imgsz": settings.imgsz}
        key |= {"batch": settings.batch, "device": device_type(settings.device), "versions": versions}
        key |= {"padding": "square"} if _square(subjects) else {}
        key |= {"seed": settings.seed} if corruption != CLEAN else {}
        key |= {"textures": frost} if corruption == "frost" else {}
        cache = settings.cache and settings.cache / _short_hash([data, settings.seed, frost, versions])
        damage = Damage(
            corruption=corruption, severity=severity, seed=settings.seed, textures=settings.textures, cache=cache
        )
        cells = {
            subject.model.name: Cell(
                (settings.cells or settings.out / "cells") / subject.model.sha256[:16],
                {**key, "weights": subject.model.sha256},
            )
            for subject in subjects
        }
        tasks.append(Task(damage, cells))
    return tasks


def _square(subjects: Sequence[Subject]) -> bool:
    """Whether pictures are padded to squares: as soon as one model needs it, so that all see the same pixels."""
    return any(subject.path.suffix != ".pt" for subject in subjects)


def _short_hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:NAME_DIGITS]


def _frost_digest(textures: str | None) -> str:
    digest = hashlib.sha256()
    for texture in frost_textures(textures).pictures:
        digest.update(str(texture.shape).encode() + texture.tobytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _check_names(detector: Detector, names: tuple[str, ...], weights: Path, data: Path) -> None:
    if detector.names != names:
        raise InputError(
            f"{weights} knows {len(detector.names)} classes ({', '.join(detector.names[:3])}, ...), {data} has "
            f"{len(names)} ({', '.join(names[:3])}, ...); name the data set that it was trained on"
        )


# ------------------------------------------------------------------------------------------------------------ results


def _results(
    subjects: Sequence[Subject], baseline: str, settings: Settings, tasks: Sequence[Task], truth: GroundTruth
) -> Results:
    scores: list[Score] = []
    class_scores: list[ClassScore] = []
    for task in tasks:
        corruption, severity = task.damage.corruption, task.damage.severity
        for name, cell in task.cells.items():
            found = cell.scores()
            scores.append(_score(name, corruption, severity, found, len(truth.image_ids)))
            class_scores += [
                ClassScore(
                    model=name,
                    corruption=corruption,
                    severity=severity,
                    name=label,
                    map50_95=found["class_ap50_95"][label],
                    map50=found["class_ap50"][label],
                )
                for label in truth.names
            ]
    results = Results(
        models=tuple(subject.model for subject in subjects),
        baseline=baseline,
        corruptions=settings.corruptions,
        severities=settings.severities,
        scores=tuple(scores),
        class_scores=tuple(class_scores),
        setup=_setup(settings, len(truth.image_ids), tasks),
    )
    return replace(results, deltas=_deltas(results, _resampled(tasks, truth, settings)))


def _score(model: str, corruption: str, severity: int, found: dict[str, Any], images: int) -> Score:
    return Score(
        model=model,
        corruption=corruption,
        severity=severity,
        images=images,
        map50_95=found["map50_95"] or 0.0,
        map50=found["map50"] or 0.0,
        map75=found["map75"] or 0.0,
        small=found["map_small"],
        medium=found["map_medium"],
        large=found["map_large"],
        voc07_ap50=found["voc07_ap50"] or 0.0,
        voc_ap50=found["voc_ap50"] or 0.0,
    )


def _setup(settings: Settings, images: int, tasks: Sequence[Task]) -> dict[str, Any]:
    key = tasks[0].cells[next(iter(tasks[0].cells))].key
    name = settings.data.parent.name if settings.data.stem == "data" else settings.data.name
    setup = {"data": name, "data_sha256": key["data"], "pictures": images, "imgsz": settings.imgsz}
    setup |= {"seed": settings.seed, "resamples": settings.resamples}
    if "frost" in settings.corruptions:
        setup["frost textures"] = frost_textures(settings.textures).source
    return setup | {"versions": key["versions"]}


Kind = tuple[str, int]
Resampled = dict[str, dict[Kind, NDArray[np.float64]]]
"""Resampled mAP [B] by model and kind of pictures."""


def _resampled(tasks: Sequence[Task], truth: GroundTruth, settings: Settings) -> Resampled:
    """Resample every cell, in worker processes where there are some."""
    places = [
        (name, (task.damage.corruption, task.damage.severity), cell.detections_file)
        for task in tasks
        for name, cell in task.cells.items()
    ]
    found: Resampled = {name: {} for name in tasks[0].cells}
    if settings.workers:
        with ProcessPoolExecutor(settings.workers, get_context("spawn"), start_worker) as pool:
            futures = [pool.submit(resample, truth, file, settings.resamples, settings.seed) for _, _, file in places]
            values = [future.result() for future in futures]
    else:
        values = [resample(truth, file, settings.resamples, settings.seed) for _, _, file in places]
    for (name, kind, _), value in zip(places, values, strict=True):
        found[name][kind] = value
    return found


def _deltas(results: Results, resampled: Resampled) -> tuple[Delta, ...]:
    deltas = []
    base = results.baseline
    for model in (model.name for model in results.models if model.name != base):
        for corruption, severity, kinds in _averages(results):
            points = [results.score(model, *k).map50_95 - results.score(base, *k).map50_95 for k in kinds]
            low, high = interval(np.mean([resampled[model][k] - resampled[base][k] for k in kinds], axis=0))
            deltas.append(
                Delta(
                    model=model,
                    corruption=corruption,
                    severity=severity,
                    points=100 * math.fsum(points) / len(points),
                    low=100 * low,
                    high=100 * high,
                )
            )
    return tuple(deltas)


def _averages(results: Results) -> list[tuple[str, int, list[Kind]]]:
    """Return what deltas are of: a corruption or a set of them, a severity or 0 for all, and the cells averaged."""
    levels = results.severities
    groups: dict[str, list[str]] = {name: [name] for name in results.corruptions}
    groups[ALL] = list(results.corruptions)
    groups[BENCHMARK] = [name for name in results.corruptions if name in select(["benchmark"])]
    found: list[tuple[str, int, list[Kind]]] = [(CLEAN, OVER_SEVERITIES, [(CLEAN, OVER_SEVERITIES)])]
    for group, names in ((group, names) for group, names in groups.items() if names):
        found.append((group, OVER_SEVERITIES, [(name, level) for name in names for level in levels]))
        found += [(group, level, [(name, level) for name in names]) for level in levels]
    return found
