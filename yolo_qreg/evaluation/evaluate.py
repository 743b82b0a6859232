"""An evaluation from weights to results: what is shown to models, what is stored, and the tables of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions.frost import frost_textures
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.cells import DROPPED, Cells, make_cells, needs_squares
from yolo_qreg.evaluation.config import Settings
from yolo_qreg.evaluation.damage import Damage
from yolo_qreg.evaluation.gallery import CHOSEN_FOR, SHOWN_SCORE, choose_picture, write_gallery
from yolo_qreg.evaluation.material import Material, check_names, load_material, possible
from yolo_qreg.evaluation.models import Subject, compare, single_class
from yolo_qreg.evaluation.results import OVER_SEVERITIES, ClassScore, Kind, Results, Score
from yolo_qreg.evaluation.side_by_side import side_by_side
from yolo_qreg.evaluation.summary import deltas_of
from yolo_qreg.evaluation.sweep import Numbers, Sweep
from yolo_qreg.evaluation.workers import Workshop, available_cores
from yolo_qreg.files import check_writable, sweep
from yolo_qreg.host.predict import Detector, one_thread
from yolo_qreg.progress import Watch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation that was checked and can begin.

    Attributes:
        subjects: The models.
        settings: What to evaluate.
        material: Of its data set.
        cells: What is to be filled.
    """

    subjects: Sequence[Subject]
    settings: Settings
    material: Material
    cells: Cells

    @property
    def numbers(self) -> Numbers:
        """What computes those of a cell."""
        return Numbers(self.material.truth, self.settings.resamples, self.settings.seed)

    def missing(self) -> Cells:
        """Return the cells that are not finished, of kinds of pictures that have such."""
        found = {
            damage: {name: cell for name, cell in by_model.items() if not self.numbers.finished(cell)}
            for damage, by_model in self.cells.items()
        }
        return {damage: by_model for damage, by_model in found.items() if by_model}

    def views(self) -> int:
        """Return how many pictures models have yet to see, each counted once per model and damage."""
        unseen = [cell for by_model in self.cells.values() for cell in by_model.values() if not cell.detected()]
        return len(self.material.pictures) * len(unseen)


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
            check_names(subject.names, held.names, subject.path, settings.data)
    settings = replace(settings, corruptions=possible(settings.corruptions, held.channels, settings.data))
    cells = make_cells(subjects, settings, held.digest, held.channels)
    for folder in (settings.out, settings.cells, settings.cache):
        check_writable(folder)
        sweep(folder)
    return Evaluation(subjects, settings, held, cells)


def fill(evaluation: Evaluation, told: Watch) -> None:
    """Run what is missing.

    Args:
        evaluation: What `prepare` returned.
        told: Told of progress.

    Raises:
        InputError: A picture or a model cannot be used.
    """
    shares = _shares(evaluation)
    if len(shares) > 1:
        side_by_side(_fill, shares, told)
    else:
        _fill(evaluation, told)


def _shares(evaluation: Evaluation) -> list[Evaluation]:
    """Divide what is missing, by kinds of pictures, into as many parts as there are to be processes."""
    settings = evaluation.settings
    missing = list(evaluation.missing().items())
    jobs = min(settings.jobs, len(missing))
    if jobs < 2:
        return [evaluation]
    cores = settings.threads or available_cores()
    settings = replace(settings, workers=math.ceil(settings.workers / jobs), threads=max(1, cores // jobs))
    return [replace(evaluation, settings=settings, cells=dict(missing[first::jobs])) for first in range(jobs)]


def _fill(evaluation: Evaluation, told: Watch) -> None:
    """Run what is missing of an evaluation or of a share of it."""
    subjects, settings, material = evaluation.subjects, evaluation.settings, evaluation.material

    @cache
    def detector(name: str, copy: int) -> Detector:
        path = next(subject.path for subject in subjects if subject.model.name == name)
        loaded = Detector(
            path, imgsz=settings.imgsz, batch=settings.batch, device=settings.device, square=needs_squares(subjects)
        )
        check_names(loaded.names, material.names, path, settings.data)
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
            numbers=evaluation.numbers,
            workshop=workshop,
            watch=told,
            copies=math.ceil(threads / len(subjects)),
            at_once=threads,
        ).run(evaluation.missing())


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
    fill(ready, watch(ready.views()))
    results = _collect(ready, baseline)
    setup = {**results.setup, **_twins(subjects, baseline)}
    setup["gallery"] = _gallery(ready)
    if without := [name for name in settings.corruptions if name not in ready.settings.corruptions]:
        setup["corruptions left out"] = without
    if ready.material.unusable:
        setup["pictures left out"] = [str(path) for path in ready.material.unusable]
    return replace(results, setup=setup)


def _collect(done: Evaluation, baseline: str) -> Results:
    """Return the results of an evaluation whose cells are all finished."""
    settings, images = done.settings, len(done.material.pictures)
    scores: list[Score] = []
    class_scores: list[ClassScore] = []
    resampled: dict[tuple[str, Kind], NDArray[np.float64]] = {}
    dropped: dict[str, int] = {}
    for damage, by_model in done.cells.items():
        for name, cell in by_model.items():
            found = cell.scores()
            dropped[name] = dropped.get(name, 0) + found[DROPPED]
            scores.append(_score(name, damage, found, images))
            class_scores += _class_scores(name, damage, found)
            resampled[name, damage.kind] = cell.resampled(settings.resamples, settings.seed)
    some = {name: count for name, count in dropped.items() if count}
    results = Results(
        models=tuple(subject.model for subject in done.subjects),
        baseline=baseline,
        corruptions=settings.corruptions,
        severities=settings.severities,
        scores=tuple(scores),
        class_scores=tuple(class_scores),
        setup=_setup(done) | ({"detections left out": some} if some else {}),
    )
    return replace(results, deltas=deltas_of(results, resampled))


def _score(model: str, damage: Damage, found: Mapping[str, Any], images: int) -> Score:
    return Score(
        model=model,
        corruption=damage.corruption,
        severity=damage.severity,
        images=images,
        map50_95=found["map50_95"],
        map50=found["map50"],
        map75=found["map75"],
        small=found["map_small"],
        medium=found["map_medium"],
        large=found["map_large"],
        voc07_ap50=found["voc07_ap50"],
        voc_ap50=found["voc_ap50"],
    )


def _class_scores(model: str, damage: Damage, found: Mapping[str, Any]) -> list[ClassScore]:
    return [
        ClassScore(
            model=model,
            corruption=damage.corruption,
            severity=damage.severity,
            name=name,
            map50_95=value,
            map50=found["class_ap50"][name],
        )
        for name, value in found["class_ap50_95"].items()
    ]


def _setup(done: Evaluation) -> dict[str, Any]:
    """Return what the results depend on or were made with."""
    settings = done.settings
    keys = [cell.key for cell in next(iter(done.cells.values())).values()]
    key = keys[0]
    name = settings.data.parent.name if settings.data.stem == "data" else settings.data.name
    setup = {"data": name, "data_sha256": key["data"], "pictures": len(done.material.pictures), "imgsz": settings.imgsz}
    setup |= {"batch": settings.batch, "padding": key.get("padding", "by batch"), "device": key["device"]}
    setup |= {"seed": settings.seed, "resamples": settings.resamples}
    if "frost" in settings.corruptions:
        setup["frost textures"] = frost_textures(settings.textures).source
    versions: dict[str, str] = {}
    for each in keys:  # exports have a runtime of their own
        versions |= each["versions"]
    return setup | {"versions": versions}


def _twins(subjects: Sequence[Subject], baseline: str) -> dict[str, object]:
    """Return of which models the baseline is the FP32 twin, and in what the trainings of others differ from its own."""
    found = compare(subjects, baseline)
    twins = [name for name, differences in found.items() if not differences]
    others = {name: list(differences) for name, differences in found.items() if differences}
    facts = {"FP32 twin of": twins, "no twin of (model against baseline)": others}
    return {f"baseline is {what}": value for what, value in facts.items() if value}


def _gallery(done: Evaluation) -> dict[str, object]:
    severities, truth = sorted(done.settings.severities), done.material.truth
    severity = severities[len(severities) // 2] if severities else OVER_SEVERITIES
    image = choose_picture(truth, done.cells, severity)
    write_gallery(done.cells, truth, image, severity, done.settings.out)
    return {
        "picture": Path(truth.image_ids[image]).name,
        "chosen for": CHOSEN_FOR,
        "severity": severity,
        "least score": SHOWN_SCORE,
    }
