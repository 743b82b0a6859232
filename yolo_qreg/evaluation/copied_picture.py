"""One picture of a corrupted copy: worker processes load this module, so it knows neither torch nor the host."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from yolo_qreg.evaluation.damage import Damage
from yolo_qreg.files import write_atomic

Format = Literal["png", "jpeg"]
JPEG_QUALITY = 85
"""Of the JPEG files that ImageNet-C was published as."""
MARK = "yolo-qreg source "
"""Before the hash, in a picture's text."""
_HEAD = 512
"""Bytes at the beginning of a picture that hold its mark."""


def hash_of(path: Path) -> str:
    """Hash what a damaged picture is made from: the file's name, which decides the random numbers, and its bytes."""
    return hashlib.sha256(path.name.encode("utf-8", "surrogatepass") + b"\0" + path.read_bytes()).hexdigest()


def is_of(image: Path, source: str) -> bool:
    """Whether a picture of the copy is there and was made from this file."""
    try:
        with image.open("rb") as file:
            return f"{MARK}{source}".encode() in file.read(_HEAD)
    except OSError:
        return False


def write_image(damage: Damage, form: Format, place: tuple[Path, Path, str]) -> None:
    """Write a damaged picture that tells what it was made from.

    Args:
        damage: Its kind.
        form: Of the file.
        place: The picture's file, the one to write, and the hash of the first.
    """
    source, target, digest = place
    picture = PIL.Image.fromarray(np.ascontiguousarray(damage.picture(source)[..., ::-1].squeeze()))
    stream = BytesIO()
    mark = f"{MARK}{digest}"
    if form == "jpeg":
        picture.save(stream, form, quality=JPEG_QUALITY, comment=mark)
    else:
        text = PIL.PngImagePlugin.PngInfo()
        text.add_text("Comment", mark)
        picture.save(stream, form, compress_level=1, pnginfo=text)
    write_atomic(target, lambda file: file.write(stream.getvalue()))
