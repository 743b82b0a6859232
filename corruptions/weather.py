"""Snow, frost, fog and spatter."""

from __future__ import annotations

import cv2
import numpy as np

from corruptions.blur import centre_window
from corruptions.draws import Draws
from corruptions.frost import Textures
from corruptions.pixels import LUMA, Field, Image, by_rows, convolve, line_taps, smooth, spread
from corruptions.tables import Fog, Frost, Snow, Spatter
from corruptions.truncation import ALMOST_HALF, truncate

WATER = (175, 238, 238)
MUD = (63, 42, 20)


def snow(image: Image, level: Snow, draws: Draws) -> Image:
    """Whiten the picture and add two layers of flakes, one the other turned by 180 degrees."""
    height, width = image.shape[:2]
    window = centre_window(height, width, level.zoom)
    layer = _magnify(draws.normal(level.mean, level.sigma, (height, width), window), level.zoom)
    layer *= layer >= level.threshold
    np.clip(layer, 0, 1, out=layer)
    taps = line_taps(level.radius, level.motion_sigma, draws.angle(-135, -45), *layer.shape)
    flakes = np.round(by_rows(layer, convolve(layer, taps))[:height, :width] * 255)
    flakes = flakes + flakes[::-1, ::-1]

    def snowed(rows: slice) -> Image:
        # keep x + (1 - keep) max(x, white) = max(x, keep x + (1 - keep) white)
        colours = image[rows].astype(np.float32)
        luma = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else colours
        veil = (1 - level.keep) * (1.5 * luma + 127.5)
        whitened = level.keep * colours
        whitened += spread(veil, image)
        np.maximum(whitened, colours, out=whitened)
        whitened += spread(flakes[rows], image)
        return truncate(whitened)

    return by_rows(image, snowed)


def _magnify(layer: Field, zoom: float) -> Field:
    """Magnify with corner pixels on corners, down, then across.

    As `blur.magnified_grid` has it, but exact to float32 in every version of OpenCV: 4.x rounds positions to 1/32
    pixel, which the threshold that follows would turn into flakes that come and go.
    """
    for _ in range(2):
        length = len(layer)
        size = round(length * zoom)
        position = np.arange(size) * ((length - 1) / max(size - 1, 1))
        above = np.minimum(position.astype(np.intp), length - 2)
        share = (position - above).astype(np.float32)[:, None]
        upper, lower = layer[above], layer[above + 1]
        lower -= upper
        lower *= share
        layer = np.ascontiguousarray(np.add(upper, lower, out=lower).T)
    return layer


def frost(image: Image, level: Frost, draws: Draws, textures: Textures) -> Image:
    """Overlay a random part of a frosted window.

    The window is enlarged whole, in its own aspect, since no call of OpenCV makes a part of it with the same bytes. So
    a narrow picture costs what a full one of its length does: one 33 px wide and 4000 px high takes 100 MB.
    """
    height, width = image.shape[:2]
    texture = textures.covering(draws.integer(len(textures.pictures)), height, width, level.scale)
    top = draws.integer(texture.shape[0] - height)
    left = draws.integer(texture.shape[1] - width)
    part = texture[top : top + height, left : left + width]
    if image.ndim == 2:
        grey = part.astype(np.float32) @ np.array(LUMA, np.float32)
        return truncate(level.image * image.astype(np.float32) + level.texture * grey)
    return cv2.addWeighted(image, level.image, part, level.texture, -ALMOST_HALF)


def fog(image: Image, level: Fog, draws: Draws) -> Image:
    """Add clouds, and darken so that the brightest value stays what it was.

    The clouds are those of a square whose side is the power of two that covers the picture, normalized over all of it,
    so a narrow picture costs what that square does: 4000 x 33 px as much memory and time as 4096 x 4096.
    """
    height, width = image.shape[:2]
    plasma, lowest, highest = _plasma(height, width, level.decay, draws)
    brightest = float(image.max()) / 255
    darken = brightest / (brightest + level.density)
    plasma -= lowest
    plasma *= 255 * level.density * darken / (highest - lowest)

    def fogged(rows: slice) -> Image:
        darkened = np.multiply(image[rows], darken, dtype=np.float32)
        darkened += spread(plasma[rows], image)
        return truncate(darkened)

    return by_rows(image, fogged)


def _plasma(height: int, width: int, decay: float, draws: Draws) -> tuple[Field, float, float]:
    """Return the top left [H, W] of a diamond-square map on a torus, and the whole map's minimum and maximum.

    The side of the map is the power of two that covers the picture, so clouds halve in size from 512 to 513 pixels.
    The noise of a scale is drawn from +-w and then multiplied by w: amplitudes go with the square of the decay. Both
    are the reference's.
    """
    side = 1 << (max(height, width) - 1).bit_length()
    grid = np.zeros((1, 1), np.float32)
    wibble = 100.0
    while 2 * len(grid) < side:
        grid = _interleave(_refine(grid, wibble * wibble, draws), 2 * len(grid), 2 * len(grid))
        wibble /= decay
    finest = _refine(grid, wibble * wibble, draws)
    lowest, highest = min(part.min() for part in finest), max(part.max() for part in finest)
    return _interleave(finest, height, width), float(lowest), float(highest)


Quarters = tuple[Field, Field, Field, Field]
"""Every other row and column of a grid: at even rows the even and odd columns, then those of odd rows."""


def _refine(corners: Field, bound: float, draws: Draws) -> Quarters:
    """Return the quarters of a grid of twice the side: corners, and means of four plus noise between them.

    First centres from corners, then what lies above and left of each centre from two corners and two centres.
    """
    shape = corners.shape
    wrapped = cv2.copyMakeBorder(corners, 0, 1, 0, 1, cv2.BORDER_WRAP)
    here, right, below, across = wrapped[:-1, :-1], wrapped[:-1, 1:], wrapped[1:, :-1], wrapped[1:, 1:]
    total = np.empty(shape, np.float32)  # the same memory for all three
    centres = _add_mean(draws.uniform(bound, shape), total, here, right, below, across)
    around = cv2.copyMakeBorder(centres, 1, 0, 1, 0, cv2.BORDER_WRAP)
    tops = _add_mean(draws.uniform(bound, shape), total, here, right, around[1:, 1:], around[:-1, 1:])
    lefts = _add_mean(draws.uniform(bound, shape), total, here, below, around[1:, 1:], around[1:, :-1])
    return corners, tops, lefts, centres


def _add_mean(noise: Field, total: Field, first: Field, second: Field, third: Field, fourth: Field) -> Field:
    """Add the mean of four fields to `noise`, in place; `total` is overwritten."""
    np.add(first, second, out=total)
    total += third
    total += fourth
    total *= 0.25
    noise += total
    return noise


def _interleave(quarters: Quarters, height: int, width: int) -> Field:
    """Put the top left [H, W] of a grid together."""
    grid = np.empty((height, width), np.float32)
    for number, quarter in enumerate(quarters):
        part = grid[number // 2 :: 2, number % 2 :: 2]
        part[...] = quarter[: part.shape[0], : part.shape[1]]
    return grid


def spatter(image: Image, level: Spatter, draws: Draws) -> Image:
    """Splash drops of water, which brighten, or of mud, which cover."""
    liquid = smooth(draws.normal(level.mean, level.sigma, image.shape[:2]), level.blur, level.blur)
    liquid *= liquid >= level.threshold
    if level.mud:
        return _mud(image, liquid, level)
    drops = _water(liquid)
    thickest = float(drops.max())
    if thickest == 0:  # no drop in this picture; the reference divides by zero here
        return image.copy()
    drops *= level.amount / thickest

    def wetted(rows: slice) -> Image:
        return truncate(_coloured(drops[rows], WATER, image) + image[rows])

    return by_rows(image, wetted)


def _water(liquid: Field) -> Field:
    """Return the thickness of each drop, embossed at its rim, [H, W], in no particular unit."""
    grey = truncate(liquid * 255)
    rims = 255 - cv2.Canny(grey, 50, 150)
    distance = cv2.distanceTransform(rims, cv2.DIST_L2, 5)
    np.minimum(distance, 20, out=distance)
    relief = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    relief = cv2.filter2D(relief, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32))
    return grey * cv2.blur(relief, (3, 3)).astype(np.float32)


def _mud(image: Image, liquid: Field, level: Spatter) -> Image:
    mask = smooth((liquid > level.threshold).astype(np.float32), level.amount, level.amount)
    mask *= mask >= 0.8

    def muddied(rows: slice) -> Image:
        return truncate(_coloured(mask[rows], MUD, image) + image[rows] * spread(1 - mask[rows], image))

    return by_rows(image, muddied)


def _coloured(opacity: Field, colour: tuple[int, int, int], image: Image) -> Field:
    """Multiply a layer [H, W] by a colour, or by its grey beside a grey picture."""
    if image.ndim == 3:
        return cv2.merge([opacity * value for value in colour])
    return opacity * float(np.dot(colour, LUMA))
