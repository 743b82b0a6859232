"""Gaussian, shot, impulse and speckle noise: independent for every channel value."""

from __future__ import annotations

import cv2
import numpy as np

from corruptions.draws import Draws
from corruptions.pixels import Image, by_rows
from corruptions.tables import Impulse, Noise, Shot
from corruptions.truncation import truncate


def gaussian_noise(image: Image, level: Noise, draws: Draws) -> Image:
    """Add normal noise; where it is rounded down first, the sum is."""
    return cv2.add(image, draws.whole_normal(255 * level.sigma, image.shape), dtype=cv2.CV_8U)


def speckle_noise(image: Image, level: Noise, draws: Draws) -> Image:
    """Add normal noise in proportion to each value."""
    factors = draws.normal(1, level.sigma, image.shape)
    return by_rows(image, lambda rows: truncate(cv2.multiply(image[rows], factors[rows], dtype=cv2.CV_32F)))


def shot_noise(image: Image, level: Shot, draws: Draws) -> Image:
    """Replace each value by a Poisson count of photons, scaled back."""
    return draws.photons(image, level.photons)


def impulse_noise(image: Image, level: Impulse, draws: Draws) -> Image:
    """Set values to 255 or 0 at random, each channel by itself, which makes coloured dots."""
    salt, pepper = draws.impulses(level.amount, image.shape)
    return np.bitwise_and(np.bitwise_or(image, salt), np.invert(pepper, out=pepper))
