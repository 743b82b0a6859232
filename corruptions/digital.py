"""Brightness, contrast, saturate, elastic transform, pixelate and JPEG compression."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions.draws import Draws
from corruptions.pixels import Field, Image, by_rows, four_channels, lookup, smooth, spread, three_channels, wide_lookup
from corruptions.tables import Elastic, ElasticAffine, Jpeg, Saturate, Scale, Share, Shift
from corruptions.truncation import UNIT, truncate


def brightness(image: Image, level: Shift, draws: Draws) -> Image:
    """Raise the value of HSV; hue and saturation stay."""
    if image.ndim == 2:
        return lookup(image, (np.clip(UNIT + level.amount, 0, 1) * 255).astype(np.uint8))
    table = _brighter(level.amount)

    def raised(rows: slice) -> Image:
        red, green, blue = cv2.split(image[rows])
        return wide_lookup(_pairs(spread(cv2.max(cv2.max(red, green), blue), image), image[rows]), table)

    return by_rows(image, raised)


def _pairs(high: Image, low: Image) -> NDArray[np.uint16]:
    """Return 256 high + low, by putting bytes side by side."""
    return cv2.merge([low.reshape(len(low), -1), high.reshape(len(high), -1)]).view("<u2").reshape(high.shape)


@lru_cache(maxsize=8)
def _brighter(amount: float) -> NDArray[np.uint8]:
    """Return, at 256 v + x, what a channel x becomes where the largest channel is v, [65,536]."""
    value = np.clip(UNIT + amount, 0, 1)[:, None]
    largest = np.maximum(UNIT, 1 / 255)[:, None]
    saturation = np.maximum(largest - UNIT, 0) / largest
    saturation[0] = 0  # black has none
    return np.uint8(value * (1 - saturation) * 255).ravel()


def contrast(image: Image, level: Scale, draws: Draws) -> Image:
    """Shrink each channel towards its mean over the picture."""
    means = np.array(cv2.mean(image)[: 3 if image.ndim == 3 else 1]) / 255
    table = np.clip((UNIT[:, None] - means) * level.factor + means, 0, 1) * 255
    return lookup(image, table.astype(np.uint8))


def saturate(image: Image, level: Saturate, draws: Draws) -> Image:
    """Stretch the saturation of HSV.

    Grey pixels have hue 0, so where the shift is positive (severities 4 and 5) they turn red; that is the reference's.
    """
    if image.ndim == 2:
        return image.copy()  # the largest channel keeps its value, and this is it
    table = _stretch(level.factor, level.shift)

    def stretched(rows: slice) -> Image:
        red, green, blue = cv2.split(image[rows])
        largest = cv2.max(cv2.max(red, green), blue)
        smallest = cv2.min(cv2.min(red, green), blue)
        stretch = wide_lookup(_pairs(largest, smallest), table)
        peaks = spread(largest, image)
        depth = cv2.multiply(cv2.subtract(peaks, image[rows]), spread(stretch, image), dtype=cv2.CV_32F)
        result = truncate(peaks - depth)
        if level.shift > 0:
            grey = largest == smallest
            result[grey, 1:] = (largest[grey] * (1 - min(level.shift, 1))).astype(np.uint8)[:, None]
        return result

    return by_rows(image, stretched)


@lru_cache(maxsize=8)
def _stretch(factor: float, shift: float) -> Field:
    """Return new over old saturation at 256 largest + smallest, [65,536]; 1 for greys, which have none."""
    largest, smallest = np.arange(256)[:, None], np.arange(256)
    saturation = np.maximum(largest - smallest, 0) / np.maximum(largest, 1)
    stretched = np.clip(saturation * factor + shift, 0, 1)
    return np.divide(stretched, saturation, out=np.ones((256, 256)), where=saturation > 0).astype(np.float32).ravel()


def elastic_transform(image: Image, level: Elastic | ElasticAffine, draws: Draws) -> Image:
    """Displace pixels by a smooth random field; the picture is mirrored at its border."""
    height, width = image.shape[:2]
    source: NDArray[Any] = image
    if isinstance(level, ElasticAffine):
        side = min(height, width)
        source = _jitter_corners(image, level.affine * side, draws)
        bound, sigma_x, sigma_y, alpha = 1.0, level.sigma * side, level.sigma * side, level.alpha * side
    else:
        bound, sigma_x, sigma_y, alpha = 0.005 * height, 0.01 * width, 0.01 * height, level.alpha
    columns, rows = (
        smooth(draws.uniform(alpha * bound, (height, width)), sigma_x, sigma_y, cv2.BORDER_REFLECT, truncate_at=3)
        for _ in range(2)
    )
    columns += np.arange(width, dtype=np.float32)
    rows += np.arange(height, dtype=np.float32)[:, None]

    def moved(part: slice) -> Image:
        top = max(0, math.floor(rows[part].min()))
        bottom = math.ceil(rows[part].max()) + 2
        seen = four_channels(source[top:bottom])  # mirrored where it ends, which the picture does there too, or unused
        pixels = cv2.remap(seen, columns[part], rows[part] - top, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return three_channels(truncate(pixels))

    return by_rows(image, moved)


def _jitter_corners(image: Image, bound: float, draws: Draws) -> Field:
    """Map three points around the centre to places up to `bound` pixels away, and the picture with them."""
    height, width = image.shape[:2]
    reach = min(height, width) // 3
    centre = np.array([width // 2, height // 2], np.float32)
    before = centre + np.array([[reach, reach], [reach, -reach], [-reach, -reach]], np.float32)
    matrix = cv2.getAffineTransform(before, before + draws.uniform(bound, (3, 2)))
    return cv2.warpAffine(image.astype(np.float32), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def pixelate(image: Image, level: Share, draws: Draws) -> Image:
    """Shrink by box averaging, enlarge by repeating pixels, to the bytes of the reference's Pillow.

    Its boxes end on whole pixels, and are averaged across, rounded, then down. Later releases of Pillow take a picture
    of more than twice its width down first, which moves values by a level.
    """
    height, width = image.shape[:2]
    columns, rows = int(width * level.side), int(height * level.side)
    small = _averaged(cv2.transpose(_averaged(cv2.transpose(image), columns)), rows)
    wide = cv2.transpose(small).take(_repeats(columns, width), axis=0)
    return cv2.transpose(wide).take(_repeats(rows, height), axis=0)


def _averaged(image: Image, count: int) -> Image:
    """Return `count` means of rows, halves rounded up; down, where memory is in a row, is the fast way."""
    rows = image.reshape(len(image), -1)
    means = np.empty((count, rows.shape[1]), np.uint8)
    for size, which, top in _boxes(len(image), count):
        total = np.add(rows.take(top, axis=0), 0 if size == 1 else rows.take(top + 1, axis=0), dtype=np.uint16)
        for offset in range(2, size):
            total += rows.take(top + offset, axis=0)
        means[which] = cv2.convertScaleAbs(total, alpha=1 / size, beta=_OVER_HALF)
    return means.reshape(count, *image.shape[1:])


_OVER_HALF = 0.001
"""Added before OpenCV rounds halves to even, so that it rounds them up; no other mean is that near to a half."""


@lru_cache(maxsize=64)
def _boxes(length: int, count: int) -> list[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """Return, for each number of rows that boxes have, which boxes have it, and their first rows.

    Those rows are in a box whose centres are, as Pillow tells.
    """
    scale = length / count
    centres = (np.arange(count) + 0.5) * scale
    first = (centres - 0.5 * scale + 0.5).astype(np.intp)
    last = np.minimum((centres + 0.5 * scale + 0.5).astype(np.intp), length) - 1
    first += (first - centres + 0.5) * (1 / scale) <= -0.5
    last -= (last - centres + 0.5) * (1 / scale) > 0.5
    sizes = last + 1 - first
    return [(int(size), np.flatnonzero(sizes == size), first[sizes == size]) for size in np.unique(sizes)]


@lru_cache(maxsize=64)
def _repeats(count: int, length: int) -> NDArray[np.intp]:
    """Return the row of `count` that is nearest to each of `length`, places added up as Pillow does."""
    step = count / length
    steps = np.full(length, step)
    steps[0] = step * 0.5
    return np.cumsum(steps).astype(np.intp)


def jpeg_compression(image: Image, level: Jpeg, draws: Draws) -> Image:
    """Compress and decompress, by OpenCV's libjpeg-turbo: Pillow's bytes in half the time, without its copies."""
    colour = image.ndim == 3
    quality = [cv2.IMWRITE_JPEG_QUALITY, level.quality]
    _, stream = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image, quality)
    decoded: Any = cv2.imdecode(stream, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded) if colour else decoded
