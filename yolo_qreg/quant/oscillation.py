"""Weights that oscillate between two codes: Nagel et al. 2022 (arXiv:2203.11086), and the authors' code.

A latent near a rounding threshold is pushed across it again and again, so its code is a matter of the last step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MOMENTUM = 0.001
"""Of the averages over steps."""
OSCILLATES = 0.005
"""A weight whose code turns back more often than in this share of the steps."""
DAMPENING = 0.1
"""Weight of the dampening loss at the end of a training; it begins with none."""
FREEZING = 0.1, 0.01
"""Share of the steps beyond which a weight is frozen, at the beginning and at the end of a training."""


def rising(progress: float) -> float:
    """Return half a cosine from 0 at the beginning to 1 at the end."""
    return (1 - math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


class Tracker(nn.Module):
    """How often the codes of one layer turn back; all buffers but `steps` have the shape of its weight.

    Attributes:
        codes: Of the last step, uint8.
        direction: In which each code last moved, -1, 0 or 1.
        frequency: Moving average of whether a code moved against its last direction, float32.
        average: Moving average of the codes, float32.
        frozen: Whether the weight is frozen.
        kept: The code that it is frozen at, uint8.
        steps: Number of steps seen, float32 [].
    """

    codes: Tensor
    direction: Tensor
    frequency: Tensor
    average: Tensor
    frozen: Tensor
    kept: Tensor
    steps: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes.clone())
        self.register_buffer("direction", torch.zeros_like(codes, dtype=torch.int8))
        self.register_buffer("frequency", torch.zeros_like(codes, dtype=torch.float32))
        self.register_buffer("average", codes.to(torch.float32))
        self.register_buffer("frozen", torch.zeros_like(codes, dtype=torch.bool))
        self.register_buffer("kept", codes.clone())
        self.register_buffer("steps", torch.zeros((), device=codes.device))

    def begin(self, codes: Tensor) -> None:
        """Take the codes with which a training begins."""
        self.codes.copy_(codes)
        self.average.copy_(codes)

    def observe(self, codes: Tensor) -> Tensor:
        """Take the codes after a step; return which of them turned back."""
        moved = (codes.to(torch.int16) - self.codes).sign().to(torch.int8)
        turned = moved * self.direction == -1
        self.frequency.lerp_(turned.to(torch.float32), MOMENTUM)
        self.average.lerp_(codes.to(torch.float32), MOMENTUM)
        self.direction.copy_(torch.where(moved != 0, moved, self.direction))
        self.codes.copy_(codes)
        self.steps += 1
        return turned

    def freeze(self, threshold: float) -> None:
        """Freeze what turns back in more than this share of the steps, at the more frequent of its last two codes."""
        new = (self.frequency > threshold) & ~self.frozen
        codes = self.codes.to(torch.float32)
        before = codes - self.direction
        usual = self.average.round().clamp(torch.minimum(codes, before), torch.maximum(codes, before))
        self.kept.copy_(torch.where(new, usual.to(torch.uint8), self.kept))
        self.frozen |= new

    def share(self) -> float:
        """Return the share of weights that oscillate, 0..1, frozen ones apart; averages begin at the first step."""
        seen = 1 - (1 - MOMENTUM) ** self.steps
        return float(((self.frequency > OSCILLATES * seen) & ~self.frozen).float().mean())
