"""Pictures of a folder, one for each corruption, as part of the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from corruptions import CORRUPTIONS
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.report.markup import Html, el

FOLDER = "gallery"
WIDEST_PX = 1640
"""Of an embedded picture: four or five panels side by side that can still be read."""
STRIP = 2.2
"""Width over height from which a picture takes a row of its own."""
QUALITY = 82


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a JPEG file, with its size in pixels."""

    corruption: str
    jpeg: bytes
    width: int
    height: int


def read_gallery(folder: Path, corruptions: Iterable[str] = tuple(CORRUPTIONS)) -> tuple[Picture, ...]:
    """Return the pictures FOLDER/gallery/NAME.jpg in the paper's order; absent and unreadable ones are left out."""
    found = (_read(folder / FOLDER / f"{name}.jpg", name) for name in paper_order(corruptions))
    return tuple(picture for picture in found if picture)


def _read(path: Path, corruption: str) -> Picture | None:
    """Read a picture; a JPEG of modest size stays as it is."""
    try:
        raw = path.read_bytes()
        with PIL.Image.open(io.BytesIO(raw)) as image:
            if image.format == "JPEG" and image.width <= WIDEST_PX:
                image.load()
                return Picture(corruption, raw, image.width, image.height)
            small = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    if small.width > WIDEST_PX:
        height = max(1, round(small.height * WIDEST_PX / small.width))
        small = small.resize((WIDEST_PX, height), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY)
    return Picture(corruption, file.getvalue(), small.width, small.height)


def pictures(found: tuple[Picture, ...]) -> Html:
    """Return the pictures with their names, held by the page itself."""
    return el("div", (_figure(picture) for picture in found), class_="gallery")


def _figure(picture: Picture) -> Html:
    title = title_of(picture.corruption)
    source = f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
    image = el("img", src=source, width=picture.width, height=picture.height, alt=f"Detections, {title}")
    strip = "strip" if picture.width > STRIP * picture.height else None
    return el("figure", el("figcaption", title), el("div", image, class_="view"), class_=strip)
