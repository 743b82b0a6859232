"""A loss as a function of some weights, which estimators differentiate and shift.

Weights are named by layer. A loss is that of one batch, the mean over its pictures; the objective is the mean over
batches of equal size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
"""By layer; each of any shape."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A mean over random probes.

    Attributes:
        value: The mean.
        error: Its standard error, by the scatter of the probes; None for one probe.
    """

    value: float
    error: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Sampled:
        """Return the mean of independent values."""
        return cls(fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None)

    def times(self, factor: float) -> Sampled:
        """Return a multiple."""
        return Sampled(self.value * factor, None if self.error is None else self.error * abs(factor))

    @classmethod
    def sum(cls, terms: Sequence[Sampled]) -> Sampled:
        """Return a sum of estimates, as if independent of each other."""
        errors = [term.error for term in terms if term.error is not None]
        known = len(errors) == len(terms)
        return cls(math.fsum(term.value for term in terms), math.hypot(*errors) if known else None)


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss that depends on weights.

    Attributes:
        weights: The weights that are looked at: leaves that require gradients.
        losses: Each returns the loss of its batch at the present weights, [].
    """

    weights: Weights
    losses: Sequence[Callable[[], Tensor]]

    @torch.no_grad()
    def value(self) -> float:
        """Return the mean loss, summed in float64."""
        return fmean(float(loss()) for loss in self.losses)

    def gradient(self) -> dict[str, Tensor]:
        """Return the derivative of the mean loss."""
        total = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        for loss in self.losses:
            for name, part in gradients(loss(), self.weights).items():
                total[name] += part / len(self.losses)
        return total

    def rise(self, change: Weights, base: float | None = None) -> float:
        """Return how much the loss is higher with the weights changed.

        Args:
            change: Of some of the weights, by layer.
            base: The loss without; computed by default.
        """
        before = self.value() if base is None else base
        with shifted(self.weights, change):
            return self.value() - before


def gradients(value: Tensor, weights: Weights, *, again: bool = False, keep: bool = False) -> dict[str, Tensor]:
    """Return the derivative of a number, zeros for weights that it does not depend on.

    Args:
        value: [].
        weights: By layer.
        again: Whether the derivative can itself be differentiated.
        keep: Whether more derivatives are taken afterwards.
    """
    found = torch.autograd.grad(
        value,
        list(weights.values()),
        retain_graph=keep or again,
        create_graph=again,
        allow_unused=True,
        materialize_grads=True,
    )
    return dict(zip(weights, found, strict=True))


@contextmanager
def placed(weights: Weights, values: Weights) -> Iterator[None]:
    """Give some of the weights other values meanwhile; afterwards they are what they were, bit for bit."""
    before = {name: weights[name].detach().clone() for name in values}
    try:
        _copy(values, weights)
        yield
    finally:
        _copy(before, weights)


def shifted(weights: Weights, change: Weights) -> AbstractContextManager[None]:
    """Add a change, from whatever device, to some of the weights meanwhile; see `placed`."""
    made = {name: weights[name].detach() + part.to(weights[name].device) for name, part in change.items()}
    return placed(weights, made)


@torch.no_grad()
def _copy(values: Weights, into: Weights) -> None:
    for name, value in values.items():
        into[name].copy_(value)


def inner(one: Weights, other: Weights) -> float:
    """Return the inner product over all layers, in float64."""
    return math.fsum(float((exact(part) * exact(other[name])).sum()) for name, part in one.items())


def exact(tensor: Tensor) -> Tensor:
    """Return the values in float64 on the CPU: what is added up may come from two devices, and not all have float64."""
    return tensor.detach().cpu().double()


def norm(weights: Weights) -> float:
    """Return the Euclidean norm over all layers."""
    return math.sqrt(inner(weights, weights))


def scaled(weights: Weights, factor: float) -> dict[str, Tensor]:
    """Return a multiple of weights."""
    return {name: factor * weight for name, weight in weights.items()}


def signs(weights: Weights, rng: torch.Generator) -> dict[str, Tensor]:
    """Return independent random signs in the shapes of weights (Rademacher's distribution)."""
    return {name: signs_like(weight, rng) for name, weight in weights.items()}


def signs_like(tensor: Tensor, rng: torch.Generator) -> Tensor:
    """Return independent random signs, -1 or 1, of a tensor's shape; `rng` is a generator of the CPU."""
    return (2 * torch.randint(0, 2, tensor.shape, generator=rng) - 1).to(tensor)
