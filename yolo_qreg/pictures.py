"""Picture files decoded by the host's rules, in processes that know neither torch nor the host.

Every picture of a data set comes through here, so that the models see the pixels that the host's `val` would show them:
upright by EXIF, AVIF and HEIC by Pillow, the high byte of 16 bits, as many channels as the data set has.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

COLOUR = 3
"""Channels of a data set that does not say."""

_FLAGS = {1: cv2.IMREAD_GRAYSCALE, COLOUR: cv2.IMREAD_COLOR}
_TIFF = {".tif", ".tiff"}
_BY_PILLOW = {".avif", ".heic", ".heif"}
_PREFIX = 16
"""Bytes by which Pillow knows a format."""


def decode(data: bytes, path: Path, channels: int = COLOUR) -> NDArray[np.uint8] | None:
    """Return the picture that a file holds, BGR or grey, uint8 [H, W, C]; None where there is no whole one.

    Args:
        data: Of the file.
        path: Its name; the host goes by the suffix.
        channels: Of the data set: 1 for grey, 3 for colour, else every band that the file has.
    """
    try:
        picture = _decode(
            np.frombuffer(data, np.uint8), path.suffix.lower(), _FLAGS.get(channels, cv2.IMREAD_UNCHANGED)
        )
    except cv2.error:
        return None
    if picture is None or picture.size == 0:
        return None
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    picture = picture[..., None] if picture.ndim == 2 else picture
    return picture if picture.dtype == np.uint8 and picture.shape[2] == channels else None


def _decode(data: NDArray[np.uint8], suffix: str, flags: int) -> NDArray[Any] | None:
    if not data.size:
        return None
    picture = None
    if suffix in _TIFF and flags != cv2.IMREAD_GRAYSCALE:
        picture = _all_bands(data, flags)
    elif suffix in _BY_PILLOW:
        picture = _by_pillow(data.tobytes(), flags)
    return cv2.imdecode(data, flags) if picture is None else picture


def _all_bands(data: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """Return a TIFF's first page in colour or, where all bands are wanted, its grey pages of one size as channels."""
    success, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED)
    if not success:
        return None
    if pages[0].ndim == 3:
        first: NDArray[Any] = pages[0]
        return first if flags == cv2.IMREAD_UNCHANGED else first[..., :3]
    alike = len(pages) > 1 and all(page.shape == pages[0].shape for page in pages)
    return np.stack(pages, axis=2) if flags == cv2.IMREAD_UNCHANGED and alike else None


def _by_pillow(data: bytes, flags: int) -> NDArray[Any] | None:
    """Decode upright; by Pillow's plugins themselves, as the host's `Image.open` installs packages for what is none."""
    _register_plugins()
    for open_file, accepts in PIL.Image.OPEN.values():
        if accepts is None or accepts(data[:_PREFIX]) is not True:
            continue
        with suppress(Exception):  # plugins raise whatever their parsers do
            upright = PIL.ImageOps.exif_transpose(open_file(BytesIO(data), ""))
            if flags == cv2.IMREAD_GRAYSCALE:
                return np.asarray(upright.convert("L"))
            return np.ascontiguousarray(np.asarray(upright.convert("RGB"))[..., ::-1])
    return None


@cache
def _register_plugins() -> None:
    PIL.Image.init()
    with suppress(ImportError):  # HEIC, where the package that the host asks for is installed
        import_module("pi_heif").register_heif_opener()
