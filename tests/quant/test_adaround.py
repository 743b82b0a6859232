"""AdaRound against the best of all roundings, found by trying them."""

from __future__ import annotations

from itertools import product

import torch
from torch.nn import functional

from yolo_qreg.quant.adaround import Sample, adaround, rectified_sigmoid

LIMITS = (-2, 1)


def test_it_is_near_the_best_of_all_roundings() -> None:
    """Where inputs go together the nearest integers answer twice as badly as the best; the learned ones nearly as well.

    No channel is worse than with the nearest, and the same seed gives the same integers.
    """
    draws = torch.Generator().manual_seed(0)
    mixed = torch.randn(8, 8, generator=draws) * 0.7 + 0.5
    inputs = torch.randn(512, 8, generator=draws) @ mixed
    weight, step = torch.randn(24, 8, generator=draws) * 0.5, torch.tensor(0.6)
    sample = Sample(inputs[:, None], inputs @ weight.T, lambda products: products)

    def error(integers: torch.Tensor) -> torch.Tensor:
        return (inputs @ (step * integers - weight).T).square().mean(0)

    ratio = (weight / step).clamp(*LIMITS)
    tried = [error((ratio.floor() + torch.tensor(ups)).clamp(*LIMITS)) for ups in product((0, 1), repeat=8)]
    best, nearest = torch.stack(tried).amin(0), error(ratio.round())
    integers = adaround(weight, step, LIMITS, sample, 0)
    found = error(integers)
    assert nearest.mean() > 1.9 * best.mean()
    assert found.mean() < 1.1 * best.mean()
    assert bool((found <= nearest).all())
    assert (int(integers.min()), int(integers.max())) == LIMITS
    assert torch.equal(integers, adaround(weight, step, LIMITS, sample, 0))


def test_groups_and_channels_have_their_own_inputs_and_steps() -> None:
    """The error of a grouped convolution is that of torch's, through what follows it; no channel is worse."""
    draws = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 4, 9, 9, generator=draws)
    weight = torch.randn(6, 2, 3, 3, generator=draws)
    steps = torch.linspace(0.4, 0.9, 6)
    answers = functional.conv2d(picture, weight, groups=2)[0].flatten(1).T
    windows = functional.unfold(picture, 3)[0].T.unflatten(1, (2, -1))
    sample = Sample(windows, answers, functional.silu)
    assert sample.errors(weight).max() < 1e-9
    wide = steps.view(-1, 1, 1, 1)

    def error(integers: torch.Tensor) -> torch.Tensor:
        made = functional.conv2d(picture, integers * wide, groups=2)[0].flatten(1).T
        return (functional.silu(made) - functional.silu(answers)).square().sum(0)

    nearest = (weight / wide).clamp(*LIMITS).round()
    assert torch.allclose(sample.errors(nearest * wide).sum(0), error(nearest), rtol=1e-4)
    found = error(adaround(weight, steps, LIMITS, sample, 0))
    assert bool((found <= 1.0001 * error(nearest)).all())
    assert found.sum() < 0.8 * error(nearest).sum()


def test_the_sigmoid_reaches_both_ends() -> None:
    """A weight can be wholly up or down."""
    assert rectified_sigmoid(torch.tensor([-9.0, 0.0, 9.0])).tolist() == [0, 0.5, 1]
