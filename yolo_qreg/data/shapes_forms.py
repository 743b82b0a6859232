"""The outlines of the `shapes` set, rasterised in integers.

Lengths are integers in units of 1/128 px, sines and cosines in units of 1/4096. Every array is int32, so a picture is
the same on every machine; the largest product stays below 2**30.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

UNIT = 128
"""Length units in a pixel."""
SUB = 4
"""Subsamples along one side of a pixel: 16 decide its coverage."""
TURN = 1024
"""Angle units in a full turn."""

Ints = NDArray[np.int32]
Mask = NDArray[np.bool_]
Outline = Callable[[Ints, Ints, int], Mask]

_TRIG_BITS = 12


def direction(step: int, turn: int = TURN) -> tuple[int, int]:
    """Cosine and sine of `step / turn` of a full turn, in 1/4096.

    Rounding to 12 bits hides the last-bit differences between mathematics libraries.
    """
    angle = 2 * math.pi * step / turn
    return round(math.cos(angle) * 4096), round(math.sin(angle) * 4096)


def _disc(u: Ints, v: Ints, radius: int) -> Mask:
    inside: Mask = u * u + v * v <= radius * radius
    return inside


def _ring(u: Ints, v: Ints, radius: int) -> Mask:
    return _disc(u, v, radius) & ~_disc(u, v, radius * 58 // 100)


def _crescent(u: Ints, v: Ints, radius: int) -> Mask:
    return _disc(u, v, radius) & ~_disc(u - radius * 45 // 100, v, radius * 82 // 100)


def _sides_satisfied(u: Ints, v: Ints, sides: int, distance: int, first: int) -> NDArray[np.int8]:
    """How many of `sides` half-planes, `distance` from the centre and evenly turned, hold each point."""
    count = np.zeros(np.broadcast_shapes(u.shape, v.shape), np.int8)
    for side in range(sides):
        cos, sin = direction(2 * side + first, 2 * sides)
        count += (cos * u + sin * v) >> _TRIG_BITS <= distance
    return count


def _polygon(sides: int) -> Outline:
    apothem = round(math.cos(math.pi / sides) * 4096)

    def outline(u: Ints, v: Ints, radius: int) -> Mask:
        inside: Mask = _sides_satisfied(u, v, sides, radius * apothem >> _TRIG_BITS, 1) == sides
        return inside

    return outline


def _star(u: Ints, v: Ints, radius: int) -> Mask:
    # A pentagram: its tips lie outside exactly one of the five lines that carry its edges.
    inside: Mask = _sides_satisfied(u, v, 5, radius * direction(1, 5)[0] >> _TRIG_BITS, 0) >= 4
    return inside


def _box(u: Ints, v: Ints, half_width: int, half_height: int) -> Mask:
    inside: Mask = (np.abs(u) <= half_width) & (np.abs(v) <= half_height)
    return inside


def _square(u: Ints, v: Ints, radius: int) -> Mask:
    half = radius * 80 // 100
    return _box(u, v, half, half)


def _cross(u: Ints, v: Ints, radius: int) -> Mask:
    arm = radius * 32 // 100
    return _box(u, v, radius, arm) | _box(u, v, arm, radius)


OUTLINES: Mapping[str, Outline] = MappingProxyType(
    {
        "circle": _disc,
        "ring": _ring,
        "crescent": _crescent,
        "triangle": _polygon(3),
        "square": _square,
        "hexagon": _polygon(6),
        "star": _star,
        "cross": _cross,
    }
)
"""Class name -> outline, in the order of the class numbers."""

DISTRACTORS: Mapping[str, Outline] = MappingProxyType(
    {
        "bar": lambda u, v, radius: _box(u, v, radius, max(UNIT, radius // 6)),
        "lens": lambda u, v, radius: _disc(u, 3 * v, radius),
        "corner": lambda u, v, radius: (
            _box(u, v + radius * 70 // 100, radius, radius // 4) | _box(u + radius * 70 // 100, v, radius // 4, radius)
        ),
        "tee": lambda u, v, radius: (
            _box(u, v + radius * 70 // 100, radius, radius // 4) | _box(u, v, radius // 4, radius * 95 // 100)
        ),
    }
)
"""Things that look drawn but belong to no class."""


class Placement(NamedTuple):
    """Where and how one outline is drawn: lengths in 1/128 px, angle in 1/1024 turn, stretch in 1/256."""

    outline: Outline
    center_x: int
    center_y: int
    radius: int
    angle: int
    stretch: int


class Raster(NamedTuple):
    """One rasterised outline, the parts outside the picture included.

    Attributes:
        left: First pixel column of `coverage`; may be negative.
        top: First pixel row of `coverage`; may be negative.
        coverage: int32 [h, w], 0..16 subsamples covered in each pixel.
        box: x0, y0, x1, y1 around all covered subsamples, in quarter pixels, ends excluded.
    """

    left: int
    top: int
    coverage: Ints
    box: tuple[int, int, int, int]


def rasterise(place: Placement) -> Raster:
    """Cover the pixels that an outline touches, at 4 x 4 subsamples a pixel.

    Raises:
        ValueError: If no subsample is covered, which needs a radius far under a pixel.
    """
    # 1.45: the square's corner (0.80 * sqrt 2) at the largest stretch (1.25) and a little room.
    reach = place.radius * 145 // 100 + UNIT
    left, top = (place.center_x - reach) // UNIT, (place.center_y - reach) // UNIT
    side = 2 * reach // UNIT + 2
    steps = np.arange(side * SUB, dtype=np.int32) * (UNIT // SUB) + UNIT // SUB // 2
    x = (steps + (left * UNIT - place.center_x))[None, :]
    y = (steps + (top * UNIT - place.center_y))[:, None]
    cos, sin = direction(place.angle)
    u = (((cos * x + sin * y) >> _TRIG_BITS) * place.stretch) >> 8
    v = (cos * y - sin * x) >> _TRIG_BITS
    mask = place.outline(u, v, place.radius)
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        raise ValueError(f"radius={place.radius}/{UNIT} px covers no subsample; draw at least a pixel")
    box = (
        left * SUB + int(columns[0]),
        top * SUB + int(rows[0]),
        left * SUB + int(columns[-1]) + 1,
        top * SUB + int(rows[-1]) + 1,
    )
    return Raster(left, top, _count(mask), box)


def _count(mask: Mask) -> Ints:
    """Covered subsamples in each pixel; sums of slices, since a reduction over two axes takes five times as long."""
    ones = mask.view(np.int8)
    rows = ones[0::SUB] + ones[1::SUB] + ones[2::SUB] + ones[3::SUB]
    pixels: NDArray[np.int8] = rows[:, 0::SUB] + rows[:, 1::SUB] + rows[:, 2::SUB] + rows[:, 3::SUB]
    return pixels.astype(np.int32)
