"""Widths under a budget, against all there are, and the command that chooses them."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from yolo_qreg.analysis.allocation import Allocation, Budget, By, allocate, described, rising_costs, uniform
from yolo_qreg.analysis.sensitivity_record import FILE, LayerCost, Sensitivity, load_sensitivity
from yolo_qreg.bits_plan import read_plan
from yolo_qreg.cli import main
from yolo_qreg.errors import InputError
from yolo_qreg.sealed import write_sealed

WIDTHS = (8, 4, 3, 2)
FIXED = 500


def sample(seed: int, layers: int = 5) -> Sensitivity:
    """Return random costs, some of them negative and some rising with the bits."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(layers):
        weights, macs = int(rng.integers(100, 1000)), int(rng.integers(10_000, 100_000))
        for bits in WIDTHS:
            variance = 4.0**-bits
            loss, drop, trace = rng.normal(variance, variance, 3)
            rows.append(
                LayerCost(
                    layer=f"model.{index}.conv",
                    bits=bits,
                    weights=weights,
                    size_bytes=-(-weights * bits // 8) + 4,
                    macs=macs,
                    variance=variance,
                    relative=variance,
                    loss_rise=loss,
                    map_drop=drop,
                    trace=trace,
                    trace_error=None,
                    estimate=trace * variance / 2,
                )
            )
    return Sensitivity(
        layers=tuple(rows), loss=1.0, map50_95=0.5, fixed_bytes=FIXED, setup={"name": "sample", "method": "lsq"}
    )


def every(found: Sensitivity, by: By) -> list[Allocation]:
    """Return all widths that there are."""
    names = list(found.by_layer)
    chosen = itertools.product(WIDTHS, repeat=len(names))
    return [described(found, dict(zip(names, widths, strict=True)), by) for widths in chosen]


@pytest.mark.parametrize("by", get_args(By))
@pytest.mark.parametrize("seed", range(3))
def test_nothing_in_the_budget_costs_less(seed: int, by: By) -> None:
    """Of each kind, against all widths of all layers."""
    found = sample(seed)
    plans = every(found, by)
    middle = sorted(plans, key=lambda plan: plan.size_bytes)[len(plans) // 3]
    budgets = {
        Budget(kind="size", most=middle.size_bytes): lambda plan: plan.size_bytes,
        Budget(kind="mean-bits", most=3.3): lambda plan: plan.mean_bits,
        Budget(kind="bit-ops", most=middle.bit_ops): lambda plan: plan.bit_ops,
    }
    for budget, spent in budgets.items():
        plan = allocate(found, budget, by)
        assert spent(plan) <= budget.most * (1 + 1e-9)
        best = min(other.cost for other in plans if spent(other) <= budget.most * (1 + 1e-12))
        assert plan.cost == pytest.approx(best, rel=1e-5, abs=1e-5 * max(other.cost for other in plans))
        single = uniform(found, budget, by)
        assert single is None or plan.cost <= single.cost + 1e-9


def test_no_budget_is_exceeded_by_one() -> None:
    """Plans that are over it by less than the solver's tolerance are not taken."""
    found = sample(0)
    large = replace(found, layers=tuple(replace(cost, macs=1000 * cost.macs) for cost in found.layers))
    for plan in every(large, "loss")[40::40]:
        taken = allocate(large, Budget(kind="bit-ops", most=plan.bit_ops), "loss")
        less = allocate(large, Budget(kind="bit-ops", most=taken.bit_ops - 1), "loss")
        assert less.bit_ops < taken.bit_ops


def test_fewer_bits_cost_no_less() -> None:
    """What was measured otherwise is chance: costs are those of more bits, and at least 0."""
    found = sample(0)
    for name, costs in rising_costs(found, "loss").items():
        values = [costs[bits] for bits in WIDTHS]
        assert values == sorted(values)
        assert values[0] >= 0
        measured = [found.by_layer[name][bits].loss_rise for bits in WIDTHS]
        assert values[-1] == pytest.approx(max(0.0, *measured))


def test_a_budget_that_takes_everything_takes_the_largest_widths() -> None:
    """Where costs are equal, smaller errors of the weights decide."""
    found = sample(1)
    free = Sensitivity.from_dict(
        {**found.to_dict(), "layers": [{**r, "loss_rise": 0.0} for r in found.to_dict()["layers"]]}
    )
    plan = allocate(free, Budget(kind="mean-bits", most=8))
    assert set(plan.widths.values()) == {8}
    assert plan.mean_bits == 8


@pytest.mark.parametrize(
    ("kind", "most", "said"),
    [
        (
            "size",
            10,
            r"size=10 is too little: \d+ at the fewest bits measured \(2\); allow more, or measure fewer bits",
        ),
        ("mean-bits", 1, r"mean-bits=1 is too little: 2 at the fewest bits measured \(2\)"),
        ("bit-ops", 5, "bit-ops=5 is too little"),
        ("size", 0, "size=0 must be a number above 0"),
        ("bits", 3, "budget 'bits' is unknown; choose one of size, mean-bits, bit-ops"),
    ],
)
def test_a_budget_that_nothing_fits_is_refused(kind: str, most: float, said: str) -> None:
    """One line says what would be enough."""
    with pytest.raises(InputError, match=said):
        allocate(sample(0), Budget(kind=kind, most=most))  # type: ignore[arg-type]


def test_the_command_writes_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Within the size, with what it comes to beside the single width that fits."""
    write_sealed(tmp_path / FILE, sample(2).to_dict())
    most = uniform(sample(2), Budget(kind="mean-bits", most=3), "loss")
    assert most is not None
    out = tmp_path / "plan.yaml"
    assert main(["allocate", str(tmp_path), "--size", f"{most.size_bytes / 1000}kB", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^5 layers: .*\nplan: .*MB packed.*\nall at 3 bits: ", printed)
    plan = allocate(load_sensitivity(tmp_path), Budget(kind="size", most=most.size_bytes))
    assert read_plan(out) == plan.widths
    assert plan.cost <= most.cost


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "allocate takes one budget; give one of --size 1.0MB, --mean-bits 3 and --bit-ops 4G"),
        (["--size", "1MB", "--mean-bits", "3"], "allocate takes one budget"),
        (["--size", "much"], "--size 'much' is no amount; write 1.0MB, 800kB or 40G"),
        (["--size", "1MB"], "sensitivity.json is no whole file of the sensitivity command; run it, or name its folder"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No budget, two, a wrong one, and numbers of nothing."""
    assert main(["allocate", str(tmp_path), *words, "--out", str(tmp_path / "plan.yaml")]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "plan.yaml").exists()
