"""Integer codes: bit by bit in bytes, and back from the quantized values that they stand for.

Letters: O output channels, I input channels, K kernel side, n number of codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo_qreg.quant.registry import quantizer_class

Bytes = NDArray[np.uint8]


def packed_bytes(n: int, bits: int) -> int:
    """Return how many bytes `n` codes of `bits` bits take."""
    return ceil(n * bits / 8)


def pack(codes: Bytes, bits: int) -> Bytes:
    """Write codes [n] of 0 .. 2**bits - 1 one after the other, highest bit first; the last byte is filled with zeros.

    At 1, 2, 4 and 8 bits a byte holds 8 / bits whole codes; at other widths codes straddle bytes.

    >>> pack(np.array([1, 2, 3, 0], np.uint8), bits=2)
    array([108], dtype=uint8)

    Raises:
        ValueError: If a code needs more bits.
    """
    if codes.size and int(codes.max()) >> bits:
        raise ValueError(f"code {codes.max()} does not fit {bits} bits")
    return np.packbits(np.unpackbits(codes.reshape(-1, 1), axis=1)[:, 8 - bits :])


def unpack(packed: Bytes, bits: int, n: int) -> Bytes:
    """Read `n` codes that `pack` wrote, uint8 [n].

    Raises:
        ValueError: If the number of bytes is not `packed_bytes(n, bits)`.
    """
    if packed.shape != (packed_bytes(n, bits),):
        raise ValueError(f"{n} codes of {bits} bits take {packed_bytes(n, bits)} bytes, not {list(packed.shape)}")
    wide = np.zeros((n, 8), np.uint8)
    wide[:, 8 - bits :] = np.unpackbits(packed, count=n * bits).reshape(n, bits)
    return np.packbits(wide)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """The weights of one layer as integers.

    Attributes:
        bits: Bit width, 1..8.
        codes: Codes in 0 .. 2**bits - 1, uint8 [O, I, K, K].
        scale: The factor that the method needs beside them, float32 [] or [O].
    """

    bits: int
    codes: Tensor
    scale: Tensor

    def values(self, method: str) -> Tensor:
        """Return the quantized weights, float32 [O, I, K, K]."""
        return quantizer_class(method).values(self.codes, self.scale, self.bits)

    def levels_used(self) -> int:
        """Return how many distinct codes occur, of 2**bits."""
        return int(torch.bincount(self.codes.flatten()).count_nonzero())

    def size_bytes(self) -> int:
        """Return the packed size of codes and scale."""
        return packed_bytes(self.codes.numel(), self.bits) + 4 * self.scale.numel()

    @classmethod
    def from_values(cls, weight: Tensor, scale: Tensor, bits: int, method: str) -> Coded:
        """Find the code whose value lies nearest to each weight.

        This undoes rounding to fp16 exactly: a value moves by at most 2**-11 of its size, which is less than half a
        level at up to 8 bits. Only where levels are closer than fp16's smallest number, 6e-8, can they merge.

        Args:
            weight: Quantized weights, float32 [O, I, K, K], perhaps rounded to fp16 in between.
            scale: The scale that they were quantized with, float32 [] or [O].
            bits: Bit width, 1..8.
            method: The method that they were quantized with.
        """
        rows = weight.flatten(1) if scale.ndim else weight.reshape(1, -1)
        all_codes = torch.arange(2**bits, dtype=torch.uint8).repeat(len(rows), 1)
        grid = quantizer_class(method).values(all_codes, scale, bits)
        between = ((grid[:, 1:].double() + grid[:, :-1].double()) / 2).contiguous()
        codes = torch.searchsorted(between, rows.double().contiguous(), right=True)
        return cls(bits=bits, codes=codes.to(torch.uint8).view(weight.shape), scale=scale)
