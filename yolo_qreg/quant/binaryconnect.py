"""BinaryConnect: Courbariaux, Bengio and David 2015, "BinaryConnect" (arXiv:1511.00363), and the authors' code.

Letters: O output channels, I input channels, K kernel side. Weights are float32 [O, I, K, K].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from yolo_qreg.quant.base import WeightQuantizer, straight_through


def glorot_limit(weight: Tensor) -> float:
    """Return sqrt(1.5 / (fan in + fan out)), the standard scale of a layer by which the authors divide its rate."""
    outputs, inputs, *kernel = weight.shape
    return math.sqrt(1.5 / (math.prod(kernel) * (inputs + outputs)))


class BinaryConnectQuantizer(WeightQuantizer):
    """Weights of plus or minus one; float latents between them collect the updates.

    At inference they are sign(w), or the latents, or those of several networks whose answers are averaged, each with
    weights drawn once; of such a model, files hold the network of signs.

    The gradient passes unmasked. After each step latents are clipped to [-1, 1], there is no weight decay, and the
    updates of a layer are multiplied by 1 / `glorot_limit`. Training begins with weights whose largest is 1: those of a
    fresh layer are uniform, as the authors want them, and those of a trained one keep their pattern.

    Attributes:
        stochastic: Whether a weight w is +1 with probability (w + 1) / 2, drawn for each step, instead of sign(w).
        has_codes: Whether weights at inference are binary; else they are the latents, as the authors test networks
            that were trained stochastically. BatchNorm statistics are then those of training, with binary weights, if
            they are not estimated anew.
    """

    weight_decay = False

    def __init__(self, bits: int, *, stochastic: bool, binary: bool, rates: bool) -> None:
        super().__init__(bits)
        self.stochastic = stochastic
        self.has_codes = binary
        self._rates = rates

    @classmethod
    def for_weight(  # type: ignore[override]  # options of its own
        cls,
        weight: Tensor,
        bits: int,
        *,
        per_channel: bool,
        init: str,
        draws: str,
        test: str,
        rates: str,
        networks: int,
    ) -> BinaryConnectQuantizer:
        """Make a quantizer; nothing depends on the weight."""
        return cls(bits, stochastic=draws == "stochastic", binary=test != "real", rates=rates == "glorot")

    def first_weight(self, weight: Tensor) -> Tensor:
        """Return the weight divided by its largest magnitude."""
        peak = weight.abs().amax()
        return weight / peak.masked_fill(peak < torch.finfo(weight.dtype).tiny, 1.0)

    def forward(self, weight: Tensor) -> Tensor:
        """Return plus and minus one, [O, I, K, K]; in eval mode without draws, or the latents."""
        if not self.training and not self.has_codes:
            return weight
        up = _drawn(weight, torch.rand_like(weight)) if self.training and self.stochastic else weight >= 0
        return straight_through(weight, _signs(up, weight))

    def drawn(self, weight: Tensor, numbers: torch.Generator) -> Tensor:
        """Return plus and minus one as a step of the training draws them."""
        return _signs(_drawn(weight, torch.rand(weight.shape, generator=numbers)), weight)

    def codes(self, weight: Tensor) -> Tensor:
        """Return 1 where w >= 0, else 0, as uint8."""
        return (weight >= 0).to(torch.uint8)

    def scale(self, weight: Tensor) -> Tensor:
        """Return 1, shape []."""
        return weight.new_ones(())

    @staticmethod
    def values(codes: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Return plus or minus the scale."""
        return torch.where(codes > 0, scale, -scale)

    @staticmethod
    def grid(bits: int) -> tuple[int, int]:
        """Return 2 and 1: codes stand for -1 and 1."""
        return 2, 1

    def weight_lr_factor(self, weight: Tensor) -> float:
        """Return 1 / `glorot_limit`."""
        return 1 / glorot_limit(weight) if self._rates else 1.0

    def after_step(self, weight: Tensor) -> None:
        """Clip the latents to [-1, 1]: beyond, they would change nothing."""
        weight.clamp_(-1, 1)


def _drawn(weight: Tensor, chances: Tensor) -> Tensor:
    """Return which weights w are +1, each with probability (w + 1) / 2, by numbers uniform in [0, 1)."""
    return chances < weight.detach().add(1).div_(2)


def _signs(up: Tensor, like: Tensor) -> Tensor:
    return up.to(like.dtype).mul_(2).sub_(1)
