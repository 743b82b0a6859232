"""Every model on every kind of pictures: each corrupted picture is made once and shown to all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from corruptions.pixels import Image
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.cells import Cell
from yolo_qreg.evaluation.damage import DEAD, Damage, Workshop
from yolo_qreg.evaluation.detections import Detections, GroundTruth, is_box
from yolo_qreg.evaluation.scoring import score
from yolo_qreg.host.predict import Boxes, Detector

Item = TypeVar("Item")

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
        detectors: Returns a loaded model by name and number; one number is used by one thread at a time.
        paths: Pictures, in the order of `truth`.
        truth: Their boxes.
        workshop: Makes the damaged pictures, and scores.
        watch: Told of progress.
        copies: How many of each model run at the same time.
        at_once: Threads that models run in.
    """

    detectors: Callable[[str, int], Detector]
    paths: Sequence[Path]
    truth: GroundTruth
    workshop: Workshop
    watch: Watch
    copies: int = 1
    at_once: int = 1

    def run(self, tasks: Iterable[Task]) -> None:
        """Fill every cell that is not finished; an interruption loses the detections under way."""
        scoring: deque[tuple[Cell, Future[dict[str, Any]]]] = deque()
        for task in tasks:
            missing = task.missing()
            unseen = [name for name, cell in missing.items() if not cell.detected()]
            for name, detections in self._detect(task.damage, unseen).items():
                missing[name].keep(detections)
            for cell in missing.values():
                scoring.append((cell, self.workshop.aside(score, self.truth, cell)))
            while scoring and scoring[0][1].done():
                _finish(*scoring.popleft())
        while scoring:
            _finish(*scoring.popleft())

    def _detect(self, damage: Damage, names: Collection[str]) -> dict[str, Detections]:
        """Show one kind of pictures to models."""
        if not names:
            return {}
        label = f"{damage.corruption} {damage.severity}" if damage.severity else damage.corruption
        seen = {name: _Collector() for name in names}
        models = {(name, copy): self.detectors(name, copy) for name in names for copy in range(self.copies)}
        size = max(model.batch for model in models.values())
        batches = _groups(self.workshop.map(damage.picture, self.paths), size)
        with ThreadPoolExecutor(self.at_once) as threads:
            for several in _groups(batches, self.copies):
                found = [
                    (name, threads.submit(_boxes, models[name, copy], batch))
                    for copy, batch in enumerate(several)
                    for name in names
                ]
                for name, boxes in found:
                    self.watch(label, seen[name].add(boxes.result()))
        return {name: collector.detections() for name, collector in seen.items()}


def _finish(cell: Cell, scores: Future[dict[str, Any]]) -> None:
    try:
        cell.finish(scores.result())
    except BrokenProcessPool as error:
        raise InputError(DEAD) from error


def _boxes(detector: Detector, pictures: list[Image]) -> list[Boxes]:
    return [boxes for part in _groups(iter(pictures), detector.batch) for boxes in detector.detect(part)]


def _groups(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while group := list(islice(items, size)):
        yield group


class _Collector:
    """The detections of one model, picture by picture."""

    def __init__(self) -> None:
        self._count = 0
        self._images: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
        self._boxes: list[Boxes] = []

    def add(self, pictures: Sequence[Boxes]) -> int:
        """Take the boxes of the next pictures; return how many these are."""
        for found in pictures:
            self._images.append(np.full(len(found[1]), self._count, np.int32))
            self._boxes.append(found)
            self._count += 1
        return len(pictures)

    def detections(self) -> Detections:
        """Return all that have a box; a broken model's NaN boxes find nothing, and end nobody else's work."""
        boxes, scores, labels = map(np.concatenate, zip(*self._boxes, strict=True))
        good = is_box(boxes)
        return Detections(
            image=np.concatenate(self._images)[good],
            label=labels[good],
            score=scores[good],
            boxes=boxes[good],
            dropped=int((~good).sum()),
        )
