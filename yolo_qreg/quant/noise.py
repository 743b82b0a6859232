"""Noise in place of quantization: a control for the model by which it is often explained (QReg, section 3).

The paper takes quantized weights for weights with additive noise, and concludes that it regularizes. A control trains
with that noise alone: what quantization does beyond is not explained by it. Weights stay float32 and have no codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from yolo_qreg.quant.base import FloatQuantizer
from yolo_qreg.quant.registry import METHODS, quantizer_class

if TYPE_CHECKING:
    from yolo_qreg.quant.base import WeightQuantizer


def errors(weight: Tensor, quantizer: WeightQuantizer, *, rescale: bool) -> Tensor:
    """Return a q - w for the quantized weight q, float32 of the weight's shape.

    Args:
        weight: Float32.
        quantizer: Of this weight.
        rescale: Whether a is that of least squares, not 1: for methods that do not keep the scale of weights, which
            BatchNorm absorbs, so that it is no error.
    """
    quantized = quantizer.values(quantizer.codes(weight), quantizer.scale(weight), quantizer.bits)
    w, q = weight.double(), quantized.double()
    factor = (w * q).sum() / (q * q).sum().clamp_min(1e-300) if rescale else 1.0
    return (factor * q - w).to(weight.dtype)


class NoiseQuantizer(FloatQuantizer):
    """Float weights, to which each training step adds fresh noise as large as the errors of a quantizer.

    The gradient passes unchanged. In eval mode the weight itself is used. `bits` is the width of that quantizer.

    Attributes:
        like: The quantizer; a learned step starts anew in each epoch, by its first rule, from the weights of then.
        kind: "uniform" in an interval, "gaussian", or "permuted": the true errors of the layer in another order, so
            that they have their own distribution but no correlation with the weights.
        sigma: Root mean square of the quantizer's errors on the weights with which the epoch began, float32 [].
        true_errors: These errors, of the weight's shape, for "permuted" alone.
    """

    def __init__(self, bits: int, kind: str, like: str, init: str, weight: Tensor) -> None:
        super().__init__(bits)
        self.kind, self.like, self.init = kind, like, init
        self.sigma: Tensor
        self.register_buffer("sigma", torch.zeros((), device=weight.device))
        self.true_errors: Tensor | None
        self.register_buffer("true_errors", torch.zeros_like(weight) if kind == "permuted" else None, persistent=False)
        self.begin_epoch(weight, 0.0)

    @classmethod
    def for_weight(  # type: ignore[override]  # options of its own
        cls, weight: Tensor, bits: int, *, per_channel: bool, init: str, kind: str, like: str
    ) -> NoiseQuantizer:
        """Make the noise of the quantizer `like` at `bits`."""
        return cls(bits, kind, like, init, weight.detach().float())

    def begin_epoch(self, weight: Tensor, progress: float) -> None:
        """Measure the errors of the quantizer anew."""
        spec = METHODS[self.like]
        init = spec.inits[-1] if spec.inits else ""  # the step of least squared error, which training tends to
        options = {name: option.default for name, option in spec.options.items()}
        quantizer = quantizer_class(self.like).for_weight(weight, self.bits, per_channel=False, init=init, **options)
        found = errors(weight, quantizer, rescale=not spec.keeps_scale)
        self.sigma.copy_(found.square().mean().sqrt())
        if self.true_errors is not None:
            self.true_errors.copy_(found)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, in training with noise added."""
        return weight + self.noise(weight) if self.training else weight

    def noise(self, weight: Tensor) -> Tensor:
        """Draw noise of the weight's shape; its mean square is sigma squared."""
        if self.true_errors is not None:
            order = torch.randperm(weight.numel(), device=weight.device)
            return self.true_errors.flatten()[order].view_as(weight)
        if self.kind == "gaussian":
            return self.sigma * torch.randn_like(weight)
        return self.sigma * 12**0.5 * (torch.rand_like(weight) - 0.5)
