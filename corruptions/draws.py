"""Where random numbers come from: fast draws for use, the reference's own for comparison.

Corruptions ask for what they need - a normal field, an angle - and get it from one of two classes with the same
methods. `FastDraws` reads raw words of a bit generator: NumPy keeps those the same across versions and platforms,
which it does not promise for `Generator.normal` and its like. `ReferenceDraws` repeats the calls of imagecorruptions
on a seeded `RandomState`, so that the same code reproduces the reference pixel by pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions.pixels import Field, Image, wide_lookup

Window = tuple[slice, slice]

Part = tuple[range, range]
"""Rows and columns, from -1 on: the last ones of a torus."""


class Draws(Protocol):
    """Random numbers for one picture; every call draws anew."""

    def integer(self, count: int) -> int:
        """Return one of 0..count - 1, each as likely."""

    def angle(self, low: float, high: float) -> float:
        """Return a number uniform in low..high."""

    def uniform(self, bound: float, shape: tuple[int, ...], part: Part | None = None) -> Field:
        """Return numbers uniform in -bound..bound, of some rows and columns of a torus of this shape."""

    def normal(self, mean: float, sigma: float, shape: tuple[int, ...], window: Window | None = None) -> Field:
        """Return normal numbers, of the part `window` of a field of this shape."""

    def whole_normal(self, sigma: float, shape: tuple[int, ...]) -> NDArray[np.int16]:
        """Return normal numbers of mean 0, rounded down."""

    def cells(self, square: NDArray[np.int32], count: int) -> NDArray[np.int32]:
        """Return `count` entries of a square array, each as likely."""

    def photons(self, image: Image, white: float) -> Image:
        """Return truncated 255 min(k / white, 1) with k Poisson-distributed around white * image / 255, per value."""

    def impulses(self, amount: float, shape: tuple[int, ...]) -> tuple[Image, Image]:
        """Return masks of salt and pepper, 255 where set: disjoint, each of a share amount / 2."""


class FastDraws:
    """Draws from raw words of SFC64, through tables.

    Probabilities of photons are exact to 2^-29, of impulses and cells to 2^-16; uniform and normal numbers have 16
    bits, and no normal one is further out than 4.27 sigma.

    Args:
        rng: Seeds the words with four of its own, so any bit generator will do.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._entropy = [int(word) for word in rng.bit_generator.random_raw(4)]

    @cached_property
    def _bits(self) -> np.random.SFC64:
        """Made where there is something to draw: it takes a tenth of what the fastest corruptions take."""
        return np.random.SFC64(np.random.SeedSequence(self._entropy))

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

    def uniform(self, bound: float, shape: tuple[int, ...], part: Part | None = None) -> Field:
        if part is not None:
            shape = len(part[0]), len(part[1])
        numbers = np.empty(shape, np.float32)
        flat = numbers.reshape(-1)
        for run, words in self._blocks(flat.size, np.int16):
            np.multiply(words, np.float32(bound / 2**15), out=flat[run])
        return numbers

    def normal(self, mean: float, sigma: float, shape: tuple[int, ...], window: Window | None = None) -> Field:
        if window is not None:
            shape = tuple(part.stop - part.start for part in window)
        return self._looked_up(_normal_table(mean, sigma), shape)

    def whole_normal(self, sigma: float, shape: tuple[int, ...]) -> NDArray[np.int16]:
        return self._looked_up(_whole_normal_table(sigma), shape)

    def _looked_up(self, table: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return entries of a table of 65,536, each as likely."""
        found = np.empty(shape, table.dtype)
        flat = found.reshape(-1)
        for part, words in self._blocks(flat.size, np.uint16):
            flat[part] = wide_lookup(words, table)
        return found

    def cells(self, square: NDArray[np.int32], count: int) -> NDArray[np.int32]:
        return self._looked_up(_cell_table(square.tobytes()), (count,))

    def photons(self, image: Image, white: float) -> Image:
        table = _poisson_alias(white)
        values, out = image.ravel(), np.empty(image.size, np.uint8)
        for part, words in self._blocks(image.size, np.uint32):
            out[part] = table.draw(values[part], words)
        return out.reshape(image.shape)

    def impulses(self, amount: float, shape: tuple[int, ...]) -> tuple[Image, Image]:
        words = self._words(math.prod(shape), np.uint16)
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

    def uniform(self, bound: float, shape: tuple[int, ...], part: Part | None = None) -> Field:
        field = self._rng.uniform(-bound, bound, shape).astype(np.float32)
        return field if part is None else field[np.ix_(*part)]

    def normal(self, mean: float, sigma: float, shape: tuple[int, ...], window: Window | None = None) -> Field:
        field = self._rng.normal(mean, sigma, shape).astype(np.float32)
        return field if window is None else field[window]

    def whole_normal(self, sigma: float, shape: tuple[int, ...]) -> NDArray[np.int16]:
        return np.floor(self._rng.normal(0, sigma, shape)).astype(np.int16)

    def cells(self, square: NDArray[np.int32], count: int) -> NDArray[np.int32]:
        reach = len(square) // 2
        columns_and_rows = self._rng.randint(-reach, reach, size=(count, 2)) + reach
        return square[columns_and_rows[:, 1], columns_and_rows[:, 0]]

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


@lru_cache(maxsize=8)
def _normal_table(mean: float, sigma: float) -> Field:
    return (mean + sigma * _normal_quantiles()).astype(np.float32)


@lru_cache(maxsize=8)
def _whole_normal_table(sigma: float) -> NDArray[np.int16]:
    return np.floor(sigma * _normal_quantiles()).astype(np.int16)


@lru_cache(maxsize=8)
def _cell_table(square: bytes) -> NDArray[np.int32]:
    """Return 65,536 entries of an array of int32 whose bytes these are, each as often as it goes."""
    entries = np.frombuffer(square, np.int32)
    return entries.take(np.arange(2**16) * entries.size >> 16)


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
        self.index_type = np.uint16 if width <= 2**7 else np.uint32
        self.thresholds = _wide(thresholds.astype(np.int32))
        self.outcomes = _wide(np.stack([np.broadcast_to(levels, aliases.shape), levels[aliases]], axis=-1))

    def draw(self, values: NDArray[np.uint8], words: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Return one level for each grey value [N], from as many words."""
        index: NDArray[Any] = values.astype(self.index_type)
        index <<= self.index_type(self.column_bits)
        index |= (words >> np.uint32(self.share_bits)).astype(self.index_type)
        share = (words & np.uint32((1 << self.share_bits) - 1)).view(np.int32)
        take_alias = share >= wide_lookup(index, self.thresholds)
        index <<= self.index_type(1)
        index |= take_alias
        return wide_lookup(index, self.outcomes)


def _wide(table: NDArray[Any]) -> NDArray[Any]:
    """Fill a table up to the 65,536 entries that are looked up fastest."""
    return np.pad(table.ravel(), (0, max(0, 2**16 - table.size)))


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
