"""The end of a training that fits BatchNorm's scales and shifts to quantized weights which no longer move.

Gupta and Asthana 2023 (arXiv:2311.05109) correct a quantized YOLO so, by a scale and a shift of each channel before
BatchNorm with fixed statistics; training those of BatchNorm itself is the same function.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn, optim
from torch.nn.modules.batchnorm import _BatchNorm

from yolo_qreg.patch import quantized_layers

RATE = 0.1
"""Of the rate with which the training began, for all of the phase."""


def norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Return the BatchNorms of a model by name."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, _BatchNorm))


@torch.no_grad()
def settle(live: nn.Module, average: nn.Module, baked: nn.Module) -> None:
    """Go on from averaged weights, and from the statistics that were estimated for their quantized image, in place."""
    statistics = baked.state_dict()
    for name, norm in norms(average):
        for key in ("running_mean", "running_var"):
            getattr(norm, key).copy_(statistics[f"{name}.{key}"])
    live.load_state_dict(average.state_dict())


def begin_epoch(model: nn.Module, optimizer: optim.Optimizer) -> None:
    """Have only scales and shifts of BatchNorm train, at the phase's rate; all else is at rest, draws too.

    What is frozen by the settings stays so.
    """
    tuned = {id(p) for _, norm in norms(model) for p in norm.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in tuned:
            parameter.requires_grad_(False)
    for _, norm in norms(model):
        norm.eval()
    for layer in quantized_layers(model).values():
        for child in layer.children():
            child.eval()
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * RATE


@torch.no_grad()
def follow(average: Any, live: nn.Module) -> None:
    """Copy the tuned parameters into the averaged model: an average over a short phase would hardly move."""
    for (_, ours), (_, theirs) in zip(norms(average), norms(live), strict=True):
        for mine, new in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(new)
