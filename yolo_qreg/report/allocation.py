"""What a plan of widths comes to, for a terminal."""

from __future__ import annotations

from yolo_qreg.analysis.allocation import Allocation, Budget, uniform
from yolo_qreg.analysis.sensitivity_record import Sensitivity

_UNITS = {"loss": (1.0, "of loss"), "estimate": (1.0, "of loss"), "map": (100.0, "points of mAP")}


def summary(found: Sensitivity, plan: Allocation, budget: Budget) -> list[str]:
    """Return lines: how many layers have which width, and the plan beside the best single width in the budget."""
    counts = {bits: list(plan.widths.values()).count(bits) for bits in found.widths}
    widths = ", ".join(f"{count} at {bits} bits" for bits, count in counts.items() if count)
    lines = [f"{len(plan.widths)} layers: {widths}", f"plan:           {_line(plan)}"]
    if (single := uniform(found, budget, plan.by)) is not None:
        bits = next(iter(single.widths.values()))
        lines.append(f"all at {bits} bits:  {_line(single)}")
    return lines


def _line(plan: Allocation) -> str:
    factor, unit = _UNITS[plan.by]
    return (
        f"{plan.size_bytes / 1e6:.3f} MB packed, {plan.mean_bits:.2f} bits a weight, {plan.bit_ops / 1e9:.2f} G "
        f"multiply-accumulates x bits; sum of costs {factor * plan.cost:.4f} {unit}"
    )
