"""Fast draws follow the laws that they stand for, in closed form, and never change."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from corruptions.draws import FastDraws, PoissonAlias, ReferenceDraws


def draws(seed: int = 0) -> FastDraws:
    """Return draws from a generator seeded by its raw state alone."""
    return FastDraws(np.random.Generator(np.random.PCG64(seed)))


def test_normal_draws_are_normal() -> None:
    """A million draws are within .002 of the normal distribution everywhere (Kolmogorov), mean and spread as asked."""
    sample = np.sort(draws().normal(3, 2, (1000, 1000)).ravel())
    assert sample.mean() == pytest.approx(3, abs=0.01)
    assert sample.std() == pytest.approx(2, rel=0.002)
    normal = NormalDist(3, 2)
    places = np.linspace(-4, 10, 113)
    shares = np.searchsorted(sample, places) / sample.size
    assert np.abs(shares - [normal.cdf(place) for place in places]).max() < 0.002


def test_a_window_of_a_normal_field_has_its_shape() -> None:
    """Only the window is drawn; the reference draws the field and cuts the window out."""
    window = (slice(3, 7), slice(2, 12))
    assert draws().normal(0, 1, (20, 30), window).shape == (4, 10)
    whole = ReferenceDraws(5).normal(0, 1, (20, 30))
    np.testing.assert_array_equal(ReferenceDraws(5).normal(0, 1, (20, 30), window), whole[window])


def test_uniform_draws_fill_their_range_evenly() -> None:
    """Counts in 50 bins stay within 5 sigma of equal, and ends are reached but not passed."""
    sample = draws().uniform(7, (500, 400))
    counts, _ = np.histogram(sample, bins=50, range=(-7, 7))
    assert counts.sum() == sample.size
    assert np.abs(counts - 4000).max() < 5 * math.sqrt(4000)


@pytest.mark.parametrize("side", [2, 4, 6, 8])
def test_cells_are_uniform(side: int) -> None:
    """All cells of the square are as likely, within 5 sigma."""
    counts = np.bincount(draws().cells(np.arange(side**2, dtype=np.int32).reshape(side, side), 200_000))
    expected = 200_000 / side**2
    assert len(counts) == side**2
    assert np.abs(counts - expected).max() < 5 * math.sqrt(expected)


@pytest.mark.parametrize("white", [3, 12, 60, 500])
def test_the_poisson_table_is_exact(white: int) -> None:
    """Read as probabilities, the alias table gives the Poisson law of every grey value to 2^-29 at each level."""
    table = PoissonAlias(white)
    columns = 1 << table.column_bits
    own = table.thresholds[: 256 * columns].reshape(256, columns) / 2**table.share_bits
    outcomes = table.outcomes[: 512 * columns].reshape(256, columns, 2)
    for grey in (0, 1, 77, 200, 255):
        law = np.zeros(256)
        np.add.at(law, outcomes[grey, :, 0], own[grey] / columns)
        np.add.at(law, outcomes[grey, :, 1], (1 - own[grey]) / columns)
        rate = white * grey / 255
        expected = np.zeros(256)
        for k in range(white):
            level = int(k / white * 255)
            expected[level] += math.exp(k * math.log(rate) - rate - math.lgamma(k + 1)) if rate else float(k == 0)
        expected[255] += 1 - expected.sum()
        np.testing.assert_allclose(law, expected, atol=2**-29)


def test_poisson_draws_read_the_table() -> None:
    """Every column and both halves of it come up as often as the words say."""
    table = PoissonAlias(12)
    words = np.arange(0, 2**32, 2**12, dtype=np.uint64).astype(np.uint32)
    levels = table.draw(np.full(len(words), 128, np.uint8), words)
    counts = levels.astype(float) / 255 * 12
    assert counts.mean() == pytest.approx(12 * 128 / 255, abs=0.05)  # levels are truncated
    assert levels.min() == 0
    assert levels.max() == 255


@pytest.mark.parametrize("amount", [0.03, 0.27])
def test_impulses_are_disjoint_and_of_the_right_share(amount: float) -> None:
    """Half salt, half pepper, each within 5 sigma."""
    salt, pepper = draws().impulses(amount, (300, 400, 3))
    assert salt.shape == (300, 400, 3)
    assert not np.any(salt & pepper)
    for mask in (salt, pepper):
        assert set(np.unique(mask)) == {0, 255}
        tolerance = 5 * math.sqrt(amount / 2 / mask.size)
        assert np.mean(mask == 255) == pytest.approx(amount / 2, abs=tolerance)


def test_single_numbers_cover_their_range() -> None:
    """Integers take every value, angles stay inside."""
    source = draws()
    assert {source.integer(5) for _ in range(200)} == {0, 1, 2, 3, 4}
    angles = [source.angle(-45, 45) for _ in range(400)]
    assert -45 <= min(angles) < -40
    assert 40 < max(angles) <= 45


def test_draws_are_the_same_forever() -> None:
    """Raw words and tables depend on no version: these numbers were printed once."""
    source = draws(123)
    assert source.integer(1000) == 963
    assert source.angle(-1, 1) == pytest.approx(-0.6623008153618786, abs=1e-15)
    np.testing.assert_allclose(source.uniform(1, (3,)), [-0.5990906, -0.9699402, -0.49456787], atol=1e-7)
    np.testing.assert_allclose(source.normal(0, 1, (3,)), [-0.9836205, -0.20531496, -0.26501182], atol=1e-7)


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64, np.random.Philox, np.random.SFC64])
def test_any_bit_generator_will_do(bits: type[np.random.BitGenerator]) -> None:
    """Also one whose raw words have 32 bits; the generator moves on, so the next draws are new ones."""
    rng = np.random.Generator(bits(1))
    first, second = (FastDraws(rng).uniform(1, (8,)) for _ in range(2))
    again = FastDraws(np.random.Generator(bits(1))).uniform(1, (8,))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
