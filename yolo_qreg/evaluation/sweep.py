"""Every model on every kind of pictures: each corrupted picture is made once and shown to all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from corruptions.pixels import Image
from yolo_qreg.evaluation.cells import Cell
from yolo_qreg.evaluation.damage import Damage, Workshop
from yolo_qreg.evaluation.detections import Detections, GroundTruth
from yolo_qreg.evaluation.scoring import score
from yolo_qreg.host.predict import Boxes, Detector

MOST_SCORING = 16
"""Cells that wait to be scored, before the models wait for them."""

Watch = Callable[[str, int], None]
"""Told what is under way and how many pictures a model has seen since the last call."""


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of pictures and the cells to fill with them, by model."""

    damage: Damage
    cells: dict[str, Cell]

    def missing(self) -> dict[str, Cell]:
        """Return the cells that are not finished."""
        return {name: cell for name, cell in self.cells.items() if not cell.finished()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What all tasks share.

    Attributes:
        detectors: Returns the loaded model of a name.
        paths: Pictures, in the order of `truth`.
        truth: Their boxes.
        workshop: Makes the damaged pictures, and scores.
        watch: Told of progress.
        at_once: Models that run at the same time, each in a thread.
    """

    detectors: Callable[[str], Detector]
    paths: Sequence[Path]
    truth: GroundTruth
    workshop: Workshop
    watch: Watch
    at_once: int = 1

    def run(self, tasks: Iterable[Task]) -> None:
        """Fill every cell that is not finished; an interruption loses the task under way and what is being scored."""
        scoring: deque[tuple[Cell, Detections, Future[dict[str, Any]]]] = deque()
        for task in tasks:
            missing = task.missing()
            for name, detections in self._detect(task.damage, missing).items():
                scoring.append((missing[name], detections, self.workshop.aside(score, self.truth, detections)))
            while scoring and (scoring[0][2].done() or len(scoring) > MOST_SCORING):
                _finish(*scoring.popleft())
        while scoring:
            _finish(*scoring.popleft())

    def _detect(self, damage: Damage, names: Collection[str]) -> dict[str, Detections]:
        """Show one kind of pictures to models."""
        if not names:
            return {}
        label = f"{damage.corruption} {damage.severity}" if damage.severity else damage.corruption
        seen = {name: _Collector() for name in names}
        models = {name: self.detectors(name) for name in names}
        size = max(model.batch for model in models.values())
        with ThreadPoolExecutor(self.at_once) as threads:
            for batch in _batches(self.workshop.map(damage.picture, self.paths), size):
                found = {name: threads.submit(_boxes, model, batch) for name, model in models.items()}
                for name, boxes in found.items():
                    seen[name].add(boxes.result())
                    self.watch(label, len(batch))
        return {name: collector.detections() for name, collector in seen.items()}


def _finish(cell: Cell, detections: Detections, scores: Future[dict[str, Any]]) -> None:
    cell.finish(detections, scores.result())


def _boxes(detector: Detector, pictures: list[Image]) -> list[Boxes]:
    return [boxes for part in _batches(iter(pictures), detector.batch) for boxes in detector.detect(part)]


def _batches(pictures: Iterator[Image], size: int) -> Iterator[list[Image]]:
    while batch := list(islice(pictures, size)):
        yield batch


class _Collector:
    """The detections of one model, picture by picture."""

    def __init__(self) -> None:
        self._count = 0
        self._images: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
        self._boxes: list[Boxes] = []

    def add(self, pictures: Iterable[Boxes]) -> None:
        for found in pictures:
            self._images.append(np.full(len(found[1]), self._count, np.int32))
            self._boxes.append(found)
            self._count += 1

    def detections(self) -> Detections:
        boxes, scores, labels = zip(*self._boxes, strict=True)
        return Detections(
            image=np.concatenate(self._images),
            label=np.concatenate(labels),
            score=np.concatenate(scores),
            boxes=np.concatenate(boxes),
        )
