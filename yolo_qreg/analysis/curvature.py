"""Second derivatives of a loss by products with vectors: traces by layer (Hutchinson 1990) and the top eigenvalue.

H is the Hessian of the mean loss with respect to all weights of an objective, H_ll its block of layer l.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from yolo_qreg.analysis.objective import Objective, Sampled, Weights, exact, gradients, inner, norm, scaled, signs

ALL = "all"
"""The whole of the weights, among layers."""
Ticked = Callable[[], object]
"""Called when a part of the work is done."""


def hessian_traces(
    objective: Objective, probes: int, rng: torch.Generator, tick: Ticked = lambda: None
) -> dict[str, Sampled]:
    """Return tr H_ll for each layer, and tr H as `ALL`.

    For signs v, the mean of <v_l, (H v)_l> is tr H_ll: what other layers add has mean zero. One product with H gives a
    sample for every layer at once. Each batch has its own signs.

    Args:
        objective: The loss.
        probes: Samples; each is a product with H on every batch.
        rng: Of the signs.
        tick: Called after each batch.
    """
    samples = [dict.fromkeys(objective.weights, 0.0) for _ in range(probes)]
    for loss in objective.losses:
        first = gradients(loss(), objective.weights, again=True)
        for sample in samples:
            vector = signs(objective.weights, rng)
            for name, part in _product(first, vector, objective.weights, keep=True).items():
                sample[name] += float((exact(vector[name]) * exact(part)).sum()) / len(objective.losses)
        tick()
    found = {name: Sampled.of([sample[name] for sample in samples]) for name in objective.weights}
    return {ALL: Sampled.of([math.fsum(sample.values()) for sample in samples]), **found}


@dataclass(frozen=True, slots=True)
class Eigenvalue:
    """The eigenvalue of H that is largest in magnitude, as far as the iterations came.

    Attributes:
        value: Rayleigh's quotient of the last vector.
        residual: |H v - value v| / |value|: 0 where v is an eigenvector. Some eigenvalue lies that close to `value`.
        iterations: How many products with H it took.
    """

    value: float
    residual: float
    iterations: int


def top_eigenvalue(
    objective: Objective,
    iterations: int,
    rng: torch.Generator,
    *,
    units: Mapping[str, float] | None = None,
    tolerance: float = 1e-2,
    tick: Ticked = lambda: None,
) -> Eigenvalue:
    """Return the eigenvalue of largest magnitude by power iteration.

    Args:
        objective: The loss.
        iterations: The most products with H.
        rng: Of the first vector.
        units: What the weights of each layer are measured in; 1 by default. With units D the Hessian is D H D.
        tolerance: Of `Eigenvalue.residual`; less ends the iteration.
        tick: Called after each product.
    """
    units = units or dict.fromkeys(objective.weights, 1.0)
    vector: dict[str, Tensor] = signs(objective.weights, rng)
    found = Eigenvalue(0.0, math.inf, 0)
    for iteration in range(1, iterations + 1):
        vector = scaled(vector, 1 / norm(vector))
        turned = hessian_product(objective, {name: units[name] * part for name, part in vector.items()})
        product = {name: units[name] * part for name, part in turned.items()}
        tick()
        value = inner(vector, product)
        if not norm(product):
            return Eigenvalue(0.0, 0.0, iteration)
        rest = {name: part - value * vector[name] for name, part in product.items()}
        found = Eigenvalue(value, norm(rest) / abs(value) if value else math.inf, iteration)
        if found.residual < tolerance:
            break
        vector = product
    return found


def hessian_product(objective: Objective, vector: Weights) -> dict[str, Tensor]:
    """Return H times a vector."""
    total = {name: torch.zeros_like(weight) for name, weight in objective.weights.items()}
    for loss in objective.losses:
        first = gradients(loss(), objective.weights, again=True)
        for name, part in _product(first, vector, objective.weights).items():
            total[name] += part / len(objective.losses)
    return total


def _product(first: Weights, vector: Weights, weights: Weights, *, keep: bool = False) -> dict[str, Tensor]:
    """Return H v from the first derivatives; zeros where these do not depend on the weights."""
    along = torch.stack([(first[name] * part).sum() for name, part in vector.items()]).sum()
    if not along.requires_grad:
        return {name: torch.zeros_like(weight) for name, weight in weights.items()}
    return gradients(along, weights, keep=keep)
