"""Snow, frost, fog and spatter."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
    cv2.threshold(layer, level.threshold, 0, cv2.THRESH_TOZERO, dst=layer)
    np.minimum(layer, 1, out=layer)
    taps = line_taps(level.radius, level.motion_sigma, draws.angle(-135, -45), *layer.shape)
    flakes = cv2.convertScaleAbs(by_rows(layer, convolve(layer, taps))[:height, :width], alpha=255)
    flakes = cv2.add(flakes, cv2.flip(flakes, -1), dst=flakes)

    def snowed(rows: slice) -> Image:
        # keep x + (1 - keep) max(x, white) = max(x, keep x + (1 - keep) white); x and flakes have no fractions to lose
        colours = image[rows].astype(np.float32)
        luma = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else colours
        veil = (1 - level.keep) * (1.5 * luma + 127.5)
        whitened = cv2.max(truncate(cv2.scaleAdd(colours, level.keep, spread(veil, image))), image[rows])
        return cv2.add(whitened, spread(flakes[rows], image))

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
    """Return the top left [H, W] of a diamond-square map on a torus, and the map's minimum and maximum.

    The side of the map is the power of two that covers the picture, so clouds halve in size from 512 to 513 pixels.
    The noise of a scale is drawn from +-w and then multiplied by w: amplitudes go with the square of the decay. Both
    are the reference's. Beyond the picture the finest scale is not made, which saves most of the work: where the whole
    map has an extreme there, its noise, of 1/1000 of the range at most, moves the extreme by less than that.
    """
    side = 1 << (max(height, width) - 1).bit_length()
    grid = np.zeros((1, 1), np.float32)
    wibble = 100.0
    while 2 * len(grid) < side:
        grid = _refined(grid, wibble * wibble, 2 * len(grid), 2 * len(grid), draws)
        wibble /= decay
    part = _refined(grid, wibble * wibble, height, width, draws)
    lowest, highest = min(grid.min(), part.min()), max(grid.max(), part.max())
    return part, float(lowest), float(highest)


def _refined(corners: Field, bound: float, height: int, width: int, draws: Draws) -> Field:
    """Return the top left [H, W] of a grid of twice the side: corners, and means of four plus noise between them.

    First centres from corners, then what lies above and left of each centre from two corners and two centres.
    """
    side, rows, columns = len(corners), -(-height // 2), -(-width // 2)
    wrapped = cv2.copyMakeBorder(corners, 1, 1, 1, 1, cv2.BORDER_WRAP)[: rows + 2, : columns + 2]
    # Centres begin one row up and one column left of the part. In a whole torus those are its last.
    up, left = int(rows == side), int(columns == side)
    seen = wrapped[up:, left:]
    noise = draws.uniform(bound, corners.shape, (range(up - 1, rows), range(left - 1, columns)))
    centres = _add_mean(noise, seen[:-1, :-1], seen[:-1, 1:], seen[1:, :-1], seen[1:, 1:])
    centres = cv2.copyMakeBorder(centres, up, 0, left, 0, cv2.BORDER_WRAP)

    part = range(rows), range(columns)
    here, right, below = wrapped[1:-1, 1:-1], wrapped[1:-1, 2:], wrapped[2:, 1:-1]
    centre, above, before = centres[1:, 1:], centres[:-1, 1:], centres[1:, :-1]
    tops = _add_mean(draws.uniform(bound, corners.shape, part), here, right, centre, above)
    lefts = _add_mean(draws.uniform(bound, corners.shape, part), here, below, centre, before)

    grid = np.empty((2 * rows, 2 * columns), np.float32)
    grid[0::2, 0::2], grid[0::2, 1::2] = here, tops
    grid[1::2, 0::2], grid[1::2, 1::2] = lefts, centre
    return grid[:height, :width]


def _add_mean(noise: Field, first: Field, second: Field, third: Field, fourth: Field) -> Field:
    """Add the mean of four fields to `noise`, in place."""
    total = first + second
    total += third
    total += fourth
    return cv2.scaleAdd(total, 0.25, noise, dst=noise)


def spatter(image: Image, level: Spatter, draws: Draws) -> Image:
    """Splash drops of water, which brighten, or of mud, which cover."""
    liquid = smooth(draws.normal(level.mean, level.sigma, image.shape[:2]), level.blur, level.blur)
    if level.mud:
        return _mud(image, liquid > level.threshold, level)
    cv2.threshold(liquid, level.threshold, 0, cv2.THRESH_TOZERO, dst=liquid)
    drops = _water(liquid)
    thickest = float(drops.max())
    if thickest == 0:  # no drop in this picture; the reference divides by zero here
        return image.copy()
    shares = (level.amount * channel / thickest for channel in _colour(WATER, image))
    return cv2.add(image, cv2.merge([truncate(drops, share) for share in shares]))  # pictures have no fractions to lose


def _water(liquid: Field) -> Field:
    """Return the thickness of each drop, embossed at its rim, [H, W], in no particular unit."""
    grey = truncate(liquid, 255)
    rims = cv2.bitwise_not(cv2.Canny(grey, 50, 150))
    distance = cv2.distanceTransform(rims, cv2.DIST_L2, 5)
    np.minimum(distance, 20, out=distance)
    relief = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    relief = cv2.filter2D(relief, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32))
    return cv2.multiply(grey, cv2.blur(relief, (3, 3)), dtype=cv2.CV_32F)


def _mud(image: Image, wet: NDArray[np.bool_], level: Spatter) -> Image:
    mask = smooth(wet.view(np.uint8), level.amount, level.amount)
    mask *= mask >= 0.8
    colour = _colour(MUD, image)

    def muddied(rows: slice) -> Image:
        mixed = cv2.multiply(cv2.subtract(image[rows], colour, dtype=cv2.CV_32F), spread(1 - mask[rows], image))
        return truncate(cv2.add(mixed, colour))

    return by_rows(image, muddied)


def _colour(colour: tuple[int, int, int], image: Image) -> tuple[float, ...]:
    """Return a colour by channels, or as its grey beside a grey picture."""
    return colour if image.ndim == 3 else (float(np.dot(colour, LUMA)),)
