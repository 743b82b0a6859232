"""Gaussian, defocus, glass, motion and zoom blur."""

from __future__ import annotations

import math
from typing import Any

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
    three_channels,
)
from corruptions.tables import Blur, Defocus, Glass, Motion, Zoom
from corruptions.truncation import ALMOST_HALF, truncate


def gaussian_blur(image: Image, level: Blur, draws: Draws) -> Image:
    """Blur by a Gaussian; edge pixels repeat beyond the border."""
    return _gaussian(image, level.sigma)


def _gaussian(image: Image, sigma: float) -> Image:
    """Blur, and truncate.

    Float32 does not tell a mean of equal values from one with a speck of another at the rim of the kernel; but a mean
    is the largest of its values only where all are equal.
    """
    kernel = gaussian_kernel(sigma)
    means = cv2.sepFilter2D(image, cv2.CV_8U, kernel, kernel, delta=-ALMOST_HALF, borderType=cv2.BORDER_REPLICATE)
    window = np.ones((len(kernel), len(kernel)), np.uint8)
    most = cv2.dilate(image, window)
    most -= most != cv2.erode(image, window)
    return cv2.min(means, most, dst=means)


def defocus_blur(image: Image, level: Defocus, draws: Draws) -> Image:
    """Blur by a disc with softened edge; the picture is mirrored at its border."""
    side, size = (8, 3) if level.radius <= 8 else (int(level.radius), 5)
    edge = cv2.getGaussianKernel(size, level.alias_sigma, cv2.CV_32F).ravel()
    edge = edge[edge > _TRACE]
    if int(level.radius) + len(edge) // 2 > side:
        kernel = cv2.sepFilter2D(_disc(level.radius, side), -1, edge, edge)
        return truncate(cv2.filter2D(image.astype(np.float32), -1, kernel))
    return _disc_means(image, level.radius, edge)


_TRACE = 1e-16
"""Between weights that count, of 2e-10 and more, and those of 1e-22, which no float64 sum tells from none."""


def _disc(radius: float, side: int) -> Field:
    """Return the disc on a grid from -side to side.

    One that touches the grid's border is softened by its own mirror image there, so it sums to more than 1: the larger
    discs brighten.
    """
    offsets = np.arange(-side, side + 1)
    inside = offsets[:, None] ** 2 + offsets**2 <= radius**2
    return inside.astype(np.float32) / np.float32(inside.sum())


def _disc_means(image: Image, radius: float, edge: Field) -> Image:
    """Average over a disc whose edge is softened by the weights `edge` across and down.

    Its rows are runs of pixels around the middle. Each is two pixels longer than a shorter one, and sums are whole
    numbers below 2^16 (up to a radius of 9), so they add up exactly and fast. Softening comes after.
    """
    reach, rim = int(radius), len(edge) // 2
    rows_of_run: dict[int, list[int]] = {}
    for dy in range(-reach, reach + 1):
        rows_of_run.setdefault(math.isqrt(int(radius**2 - dy**2)), []).append(reach + dy)
    pixels = sum((2 * half + 1) * len(places) for half, places in rows_of_run.items())
    channels = image.size // (image.shape[0] * image.shape[1])
    width = (image.shape[1] + 2 * rim) * channels
    margin = reach + rim
    padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    flat = padded.reshape(len(padded), -1)

    def averaged(rows: slice) -> Image:
        height = len(image[rows]) + 2 * rim
        seen = flat[rows.start : rows.start + height + 2 * reach].astype(np.uint16)
        runs, total = seen[:, reach * channels :][:, :width].copy(), np.zeros((height, width), np.uint16)
        for half in range(reach + 1):
            if half:
                runs += seen[:, (reach - half) * channels :][:, :width]
                runs += seen[:, (reach + half) * channels :][:, :width]
            for top in rows_of_run.get(half, ()):
                total += runs[top : top + height]
        sums: NDArray[Any] = total.reshape(height, -1, *image.shape[2:])
        if rim:
            sums = cv2.sepFilter2D(sums.astype(np.float32), -1, edge, edge)[rim:-rim, rim:-rim]
        return truncate(sums, 1 / pixels)

    return by_rows(image, averaged)


def motion_blur(image: Image, level: Motion, draws: Draws) -> Image:
    """Blur along a line within 45 degrees of horizontal, to one side."""
    taps = line_taps(level.radius, level.sigma, draws.angle(-45, 45), *image.shape[:2])
    blurred = convolve(image, taps)
    return by_rows(image, lambda rows: truncate(blurred(rows)))


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
        return three_channels(truncate(total, 1 / (len(zooms) + 1)))

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
    sources form a forest whose roots are untouched, and following pointers, all of some rows at once and twice as far
    each time, resolves it exactly.
    """
    offsets = np.arange(-reach, reach, dtype=np.int32)
    steps = offsets[:, None] * width + offsets
    steps[steps > 0] += _PENDING
    source = np.arange(height * width, dtype=np.int32)
    for end in range(height - reach + 1, reach + 1, -_GLASS_ROWS):
        start = max(end - _GLASS_ROWS, reach + 1)
        step = draws.cells(steps, (end - start) * (width - 2 * reach)).reshape(end - start, -1)
        rows = source[start * width : end * width]
        rows.reshape(end - start, width)[:, reach + 1 : width - reach + 1] += step[::-1, ::-1]
        pending = np.flatnonzero(rows < 0)
        copied = rows.take(pending)
        while len(pending):
            copied = source.take(copied - _PENDING)
            rows[pending] = copied
            unsettled = np.flatnonzero(copied < 0)
            pending, copied = pending.take(unsettled), copied.take(unsettled)
    return source


_GLASS_ROWS = 64
"""At a time, from the last on, as they are drawn: what they need then fits a core's cache."""

_PENDING = np.int32(-(2**31))
"""Added to the number of a pixel whose own source is not known yet, which makes it negative."""
