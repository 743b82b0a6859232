"""Dynamic fixed point: Courbariaux, Bengio and David 2014 (arXiv:1412.7024), and the authors' code.

A group of numbers - the weights of a layer, what it reads, or the gradients of either - shares a range of 2**R that
follows its overflows. B counts the bits of a number without its sign, as there; `bits` here includes it, as elsewhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from yolo_qreg.quant.activations import ActivationQuantizer, QParams, integer_range
from yolo_qreg.quant.base import straight_through
from yolo_qreg.quant.fixed import integer_bits
from yolo_qreg.quant.lsq import SignedQuantizer
from yolo_qreg.quant.observed import LEAST, Observed
from yolo_qreg.quant.registry import LIMIT, PERIOD


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

    def observe(self, numbers: Tensor, bits: int, period: int, limit: float, *, shared: bool = False) -> None:
        """Count overflows of numbers that were saturated already, and change the range after each `period` of steps.

        Numbers that are not all finite are passed over.

        Args:
            numbers: Of the group.
            bits: Their width with the sign.
            period: Steps after which the range may change.
            limit: Share of numbers that may overflow.
            shared: Whether the processes of a multi-GPU run count together, each calling this.
        """
        finite = numbers.isfinite().all()
        size = numbers.abs()
        most: int = 2 ** (bits - 1) - 1
        shares = [(size >= most * step(bits, power)).float().mean() for power in (self.whole(), self.whole() - 1)]
        counted = torch.stack([*shares, torch.ones_like(self.steps)]) * finite
        if shared and distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(counted)
            counted /= distributed.get_world_size()
        self.overflows += counted[:2]
        self.steps += counted[2]
        now, less = (self.overflows / self.steps).unbind()
        change = (now > limit).float() - ((now <= limit) & (less <= limit)).float()
        due = self.steps >= period
        self.power.copy_(torch.where(due, self.whole() + change, self.power))
        self.overflows.mul_(~due)
        self.steps.mul_(~due)


class _Rounded(torch.autograd.Function):
    """Pass a tensor on, and round its gradient to the range of the gradients, which follows it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantizer: RoundedGradients) -> Tensor:
        ctx.quantizer = quantizer
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.quantizer.round_gradient(grad), None


class RoundedGradients(nn.Module):
    """What gives the gradients of a tensor the width of propagations.

    Their range is found from the first one that is finite and not zero, where the paper trains some epochs at 31 bits.

    Attributes:
        bits: Width with the sign.
        period: Steps after which ranges may change.
        limit: Share of numbers that may overflow.
        gradients: Their range.
        seen: Whether there was such a gradient, [].
        loss_scale: By what the gradients that come back are multiplied; the range is that of the gradients themselves.
    """

    bits: int
    period: int
    limit: float
    seen: Tensor

    def _begin(self, power: Tensor, period: int, limit: float) -> None:
        self.period, self.limit, self.loss_scale = period, limit, 1.0
        self.gradients = Range(torch.zeros_like(power))
        self.register_buffer("seen", torch.zeros((), device=power.device))

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


class DynamicFixedQuantizer(RoundedGradients, SignedQuantizer):
    """Weights, their updates and their gradients in dynamic fixed point; symmetric, so that code 0 is not used.

    The latent is what the paper stores: it is rounded to `updates` bits after each step. Both share a range. Biases and
    BatchNorm stay in float, and activations are another setting. Training begins with the range that the weights have.

    Attributes:
        range: Of the weights.
        updates: Width of the stored weights, with the sign.
    """

    def __init__(self, bits: int, power: Tensor, updates: int, period: int, limit: float) -> None:
        super().__init__(bits)
        self.updates = updates
        self.range = Range(power)
        self._begin(power, period, limit)

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

    def after_step(self, weight: Tensor) -> None:
        """Store the weight at the width of updates, and let the range follow it."""
        power = self.range.whole()
        weight.copy_(levels(weight, self.updates, power) * step(self.updates, power))
        self.range.observe(weight, self.updates, self.period, self.limit)


class DynamicFixedActivation(RoundedGradients, ActivationQuantizer):
    """What convolutions read, and its gradients, in dynamic fixed point; ranges follow overflows by the paper's rule.

    It has the least integer, too, and rounds halves to even, as runtimes do; the paper has neither. The gradient passes
    where values are saturated.

    Attributes:
        range: Of the values.
    """

    def __init__(self, bits: int, low: int, high: int) -> None:
        super().__init__(bits, low, high)
        self.range = Range(torch.zeros(()))
        self._begin(self.range.power, PERIOD, LIMIT)

    @classmethod
    def make(cls, bits: int, grid: str) -> DynamicFixedActivation:
        """Make one that is to be calibrated, or to be loaded."""
        return cls(bits, *integer_range(bits, grid))

    def quantize(self, x: Tensor) -> Tensor:
        """Return the quantized tensor; in training mode its range follows it."""
        scale = step(self.bits, self.range.whole())
        value = (x.detach() / scale).round_().clamp_(self.low, self.high).mul_(scale)
        if not self.training:
            return straight_through(x, value)
        self.range.observe(value, self.bits, self.period, self.limit, shared=True)
        latent: Tensor = _Rounded.apply(x, self)
        return straight_through(latent, value)

    def fit(self, seen: Observed) -> None:
        """Take the least range that holds what was seen."""
        self.range.power.copy_(integer_bits(torch.tensor(max(seen.high, -seen.low, LEAST))))

    def qparams(self) -> QParams:
        """Return the grid in use."""
        return QParams(step(self.bits, self.range.whole()), 0, self.low, self.high)
