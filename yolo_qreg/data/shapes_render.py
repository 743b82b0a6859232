"""One picture of the `shapes` set: textured ground, clutter, 1 to 9 objects, light, blur and sensor noise.

H, W picture rows and columns (320). Everything is int32 arithmetic on colours 0..255, drawn from `Words`, so that a
picture depends on its split and number alone: not on the machine, on numpy's or OpenCV's release, or on the order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_qreg.data.shapes_forms import (
    DISTRACTORS,
    OUTLINES,
    SUB,
    TURN,
    UNIT,
    Ints,
    Outline,
    Placement,
    Raster,
    direction,
    rasterise,
)
from yolo_qreg.data.shapes_random import Words
from yolo_qreg.data.shapes_spec import CLASS_NAMES, VERSION

SIZE = 320
"""Side of a picture in pixels."""
SPLITS: tuple[str, ...] = ("train", "val")

MAX_OBJECTS = 9
MIN_VISIBLE_PERCENT = 35
_FULL = SUB * SUB
_X, _Y = (grid.astype(np.int32) for grid in np.meshgrid(np.arange(SIZE), np.arange(SIZE)))


class Box(NamedTuple):
    """A labelled object: class number and a tight box in quarter pixels (0..1280), ends excluded."""

    label: int
    x0: int
    y0: int
    x1: int
    y1: int


class Picture(NamedTuple):
    """Pixels, uint8 RGB [320, 320, 3], and the objects from back to front."""

    pixels: NDArray[np.uint8]
    boxes: tuple[Box, ...]


class Scene(NamedTuple):
    """The objects of a picture before anything is painted, from back to front, one box for each raster."""

    rasters: tuple[Raster, ...]
    boxes: tuple[Box, ...]


def render(split: str, index: int) -> Picture:
    """Draw picture `index` (0 or more) of `split` ("train" or "val").

    Raises:
        ValueError: For any other split or a negative index.
    """
    words = _words(split, index)
    scene = _compose(words)
    canvas = _ground(words)
    for _ in range(words.below(9) if words.chance(70) else 0):
        _paint(canvas, rasterise(_distractor(words)), words)
    for raster in scene.rasters:
        _paint(canvas, raster, words)
    return Picture(_expose(canvas, words), scene.boxes)


def compose(split: str, index: int) -> Scene:
    """The objects of picture `index` of `split`, without painting it.

    Raises:
        ValueError: As `render` does.
    """
    return _compose(_words(split, index))


def _words(split: str, index: int) -> Words:
    if split not in SPLITS or index < 0:
        raise ValueError(f"split={split!r}, index={index}: the splits are {SPLITS}, numbered from 0")
    return Words(VERSION, SPLITS.index(split), index)


def _compose(words: Words) -> Scene:
    """Place objects front to back; one that shows less than 35% of itself is left out of the picture."""
    taken = np.zeros((SIZE, SIZE), np.bool_)
    rasters: list[Raster] = []
    boxes: list[Box] = []
    previous: Placement | None = None
    for _ in range(words.between(1, MAX_OBJECTS)):
        label = words.below(len(CLASS_NAMES))
        place = _place(words, OUTLINES[CLASS_NAMES[label]], previous)
        raster = rasterise(place)
        rows, columns, coverage = _inside(raster)
        free = np.where(taken[rows, columns], 0, coverage)
        if int(free.sum()) * 100 < int(raster.coverage.sum()) * MIN_VISIBLE_PERCENT:
            continue
        taken[rows, columns] |= coverage * 2 >= _FULL
        x0, y0, x1, y1 = (min(max(edge, 0), SIZE * SUB) for edge in raster.box)
        rasters.append(raster)
        boxes.append(Box(label, x0, y0, x1, y1))
        previous = place
    return Scene(tuple(reversed(rasters)), tuple(reversed(boxes)))


def _place(words: Words, outline: Outline, previous: Placement | None) -> Placement:
    """Sizes of 10..110 px, a third of them under 32; a third of the objects crowd the one before."""
    draw = words.below(1000)
    size = 10 + (draw + draw**2 // 1000) // 20
    radius = size * UNIT // 2
    if previous is None:  # the first lies wholly inside, so that no picture is empty
        margin = min(radius * 145 // 100, SIZE * UNIT // 2 - UNIT)
        x, y = (words.between(margin, SIZE * UNIT - margin) for _ in "xy")
    elif words.chance(35):
        reach = previous.radius + radius
        x, y = (near + words.between(-reach, reach) for near in (previous.center_x, previous.center_y))
    else:
        x, y = (words.below(SIZE * UNIT) for _ in "xy")
    return Placement(outline, x, y, radius, words.below(TURN), words.between(216, 304))


def _distractor(words: Words) -> Placement:
    outline = DISTRACTORS[words.pick(tuple(DISTRACTORS))]
    x, y = (words.below(SIZE * UNIT) for _ in "xy")
    return Placement(outline, x, y, words.between(6, 60) * UNIT, words.below(TURN), 256)


def _inside(raster: Raster) -> tuple[slice, slice, Ints]:
    """The rows and columns of the picture that a raster covers, and its coverage there."""
    height, width = raster.coverage.shape
    top, bottom = (min(max(edge, 0), SIZE) for edge in (raster.top, raster.top + height))
    left, right = (min(max(edge, 0), SIZE) for edge in (raster.left, raster.left + width))
    inside = raster.coverage[top - raster.top : bottom - raster.top, left - raster.left : right - raster.left]
    return slice(top, bottom), slice(left, right), inside


def _colour(words: Words) -> Ints:
    return np.array([words.between(30, 225) for _ in "rgb"], np.int32)


def _shift(words: Words, colour: Ints, low: int, high: int) -> Ints:
    """A colour `low`..`high` levels away in every channel, one direction each where 0..255 has room for it."""
    shifted = []
    for level in colour.tolist():
        step = words.between(low, high) * (1 if words.chance(50) else -1)
        shifted.append(level + step if 0 <= level + step <= 255 else level - step)
    return np.clip(np.array(shifted, np.int32), 0, 255)


def _mix(first: Ints, second: Ints, weight: Ints) -> Ints:
    """Blend two colours [3]; `weight` [h, w] runs from 0 (first) to 256 (second). Result [h, w, 3]."""
    blend: Ints = first + (((second - first) * weight[..., None] + 128) >> 8)
    return blend


def _ramp(words: Words, x: Ints, y: Ints) -> Ints:
    """A linear ramp 0..256 over the grid, in any direction."""
    cos, sin = direction(words.below(TURN))
    height = cos * x + sin * y
    low, high = int(height.min()), int(height.max())
    ramp: Ints = ((height - low) >> 4) * 256 // max((high - low) >> 4, 1)
    return ramp


def _wave(words: Words, x: Ints, y: Ints) -> Ints:
    """Stripes with soft edges, 0..256, 6 to 40 px from one to the next."""
    cos, sin = direction(words.below(TURN))
    period = words.between(6, 40) * UNIT
    phase = (((cos * x + sin * y) >> 5) + words.below(period)) % period
    triangle: Ints = np.abs(2 * phase - period) * 512 // period  # 0..512..0 within a period
    wave: Ints = np.clip((triangle - 256) * words.between(1, 4) + 128, 0, 256)
    return wave


def _checker(words: Words, x: Ints, y: Ints) -> Ints:
    """Squares of 6 to 40 px, 0 or 256, turned by any angle."""
    cos, sin = direction(words.below(TURN))
    side = words.between(6, 40) * 4096
    odd = (cos * x + sin * y) // side + (cos * y - sin * x) // side
    checks: Ints = (odd & 1) * 256
    return checks


def _clouds(words: Words, x: Ints, y: Ints) -> Ints:
    """Value noise of three octaves, 0..256."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.int32)
    bits = words.between(4, 6)
    for octave, weight in enumerate((4, 2, 1)):
        total += weight * _lattice(words, x, y, bits - octave)
    return np.clip((total // 7 - 128) * 2 + 128, 0, 256)


def _lattice(words: Words, x: Ints, y: Ints, bits: int) -> Ints:
    """Random levels 0..255 at every 2**bits px, interpolated between."""
    nodes = words.octets((SIZE >> bits) + 2, (SIZE >> bits) + 2).astype(np.int32)
    cell, (fx, fy) = 1 << bits, (x & (1 << bits) - 1, y & (1 << bits) - 1)
    left, top = x >> bits, y >> bits
    upper = nodes[top, left] * (cell - fx) + nodes[top, left + 1] * fx
    lower = nodes[top + 1, left] * (cell - fx) + nodes[top + 1, left + 1] * fx
    level: Ints = (upper * (cell - fy) + lower * fy) >> (2 * bits)
    return level


_TEXTURES = (_ramp, _wave, _checker, _clouds, _clouds)


def _ground(words: Words) -> Ints:
    """The background, int32 [H, W, 3]: one texture, and clouds of a third colour in half the pictures."""
    base = _colour(words)
    canvas = _mix(base, _shift(words, base, 15, 70), words.pick(_TEXTURES)(words, _X, _Y))
    if words.chance(50):
        patches = np.clip((_clouds(words, _X, _Y) - 150) * 4, 0, 200)[..., None]
        canvas += ((_shift(words, base, 10, 60) - canvas) * patches) >> 8
    return canvas


def _paint(canvas: Ints, raster: Raster, words: Words) -> None:
    """Paint an outline in place, in a colour set against what lies under it: two in five close to it."""
    rows, columns, coverage = _inside(raster)
    area = max(int(coverage.sum()), 1)
    patch = canvas[rows, columns]
    under = (patch * coverage[..., None]).sum(axis=(0, 1), dtype=np.int64) // area
    low, high = words.pick(((16, 30), (20, 45), (40, 90), (60, 130), (60, 130)))
    base = _shift(words, under.astype(np.int32), low, high)
    fill: Ints = np.broadcast_to(base, patch.shape)
    if words.chance(60):
        texture = words.pick(_TEXTURES)
        fill = _mix(base, _shift(words, base, 5, low), texture(words, _X[rows, columns], _Y[rows, columns]))
    patch += ((fill - patch) * coverage[..., None] + _FULL // 2) // _FULL


def _expose(canvas: Ints, words: Words) -> NDArray[np.uint8]:
    """Light from one side, a slight blur and sensor noise; uint8 [H, W, 3]."""
    if words.chance(60):
        light = words.between(150, 230) + ((_ramp(words, _X, _Y) * words.between(40, 110)) >> 8)
        canvas = (canvas * light[..., None] + 128) >> 8
    short = canvas.astype(np.int16)  # half the time of 32 bits from here on
    for _ in range(words.below(4)):
        short = _soften(short)
    # Triangular noise of standard deviation 0 to 1 level; more would only make the files large.
    gain = words.below(11)
    noise = words.octets(2, SIZE, SIZE, 3).astype(np.int16).sum(axis=0, dtype=np.int16) - 255
    pixels: NDArray[np.int16] = np.clip(short + ((noise * gain + 512) >> 10), 0, 255)
    return pixels.astype(np.uint8)


def _soften(canvas: NDArray[np.int16]) -> NDArray[np.int16]:
    """One pass of the binomial filter 1 2 1 along both axes, the edge repeated."""
    tall = np.concatenate([canvas[:1], canvas, canvas[-1:]])
    canvas = (tall[:-2] + 2 * tall[1:-1] + tall[2:] + 2) >> 2
    wide: NDArray[np.int16] = np.concatenate([canvas[:, :1], canvas, canvas[:, -1:]], axis=1)
    soft: NDArray[np.int16] = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:] + 2) >> 2
    return soft
