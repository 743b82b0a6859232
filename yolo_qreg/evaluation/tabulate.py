"""From finished cells to results: scores, and deltas with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions import select
from corruptions.frost import frost_textures
from yolo_qreg.evaluation.bootstrap import interval
from yolo_qreg.evaluation.cells import DROPPED
from yolo_qreg.evaluation.models import Subject
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, OVER_SEVERITIES, ClassScore, Delta, Results, Score
from yolo_qreg.evaluation.sweep import Task
from yolo_qreg.evaluation.tasks import Settings

Kind = tuple[str, int]
"""Corruption and severity."""
ResampledMap = dict[tuple[str, Kind], NDArray[np.float64]]
"""Resampled mAP [B] by model and kind of pictures."""


def collect(
    subjects: Sequence[Subject],
    baseline: str,
    settings: Settings,
    tasks: Sequence[Task],
    names: Sequence[str],
    images: int,
    resampled: ResampledMap,
) -> Results:
    """Return the results of finished cells.

    Args:
        subjects: The models.
        baseline: Name of the one that others are held against.
        settings: What was evaluated.
        tasks: All finished.
        names: Class names.
        images: Number of pictures.
        resampled: mAP of every cell in each resample of the pictures.
    """
    scores: list[Score] = []
    class_scores: list[ClassScore] = []
    dropped: dict[str, int] = {}
    for task in tasks:
        corruption, severity = task.damage.corruption, task.damage.severity
        for name, cell in task.cells.items():
            found = cell.scores()
            dropped[name] = dropped.get(name, 0) + found[DROPPED]
            scores.append(_score(name, corruption, severity, found, images))
            class_scores += [
                ClassScore(
                    model=name,
                    corruption=corruption,
                    severity=severity,
                    name=label,
                    map50_95=found["class_ap50_95"][label],
                    map50=found["class_ap50"][label],
                )
                for label in names
            ]
    results = Results(
        models=tuple(subject.model for subject in subjects),
        baseline=baseline,
        corruptions=settings.corruptions,
        severities=settings.severities,
        scores=tuple(scores),
        class_scores=tuple(class_scores),
        setup=_setup(settings, images, tasks) | _left_out(dropped),
    )
    return replace(results, deltas=_deltas(results, resampled))


def _score(model: str, corruption: str, severity: int, found: dict[str, Any], images: int) -> Score:
    return Score(
        model=model,
        corruption=corruption,
        severity=severity,
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


def _left_out(dropped: dict[str, int]) -> dict[str, Any]:
    some = {name: count for name, count in dropped.items() if count}
    return {"detections left out": some} if some else {}


def _setup(settings: Settings, images: int, tasks: Sequence[Task]) -> dict[str, Any]:
    keys = [cell.key for cell in tasks[0].cells.values()]
    key = keys[0]
    name = settings.data.parent.name if settings.data.stem == "data" else settings.data.name
    setup = {"data": name, "data_sha256": key["data"], "pictures": images, "imgsz": settings.imgsz}
    setup |= {"batch": settings.batch, "padding": key.get("padding", "by batch"), "device": key["device"]}
    setup |= {"seed": settings.seed, "resamples": settings.resamples}
    if "frost" in settings.corruptions:
        setup["frost textures"] = frost_textures(settings.textures).source
    versions: dict[str, str] = {}
    for each in keys:  # exports have a runtime of their own
        versions |= each["versions"]
    return setup | {"versions": versions}


def _deltas(results: Results, resampled: ResampledMap) -> tuple[Delta, ...]:
    deltas = []
    base = results.baseline
    for model in (model.name for model in results.models if model.name != base):
        for corruption, severity, kinds in _averages(results):
            points = [results.score(model, *k).map50_95 - results.score(base, *k).map50_95 for k in kinds]
            ends = interval(np.mean([resampled[model, k] - resampled[base, k] for k in kinds], axis=0))
            low, high = (None if math.isnan(end) else 100 * end for end in ends)
            deltas.append(
                Delta(
                    model=model,
                    corruption=corruption,
                    severity=severity,
                    value=100 * math.fsum(points) / len(points),
                    low=low,
                    high=high,
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
