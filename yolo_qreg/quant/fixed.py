"""Fixed point weights: saturating two's complement Qm.n, and the variant of a published U-Net for replication.

Letters: O output channels, I input channels, K kernel side. Weights are float32 [O, I, K, K]; m bits before the point,
n after it and one for the sign.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from yolo_qreg.quant.base import FloatQuantizer, WeightQuantizer, straight_through
from yolo_qreg.quant.lsq import SignedQuantizer, lsq, lsq_together

AUTO = "auto"
MOST_FRACTION = 26
"""Bits after the point: the arithmetic of LSQ has steps of at least 1e-8."""


def integer_bits(weight: Tensor) -> Tensor:
    """Return the smallest m with max|w| <= 2**m, a whole number that may be negative, float32 []; 0 for zeros."""
    peak = weight.abs().amax().float()
    mantissa, exponent = torch.frexp(peak)
    least = exponent - (mantissa == 0.5).to(exponent.dtype)
    return torch.where(peak > 0, least, 0).to(torch.float32)


class FixedQuantizer(SignedQuantizer):
    """k / 2**n with k = clip(round(w 2**n), -2**(m+n), 2**(m+n) - 1): LSQ with a step that is a fixed power of two.

    The gradient is passed inside the range and is 0 outside. With `integer="auto"` m is the least that holds the
    largest weight with which training begins: weights of detectors are far below 1, and with m = 0 most become zero.

    Attributes:
        fraction: n, a whole number kept as float32 [].
    """

    def __init__(self, bits: int, integer: Tensor) -> None:
        super().__init__(bits)
        self.fraction: Tensor
        self.register_buffer("fraction", (bits - 1 - integer).clamp_max(MOST_FRACTION))

    @classmethod
    def for_weight(  # type: ignore[override]  # options of its own
        cls, weight: Tensor, bits: int, *, per_channel: bool, init: str, integer: str | int, variant: str
    ) -> WeightQuantizer:
        """Make a quantizer whose range fits `weight`, or has `integer` bits before the point."""
        if variant == "unet":
            return UNetQuantizer(bits, 0 if integer == AUTO else int(integer))
        found = integer_bits(weight.detach()) if integer == AUTO else weight.new_tensor(float(integer)).float()
        return cls(bits, found)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantized weight."""
        return lsq(weight, self.scale(weight), self.bits)

    def group(self) -> Hashable:
        """Return the width."""
        return self.bits

    @staticmethod
    def together(quantizers: Sequence[FixedQuantizer], weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the quantized weights of layers of one width."""
        fractions = torch.stack([quantizer.fraction for quantizer in quantizers])
        return lsq_together(weights, torch.exp2(-fractions.round()).unbind(), quantizers[0].bits)

    def codes(self, weight: Tensor) -> Tensor:
        """Return k + 2**(bits - 1), as uint8."""
        half: int = 2 ** (self.bits - 1)
        return ((weight / self.scale(weight)).clamp(-half, half - 1).round() + half).to(torch.uint8)

    def scale(self, weight: Tensor) -> Tensor:
        """Return 2**-n, exact; what an average of models makes of n is rounded."""
        return torch.exp2(-self.fraction.round())


class UNetQuantizer(FloatQuantizer):
    """The quantizer of hossein1387/U-Net-Fixed-Point-Quantization (GM and NIH parts), quirks included, for replication.

    |w| is taken apart into whole and fraction, and each is rounded and clipped by itself. So a weight beyond the range
    is not saturated but loses its whole part (with m = 0, 1.0 becomes 0 and -1.3 becomes -0.3), and a fraction may be
    rounded up to 1: "Q0.4" has 33 values. They do not fit the codes of its width, so there are none: at inference
    weights are floats on the grid. The gradient passes unchanged.
    """

    def __init__(self, bits: int, integer: int) -> None:
        super().__init__(bits)
        self.integer = integer

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantized weight."""
        size = weight.abs()
        whole = size.floor()
        value = _rounded(whole, self.integer) + _rounded(size - whole, self.bits - 1 - self.integer)
        return straight_through(weight, weight.sign() * value)


def _rounded(x: Tensor, bits: int) -> Tensor:
    """Return round(clip(x, 0, 2**bits - 1) 2**bits) / 2**bits, which clips a whole number at no bits to zero."""
    power: int = 2**bits
    return (x.clamp(0, power - 1) * power).round() / power
