"""Pictures of a folder, one for each corruption, as part of the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import PIL.Image

from corruptions import CORRUPTIONS
from yolo_qreg.findings.names import paper_order

FOLDER = "gallery"
QUALITY, WIDEST_PX = 82, 1640
"""Of an embedded picture: four panels side by side."""
STRIP, STRIP_PX = 2.2, 1000
"""Width over height, and width, from which a picture takes a row of its own."""
MOST_BYTES = 1_500_000
"""Of all pictures together, as JPEG files; in a page they take a third more."""
SMALLER = ((74, 1640), (66, 1220), (50, 1220), (40, 1220), (30, 1220), (40, 820), (30, 620))
"""Qualities and widths that are tried in turn where all together are larger."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a JPEG file, with its size in pixels, and whether it takes a row of its own."""

    corruption: str
    jpeg: bytes
    width: int
    height: int
    strip: bool

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
    embedded, sizes = found, iter(SMALLER)
    while sum(len(picture.jpeg) for picture in embedded) > MOST_BYTES and (size := next(sizes, None)):
        embedded = tuple(_smaller(picture, *size) for picture in found)
    return embedded


def _read(path: Path, corruption: str) -> Picture | None:
    try:
        raw = path.read_bytes()
        with PIL.Image.open(io.BytesIO(raw)) as image:
            image.load()
            strip = image.width > min(STRIP * image.height, STRIP_PX)
            whole = Picture(corruption, raw, image.width, image.height, strip)
            fits = image.format == "JPEG" and image.width <= WIDEST_PX
            return whole if fits else _packed(whole, image.convert("RGB"), QUALITY, WIDEST_PX)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None


def _smaller(picture: Picture, quality: int, width: int) -> Picture:
    with PIL.Image.open(io.BytesIO(picture.jpeg)) as image:
        return min(picture, _packed(picture, image, quality, width), key=lambda entry: len(entry.jpeg))


def _packed(picture: Picture, image: PIL.Image.Image, quality: int, width: int) -> Picture:
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return replace(picture, jpeg=file.getvalue(), width=image.width, height=image.height)
