"""Gaussian, defocus, glass, motion and zoom blur."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions.draws import Draws
from corruptions.pixels import (
    Field,
    Image,
    by_rows,
    convolve,
    four_channels,
    gaussian_kernel,
    line_taps,
    smooth,
    square_extremes,
    tap_extremes,
    three_channels,
)
from corruptions.tables import Blur, Defocus, Glass, Motion, Zoom
from corruptions.truncation import SLACK, truncate, truncate_means


def gaussian_blur(image: Image, level: Blur, draws: Draws) -> Image:
    """Blur by a Gaussian; edge pixels repeat beyond the border."""
    return _gaussian(image, level.sigma)


def _gaussian(image: Image, sigma: float) -> Image:
    blurred = smooth(image, sigma, sigma)
    extremes = square_extremes(image, len(gaussian_kernel(sigma)) // 2)
    return by_rows(image, lambda rows: truncate_means(blurred[rows], lambda: extremes(rows)))


def defocus_blur(image: Image, level: Defocus, draws: Draws) -> Image:
    """Blur by a disc with softened edge; the picture is mirrored at its border."""
    kernel = _disc(level.radius, level.alias_sigma)
    if abs(kernel.sum() - 1) > SLACK:  # the larger discs brighten
        return truncate(cv2.filter2D(image.astype(np.float32), -1, kernel))
    middle, border = len(kernel) // 2, cv2.BORDER_REFLECT_101
    taps = {(y - middle, x - middle): float(weight) for (y, x), weight in np.ndenumerate(kernel) if weight}
    blurred, extremes = convolve(image, taps, border), tap_extremes(image, taps, border)
    return by_rows(image, lambda rows: truncate_means(blurred(rows), lambda: extremes(rows)))


_TRACE = 1e-16
"""Between weights that count, of 2e-10 and more, and those that no float64 sum of grey levels tells from zero."""


@lru_cache(maxsize=32)
def _disc(radius: float, alias_sigma: float) -> Field:
    """Return the disc as a kernel of odd side, without the reference's margin of zeros, which costs time only.

    Nor has it the traces, of 1e-22 and less, that an edge softened by .1 pixels leaves around it: they count for
    nothing, and what is multiplied by them in float32 is denormal, which takes twenty times as long.
    """
    side = 8 if radius <= 8 else int(radius)
    soften = 3 if radius <= 8 else 5
    offsets = np.arange(-side, side + 1)
    inside = offsets[:, None] ** 2 + offsets**2 <= radius**2
    disc = cv2.GaussianBlur(inside.astype(np.float32) / np.float32(inside.sum()), (soften, soften), alias_sigma)
    disc[disc < _TRACE] = 0
    margin = max(0, side - int(radius) - soften // 2)
    return disc[margin : 2 * side + 1 - margin, margin : 2 * side + 1 - margin]


def motion_blur(image: Image, level: Motion, draws: Draws) -> Image:
    """Blur along a line within 45 degrees of horizontal, to one side."""
    taps = line_taps(level.radius, level.sigma, draws.angle(-45, 45), *image.shape[:2])
    blurred, extremes = convolve(image, taps), tap_extremes(image, taps)
    return by_rows(image, lambda rows: truncate_means(blurred(rows), lambda: extremes(rows)))


def zoom_blur(image: Image, level: Zoom, draws: Draws) -> Image:
    """Average the picture with its magnifications; the unmagnified one counts twice, as published."""
    height, width = image.shape[:2]
    zooms = np.arange(1, level.stop, level.step)
    source = four_channels(image)
    grids = [magnified_grid(height, width, float(zoom)) for zoom in zooms[1:]]

    def zoomed(rows: slice) -> Image:
        total = 2 * source[rows]  # the picture, and the magnification by 1
        size = total.shape[1::-1]
        for scale, (x, y) in grids:
            matrix = np.array([[scale[0], 0, x], [0, scale[1], y + scale[1] * rows.start]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            total += cv2.warpAffine(source, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        total /= len(zooms) + 1
        return truncate_means(three_channels(total))

    return by_rows(image, zoomed)


def centre_window(height: int, width: int, zoom: float) -> tuple[slice, slice]:
    """Return the rows and columns that a magnification by `zoom` shows."""
    crop_h, crop_w = int(np.ceil(height / zoom)), int(np.ceil(width / zoom))
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    return slice(top, top + crop_h), slice(left, left + crop_w)


def magnified_grid(height: int, width: int, zoom: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the step and the first place, both (x, y), of the samples that magnify the centre by `zoom`.

    Corner pixels lie on corners, as `scipy.ndimage.zoom` has it. Of the samples the reference uses the first [H, W],
    the top left: it cuts off the few rows and columns beyond, so its centre drifts by up to half of `zoom` pixels.
    """
    rows, columns = centre_window(height, width, zoom)
    return (_grid_step(columns, zoom), _grid_step(rows, zoom)), (columns.start, rows.start)


def _grid_step(part: slice, zoom: float) -> float:
    """Return the distance of neighbouring samples when both ends of `part` are to be hit."""
    length = part.stop - part.start
    return (length - 1) / max(round(length * zoom) - 1, 1)


def glass_blur(image: Image, level: Glass, draws: Draws) -> Image:
    """Blur, let pixels copy a near neighbour, one after another, and blur again.

    The reference means to swap two pixels, but assigns views of one array, and so copies the second over the first.
    That is the published corruption, and is kept.
    """
    blurred = _gaussian(image, level.sigma)
    height, width = image.shape[:2]
    source = _copy_sources(height, width, level.reach, draws)
    for _ in range(level.passes - 1):
        source = source.take(_copy_sources(height, width, level.reach, draws))
    if image.ndim == 2:
        return _gaussian(blurred.reshape(-1).take(source).reshape(height, width), level.sigma)
    pixels = cv2.cvtColor(blurred, cv2.COLOR_RGB2RGBA).view(np.uint32).reshape(-1)  # one number a pixel copies faster
    copied = pixels.take(source).view(np.uint8).reshape(height, width, 4)
    return _gaussian(cv2.cvtColor(copied, cv2.COLOR_RGBA2RGB), level.sigma)


def _copy_sources(height: int, width: int, reach: int, draws: Draws) -> NDArray[np.int32]:
    """Return, for each pixel, the number of the pixel whose value it has after one pass over the picture, [H W].

    A pass goes from the last pixel to the first, each copying one near it. A pixel that copies one before it in
    raster order copies an untouched one; one that copies a later one gets what that one had copied by then. So
    sources form a forest whose roots are untouched, and following pointers, all at once and twice as far each time,
    resolves it exactly.
    """
    side = 2 * reach
    steps = np.array([dy * width + dx for dy in range(-reach, reach) for dx in range(-reach, reach)], np.int32)
    moved = (slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    shape = (height - side, width - side)
    step = steps.take(draws.pairs(side, shape[0] * shape[1])).reshape(shape)[::-1, ::-1]
    source = np.arange(height * width, dtype=np.int32).reshape(height, width)
    source[moved] += step
    resolved = np.ones((height, width), bool)
    np.less_equal(step, 0, out=resolved[moved])

    flat, done = source.reshape(-1), resolved.reshape(-1)
    pending = np.flatnonzero(~done)
    while len(pending):
        target = flat.take(pending)
        flat[pending] = flat.take(target)
        settled = done.take(target)
        done[pending] = settled
        pending = pending.take(np.flatnonzero(~settled))
    return flat
