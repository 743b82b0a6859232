"""Grey levels of even areas, where the last bit of a sum decides between a level and the one below."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from corruptions import CORRUPTIONS, blur, corrupt
from corruptions.pixels import line_weights
from corruptions.truncation import gaussian_shortfall, line_shortfall

LEVELS = np.arange(256)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_motion_blur_darkens_even_areas_as_a_float64_sum_does(severity: int) -> None:
    """Which levels, hangs on the weights' last bits: most are those of a plain sum, and there are as many."""
    radius, sigma = CORRUPTIONS["motion_blur"].levels()[severity - 1]
    total = np.zeros(256)
    for weight in line_weights(radius, sigma):
        total += weight * LEVELS
    lost = LEVELS - np.clip(total, 0, 255).astype(np.uint8)
    ours = line_shortfall(radius, sigma)
    assert ours.sum() == {1: 140, 2: 9, 3: 165, 4: 137, 5: 124}[severity]
    assert np.count_nonzero(ours != lost) < 0.6 * ours.sum()


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_a_blur_along_even_rows_loses_these_levels(severity: int) -> None:
    """Row i of the picture has level i throughout, and the line lies in the row."""
    level = CORRUPTIONS["motion_blur"].levels()[severity - 1]
    rows = np.repeat(LEVELS[:, None], 64, axis=1).astype(np.uint8)
    along = SimpleNamespace(angle=lambda low, high: 0.0)
    np.testing.assert_array_equal(
        blur.motion_blur(rows, level, along), rows - line_shortfall(level.radius, level.sigma)[:, None]
    )


def test_a_darker_speck_far_from_the_middle_of_the_kernel_counts() -> None:
    """At the kernel's corner it weighs 5e-9: less than float32 tells, and enough to truncate to the level below."""
    kept = int(np.flatnonzero(gaussian_shortfall(2)[100:] == 0)[0]) + 100
    image = np.full((60, 60), kept, np.uint8)
    image[30, 30] = kept - 1
    expected = np.full_like(image, kept)
    expected[22:39, 22:39] = kept - 1
    np.testing.assert_array_equal(corrupt(image, "gaussian_blur", 2), expected)


def test_a_brighter_speck_keeps_a_level_that_even_areas_lose() -> None:
    """The mean of a lost level and a speck of a higher one lies above the level."""
    lost = int(np.flatnonzero(gaussian_shortfall(2))[0])
    image = np.full((60, 60), lost, np.uint8)
    image[30, 30] = lost + 1
    expected = np.full_like(image, lost - 1)
    expected[22:39, 22:39] = lost
    np.testing.assert_array_equal(corrupt(image, "gaussian_blur", 2), expected)
