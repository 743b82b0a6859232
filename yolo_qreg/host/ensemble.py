"""Several networks with drawn weights that answer as one: BinaryConnect's third way to test (Courbariaux et al. 2015).

All have the places of one head, so that what they say of each place can be averaged before NMS.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from yolo_qreg.patch import bake, quantized_layers
from yolo_qreg.quant.registry import FLOAT_BITS

FIRST_SEED = 2_147_001_503
"""Of the draws. A training's own would not do: its weights came from the same numbers, and would go with the draws."""


class Ensemble(nn.Module):
    """Detectors of the host whose boxes and class probabilities are averaged place by place.

    It answers to what the host asks a model to be validated.

    Args:
        members: In eval mode.
    """

    def __init__(self, members: list[Any]) -> None:
        super().__init__()
        self.members: Any = nn.ModuleList(members)
        self.task = "detect"
        for name in ("names", "stride", "yaml", "args"):
            setattr(self, name, getattr(members[0], name))

    def fuse(self, verbose: bool = False) -> Ensemble:  # which older hosts pass
        """Fold BatchNorm into the convolutions of all members."""
        for member in self.members:
            member.fuse(verbose=verbose)
        return self

    def forward(self, pictures: Tensor, **_: Any) -> tuple[Tensor, list[Any]]:
        """Return boxes and probabilities [N, 4 + C, A], A places, and what each member's loss is made of."""
        answers = [member(pictures) for member in self.members]
        return _mean([answer[0] for answer in answers]), [answer[1] for answer in answers]

    def loss(self, batch: Any, preds: tuple[Tensor, list[Any]]) -> tuple[Tensor, Any]:
        """Return the mean of the members' losses, and of their terms."""
        boxes, raw = preds
        found = [member.loss(batch, (boxes, own)) for member, own in zip(self.members, raw, strict=True)]
        losses, terms = zip(*found, strict=True)
        if isinstance(terms[0], dict):
            return _mean(losses), {key: _mean([one[key] for one in terms]) for key in terms[0]}
        return _mean(losses), _mean(terms)


def draw(quantized: nn.Module, networks: int) -> Ensemble:
    """Return networks that are drawn from the latent weights of a quantized model: the same ones at each call.

    BatchNorm statistics are the model's own, for all of them: those that training, with drawn weights too, has met.
    """
    members = []
    for number in range(networks):
        numbers = torch.Generator().manual_seed(FIRST_SEED + number)
        member: Any = deepcopy(quantized).eval()
        weights = {
            name: layer.quantizer.drawn(layer.weight.detach().float().cpu(), numbers)
            for name, layer in quantized_layers(member).items()
            if layer.quantizer.bits != FLOAT_BITS
        }
        bake(member)
        for name, weight in weights.items():
            member.get_submodule(name).weight.data.copy_(weight)
        if getattr(member.model[-1], "end2end", False):
            member.model[-1].end2end = False  # it would pick boxes itself
        members.append(member)
    return Ensemble(members)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack([*values]).mean(0)
