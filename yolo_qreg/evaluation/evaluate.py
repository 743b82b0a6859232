"""An evaluation from weights to results: sweep, intervals, gallery."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from corruptions.registry import CHANNELS, SMALLEST_SIDE, for_channels
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.damage import Workshop, available_cores
from yolo_qreg.evaluation.detections import GroundTruth
from yolo_qreg.evaluation.gallery import SHOWN_SCORE, choose_picture, write_gallery
from yolo_qreg.evaluation.models import Subject, compare, single_class
from yolo_qreg.evaluation.results import Results
from yolo_qreg.evaluation.scoring import Resample
from yolo_qreg.evaluation.sweep import Sweep, Task, Watch
from yolo_qreg.evaluation.tabulate import ResampledMap, collect
from yolo_qreg.evaluation.tasks import Settings, digest_of, make_tasks, needs_squares
from yolo_qreg.files import check_writable, sweep
from yolo_qreg.host.datasets import LabelledPicture, spread, validation_pictures
from yolo_qreg.host.predict import Detector, one_thread


@dataclass(frozen=True, slots=True)
class Material:
    """What models are shown.

    Attributes:
        names: Class names.
        pictures: In the order in which models see them.
        truth: Their boxes.
        digest: Hash of all of it.
        unusable: Pictures left out.
        channels: Of each picture: 3 for colour, 1 for grey.
    """

    names: tuple[str, ...]
    pictures: tuple[LabelledPicture, ...]
    truth: GroundTruth
    digest: str
    unusable: tuple[Path, ...]
    channels: int


def load_material(data: Path, limit: int | None = None, strict: bool = False, single_class: bool = False) -> Material:
    """Read a data set's `val` split.

    Args:
        data: Its YAML file.
        limit: Number of pictures, spread evenly; None for all.
        strict: Whether a picture that cannot be used is an error.
        single_class: Whether all classes are taken for one, as in a training with single_cls=True.

    Raises:
        InputError: It cannot be used, or holds no box.
    """
    found = validation_pictures(
        data, strict=strict, smallest=SMALLEST_SIDE, channels=CHANNELS, single_class=single_class
    )
    pictures = sorted(spread(found.pictures, limit), key=_aspect)
    truth = _truth(pictures, found.names)
    if not len(truth.label):
        raise InputError(f"data={data} has no box in its {len(pictures)} pictures; label them, or name other data")
    return Material(
        names=found.names,
        pictures=tuple(pictures),
        truth=truth,
        digest=digest_of(pictures, found.names, found.channels),
        unusable=found.unusable,
        channels=found.channels,
    )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation that was checked and can begin.

    Attributes:
        subjects: The models.
        settings: What to evaluate.
        material: Of its data set.
        tasks: Clean pictures first, then each corruption and severity.
    """

    subjects: Sequence[Subject]
    settings: Settings
    material: Material
    tasks: Sequence[Task]

    def views(self) -> int:
        """Return how many pictures models have yet to see, each counted once per model and damage."""
        return len(self.material.pictures) * sum(len(task.missing()) for task in self.tasks)


def prepare(subjects: Sequence[Subject], settings: Settings, material: Material | None = None) -> Evaluation:
    """Check what an evaluation needs.

    Args:
        subjects: The models.
        settings: What to evaluate.
        material: Of its data set, where that was read before.

    Raises:
        InputError: Data or weights cannot be used, or do not fit each other, or a folder cannot be written.
    """
    held = material or load_material(settings.data, settings.limit, settings.strict, single_class(subjects))
    for subject in subjects:
        if subject.names:
            _check_names(subject.names, held.names, subject.path, settings.data)
    settings = replace(settings, corruptions=possible(settings.corruptions, held.channels, settings.data))
    tasks = make_tasks(subjects, settings, held.digest, held.channels)
    for folder in (settings.out, settings.cells, settings.cache):
        check_writable(folder)
        sweep(folder)
    return Evaluation(subjects, settings, held, tasks)


def possible(corruptions: tuple[str, ...], channels: int, data: Path) -> tuple[str, ...]:
    """Return the corruptions that pictures of so many channels can have.

    Raises:
        InputError: There were some, and none is left.
    """
    left = for_channels(corruptions, channels)
    if corruptions and not left:
        raise InputError(f"{', '.join(corruptions)} needs colour, and the pictures of {data} are grey; name others")
    return left


def fill(evaluation: Evaluation, told: Watch) -> ResampledMap:
    """Run what is missing, and return the resampled mAP of every cell.

    Args:
        evaluation: What `prepare` returned.
        told: Told of progress.

    Raises:
        InputError: A picture or a model cannot be used.
    """
    subjects, settings, material = evaluation.subjects, evaluation.settings, evaluation.material

    @cache
    def detector(name: str, copy: int) -> Detector:
        path = next(subject.path for subject in subjects if subject.model.name == name)
        loaded = Detector(
            path, imgsz=settings.imgsz, batch=settings.batch, device=settings.device, square=needs_squares(subjects)
        )
        _check_names(loaded.names, material.names, path, settings.data)
        if loaded.channels != material.channels:
            raise InputError(
                f"{path} takes pictures of {loaded.channels} channels, those of {settings.data} have "
                f"{material.channels}; name the data set that it was trained on"
            )
        return loaded

    on_cpu = settings.kind_of_device == "cpu"
    threads = (settings.threads or available_cores()) if on_cpu else 1
    with Workshop(settings.workers, ahead=settings.batch) as workshop, one_thread():
        Sweep(
            detectors=detector,
            paths=[picture.path for picture in material.pictures],
            truth=material.truth,
            workshop=workshop,
            watch=told,
            copies=math.ceil(threads / len(subjects)),
            at_once=threads,
        ).run(evaluation.tasks)
        work = Resample(material.truth, settings.resamples, settings.seed)
        return _resample(evaluation.tasks, work, workshop, told)


def evaluate(
    subjects: Sequence[Subject],
    baseline: str,
    settings: Settings,
    watch: Callable[[int], Watch],
    material: Material | None = None,
) -> Results:
    """Run what is missing, and return the results of everything.

    Args:
        subjects: The models, the baseline among them.
        baseline: Its name.
        settings: What to evaluate.
        watch: Called with how many pictures models have to see, each counted once per model and damage; returns what
            is told of progress.
        material: Of its data set, where that was read before.

    Raises:
        InputError: Data or weights cannot be used, or do not fit each other, or a folder cannot be written.
    """
    ready = prepare(subjects, settings, material)
    resampled = fill(ready, watch(ready.views()))
    held, tasks = ready.material, ready.tasks
    results = collect(subjects, baseline, ready.settings, tasks, held.names, len(held.pictures), resampled)
    setup = {**results.setup, **_twins(subjects, baseline)}
    setup["gallery"] = _gallery(tasks, held.truth, baseline, ready.settings)
    if without := [name for name in settings.corruptions if name not in ready.settings.corruptions]:
        setup["corruptions left out"] = without
    if held.unusable:
        setup["pictures left out"] = [str(path) for path in held.unusable]
    return replace(results, setup=setup)


def _twins(subjects: Sequence[Subject], baseline: str) -> dict[str, object]:
    """Return of which models the baseline is the FP32 twin, and in what the trainings of others differ from its own."""
    found = compare(subjects, baseline)
    twins = [name for name, differences in found.items() if not differences]
    others = {name: list(differences) for name, differences in found.items() if differences}
    facts = {"FP32 twin of": twins, "no twin of (model against baseline)": others}
    return {f"baseline is {what}": value for what, value in facts.items() if value}


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
        (name, (task.damage.corruption, task.damage.severity)): cell
        for task in tasks
        for name, cell in task.cells.items()
    }
    found = {key: kept for key, cell in cells.items() if (kept := work.kept(cell)) is not None}
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
