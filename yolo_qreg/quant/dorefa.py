"""DoReFa weight quantization: Zhou et al. 2016, "DoReFa-Net" (arXiv:1606.06160), section 2.3, equations 9 and 10.

Letters: O output channels, I input channels, K kernel side. Weights are float32 [O, I, K, K].
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from yolo_qreg.quant.base import WeightQuantizer, per_output_channel, straight_through
from yolo_qreg.quant.layout import Layout


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
    """`_DoReFa` of many layers by operations over all of them."""

    @staticmethod
    def forward(ctx: Any, bits: int, per_channel: bool, *weights: Tensor) -> tuple[Tensor, ...]:
        n: int = 2**bits - 1
        layout = Layout.of(weights, [per_channel] * len(weights))
        t = torch._foreach_tanh(layout.joined(weights))
        peaks = layout.peaks(t)
        peaks.masked_fill_(peaks < torch.finfo(peaks.dtype).tiny, 1.0)
        ctx.layout, ctx.per_channel = layout, per_channel
        ctx.save_for_backward(peaks, *t, *weights)
        found = torch._foreach_div(t, layout.spread(2 * peaks))
        torch._foreach_add_(found, 0.5)
        torch._foreach_mul_(found, n)
        torch._foreach_round_(found)
        torch._foreach_mul_(found, 2)
        torch._foreach_sub_(found, n)
        torch._foreach_div_(found, _divisor(peaks, n))
        return tuple(layout.apart(found))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        layout, (peaks, *saved) = ctx.layout, ctx.saved_tensors
        t, weights = saved[: -len(grads)], saved[-len(grads) :]
        if torch.is_grad_enabled():  # to be differentiated: as layer by layer
            new = [torch.tanh(weight) for weight in weights]
            pairs = zip(grads, new, strict=True)
            return None, None, *(_gradient(grad, each, _peak(each, ctx.per_channel)) for grad, each in pairs)
        largest, wide, passed = torch.finfo(peaks.dtype).max, layout.spread(peaks), layout.joined(grads)
        value = torch._foreach_div(t, wide)
        at_peak = torch._foreach_trunc(value)
        flow, sharers = layout.sums(torch._foreach_mul(passed, value)), layout.counts(at_peak)
        torch._foreach_mul_(at_peak, layout.spread(flow / sharers.clamp_min_(1)))
        found = torch._foreach_sub(passed, at_peak)
        torch._foreach_div_(found, wide)
        torch._foreach_clamp_min_(found, -largest)
        torch._foreach_clamp_max_(found, largest)
        slope = torch._foreach_mul(t, t)
        torch._foreach_neg_(slope)
        torch._foreach_add_(slope, 1)
        torch._foreach_mul_(found, slope)
        return None, None, *layout.apart(found)


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
