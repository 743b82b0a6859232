"""Random numbers that no numpy release changes: raw words of PCG64, turned into integers here.

numpy promises that a bit generator's stream of words stays as it is; it does not promise the same for the methods
of `Generator`, and the pictures of the `shapes` set are pinned by a hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


class Words:
    """A stream of 64-bit words, fixed for ever by its key.

    Args:
        key: Non-negative integers; different keys give unrelated streams.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(list(key))

    def below(self, bound: int) -> int:
        """An integer in 0..bound-1; the bias is under bound / 2**32."""
        return ((int(self._bits.random_raw()) >> 32) * bound) >> 32

    def between(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in `percent` cases of a hundred."""
        return self.below(100) < percent

    def pick(self, items: Sequence[Item]) -> Item:
        """One of `items`, all equally likely."""
        return items[self.below(len(items))]

    def octets(self, *shape: int) -> NDArray[np.uint8]:
        """An array of uniform bytes (0..255) of the given shape, the same on big- and little-endian machines."""
        count = int(np.prod(shape))
        words = np.asarray(self._bits.random_raw(-(-count // 8)), dtype="<u8")
        return words.view(np.uint8)[:count].reshape(shape)
