"""Where random numbers come from: fast draws for use, the reference's own for comparison.

Corruptions ask for what they need - a normal field, an angle - and get it from one of two classes with the same
methods. `FastDraws` reads raw words of a bit generator: NumPy keeps those the same across versions and platforms,
which it does not promise for `Generator.normal` and its like. `ReferenceDraws` repeats the calls of imagecorruptions
on a seeded `RandomState`, so that the same code reproduces the reference pixel by pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions.pixels import Field, Image

Window = tuple[slice, slice]


class Draws(Protocol):
    """Random numbers for one picture; every call draws anew."""

    def integer(self, count: int) -> int:
        """Return one of 0..count - 1, each as likely."""

    def angle(self, low: float, high: float) -> float:
        """Return a number uniform in low..high."""

    def uniform(self, bound: float, shape: tuple[int, ...]) -> Field:
        """Return numbers uniform in -bound..bound."""

    def normal(self, mean: float, sigma: float, shape: tuple[int, ...], window: Window | None = None) -> Field:
        """Return normal numbers, of the part `window` of a field of this shape."""

    def whole_normal(self, sigma: float, shape: tuple[int, ...]) -> NDArray[np.int16]:
        """Return normal numbers of mean 0, rounded down."""

    def pairs(self, side: int, count: int) -> NDArray[np.integer[Any]]:
        """Return `count` cells of a square of `side` cells a side, each as likely: side * row + column."""

    def photons(self, image: Image, white: float) -> Image:
        """Return truncated 255 min(k / white, 1) with k Poisson-distributed around white * image / 255, per value."""

    def impulses(self, amount: float, shape: tuple[int, ...]) -> tuple[Image, Image]:
        """Return masks of salt and pepper, 255 where set: disjoint, each of a share amount / 2."""


class FastDraws:
    """Draws from raw words of SFC64, through tables.

    Probabilities of pairs and photons are exact to 2^-29, of impulses to 2^-16; normal numbers have 16 bits, and none
    is further out than 4.27 sigma.

    Args:
        rng: Seeds the words with four of its own, so any bit generator will do.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        entropy = [int(word) for word in rng.bit_generator.random_raw(4)]
        self._bits = np.random.SFC64(np.random.SeedSequence(entropy))

    def _words(self, count: int, dtype: Any) -> NDArray[Any]:
        per_raw = 8 // np.dtype(dtype).itemsize
        return self._bits.random_raw(-(-count // per_raw)).view(dtype)[:count]

    def _blocks(self, count: int, dtype: Any) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield `count` words by blocks that stay in a core's cache, each with its place among them."""
        for start in range(0, count, _CHUNK):
            part = slice(start, min(start + _CHUNK, count))
            yield part, self._words(part.stop - start, dtype)

    def integer(self, count: int) -> int:
        return int(self._bits.random_raw()) * count >> 64

    def angle(self, low: float, high: float) -> float:
        return low + (high - low) * (int(self._bits.random_raw()) / 2**64)

    def uniform(self, bound: float, shape: tuple[int, ...]) -> Field:
        words = self._words(int(np.prod(shape)), np.int32)
        numbers = words.view(np.float32)  # in place, which saves as much memory again
        np.multiply(words, np.float32(bound / 2**31), out=numbers, dtype=np.float32, casting="unsafe")
        return numbers.reshape(shape)

    def normal(self, mean: float, sigma: float, shape: tuple[int, ...], window: Window | None = None) -> Field:
        if window is not None:
            shape = tuple(part.stop - part.start for part in window)
        return self._looked_up((mean + sigma * _normal_quantiles()).astype(np.float32), shape)

    def whole_normal(self, sigma: float, shape: tuple[int, ...]) -> NDArray[np.int16]:
        return self._looked_up(np.floor(sigma * _normal_quantiles()).astype(np.int16), shape)

    def _looked_up(self, table: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return entries of a table of 65,536, each as likely."""
        found = np.empty(shape, table.dtype)
        flat = found.reshape(-1)
        for part, words in self._blocks(flat.size, np.uint16):
            np.take(table, words, out=flat[part], mode="clip")
        return found

    def pairs(self, side: int, count: int) -> NDArray[np.integer[Any]]:
        cells = np.empty(count, np.uint16)
        for part, words in self._blocks(count, np.uint32):
            products = np.multiply(words, side * side, dtype=np.uint64)
            cells[part] = products >> np.uint64(32)
        return cells

    def photons(self, image: Image, white: float) -> Image:
        table = _poisson_alias(white)
        values, out = image.ravel(), np.empty(image.size, np.uint8)
        for part, words in self._blocks(image.size, np.uint32):
            out[part] = table.draw(values[part], words)
        return out.reshape(image.shape)

    def impulses(self, amount: float, shape: tuple[int, ...]) -> tuple[Image, Image]:
        words = self._words(int(np.prod(shape)), np.uint16).reshape(shape[0], -1)
        half = round(amount * 2**15)
        salt = cv2.inRange(words, 0, half - 1)
        pepper = cv2.inRange(words, half, 2 * half - 1)
        return salt.reshape(shape), pepper.reshape(shape)


class ReferenceDraws:
    """Draws as imagecorruptions 1.1.2 makes them after `np.random.seed(seed)`: same calls, same order, float64.

    Impulse noise cannot be repeated: the reference takes it from a generator that nobody can seed. Its masks follow the
    same law here.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.RandomState(seed)

    def integer(self, count: int) -> int:
        return int(self._rng.randint(0, count))

    def angle(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))

    def uniform(self, bound: float, shape: tuple[int, ...]) -> Field:
        return self._rng.uniform(-bound, bound, shape).astype(np.float32)

    def normal(self, mean: float, sigma: float, shape: tuple[int, ...], window: Window | None = None) -> Field:
        field = self._rng.normal(mean, sigma, shape).astype(np.float32)
        return field if window is None else field[window]

    def whole_normal(self, sigma: float, shape: tuple[int, ...]) -> NDArray[np.int16]:
        return np.floor(self._rng.normal(0, sigma, shape)).astype(np.int16)

    def pairs(self, side: int, count: int) -> NDArray[np.integer[Any]]:
        columns_and_rows = self._rng.randint(-side // 2, side // 2, size=(count, 2)) + side // 2
        return columns_and_rows[:, 1] * side + columns_and_rows[:, 0]

    def photons(self, image: Image, white: float) -> Image:
        counts = self._rng.poisson(image / 255.0 * white)
        return (np.minimum(counts / white, 1) * 255).astype(np.uint8)

    def impulses(self, amount: float, shape: tuple[int, ...]) -> tuple[Image, Image]:
        hit, white = self._rng.uniform(size=shape) < amount, self._rng.uniform(size=shape) < 0.5
        return (hit & white).astype(np.uint8) * 255, (hit & ~white).astype(np.uint8) * 255


_CHUNK = 2**15
"""Values at a time: temporaries of this length stay in a core's cache."""


@lru_cache(maxsize=1)
def _normal_quantiles() -> NDArray[np.float64]:
    """Return the quantiles of the standard normal distribution at (i + 1/2) / 65,536, i = 0..65,535."""
    inverse = NormalDist().inv_cdf
    lower = np.array([inverse((i + 0.5) / 2**16) for i in range(2**15)])
    return np.concatenate([lower, -lower[::-1]])


class PoissonAlias:
    """Walker's alias method for all 256 grey values at once: one 32-bit word makes one exact Poisson draw.

    Outcome k < white stands for level trunc(255 k / white); the last outcome gathers everything that clips to 255. The
    word's upper bits choose a column, its lower bits decide between the column's own outcome and its alias.

    Args:
        white: Expected count at grey value 255.
    """

    def __init__(self, white: float) -> None:
        shares = _poisson_shares(white)
        self.column_bits = (shares.shape[1] - 1).bit_length()
        self.share_bits = 32 - self.column_bits
        width = 1 << self.column_bits
        padded = np.zeros((256, width), np.int64)
        padded[:, : shares.shape[1]] = shares
        thresholds, aliases = _alias_columns(padded)
        levels = (np.minimum(np.arange(width) / white, 1) * 255).astype(np.uint8)
        self.thresholds = thresholds.astype(np.uint32).ravel()
        self.outcomes = np.stack([np.broadcast_to(levels, aliases.shape), levels[aliases]], axis=-1).ravel()

    def draw(self, values: NDArray[np.uint8], words: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Return one level for each grey value [N], from as many words."""
        index = values.astype(np.uint32)
        index <<= np.uint32(self.column_bits)
        index |= words >> np.uint32(self.share_bits)
        share = words & np.uint32((1 << self.share_bits) - 1)
        take_alias = share >= np.take(self.thresholds, index, mode="clip")
        index <<= np.uint32(1)
        index |= take_alias
        return np.take(self.outcomes, index, mode="clip")


_poisson_alias = lru_cache(maxsize=8)(PoissonAlias)


def _poisson_shares(white: float) -> NDArray[np.int64]:
    """Return how many of 2^32 words stand for each count k = 0..K of each grey value, [256, K + 1].

    The last column is every count that clips to white. Whole numbers, so that the last bits of exponentials, which
    change with the processor, do not change the table that is made from them.
    """
    counts = np.arange(math.ceil(white))
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    rate = np.arange(1, 256)[:, None] / 255 * white
    with np.errstate(under="ignore"):  # to 0, also where a caller has made underflow an error
        pmf = np.exp(counts * np.log(rate) - rate - log_factorial)
    pmf = np.concatenate([(counts == 0).astype(np.float64)[None], pmf])  # black emits nothing
    shares = np.rint(pmf * 2**32).astype(np.int64)
    return np.concatenate([shares, np.maximum(2**32 - shares.sum(axis=1, keepdims=True), 0)], axis=1)


def _alias_columns(shares: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how much of each column is its own and the outcome that fills the rest, [R, K] both.

    Robin Hood's way: the poorest column is filled up by the richest, K - 1 times, for all R rows side by side.

    Args:
        shares: Of each outcome, [R, K]; rows sum to 2^32, a column holds 2^32 / K.
    """
    rows, width = shares.shape
    full = 2**32 // width
    own, aliases = np.full((rows, width), full), np.tile(np.arange(width), (rows, 1))
    wealth, settled = shares.copy(), np.zeros((rows, width), bool)
    row = np.arange(rows)
    for _ in range(width - 1):
        low = np.where(settled, 2**33, wealth).argmin(axis=1)
        high = np.where(settled, -1, wealth).argmax(axis=1)
        own[row, low], aliases[row, low] = np.minimum(wealth[row, low], full), high
        wealth[row, high] -= np.maximum(full - wealth[row, low], 0)
        settled[row, low] = True
    return own, aliases
