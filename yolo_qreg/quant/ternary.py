"""Ternary weights: Liu, Wang, Zhang and Yan, "Ternary Weight Networks" (arXiv:1605.04711).

Letters: O output channels, I input channels, K kernel side. Weights are float32 [O, I, K, K].
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from yolo_qreg.quant.base import WeightQuantizer, per_output_channel, straight_through
from yolo_qreg.quant.layout import Layout

THRESHOLD = 0.7
"""Of the mean magnitude: below it a weight is zero."""


class _TernaryTogether(torch.autograd.Function):
    """The values of many layers: operations over all of them, but for sums of magnitudes; gradients pass unchanged."""

    @staticmethod
    def forward(ctx: Any, per_channel: bool, *weights: Tensor) -> tuple[Tensor, ...]:
        layout = Layout.of(
            weights, [per_channel] * len(weights), joined=False
        )  # sums decide codes: they keep their bits
        size = torch._foreach_abs(weights)
        means = layout.scales([one.flatten(1).mean(1) if per_channel else one.mean() for one in size])
        kept = torch._foreach_sub(size, layout.spread(THRESHOLD * means))
        torch._foreach_sign_(kept)
        torch._foreach_clamp_min_(kept, 0)  # 1 above the threshold, else 0
        torch._foreach_mul_(size, kept)
        sums = layout.scales([one.flatten(1).sum(1) if per_channel else one.flatten().sum(-1) for one in size])
        found = torch._foreach_sign(weights)
        torch._foreach_mul_(found, kept)
        torch._foreach_add_(found, 0.0)  # turns -0 into 0
        torch._foreach_mul_(found, layout.spread(sums / layout.counts(kept).clamp_min_(1)))
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *grads


class TernaryQuantizer(WeightQuantizer):
    """Weights -a, 0 and a: zero up to 0.7 mean|w|, a the mean magnitude of the others; the gradient passes unchanged.

    Codes 0, 1 and 2 take two bits; code 3 is not used. With a scale for each output channel both means are its own.
    """

    def __init__(self, bits: int, *, per_channel: bool) -> None:
        super().__init__(bits)
        self.per_channel = per_channel

    @classmethod
    def for_weight(cls, weight: Tensor, bits: int, *, per_channel: bool, init: str) -> TernaryQuantizer:
        """Make a quantizer; nothing depends on the weight."""
        return cls(bits, per_channel=per_channel)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantized weight."""
        return straight_through(weight, self.values(self.codes(weight), self.scale(weight), self.bits))

    def group(self) -> Hashable:
        """Return whether channels have scales of their own."""
        return self.per_channel

    @staticmethod
    def together(quantizers: Sequence[TernaryQuantizer], weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the quantized weights of layers of one group."""
        found: tuple[Tensor, ...] = _TernaryTogether.apply(quantizers[0].per_channel, *weights)
        return found

    def codes(self, weight: Tensor) -> Tensor:
        """Return 0, 1 or 2 for -a, 0 or a, as uint8."""
        return (weight.sign() * self._kept(weight) + 1).to(torch.uint8)

    def scale(self, weight: Tensor) -> Tensor:
        """Return a, shape [] or [O]; 0 where all weights are."""
        kept = self._kept(weight.detach())
        size = weight.detach().abs() * kept
        rows = (size.flatten(1), kept.flatten(1)) if self.per_channel else (size.flatten(), kept.flatten())
        return rows[0].sum(-1) / rows[1].sum(-1).clamp_min(1)

    @staticmethod
    def values(codes: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Return (code - 1) * a."""
        return per_output_channel(scale, codes) * (codes.to(torch.float32) - 1)

    @staticmethod
    def grid(bits: int) -> tuple[int, int]:
        """Return 1 and 1: codes stand for -1, 0 and 1."""
        return 1, 1

    def _kept(self, weight: Tensor) -> Tensor:
        """Return which weights are not zero, of the weight's shape."""
        size = weight.abs()
        mean = per_output_channel(size.flatten(1).mean(1), weight) if self.per_channel else size.mean()
        return size > THRESHOLD * mean
