"""Grey levels of even areas under blurs: a mean of equal values is that value."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_a_darker_speck_far_from_the_middle_of_the_kernel_counts() -> None:
    """At the kernel's corner it weighs 5e-9: less than float32 tells, and enough to truncate to the level below."""
    image = np.full((60, 60), 120, np.uint8)
    image[30, 30] = 119
    expected = np.full_like(image, 120)
    expected[22:39, 22:39] = 119
    np.testing.assert_array_equal(corrupt(image, "gaussian_blur", 2), expected)


def test_a_brighter_speck_is_truncated_away() -> None:
    """A mean above a level is that level; rounding would show the speck."""
    image = np.full((60, 60), 120, np.uint8)
    image[30, 30] = 121
    np.testing.assert_array_equal(corrupt(image, "gaussian_blur", 2), np.full_like(image, 120))
