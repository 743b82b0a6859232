"""Learned step size quantization: Esser et al. 2020, "Learned Step Size Quantization" (arXiv:1902.08153).

Letters: O output channels, I input channels, K kernel side. Weights are float32 [O, I, K, K]; a step is [] or [O].
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from yolo_qreg.quant.base import WeightQuantizer, per_output_channel
from yolo_qreg.quant.layout import Layout
from yolo_qreg.quant.oscillation import DAMPENING, FREEZING, Tracker, rising

SMALLEST_STEP = 1e-8
"""A step that the optimizer drives below this is used as this. Its gradient still passes, so it can come back."""


def clip_range(bits: int) -> tuple[int, int]:
    """Return Qn and Qp of signed data: codes run from -Qn to Qp (section 2)."""
    return 2 ** (bits - 1), 2 ** (bits - 1) - 1


class _LSQ(torch.autograd.Function):
    """Equations 1 and 2 forward; equations 3 and 5 backward, with the gradient scale of section 2.2."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, bits: int) -> Tensor:
        qn, qp = clip_range(bits)
        wide = per_output_channel(step.clamp_min(SMALLEST_STEP), weight)
        ratio = weight / wide
        ctx.save_for_backward(weight, step, ratio)
        ctx.range = qn, qp
        return wide * ratio.clamp(-qn, qp).round_().add_(0.0)  # adding 0 turns -0 into 0, the value of its code

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, step, ratio = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated: make its graph begin at weight and step
            ratio = weight / per_output_channel(step.clamp_min(SMALLEST_STEP), weight)
        return *_gradients(grad, ratio, step, ctx.range), None


def _gradients(grad: Tensor, ratio: Tensor, step: Tensor, limits: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the gradients of a weight and its step from that of the quantized value; `ratio` is weight / step."""
    qn, qp = limits
    inside = (ratio > -qn) & (ratio < qp)
    clipped = ratio.clamp(-qn, qp)
    slope = grad * torch.where(inside, clipped.round() - clipped, clipped)
    step_grad = slope.flatten(1).sum(1) if step.ndim else slope.sum()
    return grad * inside, step_grad / math.sqrt(ratio.numel() // step.numel() * qp)


class _LSQTogether(torch.autograd.Function):
    """`_LSQ` of many layers by operations over all of them."""

    @staticmethod
    def forward(ctx: Any, bits: int, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        weights, steps = tensors[:count], tensors[count:]
        qn, qp = ctx.range = clip_range(bits)
        ctx.layout = layout = Layout.of(weights, [step.ndim > 0 for step in steps])
        wide = layout.spread(layout.scales(steps).clamp_min_(SMALLEST_STEP))
        ratio = torch._foreach_div(layout.joined(weights), wide)
        ctx.save_for_backward(*ratio, *tensors)
        found = torch._foreach_clamp_min(ratio, -qn)
        torch._foreach_clamp_max_(found, qp)
        torch._foreach_round_(found)
        torch._foreach_add_(found, 0.0)
        torch._foreach_mul_(found, wide)
        return tuple(layout.apart(found))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        count, layout, (qn, qp), saved = len(grads), ctx.layout, ctx.range, ctx.saved_tensors
        ratio, weights, steps = saved[: -2 * count], saved[-2 * count : -count], saved[-count:]
        if torch.is_grad_enabled():  # to be differentiated: as layer by layer
            wide = [per_output_channel(s.clamp_min(SMALLEST_STEP), w) for w, s in zip(weights, steps, strict=True)]
            ratio = [w / s for w, s in zip(weights, wide, strict=True)]
            pairs = [_gradients(*each, ctx.range) for each in zip(grads, ratio, steps, strict=True)]
            return None, None, *(pair[0] for pair in pairs), *(pair[1] for pair in pairs)
        passed = layout.joined(grads)
        clipped = torch._foreach_clamp_min(ratio, -qn)
        torch._foreach_clamp_max_(clipped, qp)
        below, inside = torch._foreach_add(clipped, qn), torch._foreach_neg(clipped)
        torch._foreach_add_(inside, qp)
        torch._foreach_mul_(inside, below)
        torch._foreach_sign_(inside)  # 1 between the limits, 0 on and beyond them
        found = layout.apart(torch._foreach_mul(passed, inside))
        if not any(ctx.needs_input_grad[2 + count :]):
            return None, None, *found, *[None] * count
        slope = torch._foreach_sub(torch._foreach_round(clipped), clipped)  # 0 where clipped
        outside = torch._foreach_neg(inside)
        torch._foreach_add_(outside, 1)
        torch._foreach_mul_(outside, clipped)
        torch._foreach_add_(slope, outside)
        sums = layout.sums(torch._foreach_mul(slope, passed))
        return None, None, *found, *layout.scales_of_layers(sums / _roots(layout, qp))


@lru_cache
def _roots(layout: Layout, qp: int) -> Tensor:
    """Return sqrt(N Qp), N the weights that share a step, [S]; kept because it takes a copy to the device."""
    lengths = layout.lengths
    return torch.tensor([math.sqrt(share * qp) for share in lengths.tolist()], device=lengths.device)


def lsq_together(weights: Sequence[Tensor], steps: Sequence[Tensor], bits: int) -> tuple[Tensor, ...]:
    """Return `lsq` of many weights, with few operations over all of them."""
    found: tuple[Tensor, ...] = _LSQTogether.apply(bits, len(weights), *weights, *steps)
    return found


def lsq(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """Return step * round(clip(weight / step, -Qn, Qp)).

    The gradient of the weight is passed inside the clipping range and 0 outside. That of the step is
    round(w/s) - w/s inside, -Qn or Qp outside, times 1 / sqrt(N Qp), N the number of weights that share the step.
    """
    quantized: Tensor = _LSQ.apply(weight, step, bits)
    return quantized


def paper_step(weight: Tensor, bits: int, *, per_channel: bool) -> Tensor:
    """Return 2 mean|w| / sqrt(Qp), the initialisation of section 2.1; shape [] or [O]."""
    size = weight.abs().flatten(1).mean(1) if per_channel else weight.abs().mean()
    return (2 * size / math.sqrt(clip_range(bits)[1])).clamp_min(SMALLEST_STEP)


def mse_step(weight: Tensor, bits: int, *, per_channel: bool) -> Tensor:
    """Return the step of least squared quantization error among fractions of max|w| / Qp; shape [] or [O].

    Fractions are tried in steps of 1/40, then of 1/400 around the best; the largest, 1, clips nothing.
    """
    qn, qp = clip_range(bits)
    rows = weight.flatten(1) if per_channel else weight.flatten()[None]
    peak = (rows.abs().amax(1) / qp).clamp_min(SMALLEST_STEP)

    def error(fraction: Tensor) -> Tensor:
        step = (peak * fraction).clamp_min(SMALLEST_STEP)[:, None]
        return (step * (rows / step).clamp(-qn, qp).round() - rows).square().sum(1)

    best = torch.ones_like(peak)
    for width, offsets in ((1 / 40, range(-39, 0)), (1 / 400, range(-9, 10))):
        centre = best.clone()
        least = error(best)
        for offset in offsets:
            fraction = (centre + offset * width).clamp(1 / 400, 1)
            wrong = error(fraction)
            best = torch.where(wrong < least, fraction, best)
            least = torch.minimum(wrong, least)
    step = (peak * best).clamp_min(SMALLEST_STEP)
    return step if per_channel else step[0]


class SignedQuantizer(WeightQuantizer):
    """Weights that are integers from -Qn to Qp, times a scale."""

    @staticmethod
    def values(codes: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Return (code - Qn) * scale."""
        qn, _ = clip_range(bits)
        return per_output_channel(scale, codes) * (codes.to(torch.float32) - qn)

    @staticmethod
    def grid(bits: int) -> tuple[int, int]:
        """Return 1 and Qn: codes stand for the integers from -Qn to Qp."""
        return 1, clip_range(bits)[0]


class LSQQuantizer(SignedQuantizer):
    """LSQ weights at 2 to 8 bits, with one learned step per layer or per output channel.

    Attributes:
        step: The learned step, float32 [] or [O]; used as at least `SMALLEST_STEP`.
        first_step: Its first value, kept so that a resumed run makes the same optimizer groups.
    """

    def __init__(self, bits: int, step: Tensor) -> None:
        super().__init__(bits)
        self.step = nn.Parameter(step)
        self.first_step: Tensor
        self.register_buffer("first_step", step.clone())

    @classmethod
    def for_weight(
        cls, weight: Tensor, bits: int, *, per_channel: bool, init: str, oscillations: str = "free"
    ) -> LSQQuantizer:
        """Make a quantizer whose step fits `weight`; `init` is "paper" or "mse"."""
        weight = weight.detach().float()
        step = {"paper": paper_step, "mse": mse_step}[init](weight, bits, per_channel=per_channel).clone()
        return cls(bits, step) if oscillations == "free" else SteadyLSQQuantizer(bits, step, weight, oscillations)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantized weight."""
        return lsq(weight, self.step, self.bits)

    def group(self) -> Hashable:
        """Return the width."""
        return self.bits

    @staticmethod
    def together(quantizers: Sequence[LSQQuantizer], weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the quantized weights of layers of one width."""
        return lsq_together(weights, [quantizer.step for quantizer in quantizers], quantizers[0].bits)

    def codes(self, weight: Tensor) -> Tensor:
        """Return round(clip(w / s)) + Qn, which is 0 .. 2**bits - 1, as uint8."""
        qn, qp = clip_range(self.bits)
        wide = per_output_channel(self.scale(weight), weight)
        return ((weight / wide).clamp(-qn, qp).round() + qn).to(torch.uint8)

    def scale(self, weight: Tensor) -> Tensor:
        """Return the step in use, shape [] or [O]."""
        return self.step.detach().clamp_min(SMALLEST_STEP)

    def steps(self) -> list[nn.Parameter]:
        """Return the learned step."""
        return [self.step]

    def step_lr_factor(self) -> float:
        """Return ten times the first step (the mean of several) as a power of four, at most 1.

        The gradient scale of section 2.2 makes steps and weights move in proportion to their sizes under SGD. Adam
        moves everything by the learning rate, which for a step of 0.001 would be its own size. With this factor one
        update moves a step by about ten times the learning rate, relatively: 1% at 0.001. Powers of four keep the
        number of optimizer groups small.
        """
        relative = 10 * float(self.first_step.mean())
        return float(min(1.0, 4.0 ** round(math.log(max(relative, SMALLEST_STEP), 4))))

    def extra_repr(self) -> str:
        """Show bit width and step shape where a module is printed."""
        return f"bits={self.bits}, step={list(self.step.shape)}"


class SteadyLSQQuantizer(LSQQuantizer):
    """LSQ whose oscillating weights are tracked, and dampened or frozen: Nagel et al. 2022, sections 4.1 and 4.2.

    Dampening draws weights to the middle of their cells by a penalty that grows to `DAMPENING`. Freezing fixes the code
    of a weight that turns back too often: its latent follows the step.

    Attributes:
        tracker: Of the codes.
        remedy: "track", "dampen" or "freeze".
    """

    def __init__(self, bits: int, step: Tensor, weight: Tensor, remedy: str) -> None:
        super().__init__(bits, step)
        self.remedy = remedy
        self.tracker = Tracker(self.codes(weight))
        self._progress = 0.0

    def begin_epoch(self, weight: Tensor, progress: float) -> None:
        self._progress = progress
        if not progress:  # the step may be that of an earlier training, with other codes than when this was made
            self.tracker.begin(self.codes(weight))

    def after_step(self, weight: Tensor) -> None:
        """Note how codes moved; hold frozen weights at theirs."""
        if self.remedy == "freeze":
            self._hold(weight)
        self.tracker.observe(self.codes(weight))
        if self.remedy == "freeze":
            first, last = FREEZING
            self.tracker.freeze(first + (last - first) * rising(self._progress))
            self._hold(weight)

    def _hold(self, weight: Tensor) -> None:
        values = self.values(self.tracker.kept, self.scale(weight), self.bits)
        weight.copy_(torch.where(self.tracker.frozen, values, weight))

    def penalty(self, weight: Tensor) -> Tensor | None:
        """Return the squared distance from clipped weights to their values, summed over channels, averaged within."""
        strength = DAMPENING * rising(self._progress)
        if self.remedy != "dampen" or not strength:
            return None
        qn, qp = clip_range(self.bits)
        step = per_output_channel(self.scale(weight), weight)
        clipped = torch.minimum(torch.maximum(weight, -qn * step), qp * step)
        value = self.values(self.codes(weight.detach()), self.scale(weight), self.bits)
        return strength * (value - clipped).square().sum(0).mean()

    def oscillating(self) -> float | None:
        return self.tracker.share()
