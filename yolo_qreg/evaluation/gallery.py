"""One picture under every corruption with the boxes of every model, for people to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from corruptions.pixels import Image
from yolo_qreg.evaluation.cells import Cells
from yolo_qreg.evaluation.detections import Detections, GroundTruth
from yolo_qreg.evaluation.matching import IOU_50, match
from yolo_qreg.evaluation.results import OVER_SEVERITIES
from yolo_qreg.files import write_atomic
from yolo_qreg.fonts import font_for

FOLDER = "gallery"
CHOSEN_FOR = "differences between models"
SHOWN_SCORE = 0.25
"""Boxes below this score are not drawn; the host's predict does the same."""
OBJECTS = range(2, 7)
"""How many objects a picture that is shown should have."""
CANDIDATES = 200
"""How many pictures are looked at."""
PANEL_PX = 400
"""Longer side of one model's panel."""
PER_ROW = 4
"""Panels side by side: more could not be read where a page is as wide as a screen."""
GAP_PX, FONT_PX, LINE_PX, QUALITY = 6, 13, 3, 85
TRUTH = "ground truth"
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")


def choose_picture(truth: GroundTruth, cells: Cells, severity: int) -> int:
    """Return the picture on which models differ most, among some of a few objects; of several the one found best.

    A model's mark for a picture is how many objects it finds, less how many boxes it draws where there are none, over
    the kinds of pictures that are shown.

    Args:
        truth: The objects.
        cells: All finished.
        severity: Of the corruptions that are shown.
    """
    counts = np.bincount(truth.image, minlength=len(truth.image_ids))
    few = np.flatnonzero(np.isin(counts, OBJECTS))
    images = few if few.size else np.array([counts.argmax()])
    images = images[np.linspace(0, images.size - 1, min(images.size, CANDIDATES)).astype(int)]
    objects = np.isin(truth.image, images)
    wanted = replace(truth, image=truth.image[objects], label=truth.label[objects], boxes=truth.boxes[objects])
    marks: dict[str, NDArray[np.int64]] = {}
    for damage, by_model in cells.items():
        if damage.severity in (severity, OVER_SEVERITIES):
            for name, cell in by_model.items():
                marks[name] = marks.get(name, 0) + _marks(wanted, cell.detections(), images)
    of_models = np.stack(list(marks.values()))[:, images]
    order = np.lexsort((-of_models.sum(axis=0), -np.ptp(of_models, axis=0)))
    return int(images[order[0]])


def _marks(truth: GroundTruth, found: Detections, images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each picture how many objects are found, less how many boxes show none."""
    drawn = (found.score >= SHOWN_SCORE) & np.isin(found.image, images)
    boxes = Detections(found.image[drawn], found.label[drawn], found.score[drawn], found.boxes[drawn])
    total = np.zeros(len(truth.image_ids), np.int64)
    for kind in match(truth, boxes).classes:
        np.add.at(total, kind.image, np.where(kind.true_positive[IOU_50], 1, -1))
    return total


def write_gallery(cells: Cells, truth: GroundTruth, image: int, severity: int, out: Path) -> None:
    """Write out/gallery/NAME.jpg for clean and every corruption: the objects, then what each model finds.

    Args:
        cells: All finished.
        truth: The objects.
        image: Which picture, by index.
        severity: Of the corruptions.
        out: Folder of the results.
    """
    for old in (out / FOLDER).glob("*.jpg"):
        old.unlink()
    objects = _boxes(truth.boxes, truth.label, None, truth.image == image)
    for damage, by_model in cells.items():
        if damage.severity not in (severity, OVER_SEVERITIES):
            continue
        picture = damage.picture(Path(truth.image_ids[image]))[..., ::-1]
        panels = [(TRUTH, objects)]
        for name, cell in by_model.items():
            found = cell.detections()
            shown = (found.image == image) & (found.score >= SHOWN_SCORE)
            panels.append((name, _boxes(found.boxes, found.label, found.score, shown)))
        data = _page(picture, panels, truth.names)
        _write(out / FOLDER / f"{damage.corruption}.jpg", data)


def _write(path: Path, data: bytes) -> None:
    write_atomic(path, lambda file: file.write(data))


Box = tuple[tuple[float, ...], int, float | None]
"""xyxy in pixels, class number and score."""


def _boxes(boxes: NDArray[Any], label: NDArray[Any], score: NDArray[Any] | None, shown: NDArray[Any]) -> list[Box]:
    scores = [None] * int(shown.sum()) if score is None else score[shown].tolist()
    return [
        (tuple(box), int(kind), value)
        for box, kind, value in zip(boxes[shown].tolist(), label[shown].tolist(), scores, strict=True)
    ]


def _page(picture: Image, panels: Sequence[tuple[str, Sequence[Box]]], names: Sequence[str]) -> bytes:
    """Return the panels in rows of about equal length, each headed by its name, as a JPEG."""
    height, width = picture.shape[:2]
    scale = PANEL_PX / max(height, width)
    size = round(width * scale), round(height * scale)
    whole = PIL.Image.fromarray(np.ascontiguousarray(picture.squeeze())).convert("RGB")
    small = whole.resize(size, PIL.Image.Resampling.LANCZOS)
    head = FONT_PX + 2 * LINE_PX
    rows = math.ceil(len(panels) / PER_ROW)
    columns = math.ceil(len(panels) / rows)
    across, down = size[0] + GAP_PX, size[1] + head + GAP_PX
    page = PIL.Image.new("RGB", (columns * across - GAP_PX, rows * down - GAP_PX), "white")
    for index, (name, boxes) in enumerate(panels):
        shown = small.copy()
        _draw(PIL.ImageDraw.Draw(shown), boxes, scale, names)
        panel = PIL.Image.new("RGB", (size[0], size[1] + head), "white")
        PIL.ImageDraw.Draw(panel).text((1, 0), name, fill="#222222", font=_font(name))
        panel.paste(shown, (0, head))
        page.paste(panel, (index % columns * across, index // columns * down))
    stream = BytesIO()
    page.save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()


@cache
def _font(text: str) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    """Return Pillow's own font, or one that has what it lacks of a text."""
    path = None if text.isascii() else font_for(text)
    return PIL.ImageFont.load_default(FONT_PX) if path is None else PIL.ImageFont.truetype(path, FONT_PX)


def _draw(
    pen: PIL.ImageDraw.ImageDraw,
    boxes: Sequence[Box],
    scale: float,
    names: Sequence[str],
) -> None:
    for box, kind, score in boxes:
        colour = COLOURS[kind % len(COLOURS)]
        left, top, right, bottom = (scale * value for value in box)
        pen.rectangle((left, top, right, bottom), outline=colour, width=2)
        text = names[kind] if score is None else f"{names[kind]} {score:.2f}"
        font = _font(names[kind])
        at = left + 2, max(top - FONT_PX - 1, 0)
        pen.rectangle(pen.textbbox(at, text, font=font), fill=colour)
        pen.text(at, text, fill="white", font=font)
