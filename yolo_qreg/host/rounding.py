"""AdaRound over a detector: layer after layer, each on what the layers before it, rounded already, give it to read.

Letters: B pictures, O output channels, G groups of them, D values that an output channel reads, N sampled answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from yolo_qreg.patch import QuantConv2d, quantized_layers
from yolo_qreg.progress import Watch
from yolo_qreg.quant.adaround import Sample, adaround
from yolo_qreg.quant.lsq import clip_range

IMAGES = 32
"""Training pictures that are looked at."""
ANSWERS = 8192
"""Answers of a layer that are looked at, of all pictures together."""


class _ReachedError(Exception):
    """A layer has what it was to read: the rest of the model need not run."""


def round_adaptively(model: nn.Module, plain: nn.Module, pictures: Sequence[Tensor], watch: Watch) -> None:
    """Move the latent weights of an LSQ model, in place, onto the levels that AdaRound chooses.

    Args:
        model: Quantized, in eval mode.
        plain: The float model that it was made from, in eval mode.
        pictures: Float images [1, C, H, W] in 0..1.
        watch: Told of each layer.
    """
    layers = quantized_layers(model)
    each = max(ANSWERS // len(pictures), 1)
    wanted = _float_products(plain, layers, pictures, each)
    for seed, (name, products) in enumerate(wanted.items()):
        layer = layers[name]
        inputs = torch.cat([_read(model, layer, picture, each, i) for i, picture in enumerate(pictures)])
        step = layer.quantizer.scale(layer.weight)
        below, above = clip_range(layer.quantizer.bits)
        sample = Sample(inputs, products, _following(plain, name))
        integers = adaround(layer.weight.detach(), step, (-below, above), sample, seed)
        with torch.no_grad():
            layer.weight.copy_(layer.quantizer.values(integers + below, step, layer.quantizer.bits))
        assert torch.equal(layer.quantizer.codes(layer.weight), (integers + below).to(torch.uint8)), name
        watch(f"rounding {name}", 1)


@torch.no_grad()
def _float_products(
    plain: nn.Module, layers: dict[str, QuantConv2d], pictures: Sequence[Tensor], each: int
) -> dict[str, Tensor]:
    """Return sampled answers of float convolutions, [N, O] without bias, by name in the order in which they run."""
    found: dict[str, list[Tensor]] = {}

    def note(name: str, made: Tensor, bias: Tensor | None) -> None:
        answers, parts = made.flatten(2)[0].T, found.setdefault(name, [])
        kept = answers[_positions(len(answers), each, len(parts))]
        parts.append(kept if bias is None else kept - bias)

    handles = []
    for name in layers:
        conv = plain.get_submodule(name)
        handles.append(conv.register_forward_hook(lambda c, _, made, name=name: note(name, made, c.bias)))
    try:
        for picture in pictures:
            plain(picture)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


@torch.no_grad()
def _read(model: nn.Module, layer: QuantConv2d, picture: Tensor, each: int, index: int) -> Tensor:
    """Return what a layer reads for sampled answers to a picture, [N, G, D]."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, given: tuple[Tensor]) -> None:
        seen.append(given[0])
        raise _ReachedError

    handle = layer.register_forward_pre_hook(stop)
    try:
        model(picture)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    padding: Any = layer.padding  # torch types it as text, too
    windows = functional.unfold(seen[0], layer.kernel_size, layer.dilation, padding, layer.stride)[0].T
    return windows[_positions(len(windows), each, index)].reshape(each, layer.groups, -1)


def _positions(count: int, wanted: int, seed: int) -> Tensor:
    """Return positions of a feature map, in which a picture's answers are looked at: the same for each layer there."""
    return torch.randint(count, (wanted,), generator=torch.Generator().manual_seed(seed))


def _following(plain: nn.Module, name: str) -> Callable[[Tensor], Tensor]:
    """Return what follows a convolution's products, without its inputs' part: bias, BatchNorm, activation function."""
    conv, block = plain.get_submodule(name), plain.get_submodule(name.rpartition(".")[0])
    bias = conv.bias.detach() if isinstance(conv.bias, Tensor) else 0
    norm = getattr(block, "bn", None) if name.endswith(".conv") else None
    if norm is None:
        return lambda products: products + bias
    gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    shift = (norm.bias - norm.running_mean * gain).detach() + bias * gain
    act: Callable[[Tensor], Tensor] = block.act  # type: ignore[assignment]
    return lambda products: act(products * gain + shift)
