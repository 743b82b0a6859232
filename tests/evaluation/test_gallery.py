"""Which picture the gallery shows, and how."""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest

from yolo_qreg.evaluation import gallery
from yolo_qreg.evaluation.detections import Detections, GroundTruth
from yolo_qreg.evaluation.gallery import choose_picture

BOXES = np.array([[10, 10, 50, 50], [60, 60, 90, 90]], np.float32)


class Found(NamedTuple):
    """A cell of which only the detections are asked for."""

    images: tuple[int, ...]
    score: float = 0.9

    def detections(self) -> Detections:
        """Both boxes in each image."""
        image = np.repeat(np.array(self.images, np.int32), 2)
        boxes = np.tile(BOXES, (len(self.images), 1))
        return Detections(image, np.zeros(len(image), np.int16), np.full(len(image), self.score, np.float32), boxes)


class Shown(NamedTuple):
    """A kind of pictures, by severity."""

    severity: int


TRUTH = GroundTruth(
    image_ids=("right", "apart", "missed", "one", "none"),
    sizes=np.full((5, 2), 100, np.int32),
    image=np.array([0, 0, 1, 1, 2, 2, 3], np.int32),
    label=np.zeros(7, np.int16),
    boxes=np.concatenate([BOXES, BOXES, BOXES, BOXES[:1]]),
    names=("thing",),
)


@pytest.mark.parametrize(
    ("clean", "damaged", "picture"),
    [
        ({"a": Found((0, 1)), "b": Found((0,))}, {"a": Found((0,)), "b": Found((0,))}, "apart"),
        ({"a": Found((0, 1)), "b": Found((0, 1), 0.1)}, {"a": Found((0,)), "b": Found((0, 1))}, "right"),
        ({"a": Found((1,))}, {"a": Found((1,))}, "apart"),
        ({"a": Found((4, 4)), "b": Found(())}, {"a": Found(()), "b": Found(())}, "right"),
    ],
)
def test_models_differ_most_on_it(clean: dict[str, Found], damaged: dict[str, Found], picture: str) -> None:
    """By the boxes that are drawn, among pictures of a few objects; a model alone is shown where it finds most.

    Boxes of little score, severities that are not shown and pictures without objects do not count.
    """
    cells = {Shown(0): clean, Shown(3): damaged, Shown(5): {name: Found((2,)) for name in ("a",)}}
    assert TRUTH.image_ids[choose_picture(TRUTH, cells, severity=3)] == picture  # type: ignore[arg-type]


@pytest.mark.parametrize(("models", "columns", "rows"), [(1, 2, 1), (3, 4, 1), (4, 3, 2), (7, 4, 2), (8, 3, 3)])
def test_panels_of_many_models_stand_in_rows(models: int, columns: int, rows: int) -> None:
    """Beside the ground truth; more than four side by side could not be read."""
    panels = [(f"model {index}", ()) for index in range(1 + models)]
    with PIL.Image.open(BytesIO(gallery._page(np.zeros((120, 160, 3), np.uint8), panels, ("thing",)))) as page:
        assert page.width == columns * 406 - 6 and 300 * rows < page.height < 335 * rows
