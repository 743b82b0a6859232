"""What activation quantizers compute, and the gradients of their grids; see `activations`.

Letters: N images, C channels, H and W sides of a feature map. A tensor is float [N, C, H, W].
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

SMALLEST_SCALE = 1e-8
"""A scale that the optimizer drives below this is used as this."""


def on_grid(x: Tensor, scale: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    """Return scale * clip(rint(x / scale), low, high), the ends counted from the zero point."""
    return (x / scale).round_().clamp_(low, high).mul_(scale)  # type: ignore[arg-type]


class Grid(NamedTuple):
    """A learned grid in use: scale and zero point, [], and its least and largest integer counted from there."""

    scale: Tensor
    zero: Tensor | None
    least: Tensor | int
    largest: Tensor | int


class Grids(torch.autograd.Function):
    """The grids of several learned steps, and offsets if they have any: few operations for all of them.

    Gives scales, zero points, and the ends of the integers counted from those. What comes back for a scale is the
    gradient by its logarithm, for a zero point that by its offset; see `Learned`.
    """

    @staticmethod
    def forward(ctx: Any, low: int, high: int, count: int, *learned: Tensor) -> tuple[Tensor, ...]:
        scales = torch._foreach_clamp_min(learned[:count], SMALLEST_SCALE)
        if len(learned) == count:
            ctx.save_for_backward(*scales)
            return tuple(scales)
        zeros = torch._foreach_div(torch._foreach_neg(learned[count:]), scales)
        torch._foreach_round_(zeros)
        torch._foreach_clamp_min_(zeros, low)
        torch._foreach_clamp_max_(zeros, high)
        below = torch._foreach_neg(zeros)
        least, largest = torch._foreach_add(below, low), torch._foreach_add(below, high)
        ctx.save_for_backward(*scales, *zeros)
        ctx.mark_non_differentiable(*least, *largest)
        return *scales, *zeros, *least, *largest

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        affine = len(grads) > len(ctx.saved_tensors)
        count = len(ctx.saved_tensors) // (2 if affine else 1)
        steps = torch._foreach_div(grads[:count], ctx.saved_tensors[:count])
        if not affine:
            return None, None, None, *steps
        offsets = grads[count : 2 * count]
        owed = torch._foreach_mul(offsets, ctx.saved_tensors[count:])
        return None, None, None, *torch._foreach_add(steps, owed), *offsets


class Learned(torch.autograd.Function):
    """LSQ: equations 1 to 3 and 5 of the paper for data; the offset's gradient is 1 where x is clipped.

    With zero point z = rint(-offset / scale) a value is scale q + offset where it is clipped to q, and straight-through
    elsewhere, so that the scale's gradient is rint(v) - v inside, v = x / scale, and q outside. What is returned for
    the scale is y - x inside and y outside: scale times that gradient, but for the z that y lacks and `Grids` adds.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero: Tensor | None, least: Any, largest: Any, low: int, high: int
    ) -> Tensor:
        y = on_grid(x, scale, least, largest)
        ctx.save_for_backward(x, y, scale, zero)
        ctx.range = low, high
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, zero = ctx.saved_tensors
        place = x / scale if zero is None else (x / scale).add_(zero)
        passed = _inside(grad, place, *ctx.range)
        slope = torch.dot(grad.flatten(), (y - _inside(x, place, *ctx.range)).flatten())
        weight = 1 / math.sqrt(max(x[0].numel(), 1) * ctx.range[1])
        lost = None if zero is None else (grad - passed).sum() * weight
        return passed, slope * weight, lost, None, None, None, None


def _inside(x: Tensor, place: Tensor, low: float, high: float) -> Tensor:
    """Return the values whose place is between the ends, and 0 on and beyond them; one operation."""
    found: Tensor = torch.ops.aten.hardtanh_backward(x, place, low, high)
    return found


class Clipped(torch.autograd.Function):
    """PACT: y = clip(x, 0, bound) on the grid; the bound's gradient is the sum over what reaches it.

    On a signed grid the lower end is bound * low / high.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: Tensor, low: int, high: int) -> Tensor:
        scale = (bound / high).clamp_min(SMALLEST_SCALE)
        y = on_grid(x, scale, low, high)
        ctx.save_for_backward(x, y, scale)
        ctx.range = low, high
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, y, scale = ctx.saved_tensors
        passed = _inside(grad, x / scale, *ctx.range)
        slope = torch.dot((grad - passed).flatten(), y.flatten())  # y is the bound, or the lower end
        return passed, slope / (scale * ctx.range[1]), None, None


class Fixed(torch.autograd.Function):
    """A grid that is not learned: straight-through where nothing is clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor | None, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x, scale, zero)
        ctx.range = low, high
        return on_grid(x, scale, *((low, high) if zero is None else (low - zero, high - zero)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, scale, zero = ctx.saved_tensors
        place = x / scale if zero is None else (x / scale).add_(zero)
        return _inside(grad, place, *ctx.range), None, None, None, None


def zero_point(scale: Tensor, offset: Tensor, low: int, high: int) -> Tensor:
    """Return the integer that stands for 0 on a grid whose integer 0 stands for about `offset`, [], as a float."""
    return (-offset / scale).round_().clamp_(low, high)
