"""Gaussian, shot, impulse and speckle noise: independent for every channel value."""

from __future__ import annotations

import cv2
import numpy as np

from corruptions.draws import Draws
from corruptions.pixels import Image, by_values
from corruptions.tables import Impulse, Noise, Shot
from corruptions.truncation import truncate


def gaussian_noise(image: Image, level: Noise, draws: Draws) -> Image:
    """Add normal noise; where it is rounded down first, the sum is."""
    sigma = 255 * level.sigma
    return by_values(image, lambda run: cv2.add(run, draws.whole_normal(sigma, run.shape), dtype=cv2.CV_8U))


def speckle_noise(image: Image, level: Noise, draws: Draws) -> Image:
    """Add normal noise in proportion to each value."""

    def speckled(run: Image) -> Image:
        factors = np.maximum(draws.normal(1, level.sigma, run.shape), 0)
        return truncate(cv2.multiply(run, factors, dtype=cv2.CV_32F))

    return by_values(image, speckled)


def shot_noise(image: Image, level: Shot, draws: Draws) -> Image:
    """Replace each value by a Poisson count of photons, scaled back."""
    return by_values(image, lambda run: draws.photons(run, level.photons))


def impulse_noise(image: Image, level: Impulse, draws: Draws) -> Image:
    """Set values to 255 or 0 at random, each channel by itself, which makes coloured dots."""

    def hit(run: Image) -> Image:
        salt, pepper = draws.impulses(level.amount, run.shape)
        return np.bitwise_and(np.bitwise_or(run, salt), np.invert(pepper, out=pepper))

    return by_values(image, hit)
