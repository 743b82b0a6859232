"""Pictures and the operations that most corruptions share.

Letters of shapes: H rows, W columns, C channels (3, in the order RGB). A grey picture is [H, W] throughout, so
everything here works on both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""RGB [H, W, 3] or grey [H, W], 0..255."""

Field: TypeAlias = NDArray[np.float32]
"""Numbers on the grid of a picture: [H, W], or [H, W, 3] where channels differ."""

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Of the files that are taken from a folder of pictures."""

_KEPT = 16 * 2**20
np.empty(_KEPT, np.uint8)
"""Given back at once, unused. From then on glibc keeps up to twice as many freed bytes for the next picture.

As it starts, it returns freed arrays to the system, and the pages that the next ones come in, all zeroed by the system,
cost more time than most corruptions do: half a millisecond a megabyte. Other allocators do not mind.
"""

LUMA = (0.2989, 0.5870, 0.1140)
"""Weights of R, G, B where the reference makes its frost and its spatter grey."""


def spread(layer: NDArray[Any], image: Image) -> NDArray[Any]:
    """Repeat a layer [H, W] over the channels of `image`: [H, W, 3] beside RGB, itself beside grey."""
    return cv2.cvtColor(layer, cv2.COLOR_GRAY2RGB) if image.ndim == 3 else layer


_BLOCK = 2**17
"""Values at a time where a picture is composed of layers: what temporaries need then fits a core's cache."""


def by_rows(like: NDArray[Any], compose: Callable[[slice], NDArray[Any]]) -> NDArray[Any]:
    """Put an array of the shape and type of `like` together from blocks of rows.

    The result is that of all rows at once; memory and time are not. Zoom_blur apart:
    its warps round positions by block, which moves .2% of its values by one level at most.

    Args:
        like: [H, W] or [H, W, 3].
        compose: Computes the rows that it is given, each pixel by itself or from data that are whole already.
    """
    result = np.empty_like(like)
    step = max(1, _BLOCK // (like.size // len(like)))
    for top in range(0, len(like), step):
        rows = slice(top, top + step)
        result[rows] = compose(rows)
    return result


_RUN = 2**15
"""Values at a time where each is by itself; a multiple of 4, so that runs draw whole words of 64 bits."""


def by_values(image: Image, compose: Callable[[Image], NDArray[Any]]) -> Image:
    """Put a picture together from runs of its values, [N], drawing random numbers run by run.

    Runs stay in a core's cache, and so does what is drawn for them: a picture's worth would be new memory each time,
    which costs more than the numbers do.
    """
    values, result = image.reshape(-1), np.empty(image.size, np.uint8)
    for start in range(0, len(values), _RUN):
        run = slice(start, start + _RUN)
        result[run] = compose(values[run]).reshape(-1)
    return result.reshape(image.shape)


def lookup(image: Image, table: NDArray[Any]) -> NDArray[Any]:
    """Replace every channel value by its entry of `table` [256], or of its channel's column of `table` [256, 3]."""
    return cv2.LUT(image, table.reshape(256, 1, -1))


_WIDE_TABLES = int(cv2.__version__.split(".")[0]) >= 5
"""Whether OpenCV looks up 16-bit numbers, in a third of NumPy's time."""


def wide_lookup(index: NDArray[Any], table: NDArray[Any]) -> NDArray[Any]:
    """Replace every number by its entry of a table, [65,536] best."""
    if _WIDE_TABLES and index.dtype == np.uint16 and len(table) == 2**16:
        return cv2.LUT(index, table.reshape(1, -1)).reshape(index.shape)
    return np.take(table, index, mode="clip")


def four_channels(image: NDArray[Any]) -> Field:
    """Return an RGB picture in float32 with a channel of no meaning added: OpenCV warps four in half the time of three.

    A grey one gets none.
    """
    return (cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) if image.ndim == 3 else image).astype(np.float32)


def three_channels(pixels: NDArray[Any]) -> NDArray[Any]:
    """Drop the fourth channel again."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB) if pixels.ndim == 3 else pixels


def gaussian_kernel(sigma: float, truncate_at: float = 4.0) -> NDArray[np.float64]:
    """Return normalized weights of a sampled Gaussian, cut off at round(truncate_at sigma), as SciPy builds them.

    By `math.exp`, whose last bit does not change with the processor as that of NumPy's vectorized one does.
    """
    radius = int(truncate_at * sigma + 0.5)
    offsets = range(-radius, radius + 1)
    weights = np.array([math.exp(-0.5 / (sigma * sigma) * i * i) if i else 1.0 for i in offsets])
    return weights / weights.sum()


def smooth(
    image: NDArray[Any], sigma_x: float, sigma_y: float, border: int = cv2.BORDER_REPLICATE, truncate_at: float = 4.0
) -> Field:
    """Blur by a Gaussian, in float32; with the defaults, what `skimage.filters.gaussian` computes."""
    across, down = gaussian_kernel(sigma_x, truncate_at), gaussian_kernel(sigma_y, truncate_at)
    return cv2.sepFilter2D(image, cv2.CV_32F, across, down, borderType=border)


def line_weights(radius: int, sigma: float) -> NDArray[np.float64]:
    """Return normalized weights of one half of a Gaussian at 0, 1, ..., 2 radius pixels."""
    peak = math.sqrt(2 * math.pi) * sigma
    weights = np.array([math.exp(-(i * i) / (2 * sigma**2)) / peak for i in range(2 * radius + 1)])
    return weights / weights.sum()


def line_taps(radius: int, sigma: float, angle: float, height: int, width: int) -> dict[tuple[int, int], float]:
    """Return the weights of a blur along a line, to one side, by the half of a Gaussian that starts at each pixel.

    The reference's version of ImageMagick's motion blur: weight i of 2 radius + 1 belongs to the pixel i pixels along
    the line, rounded to whole pixels. From the first that would leave a picture of [height, width] on, weights are
    dropped without renormalizing, so small pictures get darker; that is the reference's too.

    Args:
        radius: In pixels.
        sigma: In pixels.
        angle: In degrees; 0 moves the picture to the left, 90 up.
        height: Of the picture.
        width: Of the picture.

    Returns:
        Weights by (rows down, columns right) of the pixel they belong to.
    """
    step_y, step_x = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    taps: dict[tuple[int, int], float] = {}
    for i, weight in enumerate(line_weights(radius, sigma)):
        place = math.ceil(i * step_y - 0.5), math.ceil(i * step_x - 0.5)
        if abs(place[0]) >= height or abs(place[1]) >= width:
            break
        taps[place] = taps.get(place, 0) + float(weight)
    return taps


Taps: TypeAlias = Mapping[tuple[int, int], float]
"""Weights of a sum over neighbours, by (rows down, columns right) of the neighbour."""


def convolve(image: NDArray[Any], taps: Taps) -> Callable[[slice], Field]:
    """Add up weighted neighbours of each pixel; edge pixels repeat beyond the border.

    OpenCV takes a Fourier transform for kernels of 130 weights or more, zeros included, which is slow for sparse
    ones. So the kernel is cut into pieces smaller than that.

    Args:
        image: [H, W] or [H, W, 3].
        taps: The weights.

    Returns:
        A function that computes the rows it is given, for `by_rows`: float32, unclipped.
    """
    pieces = _pieces(taps)
    up, left = (max(0, -min(place[axis] for place in taps)) for axis in (0, 1))
    down, right = (max(0, *(place[axis] for place in taps)) for axis in (0, 1))
    padded = cv2.copyMakeBorder(image, up, down, left, right, cv2.BORDER_REPLICATE)

    def convolved(rows: slice) -> Field:
        count = len(image[rows])
        seen = padded[rows.start : rows.start + count + len(padded) - len(image)].astype(np.float32, copy=False)
        total = np.zeros((count, *image.shape[1:]), np.float32)
        for (dy, dx), kernel in pieces:
            height, width = count + kernel.shape[0] - 1, image.shape[1] + kernel.shape[1] - 1
            part = seen[up + dy : up + dy + height, left + dx : left + dx + width]
            total += cv2.filter2D(part, -1, kernel, anchor=(0, 0))[:count, : image.shape[1]]
        return total

    return convolved


_LARGEST_DIRECT = 129


def _pieces(taps: Taps) -> list[tuple[tuple[int, int], Field]]:
    """Cut a kernel into dense ones, each with the place of its top left corner."""
    groups: list[list[tuple[int, int]]] = []
    box = None  # top, bottom, left and right of the last group
    for y, x in taps:
        if box is not None:
            box = min(box[0], y), max(box[1], y), min(box[2], x), max(box[3], x)
        if box is None or (box[1] - box[0] + 1) * (box[3] - box[2] + 1) > _LARGEST_DIRECT:
            box = y, y, x, x
            groups.append([])
        groups[-1].append((y, x))
    return [_kernel(taps, group) for group in groups]


def _kernel(taps: Mapping[tuple[int, int], float], places: list[tuple[int, int]]) -> tuple[tuple[int, int], Field]:
    """Return some of the weights as a kernel, and the place of its top left corner."""
    rows, columns = zip(*places, strict=True)
    top, left = min(rows), min(columns)
    kernel = np.zeros((max(rows) - top + 1, max(columns) - left + 1), np.float32)
    for y, x in places:
        kernel[y - top, x - left] = taps[y, x]
    return (top, left), kernel
