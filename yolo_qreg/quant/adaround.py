"""AdaRound: whether a weight takes the integer below or above it, learned layer by layer on what the layer reads.

Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization" (arXiv:2004.10568). The nearest
integer is best for a weight alone, not for the answers of a layer whose inputs go together.

Letters: O output channels, G groups of them, D values that an output channel reads, N sampled answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from yolo_qreg.quant.base import per_output_channel

ZETA, GAMMA = 1.1, -0.1
"""The sigmoid is stretched to these ends and clipped to 0..1, so that it reaches them (section 3.2)."""
STRENGTH = 0.01
BETA = 20.0, 2.0
"""The power of the penalty, from the first to the last step that has it."""
WARM_UP = 0.2
"""Share of the steps without the penalty, in which weights move freely."""
STEPS = 300
RATE = 1e-2
BATCH = 128
SWEEPS = 3
"""Times that every weight is looked at, at most, after its integer was learned."""


@dataclass(frozen=True)
class Sample:
    """What a layer reads and what it should answer.

    Attributes:
        inputs: What is read, [N, G, D].
        products: What the float network's weight makes of what it reads, [N, O].
        after: What follows the products, such as normalization and activation function, of [N, O].
    """

    inputs: Tensor
    products: Tensor
    after: Callable[[Tensor], Tensor]

    @cached_property
    def wanted(self) -> Tensor:
        """The answers of the float network, [N, O]."""
        return self.after(self.products)

    def errors(self, weight: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return the squared differences of the answers of a weight [O, ...] from those wanted, [N, O]."""
        groups = self.inputs.shape[1]
        products = torch.einsum("ngd,god->ngo", self.inputs[rows], weight.reshape(groups, -1, self.inputs.shape[2]))
        return (self.after(products.flatten(1)) - self.wanted[rows]).square()


def rectified_sigmoid(x: Tensor) -> Tensor:
    """Return equation 23: the share of the way up, 0..1."""
    return (torch.sigmoid(x) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def adaround(weight: Tensor, step: Tensor, limits: tuple[int, int], sample: Sample, seed: int) -> Tensor:
    """Return the integers of a weight, int64 [O, ...]; no channel answers worse than with the nearest ones.

    Args:
        weight: Float weights, [O, ...].
        step: Distance of two levels, [] or [O].
        limits: The least and the largest integer.
        sample: Of the layer.
        seed: Of the choice of batches.
    """
    wide = per_output_channel(step, weight)
    ratio = (weight / wide).clamp(*limits)
    below = ratio.floor()
    share = (ratio - below).clamp(1e-4, 1 - 1e-4)
    place = -torch.log((ZETA - GAMMA) / (share - GAMMA) - 1)  # where the rectified sigmoid is the share
    place.requires_grad_(True)
    draws, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam([place], RATE)
    for i in range(STEPS):
        rows = torch.randint(len(sample.products), (BATCH,), generator=draws)
        up = rectified_sigmoid(place)
        loss = sample.errors(wide * (below + up).clamp(*limits), rows).sum(1).mean()
        if i >= WARM_UP * STEPS:
            loss = loss + STRENGTH * (1 - (2 * up - 1).abs().pow(_power(i))).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    learned = (below + (place.detach() > 0)).clamp(*limits)
    return _best(wide, sample, [ratio.round(), learned, _flipped(wide, learned, limits, sample)])


@torch.no_grad()
def _best(wide: Tensor, sample: Sample, choices: Sequence[Tensor]) -> Tensor:
    """Return the integers of least error, chosen for each channel; the first of equals."""
    errors = torch.stack([sample.errors(wide * integers).sum(0) for integers in choices])
    picks = errors.argmin(0).view(-1, *[1] * (choices[0].ndim - 1))
    return sum((integers * (picks == i) for i, integers in enumerate(choices)), torch.zeros(())).long()


@torch.no_grad()
def _flipped(wide: Tensor, integers: Tensor, limits: tuple[int, int], sample: Sample) -> Tensor:
    """Return integers of which single ones were moved by 1 as long as that lowers the error before `after`.

    The error is a quadratic function of the integers, so that its change is known without any answer.
    """
    groups, values = sample.inputs.shape[1:]
    scale = torch.broadcast_to(wide, integers.shape).reshape(groups, -1, values)[..., :1]
    found = integers.reshape(groups, -1, values).clone()
    inputs = sample.inputs.transpose(0, 1)
    products = inputs.mT @ inputs
    target = sample.products.T.reshape(groups, -1, len(sample.products)) @ inputs / scale
    slope = found @ products - target
    for _ in range(SWEEPS):
        moved = 0
        for d in range(values):
            size = products[:, d, d, None].clamp_min(1e-12)
            move = (-slope[:, :, d] / size).clamp(-1, 1).round()
            move = (found[:, :, d] + move).clamp(*limits) - found[:, :, d]
            if move.any():
                found[:, :, d] += move
                slope += move[..., None] * products[:, d, None]
                moved += int(move.count_nonzero())
        if not moved:
            break
    return found.reshape(integers.shape)


def _power(step: int) -> float:
    """Return the penalty's power, which falls as half a cosine does."""
    first, last = BETA
    progress = torch.tensor((step - WARM_UP * STEPS) / ((1 - WARM_UP) * STEPS))
    return float(last + (first - last) * 0.5 * (1 + torch.cos(torch.pi * progress)))
