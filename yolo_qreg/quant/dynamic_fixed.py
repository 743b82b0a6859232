"""Dynamic fixed point: Courbariaux, Bengio and David 2014 (arXiv:1412.7024), and the authors' code.

A group of numbers, here the weights of a layer or their gradients, shares a range of 2**R that follows its overflows.
B counts the bits of a number without its sign, as there; `bits` here includes it, as elsewhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from yolo_qreg.quant.base import straight_through
from yolo_qreg.quant.fixed import integer_bits
from yolo_qreg.quant.lsq import SignedQuantizer


def half_away(x: Tensor) -> Tensor:
    """Round to the nearest whole number, halves away from zero."""
    whole = x.trunc()
    return torch.where((x - whole).abs() >= 0.5, whole + x.sign(), whole)


def levels(x: Tensor, bits: int, power: Tensor) -> Tensor:
    """Return clip(round(x 2**(B - R)), -(2**B - 1), 2**B - 1), whole numbers, B = bits - 1.

    Args:
        x: Any numbers.
        bits: Their width with the sign.
        power: R, a whole number, [].
    """
    most: int = 2 ** (bits - 1) - 1
    return half_away(x / step(bits, power)).clamp(-most, most)


def step(bits: int, power: Tensor) -> Tensor:
    """Return 2**(R - B), exact, []."""
    return torch.exp2(power - (bits - 1))


class Range(nn.Module):
    """The range of one group: it grows where too many numbers overflow, and shrinks where few would.

    Attributes:
        power: R, a whole number, float32 []; what an average of models makes of it is rounded.
        overflows: Sums since the last change of the shares of numbers that overflow, at R and at R - 1, float32 [2].
        steps: Number of steps in these sums, float32 [].
    """

    power: Tensor
    overflows: Tensor
    steps: Tensor

    def __init__(self, power: Tensor) -> None:
        super().__init__()
        self.register_buffer("power", power.clone())
        self.register_buffer("overflows", torch.zeros(2, device=power.device))
        self.register_buffer("steps", torch.zeros((), device=power.device))

    def whole(self) -> Tensor:
        """Return R."""
        return self.power.round()

    def observe(self, numbers: Tensor, bits: int, period: int, limit: float) -> None:
        """Count overflows of numbers that were saturated already, and change the range after each `period` of steps.

        Numbers that are not all finite are passed over.
        """
        finite = numbers.isfinite().all()
        size = numbers.abs()
        most: int = 2 ** (bits - 1) - 1
        for index, power in enumerate((self.whole(), self.whole() - 1)):
            self.overflows[index] += (size >= most * step(bits, power)).float().mean() * finite
        self.steps += finite
        now, less = (self.overflows / self.steps).unbind()
        change = (now > limit).float() - ((now <= limit) & (less <= limit)).float()
        due = self.steps >= period
        self.power.copy_(torch.where(due, self.whole() + change, self.power))
        self.overflows.mul_(~due)
        self.steps.mul_(~due)


class _Rounded(torch.autograd.Function):
    """Pass a weight on, and round its gradient to the range of the gradients, which follows it."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, quantizer: DynamicFixedQuantizer) -> Tensor:
        ctx.quantizer = quantizer
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.quantizer.round_gradient(grad), None


class DynamicFixedQuantizer(SignedQuantizer):
    """Weights, their updates and their gradients in dynamic fixed point; symmetric, so that code 0 is not used.

    The latent is what the paper stores: it is rounded to `updates` bits after each step. Both share a range. Biases and
    BatchNorm stay in float, and activations are another setting. Training begins with the range that the weights have,
    and that of the gradients is found from the first one that is finite and not zero, where the paper trains some
    epochs at 31 bits to find them.

    Attributes:
        range: Of the weights.
        gradients: Of their gradients.
        updates: Width of the stored weights, with the sign.
        period: Steps after which ranges may change.
        limit: Share of numbers that may overflow.
        loss_scale: By what the gradients that come back are multiplied; the range is that of the gradients themselves.
    """

    def __init__(self, bits: int, power: Tensor, updates: int, period: int, limit: float) -> None:
        super().__init__(bits)
        self.updates, self.period, self.limit = updates, period, limit
        self.range = Range(power)
        self.gradients = Range(torch.zeros_like(power))
        self.loss_scale = 1.0
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), device=power.device))

    @classmethod
    def for_weight(  # type: ignore[override]  # options of its own
        cls, weight: Tensor, bits: int, *, per_channel: bool, init: str, updates: int, period: int, limit: float
    ) -> DynamicFixedQuantizer:
        """Make a quantizer whose range holds `weight`."""
        return cls(bits, integer_bits(weight.detach()), updates, period, limit)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight at the width of propagations; the gradient that comes back has that width too."""
        whole = levels(weight.detach(), self.bits, self.range.whole())
        value = whole * self.scale(weight) + 0.0
        latent: Tensor = _Rounded.apply(weight, self) if self.training else weight
        return straight_through(latent, value)

    def codes(self, weight: Tensor) -> Tensor:
        """Return 1 .. 2**bits - 1, as uint8."""
        half: int = 2 ** (self.bits - 1)
        return (levels(weight, self.bits, self.range.whole()) + half).to(torch.uint8)

    def scale(self, weight: Tensor) -> Tensor:
        """Return 2**(R - B), shape []."""
        return step(self.bits, self.range.whole())

    @torch.no_grad()
    def round_gradient(self, grad: Tensor) -> Tensor:
        """Return a gradient at the width of propagations, and count its overflows.

        One that is not finite is returned as it is, so that whoever scales the loss sees it.
        """
        return self._rounded(grad / self.loss_scale) * self.loss_scale

    def loss_scaled(self, factor: float) -> None:
        """Note the factor, a power of two."""
        self.loss_scale = factor

    def _rounded(self, grad: Tensor) -> Tensor:
        peak = grad.abs().amax()
        finite = peak.isfinite()
        power = torch.where(self.seen > 0, self.gradients.whole(), integer_bits(grad))
        self.seen.masked_fill_(finite & (peak > 0), 1)
        self.gradients.power.copy_(torch.where(self.seen > 0, power, self.gradients.power))
        rounded = torch.where(finite, levels(grad, self.bits, power) * step(self.bits, power), grad)
        self.gradients.observe(rounded, self.bits, self.period, self.limit)
        return rounded

    def after_step(self, weight: Tensor) -> None:
        """Store the weight at the width of updates, and let the range follow it."""
        power = self.range.whole()
        weight.copy_(levels(weight, self.updates, power) * step(self.updates, power))
        self.range.observe(weight, self.updates, self.period, self.limit)
