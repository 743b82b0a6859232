"""Severity tables: every number of the published benchmarks, by name, for severities 1 to 5.

Sources, both Apache-2.0: `imagenet-c` is imagecorruptions 1.1.2 (github.com/bethgelab/imagecorruptions), which
carries ImageNet-C's parameters (Hendrycks & Dietterich 2019, arXiv:1903.12261) over to pictures of any size;
`cifar-c` and `tiny-imagenet-c` are the authors' own sets for 32 and 64 px (github.com/hendrycks/robustness). Lengths
are in pixels and do not grow with the picture unless a field says so; noise and colour parameters are relative to a
range of 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Noise(NamedTuple):
    """Gaussian and speckle noise."""

    sigma: float
    """Standard deviation; for speckle, as a share of the pixel's own value."""


class Shot(NamedTuple):
    """Poisson noise."""

    photons: float
    """Expected count at white: fewer photons, more noise."""


class Impulse(NamedTuple):
    """Salt and pepper."""

    amount: float
    """Share of all channel values that is replaced, half by 255, half by 0."""


class Blur(NamedTuple):
    """Gaussian blur."""

    sigma: float
    """Of the Gaussian, in pixels."""


class Defocus(NamedTuple):
    """Blur by the image of an out-of-focus aperture."""

    radius: float
    """Radius of the disc."""
    alias_sigma: float
    """Sigma of the small Gaussian that smooths the disc's edge."""


class Glass(NamedTuple):
    """Blur, local copies in place, blur."""

    sigma: float
    """Of both Gaussians, in pixels."""
    reach: int
    """Offsets are drawn from -reach to reach - 1."""
    passes: int
    """Times that every pixel copies a neighbour."""


class Motion(NamedTuple):
    """One-sided Gaussian along a line."""

    radius: int
    """The line has 2 radius + 1 samples."""
    sigma: float
    """Of the Gaussian, in pixels."""


class Zoom(NamedTuple):
    """Mean of the picture and its magnifications by 1, 1 + step, ... below stop, as `numpy.arange` counts them."""

    stop: float
    """Where magnifications end; rounding lets some sets reach it."""
    step: float
    """Between magnifications."""


class Snow(NamedTuple):
    """Thresholded noise, magnified and blurred along the wind."""

    mean: float
    """Of the noise that flakes grow from."""
    sigma: float
    """Of the noise that flakes grow from."""
    zoom: float
    """Magnification of the noise."""
    threshold: float
    """Smaller values are no flake."""
    radius: int
    """Of the motion blur, in pixels: the line has 2 radius + 1 samples."""
    motion_sigma: float
    """Of the motion blur, in pixels."""
    keep: float
    """Weight of the picture against its whitened version."""


class Frost(NamedTuple):
    """Weighted sum of the picture and a photograph of frost."""

    image: float
    """Weight of the picture."""
    texture: float
    """Weight of the texture."""
    scale: float = 1.1
    """Magnification of the texture after it was enlarged, where needed, to cover the picture."""


class Fog(NamedTuple):
    """Plasma-fractal clouds."""

    density: float
    """Brightness of the thickest cloud."""
    decay: float
    """Factor between the noise amplitudes of neighbouring scales: smaller is rougher."""


class Shift(NamedTuple):
    """Addition to a value in 0..1."""

    amount: float
    """Added to the value of HSV."""


class Scale(NamedTuple):
    """Factor of a value in 0..1."""

    factor: float
    """Of the distance to the mean."""


class Saturate(NamedTuple):
    """Saturation becomes factor x saturation + shift, clipped to 0..1."""

    factor: float
    """Of the saturation."""
    shift: float
    """Added to it."""


class Elastic(NamedTuple):
    """Smooth random displacement; sigma is 1% of the side, the drawn range .5% of the height."""

    alpha: float
    """Multiplies the smoothed field, in pixels."""


class ElasticAffine(NamedTuple):
    """The older form of the 32 and 64 px sets: a random affine map, then a displacement; all relative to the side."""

    alpha: float
    """Multiplies the smoothed field."""
    sigma: float
    """Of the smoothing."""
    affine: float
    """Range of each of three points' random offsets."""


class Share(NamedTuple):
    """Pixelate: the side left, as a share."""

    side: float
    """Of the side, before it is enlarged again."""


class Jpeg(NamedTuple):
    """JPEG compression with 4:2:0 chroma."""

    quality: int
    """As libjpeg counts it."""


class Spatter(NamedTuple):
    """Drops of water (severities 1-3) or mud (4-5) grown from thresholded noise."""

    mean: float
    """Of the noise that drops grow from."""
    sigma: float
    """Of the noise that drops grow from."""
    blur: float
    """Sigma of the blur that joins the noise to drops, in pixels."""
    threshold: float
    """Smaller values are no drop."""
    amount: float
    """Water: opacity of the thickest drop. Mud: sigma of the blur of its mask."""
    mud: bool
    """Mud instead of water."""


Level = Any
"""One of the tuples above; which one belongs to the corruption."""

Levels = tuple[Level, Level, Level, Level, Level]


def _levels(kind: Any, *rows: Any) -> Levels:
    """Build the five levels of a corruption from its published rows, bare numbers or tuples."""
    first, second, third, fourth, fifth = (kind(*row) if isinstance(row, tuple) else kind(row) for row in rows)
    return first, second, third, fourth, fifth


_IMAGENET_C: dict[str, Levels] = {
    "gaussian_noise": _levels(Noise, 0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _levels(Shot, 60, 25, 12, 5, 3),
    "impulse_noise": _levels(Impulse, 0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": _levels(Defocus, (3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": _levels(Glass, (0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": _levels(Motion, (10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": _levels(Zoom, (1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": _levels(
        Snow,
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": _levels(Frost, (1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": _levels(Fog, (1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": _levels(Shift, 0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _levels(Scale, 0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": _levels(Elastic, 12.5, 16.25, 21.25, 25, 30),
    "pixelate": _levels(Share, 0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": _levels(Jpeg, 25, 18, 15, 10, 7),
    "speckle_noise": _levels(Noise, 0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": _levels(Blur, 1, 2, 3, 4, 6),
    "spatter": _levels(
        Spatter,
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
    "saturate": _levels(Saturate, (0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}

_SMALL_ZOOMS = _levels(Zoom, (1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))

_CIFAR_C: dict[str, Levels] = {
    "gaussian_noise": _levels(Noise, 0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": _levels(Shot, 500, 250, 100, 75, 50),
    "impulse_noise": _levels(Impulse, 0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": _levels(Defocus, (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": _levels(Glass, (0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": _levels(Motion, (6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": _SMALL_ZOOMS,
    "snow": _levels(
        Snow,
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": _levels(Frost, (1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    "fog": _levels(Fog, (0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": _levels(Shift, 0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": _levels(Scale, 0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": _levels(
        ElasticAffine, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)
    ),
    "pixelate": _levels(Share, 0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": _levels(Jpeg, 80, 65, 58, 50, 40),
    "speckle_noise": _levels(Noise, 0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": _levels(Blur, 0.4, 0.6, 0.7, 0.8, 1),
    "spatter": _levels(
        Spatter,
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    "saturate": _levels(Saturate, (0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}

_TINY_IMAGENET_C: dict[str, Levels] = {
    "gaussian_noise": _levels(Noise, 0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": _levels(Shot, 250, 100, 50, 30, 15),
    "impulse_noise": _levels(Impulse, 0.01, 0.02, 0.05, 0.08, 0.14),
    "defocus_blur": _levels(Defocus, (0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": _levels(Glass, (0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": _levels(Motion, (10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": _SMALL_ZOOMS,
    "snow": _levels(
        Snow,
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": _levels(Frost, (1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    "fog": _levels(Fog, (0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": _IMAGENET_C["brightness"],
    "contrast": _IMAGENET_C["contrast"],
    "elastic_transform": _levels(
        ElasticAffine, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)
    ),
    "pixelate": _levels(Share, 0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": _levels(Jpeg, 65, 58, 50, 40, 25),
    "speckle_noise": _levels(Noise, 0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": _levels(Blur, 0.5, 0.75, 1, 1.25, 1.5),
    "spatter": _levels(
        Spatter,
        (0.62, 0.1, 0.7, 0.7, 0.6, False),
        (0.65, 0.1, 0.8, 0.7, 0.6, False),
        (0.65, 0.3, 1, 0.69, 0.6, False),
        (0.65, 0.1, 0.7, 0.68, 0.6, True),
        (0.65, 0.1, 0.5, 0.67, 0.6, True),
    ),
    "saturate": _levels(Saturate, (0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}

PARAMETERS: Mapping[str, Mapping[str, Levels]] = MappingProxyType(
    {
        "imagenet-c": MappingProxyType(_IMAGENET_C),
        "cifar-c": MappingProxyType(_CIFAR_C),
        "tiny-imagenet-c": MappingProxyType(_TINY_IMAGENET_C),
    }
)
"""The published parameter sets; each has all 19 corruptions, in published order."""


def parameter_set(name: str) -> Mapping[str, Levels]:
    """Return a parameter set: the five levels of each corruption.

    Raises:
        ValueError: There is no such set.
    """
    if name not in PARAMETERS:
        raise ValueError(f"parameters={name!r} is not known; choose one of {', '.join(PARAMETERS)}")
    return PARAMETERS[name]
