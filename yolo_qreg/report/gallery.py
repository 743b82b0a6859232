"""Pictures of a folder, one for each corruption, as part of the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from corruptions import CORRUPTIONS
from yolo_qreg.findings.names import paper_order

FOLDER = "gallery"
WIDEST_PX = 1640
"""Of an embedded picture: four or five panels side by side that can still be read."""
STRIP = 2.2
"""Width over height from which a picture takes a row of its own."""
MOST_BYTES = 1_500_000
"""Of all pictures together, as JPEG files; in a page they take a third more."""
QUALITIES = (82, 74, 66, 58, 50, 40, 30)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a JPEG file, with its size in pixels."""

    corruption: str
    jpeg: bytes
    width: int
    height: int

    @property
    def strip(self) -> bool:
        """Whether it takes a row of its own."""
        return self.width > STRIP * self.height

    @property
    def source(self) -> str:
        """Its content as an address."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


def read_gallery(folder: Path, corruptions: Iterable[str] = tuple(CORRUPTIONS)) -> tuple[Picture, ...]:
    """Return the pictures FOLDER/gallery/NAME.jpg in the paper's order; absent and unreadable ones are left out.

    Files of modest size stay as they are; where all together are too large for a page, they are compressed more.
    """
    found = tuple(
        picture
        for name in paper_order(corruptions)
        if (picture := _read(folder / FOLDER / f"{name}.jpg", name)) is not None
    )
    for quality in QUALITIES:
        if sum(len(picture.jpeg) for picture in found) <= MOST_BYTES:
            break
        found = tuple(_smaller(picture, quality) for picture in found)
    return found


def _read(path: Path, corruption: str) -> Picture | None:
    try:
        raw = path.read_bytes()
        with PIL.Image.open(io.BytesIO(raw)) as image:
            if image.format == "JPEG" and image.width <= WIDEST_PX:
                image.load()
                return Picture(corruption, raw, image.width, image.height)
            return _packed(corruption, image.convert("RGB"), QUALITIES[0])
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None


def _smaller(picture: Picture, quality: int) -> Picture:
    with PIL.Image.open(io.BytesIO(picture.jpeg)) as image:
        return min(picture, _packed(picture.corruption, image, quality), key=lambda entry: len(entry.jpeg))


def _packed(corruption: str, image: PIL.Image.Image, quality: int) -> Picture:
    if image.width > WIDEST_PX:
        height = max(1, round(image.height * WIDEST_PX / image.width))
        image = image.resize((WIDEST_PX, height), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Picture(corruption, file.getvalue(), image.width, image.height)
