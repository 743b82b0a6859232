"""DoReFa weight quantization: Zhou et al. 2016, "DoReFa-Net" (arXiv:1606.06160), section 2.3, equations 9 and 10.

Letters: O output channels, I input channels, K kernel side. Weights are float32 [O, I, K, K].
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from yolo_qreg.quant.base import WeightQuantizer, of_channels, per_output_channel, spread, straight_through


def dorefa_codes(weight: Tensor, bits: int, *, per_channel: bool = False) -> Tensor:
    """Return the codes round(n q), floats in 0 .. n, n = 2**bits - 1, of the weight's shape.

    q = t / (2 max|t|) + 1/2 with t = tanh(w), the maximum taken over the layer or, as the paper does not, over each
    output channel. All-zero weights lie in the middle.
    """
    t = torch.tanh(weight)
    return _round_position(t, _peak(t, per_channel), bits)


def dorefa_values(codes: Tensor, bits: int) -> Tensor:
    """Return 2 code / n - 1 as the odd integer 2 code - n over n, which is the nearest float to the exact value."""
    n: int = 2**bits - 1
    return (2 * codes - n) / _divisor(codes, n)  # not in place: torch 2.11 compiles a gradient of 0 for such an output


def _divisor(like: Tensor, n: int) -> Tensor:
    """Return n on the device of a tensor, []: by a plain number a GPU multiplies with 1 / n, which loses a bit."""
    return like.new_full((), n)


def dorefa(weight: Tensor, bits: int, *, per_channel: bool = False) -> Tensor:
    """Return the values of the codes, 2 round(n q) / n - 1, with a gradient that is straight-through at the rounding.

    There the value is t / max|t|, so the gradient flows through tanh and through the maximum (shared evenly among
    weights that attain it). Where it exceeds float32 it is the largest float. A layer without any normal float, such
    as one of zeros, has no scale: it lies in the middle, and its gradient is that of t.
    """
    quantized: Tensor = _DoReFa.apply(weight, bits, per_channel)
    return quantized


def _peak(t: Tensor, per_channel: bool) -> Tensor:
    """Return the largest magnitude of the layer, [], or of each output channel, [O, 1, ...]."""
    peak = per_output_channel(t.abs().flatten(1).amax(1), t) if per_channel else t.abs().amax()
    return peak.masked_fill(peak < torch.finfo(t.dtype).tiny, 1.0)


def _round_position(t: Tensor, peak: Tensor, bits: int) -> Tensor:
    return t.div(2 * peak).add_(0.5).mul_(2**bits - 1).round_()


class _DoReFa(torch.autograd.Function):
    """Written out because composed operations take twice the time: this runs once a layer and step."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int, per_channel: bool) -> Tensor:
        t = torch.tanh(weight)
        peak = _peak(t, per_channel)
        ctx.save_for_backward(weight, t, peak)
        return dorefa_values(_round_position(t, peak, bits), bits)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        weight, t, peak = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated: make its graph begin at the weight
            t = torch.tanh(weight)
            peak = _peak(t, peak.ndim > 0)
        return _gradient(grad, t, peak), None, None


def _gradient(grad: Tensor, t: Tensor, peak: Tensor) -> Tensor:
    """Return the gradient of a weight, of which t and its peak were made, from that of its quantized value."""
    value = t / peak
    at_peak = value.trunc()  # the sign of t where |t| is the maximum, 0 elsewhere
    if peak.ndim:
        flow, sharers = (grad * value).flatten(1).sum(1), at_peak.flatten(1).count_nonzero(1)
        share = per_output_channel(flow / sharers.clamp_min(1), t)
    else:
        share = (grad * value).sum() / at_peak.count_nonzero().clamp_min(1)
    largest = torch.finfo(t.dtype).max
    t_grad = grad.addcmul(at_peak, share, value=-1).div(peak).clamp(-largest, largest)
    return t_grad * (1 - t * t)


class _DoReFaTogether(torch.autograd.Function):
    """`_DoReFa` of many layers: each operation is one over all of them, but for the sums of gradients."""

    @staticmethod
    def forward(ctx: Any, bits: int, per_channel: bool, *weights: Tensor) -> tuple[Tensor, ...]:
        n: int = 2**bits - 1
        t = torch._foreach_tanh(weights)
        if per_channel:
            peaks = torch.cat(of_channels(lambda rows: torch.linalg.vector_norm(rows, math.inf, 1), t))
        else:
            peaks = torch.stack(torch._foreach_norm(t, math.inf))
        peaks = peaks.masked_fill(peaks < torch.finfo(peaks.dtype).tiny, 1.0)
        wide = spread(torch.split(peaks, [len(weight) for weight in t]) if per_channel else peaks.unbind(), t)
        ctx.per_channel = per_channel
        ctx.save_for_backward(*wide, *t, *weights)
        found = torch._foreach_div(t, torch._foreach_mul(wide, 2))
        torch._foreach_add_(found, 0.5)
        torch._foreach_mul_(found, n)
        torch._foreach_round_(found)
        torch._foreach_mul_(found, 2)
        torch._foreach_sub_(found, n)
        torch._foreach_div_(found, _divisor(peaks, n))
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        count, largest, per_channel = len(grads), torch.finfo(grads[0].dtype).max, ctx.per_channel
        peaks, t, weights = (ctx.saved_tensors[k * count : (k + 1) * count] for k in range(3))
        if torch.is_grad_enabled():  # to be differentiated: as layer by layer
            new = [torch.tanh(weight) for weight in weights]
            return None, None, *(_gradient(g, v, _peak(v, per_channel)) for g, v in zip(grads, new, strict=True))
        value = torch._foreach_div(t, peaks)
        at_peak = torch._foreach_trunc(value)
        products = torch._foreach_mul(grads, value)
        if per_channel:
            flow = [product.flatten(1).sum(1) for product in products]
            sharers = of_channels(lambda rows: torch.linalg.vector_norm(rows, 1, 1), at_peak)
        else:
            flow, sharers = [product.sum() for product in products], [*torch._foreach_norm(at_peak, 1)]
        share = torch._foreach_div(flow, torch._foreach_clamp_min(sharers, 1))
        shares = torch._foreach_mul(at_peak, spread(share, t))
        found = torch._foreach_sub(grads, shares)
        torch._foreach_div_(found, peaks)
        torch._foreach_clamp_min_(found, -largest)
        torch._foreach_clamp_max_(found, largest)
        slope = torch._foreach_mul(t, t)
        torch._foreach_neg_(slope)
        torch._foreach_add_(slope, 1)
        torch._foreach_mul_(found, slope)
        return None, None, *found


class DoReFaQuantizer(WeightQuantizer):
    """DoReFa weights at 1 to 8 bits, by layer or by output channel; it has no learned state.

    From 2 bits on, values lie in [-1, 1], zero is not among them, and the gradient flows through tanh and through
    the maximum (straight-through at the rounding alone). At 1 bit the two values are plus and minus mean|w|, with
    sign(0) = +1 and the gradient unchanged (equation 7).
    """

    def __init__(self, bits: int, *, per_channel: bool = False) -> None:
        super().__init__(bits)
        self.per_channel = per_channel

    @classmethod
    def for_weight(cls, weight: Tensor, bits: int, *, per_channel: bool, init: str) -> DoReFaQuantizer:
        """Make a quantizer; nothing depends on the weight."""
        return cls(bits, per_channel=per_channel)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantized weight."""
        if self.bits == 1:
            return straight_through(weight, self.values(self.codes(weight), self.scale(weight), 1))
        return dorefa(weight, self.bits, per_channel=self.per_channel)

    def group(self) -> Hashable:
        """Return the width, and whether channels have peaks of their own; at 1 bit layers are quantized alone."""
        return None if self.bits == 1 else (self.bits, self.per_channel)

    @staticmethod
    def together(quantizers: Sequence[DoReFaQuantizer], weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the quantized weights of layers of one group."""
        first = quantizers[0]
        found: tuple[Tensor, ...] = _DoReFaTogether.apply(first.bits, first.per_channel, *weights)
        return found

    def codes(self, weight: Tensor) -> Tensor:
        """Return codes 0 .. 2**bits - 1 as uint8."""
        if self.bits == 1:
            return (weight >= 0).to(torch.uint8)
        return dorefa_codes(weight, self.bits, per_channel=self.per_channel).to(torch.uint8)

    def scale(self, weight: Tensor) -> Tensor:
        """Return mean|w| at 1 bit, shape [] or [O], and 1 otherwise, shape []."""
        if self.bits > 1:
            return weight.new_ones(())
        size = weight.detach().abs()
        return size.flatten(1).mean(1) if self.per_channel else size.mean()

    @staticmethod
    def values(codes: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Return the float32 weight that the codes stand for."""
        if bits == 1:
            wide = per_output_channel(scale, codes)
            return torch.where(codes > 0, wide, -wide)
        return dorefa_values(codes.to(torch.float32), bits)

    @staticmethod
    def grid(bits: int) -> tuple[int, int]:
        """Return 2 and n = 2**bits - 1: codes stand for the odd integers from -n to n."""
        return 2, 2**bits - 1

    @staticmethod
    def unit(scale: Tensor, bits: int) -> Tensor:
        """Return scale / n."""
        n: int = 2**bits - 1
        return scale.double() / n
