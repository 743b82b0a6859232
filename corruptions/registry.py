"""The 19 corruptions by name, and the one function that applies them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast, get_args

import numpy as np

from corruptions import blur, digital, noise, weather
from corruptions.draws import Draws, FastDraws, ReferenceDraws
from corruptions.frost import frost_textures
from corruptions.pixels import Image
from corruptions.tables import PARAMETERS, Level, Levels

Severity = Literal[1, 2, 3, 4, 5]
Group = Literal["noise", "blur", "weather", "digital", "holdout"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
GROUPS: tuple[Group, ...] = get_args(Group)

SMALLEST_SIDE = 32


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to damage a picture."""

    name: str
    group: Group
    random: bool
    """Whether it draws random numbers."""
    function: Callable[..., Image]
    """Called with the picture, the severity's parameters and a source of random numbers."""

    @property
    def benchmark(self) -> bool:
        """Whether it is one of the 15 over which the published benchmarks average; four were held out for tuning."""
        return self.group != "holdout"

    def levels(self, parameters: str = "imagenet-c") -> Levels:
        """Return its parameters at severities 1 to 5.

        Raises:
            ValueError: There is no such parameter set.
        """
        if parameters not in PARAMETERS:
            raise ValueError(f"parameters={parameters!r} is not known; choose one of {', '.join(PARAMETERS)}")
        return PARAMETERS[parameters][self.name]


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        function.__name__: Corruption(function.__name__, cast("Group", group), random, function)
        for group, random, function in (
            ("noise", True, noise.gaussian_noise),
            ("noise", True, noise.shot_noise),
            ("noise", True, noise.impulse_noise),
            ("blur", False, blur.defocus_blur),
            ("blur", True, blur.glass_blur),
            ("blur", True, blur.motion_blur),
            ("blur", False, blur.zoom_blur),
            ("weather", True, weather.snow),
            ("weather", True, weather.frost),
            ("weather", True, weather.fog),
            ("digital", False, digital.brightness),
            ("digital", False, digital.contrast),
            ("digital", True, digital.elastic_transform),
            ("digital", False, digital.pixelate),
            ("digital", False, digital.jpeg_compression),
            ("holdout", True, noise.speckle_noise),
            ("holdout", False, blur.gaussian_blur),
            ("holdout", True, weather.spatter),
            ("holdout", False, digital.saturate),
        )
    }
)
"""The 19 in published order: 15 of the benchmark, then the four held out."""


def select(names: Iterable[str] = ("all",)) -> tuple[str, ...]:
    """Return corruptions in published order, each once.

    Args:
        names: Names of corruptions, of groups (noise, blur, weather, digital, holdout), `benchmark` (the 15) or `all`.

    Raises:
        ValueError: A name is none of these, or there is none.

    Example:
        >>> select(["weather", "gaussian_noise"])
        ('gaussian_noise', 'snow', 'frost', 'fog')
    """
    wanted = set()
    for name in names:
        found = {
            entry.name
            for entry in CORRUPTIONS.values()
            if name in {"all", entry.name, entry.group} or (name == "benchmark" and entry.benchmark)
        }
        if not found:
            groups = ", ".join((*GROUPS, "benchmark", "all"))
            raise ValueError(f"{name!r} is no corruption; choose from {', '.join(CORRUPTIONS)}, or a group: {groups}")
        wanted |= found
    if not wanted:
        raise ValueError("no corruption is named; name some, or all")
    return tuple(name for name in CORRUPTIONS if name in wanted)


def rng_for(seed: int, image_id: str, name: str, severity: int) -> np.random.Generator:
    """Return the generator for one corruption of one picture, so that no order and no number of workers matters.

    Args:
        seed: Of the whole experiment.
        image_id: Names the picture within the data set, such as its file name without folders.
        name: Of the corruption.
        severity: 1 to 5.

    Returns:
        A generator seeded by a hash of all four.
    """
    key = "\0".join((str(int(seed)), image_id, name, str(int(severity))))
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest, "little")))


def corrupt(
    image: Image,
    name: str,
    severity: int,
    rng: np.random.Generator | None = None,
    *,
    parameters: str = "imagenet-c",
    textures: str | os.PathLike[str] | None = None,
) -> Image:
    """Damage a picture as the corruption benchmarks do.

    Same arguments, same state of `rng`, same bytes, for the same versions of the packages; OpenCV's number of threads
    does not matter. OpenCV 4, which rounds sampling positions to 1/32 pixel, differs from 5 by .04 grey levels in the
    mean of zoom_blur and by .1 in that of elastic_transform, there at edges by up to 5.

    Args:
        image: uint8, RGB [H, W, 3] (never BGR) or grey [H, W] or [H, W, 1], each side 32 or more. Not changed.
        name: One of `CORRUPTIONS`.
        severity: 1 (mild) to 5. Not every corruption gets stronger at every step: glass_blur, snow, frost and saturate
            do not, as published.
        rng: Source of randomness, such as `rng_for` gives; advanced by a fixed amount. Not needed where
            `CORRUPTIONS[name].random` is false.
        parameters: Parameter set: imagenet-c, or cifar-c or tiny-imagenet-c, which suit pictures of 32 and 64 px.
        textures: Folder of pictures for frost; see `frost.frost_textures`.

    Returns:
        A new array of the shape of `image`. Grey pictures get grey damage: one noise value a pixel, colours as their
        luma.

    Raises:
        TypeError: The image is not a uint8 array.
        ValueError: Its shape, the name, the severity, the parameter set or the texture folder is not usable, or `rng`
            is missing.
    """
    entry, level = _resolve(name, severity, parameters)
    if rng is None and entry.random:
        raise ValueError(f"{name} draws random numbers; pass rng, such as numpy.random.default_rng(0)")
    return _apply(entry, level, image, FastDraws(rng or np.random.default_rng(0)), textures)


def replay(
    name: str, image: Image, severity: int, seed: int, *, textures: str | os.PathLike[str] | None = None
) -> Image:
    """Corrupt as imagecorruptions 1.1.2 does after `numpy.random.seed(seed)`, pixel by pixel within one grey level.

    For checks against that package; slower than `corrupt`. Impulse noise cannot be repeated: see `ReferenceDraws`.
    """
    entry, level = _resolve(name, severity, "imagenet-c")
    return _apply(entry, level, image, ReferenceDraws(seed), textures)


def _resolve(name: str, severity: int, parameters: str) -> tuple[Corruption, Level]:
    if name not in CORRUPTIONS:
        raise ValueError(f"{name!r} is no corruption; choose from {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity={severity!r} is not one of 1, 2, 3, 4, 5")
    entry = CORRUPTIONS[name]
    return entry, entry.levels(parameters)[int(severity) - 1]


def _apply(
    entry: Corruption, level: Level, image: Image, draws: Draws, textures: str | os.PathLike[str] | None
) -> Image:
    picture = np.ascontiguousarray(_checked(image))
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    extra = {"textures": frost_textures(textures)} if entry.name == "frost" else {}
    return np.ascontiguousarray(entry.function(picture, level, draws, **extra)).reshape(image.shape)


def _checked(image: Image) -> Image:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"image is {kind}, not a uint8 array; convert it to 0..255 first")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise ValueError(f"image has shape {list(image.shape)}; pass RGB [H, W, 3] or grey [H, W], without alpha")
    if min(image.shape[:2]) < SMALLEST_SIDE:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise ValueError(f"image is {size} px; corruptions need {SMALLEST_SIDE} px a side, enlarge it first")
    return image
