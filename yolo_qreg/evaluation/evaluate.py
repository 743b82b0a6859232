"""An evaluation from weights to results: sweep, intervals, gallery."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from corruptions.registry import SMALLEST_SIDE
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.damage import Workshop, available_cores
from yolo_qreg.evaluation.detections import GroundTruth
from yolo_qreg.evaluation.gallery import SHOWN_SCORE, choose_picture, write_gallery
from yolo_qreg.evaluation.models import Subject
from yolo_qreg.evaluation.results import Results
from yolo_qreg.evaluation.scoring import Resample
from yolo_qreg.evaluation.sweep import Sweep, Task, Watch
from yolo_qreg.evaluation.tabulate import ResampledMap, collect
from yolo_qreg.evaluation.tasks import Settings, make_tasks, needs_squares
from yolo_qreg.files import check_writable
from yolo_qreg.host.datasets import LabelledPicture, validation_pictures
from yolo_qreg.host.predict import Detector, device_type, one_thread


def evaluate(subjects: Sequence[Subject], baseline: str, settings: Settings, watch: Callable[[int], Watch]) -> Results:
    """Run what is missing, and return the results of everything.

    Args:
        subjects: The models, the baseline among them.
        baseline: Its name.
        settings: What to evaluate.
        watch: Called with how many pictures models have to see, each counted once per model and damage; returns what
            is told of progress.

    Raises:
        InputError: Data or weights cannot be used, or do not fit each other, or a folder cannot be written.
    """
    found = validation_pictures(settings.data, strict=settings.strict, smallest=SMALLEST_SIDE)
    for subject in subjects:
        if subject.names:
            _check_names(subject.names, found.names, subject.path, settings.data)
    pictures = sorted(spread(found.pictures, settings.limit), key=_aspect)
    truth = _truth(pictures, found.names)
    if not len(truth.label):
        raise InputError(
            f"data={settings.data} has no box in its {len(pictures)} pictures; label them, or name other data"
        )
    tasks = make_tasks(subjects, settings, pictures, found.names)
    for folder in (settings.out, settings.cells, settings.cache):
        check_writable(folder)

    @cache
    def detector(name: str, copy: int) -> Detector:
        path = next(subject.path for subject in subjects if subject.model.name == name)
        loaded = Detector(
            path, imgsz=settings.imgsz, batch=settings.batch, device=settings.device, square=needs_squares(subjects)
        )
        _check_names(loaded.names, found.names, path, settings.data)
        return loaded

    told = watch(len(pictures) * sum(len(task.missing()) for task in tasks))
    cores = available_cores() if device_type(settings.device) == "cpu" else 1
    with Workshop(settings.workers, ahead=settings.batch) as workshop, one_thread():
        Sweep(
            detectors=detector,
            paths=[picture.path for picture in pictures],
            truth=truth,
            workshop=workshop,
            watch=told,
            copies=math.ceil(cores / len(subjects)),
            at_once=cores,
        ).run(tasks)
        resampled = _resample(tasks, Resample(truth, settings.resamples, settings.seed), workshop, told)
    results = collect(subjects, baseline, settings, tasks, found.names, len(pictures), resampled)
    setup = {**results.setup, "gallery": _gallery(tasks, truth, baseline, settings)}
    if found.unusable:
        setup["pictures left out"] = [str(path) for path in found.unusable]
    return replace(results, setup=setup)


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


def _check_names(own: Sequence[str], names: Sequence[str], weights: Path, data: Path) -> None:
    if tuple(own) != tuple(names):
        raise InputError(
            f"{weights} knows {len(own)} classes ({', '.join(own[:3])}, ...), {data} has {len(names)} "
            f"({', '.join(names[:3])}, ...), in this order; name the data set that it was trained on"
        )


def _resample(tasks: Sequence[Task], work: Resample, workshop: Workshop, told: Watch) -> ResampledMap:
    """Return the resampled mAP of every cell; what is not kept from before is computed by the workers."""
    cells = {
        (name, (task.damage.corruption, task.damage.severity)): cell.detections_file
        for task in tasks
        for name, cell in task.cells.items()
    }
    found = {key: kept for key, file in cells.items() if (kept := work.kept(file)) is not None}
    missing = [key for key in cells if key not in found]
    for key, values in zip(missing, workshop.map(work, [cells[key] for key in missing]), strict=True):
        told("confidence intervals", 0)
        found[key] = values
    return found


def _gallery(tasks: Sequence[Task], truth: GroundTruth, baseline: str, settings: Settings) -> dict[str, object]:
    severity = sorted(settings.severities)[len(settings.severities) // 2] if settings.severities else 0
    image = choose_picture(truth, tasks[0].cells[baseline].detections())
    write_gallery(tasks, truth, image, severity, settings.out)
    return {"picture": Path(truth.image_ids[image]).name, "severity": severity, "least score": SHOWN_SCORE}
