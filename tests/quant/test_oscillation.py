"""Oscillating weights: counted, dampened and frozen as Nagel et al. 2022 define it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from yolo_qreg.quant.lsq import LSQQuantizer, SteadyLSQQuantizer
from yolo_qreg.quant.oscillation import MOMENTUM, Tracker


def steady(remedy: str, weight: Tensor, bits: int = 3, step: float = 0.1) -> SteadyLSQQuantizer:
    """Make a quantizer with a step of 0.1."""
    made = LSQQuantizer.for_weight(weight, bits, per_channel=False, init="paper", oscillations=remedy)
    assert isinstance(made, SteadyLSQQuantizer)
    made.step.data.fill_(step)
    made.tracker = Tracker(made.codes(weight))
    return made


def test_a_turn_is_a_move_against_the_last_one() -> None:
    """Of codes that go up and down, up twice, and nowhere, only the first turns back, each time it moves."""
    tracker = Tracker(torch.tensor([3, 3, 3], dtype=torch.uint8))
    steps = torch.tensor([[4, 4, 3], [3, 5, 3], [4, 5, 3]], dtype=torch.uint8)
    turns = [tracker.observe(codes).tolist() for codes in steps]
    assert turns == [[False] * 3, [True, False, False], [True, False, False]]
    wanted = MOMENTUM * (1 - MOMENTUM) + MOMENTUM
    assert float(tracker.frequency[0]) == pytest.approx(wanted, rel=1e-5)
    assert tracker.share() == pytest.approx(1 / 3)


def test_tracking_begins_with_the_step_of_an_earlier_training() -> None:
    """Codes are those of the step that was loaded: nothing has moved after the first update."""
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    quantizer = steady("track", weight)
    quantizer.step.data.fill_(0.03)
    quantizer.begin_epoch(weight, 0.0)
    quantizer.after_step(weight)
    assert not quantizer.tracker.direction.any()
    assert torch.equal(quantizer.tracker.average, quantizer.codes(weight).float())


def test_a_frozen_weight_stays_at_its_usual_code_and_follows_the_step() -> None:
    """What oscillates beyond the threshold gets the more frequent of its two codes, for good; others are free."""
    low, high = 0.149, 0.151  # codes 1 and 2 steps above zero
    weight = torch.tensor([low, 0.05]).view(2, 1, 1, 1)
    quantizer = steady("freeze", weight)
    quantizer.begin_epoch(weight, 1.0)  # threshold 0.01: reached after some ten turns
    for index in range(60):
        if not bool(quantizer.tracker.frozen[0]):
            weight[0] = high if index % 3 == 2 else low
        quantizer.after_step(weight)
    assert quantizer.tracker.frozen.flatten().tolist() == [True, False]
    assert float(weight[0]) == pytest.approx(0.1)
    quantizer.step.data.fill_(0.13)
    weight += 0.3
    quantizer.after_step(weight)
    assert float(weight[0]) == pytest.approx(0.13) and float(weight[1]) == pytest.approx(0.35)
    assert torch.equal(quantizer.codes(weight)[0], quantizer.tracker.kept[0])


def test_the_penalty_draws_to_the_middle_of_cells() -> None:
    """0.1 sum over channels, mean within, of (q - clip(w))^2 at the end of a training; none at its beginning."""
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    quantizer = steady("dampen", weight)
    assert quantizer.penalty(weight) is None
    leaf = weight.double().requires_grad_()
    clipped = leaf.clamp(-0.4, 0.3)
    target = 0.1 * (weight.double() / 0.1).clamp(-4, 3).round()
    wanted = 0.1 * (target - clipped).square().sum(0).mean()
    (slope,) = torch.autograd.grad(wanted, leaf)
    for progress, share in ((1.0, 1.0), (0.5, 0.5), (0.25, (1 - math.sqrt(0.5)) / 2)):
        quantizer.begin_epoch(weight, progress)
        own = weight.clone().requires_grad_()
        penalty = quantizer.penalty(own)
        assert penalty is not None and quantizer.step.grad is None
        assert float(penalty.detach()) == pytest.approx(share * float(wanted.detach()), rel=1e-4)
        (found,) = torch.autograd.grad(penalty, own)
        torch.testing.assert_close(found.double(), share * slope, rtol=1e-4, atol=1e-8)
    assert quantizer.steps()[0].grad is None


def test_dampening_stops_an_oscillation() -> None:
    """A weight whose gradient asks for a value between two codes turns back at every step, and not when dampened."""

    def turns(remedy: str) -> float:
        weight = torch.full((1, 1, 1, 1), 0.149)
        quantizer = steady(remedy, weight)
        quantizer.begin_epoch(weight, 1.0)
        for _ in range(400):
            leaf = weight.clone().requires_grad_()
            loss = 0.1 * (quantizer(leaf) - 0.15).square().sum()
            penalty = quantizer.penalty(leaf)
            (loss if penalty is None else loss + penalty).backward()
            weight -= leaf.grad
            quantizer.after_step(weight)
        return float(quantizer.tracker.frequency)

    assert turns("track") > 0.1
    assert turns("dampen") < 0.01


def test_free_weights_have_no_tracker() -> None:
    """Without the option the quantizer is plain LSQ, with no further state and nothing to do after a step."""
    made = LSQQuantizer.for_weight(torch.randn(2, 2, 1, 1), 4, per_channel=False, init="mse", oscillations="free")
    assert type(made) is LSQQuantizer and set(made.state_dict()) == {"step", "first_step"}
