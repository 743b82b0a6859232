"""The 19 corruptions by name, and the one function that applies them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from corruptions import blur, digital, noise, weather
from corruptions.draws import Draws, FastDraws, ReferenceDraws
from corruptions.frost import Textures, frost_textures
from corruptions.pixels import Image
from corruptions.tables import Level, Levels, parameter_set

Severity = Literal[1, 2, 3, 4, 5]
Group = Literal["noise", "blur", "weather", "digital", "holdout"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
GROUPS: tuple[Group, ...] = get_args(Group)

SMALLEST_SIDE = 32

CHANNELS = (1, 3)
"""What pictures may have: grey or RGB."""

LARGEST_SIDE = 2**15 - 2
"""Beyond, OpenCV does not warp."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to damage a picture."""

    function: Callable[..., Image]
    """Called with the picture, the severity's parameters and a source of random numbers."""
    group: Group
    random: bool = True
    """Whether it draws random numbers."""
    textured: bool = False
    """Whether `function` is also called with `textures`."""
    colour: bool = False
    """Whether it needs colour: a grey picture stays as it is."""

    @property
    def name(self) -> str:
        """The published one."""
        return self.function.__name__

    @property
    def benchmark(self) -> bool:
        """Whether it is one of the 15 over which the published benchmarks average; four were held out for tuning."""
        return self.group != "holdout"

    def levels(self, parameters: str = "imagenet-c") -> Levels:
        """Return its parameters at severities 1 to 5.

        Raises:
            ValueError: There is no such parameter set.
        """
        return parameter_set(parameters)[self.name]


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Corruption(noise.gaussian_noise, "noise"),
            Corruption(noise.shot_noise, "noise"),
            Corruption(noise.impulse_noise, "noise"),
            Corruption(blur.defocus_blur, "blur", random=False),
            Corruption(blur.glass_blur, "blur"),
            Corruption(blur.motion_blur, "blur"),
            Corruption(blur.zoom_blur, "blur", random=False),
            Corruption(weather.snow, "weather"),
            Corruption(weather.frost, "weather", textured=True),
            Corruption(weather.fog, "weather"),
            Corruption(digital.brightness, "digital", random=False),
            Corruption(digital.contrast, "digital", random=False),
            Corruption(digital.elastic_transform, "digital"),
            Corruption(digital.pixelate, "digital", random=False),
            Corruption(digital.jpeg_compression, "digital", random=False),
            Corruption(noise.speckle_noise, "holdout"),
            Corruption(blur.gaussian_blur, "holdout", random=False),
            Corruption(weather.spatter, "holdout"),
            Corruption(digital.saturate, "holdout", random=False, colour=True),
        )
    }
)
"""The 19 in published order: 15 of the benchmark, then the four held out."""


def select(names: str | Iterable[str] = "all") -> tuple[str, ...]:
    """Return corruptions in published order, each once.

    Args:
        names: One or more names: of corruptions, of groups (noise, blur, weather, digital, holdout), `benchmark` (the
            15) or `all`.

    Raises:
        ValueError: A name is none of these, or there is none.

    Example:
        >>> select(["weather", "gaussian_noise"])
        ('gaussian_noise', 'snow', 'frost', 'fog')
    """
    wanted = set()
    for name in [names] if isinstance(names, str) else names:
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


def for_channels(names: Iterable[str], channels: int) -> tuple[str, ...]:
    """Return those of the corruptions that change pictures of so many channels: grey ones have no colour to saturate.

    Example:
        >>> for_channels(["fog", "saturate"], 1)
        ('fog',)
    """
    return tuple(name for name in names if channels > 1 or not CORRUPTIONS[name].colour)


def textures_for(names: Iterable[str], folder: str | os.PathLike[str] | None) -> Textures | None:
    """Return the textures that corruptions of these names overlay, None where none does.

    Raises:
        ValueError: The folder has no pictures, or is given although none of the corruptions uses it.
    """
    if any(CORRUPTIONS[name].textured for name in names):
        return frost_textures(folder)
    if folder:
        raise ValueError(f"textures={folder} are for frost, which is not among the corruptions; add it or leave them")
    return None


def is_severity(value: object) -> bool:
    """Tell whether a value is a whole number from 1 to 5, Python's or NumPy's."""
    return _is_integer(value) and value in SEVERITIES


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def rng_for(seed: int, image_id: str, name: str, severity: int) -> np.random.Generator:
    """Return the generator for one corruption of one picture, so that no order and no number of workers matters.

    Args:
        seed: Of the whole experiment.
        image_id: Names the picture within the data set, such as its file name without folders.
        name: One of `CORRUPTIONS`.
        severity: 1 to 5.

    Returns:
        A generator seeded by a hash of all four.

    Raises:
        TypeError: The seed is not an integer, or `image_id` not a string.
        ValueError: The name or the severity is not known.
    """
    _check_seed(seed)
    if not isinstance(image_id, str):
        raise TypeError(f"image_id is {type(image_id).__name__}, not a string; pass the picture's file name")
    _check(name, severity)
    key = "\0".join((str(int(seed)), image_id, name, str(int(severity))))
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()  # names may be no UTF-8
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

    Same arguments, same state of `rng`, same bytes, for the same versions of the packages on processors with the same
    instruction sets; OpenCV's number of threads does not matter. Without AVX2 and FMA, six corruptions differ by one
    grey level in 1 to 8 of a million values. OpenCV 4, which rounds sampling positions to 1/32 pixel, differs from 5 by
    .04 grey levels in the mean of zoom_blur and by .1 in that of elastic_transform, there at edges by up to 5, and else
    by one level in a few of a million values at most.

    Args:
        image: uint8, RGB [H, W, 3] (never BGR) or grey [H, W] or [H, W, 1], each side 32 to 32,766. Not
            changed.
        name: One of `CORRUPTIONS`.
        severity: 1 (mild) to 5. Not every corruption gets stronger at every step: glass_blur, snow, frost and saturate
            do not, as published.
        rng: Source of randomness, such as `rng_for` gives; advanced by a fixed amount. May be None where
            `CORRUPTIONS[name].random` is false.
        parameters: Parameter set: imagenet-c, or cifar-c or tiny-imagenet-c, which suit pictures of 32 and 64 px.
        textures: Folder of pictures for frost; see `frost.frost_textures`.

    Returns:
        A new array of the shape of `image`. Grey pictures get grey damage: one noise value a pixel, colours as their
        luma.

    Raises:
        TypeError: The image is not a uint8 array, or `rng` not a numpy Generator.
        ValueError: The image's shape, the name, the severity, the parameter set or the texture folder is not usable, or
            `rng` is missing.
    """
    entry, level = _resolve(name, severity, parameters)
    if rng is None:
        if entry.random:
            raise ValueError(f"{name} draws random numbers; pass rng, such as numpy.random.default_rng(0)")
        rng = np.random.default_rng(0)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is {type(rng).__name__}, not a numpy Generator; pass numpy.random.default_rng(seed)")
    return _apply(entry, level, image, FastDraws(rng), textures)


def replay(
    image: Image, name: str, severity: int, seed: int, *, textures: str | os.PathLike[str] | None = None
) -> Image:
    """Corrupt as imagecorruptions 1.1.2 does after `numpy.random.seed(seed)`, pixel by pixel within one grey level.

    For checks against that package; slower than `corrupt`. Impulse noise cannot be repeated: see `ReferenceDraws`.

    Args:
        image: As for `corrupt`.
        name: One of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: 0 to 2^32 - 1.
        textures: As for `corrupt`.

    Raises:
        TypeError: The image is not a uint8 array, or the seed not an integer.
        ValueError: The image's shape, the name, the severity, the seed or the texture folder is not usable.
    """
    _check_seed(seed)
    entry, level = _resolve(name, severity, "imagenet-c")
    return _apply(entry, level, image, ReferenceDraws(seed), textures)


def _check_seed(seed: object) -> None:
    if not _is_integer(seed):
        raise TypeError(f"seed={seed!r} is not an integer; pass one, such as 0")


def _check(name: object, severity: object) -> None:
    if not isinstance(name, str) or name not in CORRUPTIONS:
        raise ValueError(f"{name!r} is no corruption; choose from {', '.join(CORRUPTIONS)}")
    if not is_severity(severity):
        raise ValueError(f"severity={severity!r} is not one of 1, 2, 3, 4, 5")


def _resolve(name: str, severity: int, parameters: str) -> tuple[Corruption, Level]:
    _check(name, severity)
    entry = CORRUPTIONS[name]
    return entry, entry.levels(parameters)[int(severity) - 1]


def _apply(
    entry: Corruption, level: Level, image: Image, draws: Draws, textures: str | os.PathLike[str] | None
) -> Image:
    picture = np.ascontiguousarray(_checked(image))
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    extra = {"textures": frost_textures(textures)} if entry.textured else {}
    return np.ascontiguousarray(entry.function(picture, level, draws, **extra)).reshape(image.shape)


def _checked(image: Image) -> Image:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"image is {kind}, not a uint8 array; convert it to 0..255 first")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in CHANNELS):
        raise ValueError(f"image has shape {list(image.shape)}; pass RGB [H, W, 3] or grey [H, W], without alpha")
    size = f"{image.shape[1]}x{image.shape[0]}"
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"image is {size} px; corruptions need {SMALLEST_SIDE} px a side, enlarge it first")
    if max(image.shape[:2]) > LARGEST_SIDE:
        raise ValueError(f"image is {size} px; corruptions take {LARGEST_SIDE} px a side at most, reduce it first")
    return image
