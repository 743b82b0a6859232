"""Pictures of frosted windows for the frost corruption: the published ones where they are at hand, else generated ones.

The published photographs come inside the imagecorruptions wheel (`pip install "yolo-qreg[frost]"`). Its files are
read as data; the package itself, which no longer imports beside current releases of NumPy and setuptools, is not
touched.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from corruptions.draws import FastDraws
from corruptions.pixels import PICTURE_SUFFIXES, Image

PUBLISHED = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The five that are ever drawn; a sixth lies beside them unused, and the second and third show the same picture."""

FOLDER_VARIABLE = "CORRUPTIONS_FROST"
"""Environment variable that names a folder of textures."""

_LARGEST_KEPT = 12 * 2**20
"""Bytes up to which an enlarged texture is kept for the next picture; eight are, 96 MB at most."""


@dataclass(frozen=True, eq=False)
class Textures:
    """A set of frost pictures, each as likely to be drawn."""

    source: str
    """Where they come from: `published`, `generated` or `folder:` and the folder's name."""
    pictures: tuple[Image, ...]

    def covering(self, index: int, height: int, width: int, scale: float) -> Image:
        """Return a picture enlarged to cover [height, width] where it is smaller, then magnified by `scale`.

        It stays a tenth larger than [height, width] at least, so that there is something to choose from.
        """
        texture = self.pictures[index]
        cover = max(height / texture.shape[0], width / texture.shape[1])
        magnification = max(scale * max(cover, 1), 1.1 * cover)
        size = (int(np.ceil(texture.shape[1] * magnification)), int(np.ceil(texture.shape[0] * magnification)))
        resized = _kept if 3 * size[0] * size[1] <= _LARGEST_KEPT else _resized
        return resized(self, index, size)


def _resized(textures: Textures, index: int, size: tuple[int, int]) -> Image:
    return cv2.resize(textures.pictures[index], size, interpolation=cv2.INTER_CUBIC)


_kept = lru_cache(maxsize=8)(_resized)
"""Resizes once per size: pictures that are smaller than the textures all share one."""


def frost_textures(folder: str | os.PathLike[str] | None = None) -> Textures:
    """Return the textures to use, decoded once per process.

    Args:
        folder: Where to read pictures: the five published ones where all are there, else every picture in name order.
            By default the folder that the environment variable CORRUPTIONS_FROST names, else the published ones from an
            installed imagecorruptions, else generated ones, with one warning.

    Raises:
        ValueError: The folder does not exist, or has no picture that can be read.
    """
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    return _from_folder(str(Path(folder).resolve())) if folder else _installed_or_generated()


@lru_cache(maxsize=4)
def _from_folder(folder: str) -> Textures:
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f"frost textures: {folder} is not a folder; name one that holds pictures")
    paths = [place / name for name in PUBLISHED]
    if not all(path.is_file() for path in paths):
        paths = sorted(path for path in place.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise ValueError(f"frost textures: no picture in {folder}; name a folder that holds PNG or JPEG files")
    return Textures(f"folder:{place.name}", tuple(_read(path) for path in paths))


@lru_cache(maxsize=1)
def _installed_or_generated() -> Textures:
    spec = importlib.util.find_spec("imagecorruptions")
    for place in (spec.submodule_search_locations or []) if spec else []:
        paths = [Path(place) / "frost" / name for name in PUBLISHED]
        if all(path.is_file() for path in paths):
            return Textures("published", tuple(_read(path) for path in paths))
    warnings.warn(
        'frost uses generated textures, so its scores are not the benchmark\'s: pip install "yolo-qreg[frost]" for the '
        f"published ones, or name a folder in {FOLDER_VARIABLE}",
        stacklevel=2,
    )
    return Textures("generated", tuple(_generate(index) for index in range(len(_LIKENESS))))


def _read(path: Path) -> Image:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"frost textures: {path} is not a picture; remove it or replace it")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True, slots=True)
class _Likeness:
    """What a generated texture takes from a published one: measured figures, no pixels."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    shared: tuple[float, float, float]
    """Correlation of each channel with the pattern that all share."""
    slope: float
    """Power falls as frequency to this power."""
    height: int
    width: int


_LIKENESS = (
    _Likeness((77.7, 149.1, 165.7), (26.9, 16.5, 15.3), (0.75, 0.99, 0.94), -1.99, 600, 900),
    _Likeness((200.8, 205.4, 214.5), (21.4, 22.1, 22.6), (1, 1, 1), -1.67, 315, 560),
    _Likeness((200.8, 205.4, 214.5), (21.4, 22.1, 22.6), (1, 1, 1), -1.67, 315, 560),
    _Likeness((137.6, 152.8, 165.2), (28.5, 28.5, 29.9), (1, 1, 1), -1.24, 350, 527),
    _Likeness((112.4, 123.4, 134.8), (44.4, 43.3, 41.7), (1, 1, 1), -1.67, 495, 660),
)


def _generate(index: int) -> Image:
    """Make a texture with the mean, spread and power spectrum of a published one, the same every time."""
    likeness = _LIKENESS[index]
    draws = FastDraws(np.random.Generator(np.random.SFC64(index)))
    shared, own = (_coloured_noise(likeness, draws) for _ in range(2))
    channels = [
        mean + std * (share * shared + np.sqrt(1 - share**2) * own)
        for mean, std, share in zip(likeness.mean, likeness.std, likeness.shared, strict=True)
    ]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def _coloured_noise(likeness: _Likeness, draws: FastDraws) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return normal noise of mean 0 and standard deviation 1 whose power falls as frequency^slope, [H, W]."""
    shape = (likeness.height, likeness.width)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf  # no constant part
    spectrum = np.fft.rfft2(draws.normal(0, 1, shape)) * frequency ** (likeness.slope / 2)
    noise = np.fft.irfft2(spectrum, shape)
    return noise / noise.std()
