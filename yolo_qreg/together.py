"""The weights of a whole model quantized at once, and the grids of its activations made at once.

That takes a few operations for all layers instead of some for each. A training step of a small detector is bound by the
number of operations that are started, on a GPU above all.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from yolo_qreg.quant.activations import ActivationQuantizer
from yolo_qreg.quant.base import WeightQuantizer

_LAYERS = "_quantized_together"
"""Attribute of a model: its layers whose weights may be quantized at once."""


class Layer(Protocol):
    """A layer with a quantized weight.

    Attributes:
        weight: The latent weight.
        quantizer: Quantizes it.
        ready: The quantized weight, during a forward pass of the model that holds the layer.
        reads: What quantizes its input, maybe that of others too; None if that is in float.
    """

    weight: Tensor
    quantizer: WeightQuantizer
    ready: Tensor | None

    @property
    def reads(self) -> ActivationQuantizer | None: ...


def _quantize_together(model: nn.Module, _: Any) -> None:
    """Quantize the weights of all layers whose method can do that at once, before a forward pass of the model.

    The grids of quantized activations are made at once, too.

    Compilers do better layer by layer: they put all operations on a weight into one.
    """
    if torch.compiler.is_compiling():
        return
    for kind, layers in _groups(vars(model)[_LAYERS]):
        with torch.autocast(layers[0].weight.device.type, enabled=False):
            weights = [layer.weight.float() for layer in layers]
            found = kind.together([layer.quantizer for layer in layers], weights)
        for layer, weight in zip(layers, found, strict=True):
            layer.ready = weight
    for members in _readers(vars(model)[_LAYERS]):
        for quantizer, grid in zip(members, members[0].grids(members), strict=True):
            quantizer.ready = grid


def _forget(model: nn.Module, *_: Any) -> None:
    """Let go of the quantized weights and the grids after a forward pass."""
    if torch.compiler.is_compiling():  # nothing was kept, and torch 2.4 stops at `vars`
        return
    for layer in vars(model)[_LAYERS]:
        layer.ready = None
        if layer.reads is not None:
            layer.reads.ready = None


def _groups(layers: Iterable[Layer]) -> list[tuple[type[WeightQuantizer], list[Layer]]]:
    """Return layers that can be quantized at once, with the class that does it, as their quantizers are now.

    A class that has a `forward` of its own and inherited `together` is left alone.
    """
    found: dict[tuple[type[WeightQuantizer], Hashable], list[Layer]] = {}
    for layer in layers:
        kind, key = type(layer.quantizer), layer.quantizer.group()
        if key is not None and _definer(kind, "together") is _definer(kind, "forward"):
            found.setdefault((kind, key), []).append(layer)
    return [(kind, members) for (kind, _), members in found.items() if len(members) > 1]


def _readers(layers: Iterable[Layer]) -> list[list[ActivationQuantizer]]:
    """Return those quantizers of activations whose grids can be made at once."""
    found: dict[Hashable, dict[ActivationQuantizer, None]] = {}
    for quantizer in (layer.reads for layer in layers):
        if quantizer is not None and quantizer.observed is None and (key := quantizer.group()) is not None:
            found.setdefault(key, {})[quantizer] = None
    return [[*members] for members in found.values()]


@cache
def _definer(kind: type, name: str) -> type:
    return next(base for base in kind.__mro__ if name in vars(base))


def quantize_at_once(model: nn.Module, layers: Iterable[Layer]) -> None:
    """Have a model quantize weights and make grids of layers together in each forward pass, not each layer its own."""
    vars(model)[_LAYERS] = [*layers]
    model.register_forward_pre_hook(_quantize_together)
    model.register_forward_hook(_forget, always_call=True)


def quantize_one_by_one(model: nn.Module) -> None:
    """Let each layer of a model quantize its own weight again."""
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key in [key for key, hook in hooks.items() if hook in (_quantize_together, _forget)]:
            del hooks[key]
            model._forward_hooks_always_called.pop(key, None)
    vars(model).pop(_LAYERS, None)
