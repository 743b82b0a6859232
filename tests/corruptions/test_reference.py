"""Faithful to imagecorruptions 1.1.2, pixel by pixel: with its draws, or where nothing is drawn.

`reference.npz` was made by that package in its own environment; `tools/corruption_reference.py` is the script.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from corruptions import CORRUPTIONS, SEVERITIES, corrupt, replay
from corruptions.frost import PUBLISHED

LARGEST_MEAN = 0.2
"""Of the absolute difference, in grey levels."""

ROUNDED_WARPS = int(cv2.__version__.split(".")[0]) < 5
"""OpenCV 4 rounds the positions that `remap` reads to 1/32 pixel."""


def published_textures() -> Path | None:
    """Return the folder of frost pictures of an installed imagecorruptions."""
    spec = importlib.util.find_spec("imagecorruptions")
    places = (spec.submodule_search_locations or []) if spec else []
    folders = [Path(place) / "frost" for place in places]
    return next((folder for folder in folders if all((folder / name).is_file() for name in PUBLISHED)), None)


def differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return absolute differences in grey levels."""
    return np.abs(ours.astype(int) - theirs)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", [name for name, entry in CORRUPTIONS.items() if not entry.random])
def test_what_draws_nothing_is_the_reference(name: str, severity: int, reference: Mapping[str, np.ndarray]) -> None:
    """No value is more than a grey level off, and few are off at all."""
    off = differences(corrupt(reference["image"], name, severity), reference[name][severity - 1])
    assert off.max() <= 1
    assert off.mean() <= LARGEST_MEAN


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(
    "name", [name for name, entry in CORRUPTIONS.items() if entry.random and name not in {"impulse_noise", "frost"}]
)
def test_with_the_same_draws_it_is_the_reference(name: str, severity: int, reference: Mapping[str, np.ndarray]) -> None:
    """The same random numbers in the same order give the same picture, to a grey level."""
    off = differences(replay(reference["image"], name, severity, int(reference["seed"])), reference[name][severity - 1])
    assert off.mean() <= LARGEST_MEAN
    if name in {"snow", "spatter"}:  # a value that falls on the other side of a threshold is a flake or drop more
        assert (off > 1).mean() <= 0.002
    else:
        assert off.max() <= (4 if name == "elastic_transform" and ROUNDED_WARPS else 1)


@pytest.mark.skipif(published_textures() is None, reason="needs the frost extra")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_with_the_published_textures_is_the_reference(severity: int, reference: Mapping[str, np.ndarray]) -> None:
    """Texture, magnification and position are those of the reference."""
    ours = replay(reference["image"], "frost", severity, int(reference["seed"]), textures=published_textures())
    off = differences(ours, reference["frost"][severity - 1])
    assert off.max() <= 1
    assert off.mean() <= LARGEST_MEAN


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_hits_as_much_as_the_reference(severity: int, reference: Mapping[str, np.ndarray]) -> None:
    """The reference's draws cannot be repeated; the share of values that change is the same within 4 sigma."""
    image, theirs = reference["image"], reference["impulse_noise"][severity - 1]
    ours = replay(image, "impulse_noise", severity, 0)
    assert set(np.unique(ours[ours != image])) == {0, 255}
    hit = [np.mean(damaged != image) for damaged in (ours, theirs)]
    assert hit[0] == pytest.approx(hit[1], abs=4 * np.sqrt(2 * 0.25 / image.size))


def test_the_reference_tells_levels_apart(reference: Mapping[str, np.ndarray]) -> None:
    """The picture is good enough for the comparison: neighbouring severities differ by far more than is let pass."""
    for name in CORRUPTIONS:
        steps = [differences(a, b).mean() for a, b in zip(reference[name][:-1], reference[name][1:], strict=True)]
        assert min(steps) > 5 * LARGEST_MEAN, name


@pytest.mark.parametrize("name", ["glass_blur", "snow", "frost", "saturate"])
def test_these_do_not_get_stronger_at_every_step(name: str, reference: Mapping[str, np.ndarray]) -> None:
    """Published severities are not ordered by damage for four corruptions."""
    image = reference["image"].astype(float)
    damage = [float(np.square(damaged - image).mean()) for damaged in reference[name]]
    assert damage != sorted(damage)
