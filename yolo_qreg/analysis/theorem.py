"""The paper's Theorem 3.1 as an experiment: what noise in weights should do to outputs and loss, and what it does.

For noise of variance s_l^2 in layer l, small, with mean 0 and independent of everything:

- outputs change by sum_l s_l^2 |J_l|_F^2, as mean square per picture, summed over outputs. This is the theorem's
  term, Eq. 4, which it takes for the rise of a squared error;
- any loss rises by sum_l s_l^2 tr(H_ll) / 2.

Quantization errors are neither small, nor of mean 0 given the weights, nor independent. What they do is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

import torch
from torch import Tensor

from yolo_qreg.analysis.curvature import ALL, Ticked
from yolo_qreg.analysis.noise import Noise
from yolo_qreg.analysis.objective import Sampled, Weights, exact, inner, scaled, shifted


class Functions(Protocol):
    """A network on fixed pictures, such as `host.differentiable.Differentiable`."""

    @property
    def weights(self) -> Weights:
        """By layer."""

    @property
    def batches(self) -> Sequence[int]:
        """The numbers of the batches."""

    def keep(self) -> None:
        """Be told that weights are those that layers are changed from."""

    def run(self, batch: int, changed: str | None = None) -> tuple[Tensor, Tensor]:
        """Return loss [] and outputs [pictures, ...] of a batch; `changed` is the only layer that was."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of weights does, as a mean over pictures.

    Attributes:
        outputs: Squared change of the outputs, summed over them.
        loss: Rise of the loss.
    """

    outputs: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """What quantization noise in one layer, or in all, should do and does.

    Attributes:
        layer: Its name, or `ALL`.
        variance: s_l^2, in the scale of the network; for `ALL` the mean over weights.
        predicted_outputs: s_l^2 |J_l|_F^2; for `ALL` the sum over layers.
        predicted_loss: s_l^2 tr(H_ll) / 2; for `ALL` the sum over layers.
        gaussian: Of Gaussian noise of that variance, drawn in pairs of both signs, so that terms of first order cancel.
        quantized: Of the quantization errors themselves.
        first_order: The part of the rise that is linear in these: their inner product with the gradient.
    """

    layer: str
    variance: float
    predicted_outputs: Sampled
    predicted_loss: Sampled
    gaussian: Change
    quantized: Change
    first_order: float


class Meter:
    """Measures what changes of the present weights do.

    Args:
        functions: The network; its weights are those that changes are added to.
    """

    @torch.no_grad()
    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        functions.keep()
        self._before = [functions.run(batch) for batch in functions.batches]

    @torch.no_grad()
    def change(self, change: Weights) -> Change:
        """Return what a change of some layers does."""
        only = next(iter(change)) if len(change) == 1 else None
        squares, rises = [], []
        with shifted(self._functions.weights, change):
            for batch, (loss, outputs) in zip(self._functions.batches, self._before, strict=True):
                after, made = self._functions.run(batch, only)
                squares.append(float(exact(made - outputs).square().sum()) / len(made))
                rises.append(float(after) - float(loss))
        return Change(fmean(squares), fmean(rises))

    def pair(self, change: Weights) -> Change:
        """Return the mean of what a change and its opposite do."""
        both = [self.change(change), self.change(scaled(change, -1))]
        return Change(fmean(c.outputs for c in both), fmean(c.loss for c in both))


def measure_rises(
    functions: Functions,
    noise: Mapping[str, tuple[Noise, Tensor]],
    norms: Mapping[str, Sampled],
    traces: Mapping[str, Sampled],
    gradient: Weights,
    rng: torch.Generator,
    *,
    pairs: int = 4,
    tick: Ticked = lambda: None,
) -> list[Rise]:
    """Return predicted and measured rises, of all layers at once first, then of each alone.

    Args:
        functions: The network, at the float weights.
        noise: By layer what quantization errors are like, and the errors.
        norms: |J_l|_F^2 by layer.
        traces: tr(H_ll) by layer.
        gradient: Of the loss.
        rng: Of the noise.
        pairs: Draws of Gaussian noise in all layers; single layers have one.
        tick: Called after each row.
    """
    meter = Meter(functions)
    variances = {name: known.variance for name, (known, _) in noise.items()}
    errors = {name: error for name, (_, error) in noise.items()}
    draws = [meter.pair(_gaussian(variances, errors, rng)) for _ in range(pairs)]
    counts = {name: error.numel() for name, error in errors.items()}
    rows = [
        Rise(
            layer=ALL,
            variance=sum(variances[name] * count for name, count in counts.items()) / sum(counts.values()),
            predicted_outputs=Sampled.sum([norms[name].times(value) for name, value in variances.items()]),
            predicted_loss=Sampled.sum([traces[name].times(value / 2) for name, value in variances.items()]),
            gaussian=Change(fmean(d.outputs for d in draws), fmean(d.loss for d in draws)),
            quantized=meter.change(errors),
            first_order=inner(errors, gradient),
        )
    ]
    tick()
    for name, error in errors.items():
        rows.append(
            Rise(
                layer=name,
                variance=variances[name],
                predicted_outputs=norms[name].times(variances[name]),
                predicted_loss=traces[name].times(variances[name] / 2),
                gaussian=meter.pair(_gaussian({name: variances[name]}, errors, rng)),
                quantized=meter.change({name: error}),
                first_order=inner({name: error}, gradient),
            )
        )
        tick()
    return rows


def _gaussian(variances: Mapping[str, float], like: Weights, rng: torch.Generator) -> dict[str, Tensor]:
    return {
        name: math.sqrt(value) * torch.randn(like[name].shape, generator=rng).to(like[name])
        for name, value in variances.items()
    }
