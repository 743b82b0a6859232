"""Widths for all layers under a budget: the least sum of what single layers cost, by integer programming.

What one layer costs is taken for what it adds to the cost of all together. x_lb is 1 where layer l has b bits:

    minimise  sum_lb cost_lb x_lb   such that  sum_b x_lb = 1 for each l,  sum_lb size_lb x_lb <= budget
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from yolo_qreg.analysis.sensitivity_record import LayerCost, Sensitivity
from yolo_qreg.errors import InputError

By = Literal["loss", "map", "estimate"]
"""By what layers are judged: the measured rise of the loss, the measured drop of mAP, or the estimated rise."""
Kind = Literal["size", "mean-bits", "bit-ops"]
"""Of a budget: bytes of a packed file, bits of a weight on average, or multiply-accumulates times bits of weights."""
_COSTS: dict[By, Callable[[LayerCost], float]] = {
    "loss": lambda cost: cost.loss_rise,
    "map": lambda cost: cost.map_drop,
    "estimate": lambda cost: cost.estimate,
}
_LARGEST = 1e3
"""What the largest cost is scaled to for the solver, which takes differences of 1e-6 for none."""
_ROUNDING = 1e-12
"""By which share floating-point numbers may seem to exceed a budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the layers together may take.

    Raises:
        InputError: It is nothing that can be spent.
    """

    kind: Kind
    most: float

    def __post_init__(self) -> None:
        """Check it."""
        if self.kind not in get_args(Kind):
            raise InputError(f"budget {self.kind!r} is unknown; choose one of {', '.join(get_args(Kind))}")
        if not 0 < self.most < float("inf"):
            raise InputError(f"{self.kind}={self.most:g} must be a number above 0")

    def of(self, cost: LayerCost) -> float:
        """Return what a layer takes at its width."""
        if self.kind == "size":
            return cost.size_bytes
        return cost.bits * (cost.weights if self.kind == "mean-bits" else cost.macs)

    def limit(self, found: Sensitivity) -> float:
        """Return what is left for all layers, in the units of `of`."""
        if self.kind == "size":
            return self.most - found.fixed_bytes
        if self.kind == "mean-bits":
            return self.most * sum(costs[max(costs)].weights for costs in found.by_layer.values())
        return self.most

    def total(self, spent: float, found: Sensitivity) -> float:
        """Return what layers take, as the budget counts."""
        if self.kind == "size":
            return spent + found.fixed_bytes
        return self.most * spent / self.limit(found) if self.kind == "mean-bits" else spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Widths of all layers, and what they come to.

    Attributes:
        widths: By layer.
        cost: The sum of what single layers cost, by `by`: loss, or mAP as a fraction.
        size_bytes: Of a packed file.
        mean_bits: Of a weight, over the layers.
        bit_ops: Multiply-accumulates of a picture times bits of weights, over the layers.
        by: What was added up.
    """

    widths: dict[str, int]
    cost: float
    size_bytes: int
    mean_bits: float
    bit_ops: int
    by: By

    def to_dict(self) -> dict[str, Any]:
        """Return what a plan says of itself."""
        return {
            "judged by": self.by,
            "sum of costs": float(self.cost),
            "bytes when packed": self.size_bytes,
            "mean bits": round(self.mean_bits, 4),
            "multiply-accumulates times bits": self.bit_ops,
        }


def allocate(found: Sensitivity, budget: Budget, by: By = "loss") -> Allocation:
    """Return the widths of least cost within a budget, among those that were measured.

    A layer is taken to cost no less at fewer bits, and never less than nothing: what was measured otherwise is chance.

    Args:
        found: What single layers cost.
        budget: What they may take.
        by: What counts as cost.

    Raises:
        InputError: No widths fit the budget, or `by` is unknown.
    """
    if by not in _COSTS:
        raise InputError(f"by={by!r} is unknown; choose one of {', '.join(_COSTS)}")
    choices = [cost for costs in found.by_layer.values() for cost in costs.values()]
    spent = np.array([budget.of(cost) for cost in choices], dtype=float)
    least = fsum(min(map(budget.of, costs.values())) for costs in found.by_layer.values())
    limit = budget.limit(found)
    if least > limit:
        fewest = min(found.widths)
        raise InputError(
            f"{budget.kind}={budget.most:g} is too little: {budget.total(least, found):g} at the fewest bits measured "
            f"({fewest}); allow more, or measure fewer bits"
        )
    costs = rising_costs(found, by)
    price = np.array([costs[cost.layer][cost.bits] for cost in choices])
    names = list(found.by_layer)
    one_each = np.zeros((len(names), len(choices)))
    one_each[[names.index(cost.layer) for cost in choices], range(len(choices))] = 1
    constraints = [LinearConstraint(one_each, 1, 1), LinearConstraint(spent[None] / limit, -np.inf, 1)]
    while True:
        solved = milp(
            price * (_LARGEST / (price.max() or 1.0)),
            constraints=constraints,
            integrality=np.ones(len(choices)),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0},
        )
        assert solved.x is not None, solved.message  # the fewest bits fit
        taken = solved.x > 0.5
        if fsum(spent[taken]) <= limit * (1 + _ROUNDING):
            break
        constraints.append(LinearConstraint(taken[None].astype(float), -np.inf, len(names) - 1))  # all but this plan
    widths = {cost.layer: cost.bits for cost, chosen in zip(choices, taken, strict=True) if chosen}
    _spend_rest(found, widths, costs, budget)
    return described(found, widths, by)


def _spend_rest(
    found: Sensitivity, widths: dict[str, int], costs: Mapping[str, Mapping[int, float]], budget: Budget
) -> None:
    """Widen layers, in place, that cost no less for it, while that fits: first where errors of weights are largest."""
    left = budget.limit(found) - fsum(budget.of(found.by_layer[name][bits]) for name, bits in widths.items())
    for name in sorted(widths, key=lambda layer: found.by_layer[layer][widths[layer]].relative, reverse=True):
        known = found.by_layer[name]
        for bits in sorted(known, reverse=True):
            more = budget.of(known[bits]) - budget.of(known[widths[name]])
            if bits > widths[name] and more <= left and costs[name][bits] <= costs[name][widths[name]]:
                widths[name], left = bits, left - more


def described(found: Sensitivity, widths: Mapping[str, int], by: By) -> Allocation:
    """Return what given widths come to."""
    taken = [found.by_layer[name][bits] for name, bits in widths.items()]
    costs = rising_costs(found, by)
    return Allocation(
        widths=dict(widths),
        cost=fsum(costs[name][bits] for name, bits in widths.items()),
        size_bytes=found.fixed_bytes + sum(cost.size_bytes for cost in taken),
        mean_bits=sum(cost.bits * cost.weights for cost in taken) / sum(cost.weights for cost in taken),
        bit_ops=sum(cost.bits * cost.macs for cost in taken),
        by=by,
    )


def rising_costs(found: Sensitivity, by: By) -> dict[str, dict[int, float]]:
    """Return costs by layer and width, of which none is negative or less than one at more bits."""
    made: dict[str, dict[int, float]] = {}
    for name, costs in found.by_layer.items():
        most, made[name] = 0.0, {}
        for bits in sorted(costs, reverse=True):
            most = max(most, _COSTS[by](costs[bits]))
            made[name][bits] = most
    return made


def uniform(found: Sensitivity, budget: Budget, by: By) -> Allocation | None:
    """Return the largest single width within a budget; None where none fits."""
    limit = budget.limit(found)
    for bits in found.widths:
        if all(bits in costs for costs in found.by_layer.values()):
            spent = sum(budget.of(costs[bits]) for costs in found.by_layer.values())
            if spent <= limit:
                return described(found, dict.fromkeys(found.by_layer, bits), by)
    return None
