"""What a weight quantizer is.

Letters: O output channels, I input channels, K kernel side. A weight is float32 [O, I, K, K]; codes have its shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yolo_qreg.errors import InputError


class WeightQuantizer(nn.Module, ABC):
    """Maps a float weight onto at most 2**bits values, and names each value by an unsigned integer code.

    `forward` is what training sees: exact values, straight-through gradients. `codes`, `scale` and `values` take the
    same result apart for storage: `values(codes(w), scale(w), bits)` equals `forward(w)` in eval mode bit for bit.

    In training mode `forward` may draw from torch's global generator, which the trainer seeds for each epoch: a resumed
    run repeats the draws. The other hooks below do nothing unless a method overrides them.

    Attributes:
        has_codes: Whether there are codes; where there are none, `forward` in eval mode gives float weights.
        weight_decay: Whether the host's weight decay acts on the weights, too.
    """

    has_codes: bool = True
    weight_decay: bool = True

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    @classmethod
    @abstractmethod
    def for_weight(cls, weight: Tensor, bits: int, *, per_channel: bool, init: str) -> WeightQuantizer:
        """Make a quantizer for `weight`; learned state has its final shape from here on.

        A method with options of its own (`MethodSpec.options`) takes each as a further keyword.
        """

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantized weight, float32 and of the same shape; differentiable (straight-through)."""

    @abstractmethod
    def codes(self, weight: Tensor) -> Tensor:
        """Return codes in 0 .. 2**bits - 1 as uint8, of the weight's shape."""

    @abstractmethod
    def scale(self, weight: Tensor) -> Tensor:
        """Return the float32 factor that `values` needs beside the codes, shape [] or [O]."""

    @staticmethod
    @abstractmethod
    def values(codes: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Return the float32 weight that codes and scale stand for."""

    @staticmethod
    def grid(bits: int) -> tuple[int, int]:
        """Return slope a and offset z of the integers a code - z, of which `values` are multiples.

        Raises:
            InputError: They are not, as in methods whose levels are not evenly spaced; the default.
        """
        raise InputError("the levels of this method are not evenly spaced integers; export --to pt or packed instead")

    @staticmethod
    def unit(scale: Tensor, bits: int) -> Tensor:
        """Return the value of the integer 1 of `grid`, float64 and of the scale's shape; by default the scale."""
        return scale.double()

    def steps(self) -> list[nn.Parameter]:
        """Return the learned scales, which the optimizer keeps apart from the weights; none by default."""
        return []

    def step_lr_factor(self) -> float:
        """Return the learning rate of `steps` under an Adam-like optimizer, as a factor of the weights' rate."""
        return 1.0

    def first_weight(self, weight: Tensor) -> Tensor:
        """Return the latent weight that training begins with, from that of the model; by default the same."""
        return weight

    def weight_lr_factor(self, weight: Tensor) -> float:
        """Return the learning rate of the weight as a factor of the others' rate."""
        return 1.0

    def begin_epoch(self, weight: Tensor, progress: float) -> None:
        """Be told that an epoch begins, without gradients; `progress` is the share of the training behind, 0..1."""

    def loss_scaled(self, factor: float) -> None:
        """Be told by what the loss is multiplied from now on, as AMP does where float16 would lose small gradients."""

    def after_step(self, weight: Tensor) -> None:
        """Change the weight in place after a step of the optimizer, without gradients and before the moving average."""

    def penalty(self, weight: Tensor) -> Tensor | None:
        """Return a term to add to the loss of one picture, [] and differentiable; none by default."""
        return None

    def drawn(self, weight: Tensor, numbers: torch.Generator) -> Tensor:
        """Return the weight of one of several networks whose answers are averaged (`MethodSpec.networks`).

        Args:
            weight: The latent weight, on the CPU.
            numbers: Where its random numbers come from.
        """
        raise NotImplementedError

    def oscillating(self) -> float | None:
        """Return the share of weights whose codes go to and fro, 0..1; None where that is not tracked."""
        return None

    def group(self) -> Hashable:
        """Return what quantizers have in common that `together` takes at once; None for one that is called alone."""
        return None

    @staticmethod
    def together(quantizers: Sequence[Any], weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return what `forward` of each quantizer makes of its weight, bit for bit, with few operations over all.

        Args:
            quantizers: Of this class and of one `group`.
            weights: Of each; float32.
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Show the bit width where a module is printed."""
        return f"bits={self.bits}"


class FloatQuantizer(WeightQuantizer):
    """The identity: the FP32 twin runs through the same layers, optimizer groups and checkpoints as the others."""

    has_codes = False

    @classmethod
    def for_weight(cls, weight: Tensor, bits: int, *, per_channel: bool, init: str) -> FloatQuantizer:
        """Make the identity; nothing depends on the weight."""
        return cls(bits)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight itself."""
        return weight

    def codes(self, weight: Tensor) -> Tensor:
        """Raise `TypeError`: a float weight has no codes."""
        raise TypeError("a float weight has no codes")

    def scale(self, weight: Tensor) -> Tensor:
        """Raise `TypeError`: a float weight has no scale."""
        raise TypeError("a float weight has no scale")

    @staticmethod
    def values(codes: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Raise `TypeError`: a float weight has no codes."""
        raise TypeError("a float weight has no codes")


def per_output_channel(scale: Tensor, weight: Tensor) -> Tensor:
    """View a scale of shape [] or [O] so that it broadcasts over a weight [O, ...]."""
    return scale.view(-1, *[1] * (weight.ndim - 1)) if scale.ndim else scale


class _StraightThrough(torch.autograd.Function):
    """Take the value of the second tensor and pass the gradient to the first one, unmasked and exact."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(weight: Tensor, value: Tensor) -> Tensor:
    """Return `value`, whose gradient is that of `weight`."""
    taken: Tensor = _StraightThrough.apply(weight, value)
    return taken
