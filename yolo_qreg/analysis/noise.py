"""The errors of quantized weights as noise: how large, how shaped, and how independent of the weights.

The classical model takes them for uniform in a step s, so that their mean square is s^2 / 12, and independent of the
weights. At few bits neither holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from yolo_qreg.errors import InputError
from yolo_qreg.quant.base import WeightQuantizer
from yolo_qreg.quant.noise import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The errors a q - w of a layer's quantized weights q.

    Attributes:
        variance: sigma^2, their mean square.
        relative: sigma^2 over the mean square of the weights.
        correlation: Of errors and weights; None where one of them is constant.
        kurtosis: Fourth moment over the squared variance: 1.8 for uniform noise, 3 for Gaussian; None for no noise.
        step: Distance of levels, times a; over channels the root mean square. None where levels are not even.
    """

    variance: float
    relative: float
    correlation: float | None
    kurtosis: float | None
    step: float | None

    @property
    def uniform(self) -> float | None:
        """s^2 / 12."""
        return None if self.step is None else self.step**2 / 12


def noise_of(weight: Tensor, error: Tensor, step: float | None = None) -> Noise:
    """Describe the errors of weights; both of one shape."""
    w, e = weight.detach().double().flatten(), error.detach().double().flatten()
    variance, power = float(e.square().mean()), float(w.square().mean())
    centred_w, centred_e = w - w.mean(), e - e.mean()
    spread = float(centred_w.norm() * centred_e.norm())
    second = float(centred_e.square().mean())
    return Noise(
        variance=variance,
        relative=variance / power if power else math.inf if variance else 0.0,
        correlation=float(centred_w.dot(centred_e)) / spread if spread else None,
        kurtosis=float(centred_e.pow(4).mean()) / second**2 if second else None,
        step=step,
    )


@torch.no_grad()
def quantization_noise(weight: Tensor, quantizer: WeightQuantizer, *, rescale: bool) -> tuple[Noise, Tensor]:
    """Return what a quantizer's errors are like, and the errors a q - w themselves, float32.

    Args:
        weight: Float32.
        quantizer: Of this weight.
        rescale: Whether a is that of least squares, not 1: for methods that do not keep the scale of weights.
    """
    latent = weight.detach().float()
    error = errors(latent, quantizer, rescale=rescale)
    return noise_of(latent, error, _step(latent, quantizer, rescale=rescale)), error


def best_factor(weight: Tensor, quantized: Tensor) -> float:
    """Return the a of least |a q - w|; 1 where all of q is 0."""
    w, q = weight.detach().double(), quantized.detach().double()
    power = float((q * q).sum())
    return float((w * q).sum()) / power if power else 1.0


def _step(weight: Tensor, quantizer: WeightQuantizer, *, rescale: bool) -> float | None:
    """Return the distance of neighbouring levels after rescaling."""
    try:
        slope, _ = quantizer.grid(quantizer.bits)
    except InputError:
        return None
    scale = quantizer.scale(weight)
    quantized = quantizer.values(quantizer.codes(weight), scale, quantizer.bits)
    factor = best_factor(weight, quantized) if rescale else 1.0
    unit = quantizer.unit(scale, quantizer.bits).double()
    return abs(factor) * abs(slope) * float(unit.square().mean().sqrt())
