"""The published numbers, typed again, of the parameter sets that no picture of a reference pins."""

from __future__ import annotations

import numpy as np
import pytest

from corruptions.tables import PARAMETERS, Levels

CIFAR_C = {
    "gaussian_noise": "0.04 | 0.06 | 0.08 | 0.09 | 0.1",
    "shot_noise": "500 | 250 | 100 | 75 | 50",
    "impulse_noise": "0.01 | 0.02 | 0.03 | 0.05 | 0.07",
    "defocus_blur": "0.3 0.4 | 0.4 0.5 | 0.5 0.6 | 1 0.2 | 1.5 0.1",
    "glass_blur": "0.05 1 1 | 0.25 1 1 | 0.4 1 1 | 0.25 1 2 | 0.4 1 2",
    "motion_blur": "6 1 | 6 1.5 | 6 2 | 8 2 | 9 2.5",
    "zoom_blur": "7 1.06 | 12 1.11 | 16 1.15 | 21 1.2 | 26 1.25",
    "snow": "0.1 0.2 1 0.6 8 3 0.95 | 0.1 0.2 1 0.5 10 4 0.9 | 0.15 0.3 1.75 0.55 10 4 0.9 | "
    "0.25 0.3 2.25 0.6 12 6 0.85 | 0.3 0.3 1.25 0.65 14 12 0.8",
    "frost": "1 0.2 0.2 | 1 0.3 0.2 | 0.9 0.4 0.2 | 0.85 0.4 0.2 | 0.75 0.45 0.2",
    "fog": "0.2 3 | 0.5 3 | 0.75 2.5 | 1 2 | 1.5 1.75",
    "brightness": "0.05 | 0.1 | 0.15 | 0.2 | 0.3",
    "contrast": "0.75 | 0.5 | 0.4 | 0.3 | 0.15",
    "elastic_transform": "0 0 2.56 | 1.6 6.4 2.24 | 2.56 1.92 1.92 | 3.2 1.28 1.6 | 3.2 0.96 0.96",
    "pixelate": "0.95 | 0.9 | 0.85 | 0.75 | 0.65",
    "jpeg_compression": "80 | 65 | 58 | 50 | 40",
    "speckle_noise": "0.06 | 0.1 | 0.12 | 0.16 | 0.2",
    "gaussian_blur": "0.4 | 0.6 | 0.7 | 0.8 | 1",
    "spatter": "0.62 0.1 0.7 0.7 0.5 0 | 0.65 0.1 0.8 0.7 0.5 0 | 0.65 0.3 1 0.69 0.5 0 | "
    "0.65 0.1 0.7 0.69 0.6 1 | 0.65 0.1 0.5 0.68 0.6 1",
    "saturate": "0.3 0 | 0.1 0 | 1.5 0 | 2 0.1 | 2.5 0.2",
}
TINY_IMAGENET_C = {
    "gaussian_noise": "0.04 | 0.08 | 0.12 | 0.15 | 0.18",
    "shot_noise": "250 | 100 | 50 | 30 | 15",
    "impulse_noise": "0.01 | 0.02 | 0.05 | 0.08 | 0.14",
    "defocus_blur": "0.5 0.6 | 1 0.1 | 1.5 0.1 | 2.5 0.01 | 3 0.1",
    "glass_blur": "0.1 1 1 | 0.5 1 1 | 0.6 1 2 | 0.7 2 1 | 0.9 2 2",
    "motion_blur": "10 1 | 10 1.5 | 10 2 | 10 2.5 | 12 3",
    "zoom_blur": "7 1.06 | 12 1.11 | 16 1.15 | 21 1.2 | 26 1.25",
    "snow": "0.1 0.2 1 0.6 8 3 0.8 | 0.1 0.2 1 0.5 10 4 0.8 | 0.15 0.3 1.75 0.55 10 4 0.7 | "
    "0.25 0.3 2.25 0.6 12 6 0.65 | 0.3 0.3 1.25 0.65 14 12 0.6",
    "frost": "1 0.3 0.3 | 0.9 0.4 0.3 | 0.8 0.45 0.3 | 0.75 0.5 0.3 | 0.7 0.55 0.3",
    "fog": "0.4 3 | 0.7 3 | 1 2.5 | 1.5 2 | 2 1.75",
    "brightness": "0.1 | 0.2 | 0.3 | 0.4 | 0.5",
    "contrast": "0.4 | 0.3 | 0.2 | 0.1 | 0.05",
    "elastic_transform": "0 0 5.12 | 3.2 19.2 3.84 | 6.4 5.12 3.84 | 6.4 1.92 1.92 | 10.24 1.92 1.28",
    "pixelate": "0.9 | 0.8 | 0.7 | 0.6 | 0.5",
    "jpeg_compression": "65 | 58 | 50 | 40 | 25",
    "speckle_noise": "0.15 | 0.2 | 0.25 | 0.3 | 0.35",
    "gaussian_blur": "0.5 | 0.75 | 1 | 1.25 | 1.5",
    "spatter": "0.62 0.1 0.7 0.7 0.6 0 | 0.65 0.1 0.8 0.7 0.6 0 | 0.65 0.3 1 0.69 0.6 0 | "
    "0.65 0.1 0.7 0.68 0.6 1 | 0.65 0.1 0.5 0.67 0.6 1",
    "saturate": "0.3 0 | 0.1 0 | 2 0 | 5 0.1 | 30 0.2",
}
"""The authors' numbers in their order, severities between bars: github.com/hendrycks/robustness, make_cifar_c.py and
make_tinyimagenet_c.py. zoom_blur: how many magnifications, and the last one. frost: with the texture's scale.
elastic_transform: alpha, sigma and affine in pixels."""


def in_their_terms(name: str, levels: Levels, side: int) -> list[tuple[float, ...]]:
    """Return five levels as the authors write them, for pictures of `side` pixels."""
    if name == "zoom_blur":
        zooms = [np.arange(1, level.stop, level.step) for level in levels]
        return [(len(zoom), zoom[-1]) for zoom in zooms]
    if name == "elastic_transform":
        return [tuple(side * value for value in level) for level in levels]
    return [tuple(map(float, level)) for level in levels]


@pytest.mark.parametrize(
    ("parameters", "side", "published"), [("cifar-c", 32, CIFAR_C), ("tiny-imagenet-c", 64, TINY_IMAGENET_C)]
)
def test_the_small_sets_are_the_published_ones(parameters: str, side: int, published: dict[str, str]) -> None:
    """Every number of all 19."""
    assert list(PARAMETERS[parameters]) == list(published)
    for name, text in published.items():
        expected = [tuple(map(float, level.split())) for level in text.split("|")]
        found = in_their_terms(name, PARAMETERS[parameters][name], side)
        assert [len(level) for level in found] == [len(level) for level in expected], name
        np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-9, err_msg=name)
