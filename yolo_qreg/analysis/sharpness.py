"""How fast the loss rises around weights: in the worst direction (SAM, ASAM) and along random ones.

A layer that BatchNorm follows may have weights of any scale. What is compared across models is therefore relative to
the weights: ASAM is so by definition, SAM's radius is given as a share of the weights' norm, and random directions
have the norm of each filter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from yolo_qreg.analysis.curvature import Ticked
from yolo_qreg.analysis.objective import Objective, Weights, norm, scaled


def sam_step(weights: Weights, gradient: Weights, radius: float) -> dict[str, Tensor]:
    """Return the step of length `radius` along the gradient (Foret et al. 2021): radius * g / |g|; 0 where g is."""
    return scaled(gradient, radius / (norm(gradient) or 1.0))


def asam_step(weights: Weights, gradient: Weights, radius: float) -> dict[str, Tensor]:
    """Return the step of adaptive sharpness (Kwon et al. 2021): radius * w^2 g / |w g|, by element.

    Multiplying weights by factors that leave the loss as it is multiplies the step alike.
    """
    turned = {name: weights[name].detach() * part for name, part in gradient.items()}
    length = norm(turned) or 1.0
    return {name: radius / length * weights[name].detach() * part for name, part in turned.items()}


def sam_rise(objective: Objective, share: float, gradient: Weights, base: float) -> float:
    """Return the rise of the loss one step of SAM away.

    Args:
        objective: The loss.
        share: Length of the step, as a share of the weights' norm.
        gradient: Of the loss.
        base: The loss.
    """
    radius = share * norm({name: weight.detach() for name, weight in objective.weights.items()})
    return objective.rise(sam_step(objective.weights, gradient, radius), base)


def asam_rise(objective: Objective, radius: float, gradient: Weights, base: float) -> float:
    """Return the rise of the loss one step of ASAM away; arguments as of `sam_rise`, the radius as of `asam_step`."""
    return objective.rise(asam_step(objective.weights, gradient, radius), base)


def filter_direction(weights: Weights, rng: torch.Generator) -> dict[str, Tensor]:
    """Return a random direction in which each filter has the norm of its weights (Li et al. 2018).

    A filter is what one output channel has: weights of a layer are [O, ...].
    """
    found = {}
    for name, weight in weights.items():
        drawn = torch.randn(weight.shape, generator=rng).to(weight)
        sizes = [tensor.detach().flatten(1).norm(dim=1) for tensor in (weight, drawn)]
        ratio = sizes[0] / sizes[1].clamp_min(1e-12)
        found[name] = drawn * ratio.view(-1, *[1] * (weight.ndim - 1))
    return found


def profile(
    objective: Objective, direction: Weights, distances: Sequence[float], tick: Ticked = lambda: None
) -> list[float]:
    """Return the loss at distances along a direction."""
    found = []
    for distance in distances:
        found.append(objective.rise(scaled(direction, distance), 0.0))
        tick()
    return found
