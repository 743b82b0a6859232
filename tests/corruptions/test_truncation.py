"""Grey levels of even areas under blurs: a mean of equal values is that value."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from corruptions import SEVERITIES, corrupt, rng_for


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"])
def test_even_areas_keep_their_level(name: str, severity: int) -> None:
    """Whatever the last bit of a sum of weights is; only the larger discs of defocus blur brighten, as published."""
    for level in range(0, 256, 5):
        even = np.full((48, 44), level, np.uint8)
        damaged = corrupt(even, name, severity, rng_for(0, "even", name, severity))
        if name == "defocus_blur":
            assert 0 <= int(damaged.min()) - level <= int(damaged.max()) - level <= 0.02 * level
        else:
            np.testing.assert_array_equal(damaged, even)


def test_a_darker_speck_counts_where_it_weighs_more_than_float32_errs() -> None:
    """From .0002 levels below a whole number on, means truncate to the level below."""
    image = np.full((60, 60), 120, np.uint8)
    image[30, 30] = 119
    means = scipy.ndimage.gaussian_filter(image.astype(float), 2, mode="nearest", truncate=4)
    blurred = corrupt(image, "gaussian_blur", 2)
    np.testing.assert_array_equal(blurred, np.where(means < 120 - 0.0002, 119, 120))
    assert np.count_nonzero(blurred == 119) > 120


def test_a_brighter_speck_is_truncated_away() -> None:
    """A mean above a level is that level; rounding would show the speck."""
    image = np.full((60, 60), 120, np.uint8)
    image[30, 30] = 121
    np.testing.assert_array_equal(corrupt(image, "gaussian_blur", 2), np.full_like(image, 120))
