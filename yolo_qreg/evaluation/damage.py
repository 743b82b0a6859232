"""What models are shown: kinds of pictures, clean or damaged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from corruptions import corrupt, rng_for
from corruptions.pixels import Image
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.results import CLEAN, Kind
from yolo_qreg.files import short_name, write_atomic
from yolo_qreg.pictures import COLOUR, decode

NAME_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One kind of pictures.

    Attributes:
        corruption: `clean` or one of the 19.
        severity: 1 to 5, 0 for clean.
        channels: Of the pictures: 3 for colour, 1 for grey.
        seed: Of the random numbers.
        textures: Folder of frost textures; None for the default.
        cache: Folder that keeps corrupted pictures, losslessly; None to keep none.
    """

    corruption: str
    severity: int
    channels: int = COLOUR
    seed: int = 0
    textures: str | None = None
    cache: Path | None = None

    @property
    def kind(self) -> Kind:
        """Corruption and severity."""
        return self.corruption, self.severity

    @property
    def label(self) -> str:
        """What it is called while work goes on."""
        return f"{self.corruption} {self.severity}" if self.severity else self.corruption

    def picture(self, path: Path) -> Image:
        """Return a picture damaged at its original size, BGR [H, W, 3] as the host has it, or grey [H, W, 1].

        Raises:
            InputError: It cannot be read or is too small.
        """
        data = _bytes(path)
        if self.corruption == CLEAN:
            return self._decode(data, path)
        kept = self._kept(path, data)
        if kept is not None and kept.is_file():
            try:
                return self._decode(_bytes(kept), kept)
            except InputError:  # damaged: it is made again
                kept.unlink(missing_ok=True)  # by another evaluation, perhaps
        rng = rng_for(self.seed, path.name, self.corruption, self.severity)
        try:
            rgb = corrupt(
                self._decode(data, path)[..., ::-1], self.corruption, self.severity, rng, textures=self.textures
            )
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        damaged = np.ascontiguousarray(rgb[..., ::-1])
        if kept is not None:
            _, png = cv2.imencode(".png", damaged, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            write_atomic(kept, lambda file: file.write(png.tobytes()))
        return damaged

    def _decode(self, data: bytes, path: Path) -> Image:
        picture = decode(data, path, self.channels)
        if picture is None:
            raise InputError(f"{path} is not a whole picture; replace it or remove it from the data set")
        return picture

    def _kept(self, path: Path, data: bytes) -> Path | None:
        """Return where its result is kept: by name, which decides the random numbers, and by content."""
        if self.cache is None:
            return None
        digest = hashlib.sha256(path.name.encode("utf-8", "surrogatepass") + b"\0" + data).hexdigest()[:NAME_DIGITS]
        return self.cache / f"{self.corruption}-{self.severity}" / f"{short_name(path.stem)}-{digest}.png"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make it readable or remove it") from error
