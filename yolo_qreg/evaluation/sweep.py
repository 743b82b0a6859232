"""What computes: every model on every kind of pictures, and the numbers of what each finds.

Each damaged picture is made once and shown to all models, and each detection is matched once. Without torch: numbers
are computed by worker processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from corruptions.pixels import Image
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.average_precision import coco_summary, mean_of_defined, voc_ap50
from yolo_qreg.evaluation.bootstrap import bootstrap_map, image_weights
from yolo_qreg.evaluation.cells import DROPPED, Cell, Cells
from yolo_qreg.evaluation.damage import Damage
from yolo_qreg.evaluation.detections import Detections, GroundTruth, is_box
from yolo_qreg.evaluation.matching import match
from yolo_qreg.evaluation.workers import DEAD, Workshop

if TYPE_CHECKING:
    from yolo_qreg.host.predict import Boxes, Detector
    from yolo_qreg.progress import Watch

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Numbers:
    """Computes scores and resampled mAP of cells from their detections, and keeps them beside these.

    The resamples are the same for every cell of equally many pictures, which pairs models and corruptions.

    Attributes:
        truth: Boxes of the pictures.
        resamples: Of the pictures.
        seed: Of the resamples.
    """

    truth: GroundTruth
    resamples: int
    seed: int

    def finished(self, cell: Cell) -> bool:
        """Whether a cell has them, and its detections."""
        return cell.finished(self.resamples, self.seed)

    def __call__(self, cell: Cell) -> None:
        """Compute and keep them; the scores are plain data, None where the pictures define none."""
        detections = cell.detections()
        matches = match(self.truth, detections)
        scores = {
            **coco_summary(matches),
            "voc07_ap50": mean_of_defined(voc_ap50(matches, "11")),
            "voc_ap50": mean_of_defined(voc_ap50(matches, "all")),
            DROPPED: detections.dropped,
        }
        cell.keep_scores(scores)
        weights = image_weights(len(self.truth.image_ids), self.resamples, self.seed)
        cell.keep_resampled(bootstrap_map(matches, weights).map50_95, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What all kinds of pictures share.

    Attributes:
        detectors: Returns a loaded model by name and number; one number is used by one thread at a time.
        paths: Pictures, in the order of the boxes that `numbers` has.
        numbers: Computes those of a cell.
        workshop: Makes the damaged pictures, and computes numbers beside them.
        watch: Told what is under way and how many pictures a model has seen since the last call.
        copies: How many of each model run at the same time.
        at_once: Threads that models run in.
    """

    detectors: Callable[[str, int], Detector]
    paths: Sequence[Path]
    numbers: Numbers
    workshop: Workshop
    watch: Watch
    copies: int = 1
    at_once: int = 1

    def run(self, cells: Cells) -> None:
        """Fill cells; an interruption loses the detections under way, and detections that are there are kept."""
        under_way: deque[Future[None]] = deque()
        for damage, by_model in cells.items():
            unseen = [name for name, cell in by_model.items() if not cell.detected()]
            for name, detections in self._detect(damage, unseen).items():
                by_model[name].keep(detections)
            under_way += [self.workshop.aside(self.numbers, cell) for cell in by_model.values()]
            while under_way and under_way[0].done():
                _finish(under_way.popleft())
        if cells:
            self.watch("confidence intervals", 0)
        while under_way:
            _finish(under_way.popleft())

    def _detect(self, damage: Damage, names: Collection[str]) -> Mapping[str, Detections]:
        """Show one kind of pictures to models."""
        if not names:
            return {}
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
                    self.watch(damage.label, seen[name].add(boxes.result()))
        return {name: collector.detections() for name, collector in seen.items()}


def _finish(numbers: Future[None]) -> None:
    try:
        numbers.result()
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
        self._images: list[NDArray[np.int32]] = []
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
