"""From computed values to grey levels: the reference drops fractions."""

from __future__ import annotations

import cv2
import numpy as np

from corruptions.pixels import Field, Image

UNIT = np.arange(256) / 255

ALMOST_HALF = 0.4998
"""Subtracted before OpenCV rounds, so that it truncates; .0002 short of a half, for whole numbers to stay.

A float32 sum of grey levels may come out that far below the whole number that it stands for: an even area keeps its
level under a blur. In the reference it may be one lower: weights sum to 1 - 1e-16 or the like there, so that some
levels of a flat wall get lost. Which ones hangs on the last bits of float64, and is no part of a corruption.
"""


def truncate(values: Field, scale: float = 1) -> Image:
    """Multiply by `scale`, drop fractions and clip to 255, in one pass; rounding would brighten by half a level.

    Args:
        values: Not negative: OpenCV would take the absolute value.
        scale: Of all values.
    """
    return cv2.convertScaleAbs(values, alpha=scale, beta=-ALMOST_HALF)
