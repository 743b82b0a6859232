"""Which layers of an Ultralytics model are quantized, and at how many bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.head import Detect

from yolo_qreg.activations import Place, find_places, place_quantizers
from yolo_qreg.config import STRIDE, QuantConfig
from yolo_qreg.errors import InputError, did_you_mean
from yolo_qreg.patch import quantize_convs
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS

_FAMILIES = {
    "RTDETRDecoder": "RT-DETR",
    "WorldDetect": "YOLO-World",
    "YOLOEDetect": "YOLOE",
    "YOLOESegment": "YOLOE",
    "YOLOESegment26": "YOLOE",
}
"""What is built on heads of these classes: the host trains it by losses, and reads its outputs by rules, of its own."""


def family_of(model: nn.Module | Mapping[str, Any]) -> str | None:
    """Return the name of the family that a model, or a model YAML as the host reads it, is of; None for plain YOLOs."""
    if isinstance(model, nn.Module):
        layers = getattr(model, "model", None)
        return _FAMILIES.get(type(layers[-1]).__name__) if isinstance(layers, nn.Sequential) else None
    return _FAMILIES.get(str(model["head"][-1][-2]))


@dataclass(frozen=True, slots=True)
class Plan:
    """The convolutions of a model, in its order.

    Attributes:
        bits: Bit width of each convolution that goes through the quantizer; 32 in an FP32 twin.
        left_float: Names of the convolutions that stay as they are.
        places: Where activations are quantized; none where they are in float.
    """

    bits: dict[str, int]
    left_float: tuple[str, ...]
    places: tuple[Place, ...] = ()

    def summary(self, config: QuantConfig) -> str:
        """Return one line: how many layers at which width, and what is left in float."""
        widths = [f"{list(self.bits.values()).count(b)} at {b} bits" for b in sorted(set(self.bits.values()))]
        trained = "quantized with" if config.has_codes else "float weights, trained with"
        kind = "float twin of" if config.bits == FLOAT_BITS else trained
        float_names = ", ".join(self.left_float) or "none"
        line = f"{kind} {config.method}: {', '.join(widths)}; left in float ({len(self.left_float)}): {float_names}"
        if self.places:
            readers = sum(len(place.layers) for place in self.places)
            line += (
                f"; what {readers} of them read is at {config.activations} bits ({config.activation_method}, "
                f"{config.activation_grid}, {len(self.places)} grids)"
            )
        return line


def conv_block_names(model: nn.Module) -> list[str]:
    """Return the names of the convolutions inside `Conv` blocks (Conv2d + BatchNorm + activation), in model order.

    Raises:
        InputError: If BatchNorm was already folded into the convolutions.
    """
    names = []
    for name, module in model.named_modules():
        if isinstance(module, Conv):
            if not hasattr(module, "bn"):
                raise InputError(f"block {name!r} has no BatchNorm: the model was fused; start from one that was not")
            names.append(f"{name}.conv")
    return names


def output_conv_names(model: nn.Module) -> list[str]:
    """Return the names of the head's bare, biased output convolutions; the fixed convolution of DFL is not one."""
    return [
        f"{head_name}.{name}"
        for head_name, head in model.named_modules()
        if isinstance(head, Detect)
        for name, module in head.named_modules()
        if type(module) is nn.Conv2d and module.bias is not None
    ]


def plan(model: nn.Module, config: QuantConfig) -> Plan:
    """Decide which convolutions of `model` are quantized at how many bits.

    Raises:
        InputError: If a skip pattern matches no `Conv` block, nothing is left to quantize, or a plan of widths is for
            another model.
    """
    blocks = conv_block_names(model)
    if not blocks:
        raise InputError(f"{type(model).__name__} has no Conv block to quantize; use a detection model of Ultralytics")
    if config.widths:
        return _planned(model, config, blocks)
    for pattern in config.skip:
        if not any(_matches(name, pattern) for name in blocks):
            raise InputError(f"skip={pattern!r} matches no Conv block; names look like {blocks[0]!r}")
    bits = {name: config.bits for name in blocks if not any(_matches(name, p) for p in config.skip)}
    if config.first_bits is not None and blocks[0] in bits:
        bits[blocks[0]] = config.first_bits
    if config.last_bits is not None:
        bits |= dict.fromkeys(output_conv_names(model), config.last_bits)
    if config.bits != FLOAT_BITS:
        bits = {name: width for name, width in bits.items() if width != FLOAT_BITS}
    if not bits:
        raise InputError(
            f"skip={list(config.skip)} leaves nothing to quantize; loosen it (there are {len(blocks)} blocks)"
        )
    return _with_floats(model, bits)


def _planned(model: nn.Module, config: QuantConfig, blocks: list[str]) -> Plan:
    """Return what a plan of widths says, in the order of the model, checked against it."""
    outputs = output_conv_names(model)
    for name in config.widths:
        if name not in blocks and name not in outputs:
            raise InputError(f"bits plan: {name!r} is no convolution that is quantized; {did_you_mean(name, blocks)}")
    if missing := [name for name in blocks if name not in config.widths]:
        count = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"bits plan: {missing[0]!r}{count} of {len(blocks)} blocks missing; give each a width, or 32")
    bits = {name: config.widths[name] for name in [*blocks, *outputs] if name in config.widths}
    bits = {name: width for name, width in bits.items() if width != FLOAT_BITS}
    if not METHODS[config.method].keeps_scale and (wrong := [name for name in outputs if name in bits]):
        raise InputError(
            f"bits plan: {wrong[0]!r} has no BatchNorm behind it, and {config.method} changes the weights' scale; give "
            "it 32, or use lsq"
        )
    return _with_floats(model, bits)


def _with_floats(model: nn.Module, bits: dict[str, int]) -> Plan:
    convs = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    return Plan(bits, tuple(name for name in convs if name not in bits))


def quantize_detector(model: nn.Module, config: QuantConfig) -> Plan:
    """Quantize a freshly built or loaded model in place, and return what was done.

    Activations that are to be quantized are in float until `activations.calibrate` has seen pictures.
    """
    found = plan(model, config)
    quantize_convs(model, found.bits, config)
    if config.activations is None:
        return found
    stride = int(max(getattr(model, "stride", [STRIDE])))
    channels: Any = model.get_submodule(conv_block_names(model)[0]).in_channels
    picture = torch.zeros(1, channels, 2 * stride, 2 * stride, device=next(model.parameters()).device)
    found = replace(found, places=find_places(model, found.bits, picture))
    quantize_activations(model, found.places, config)
    return found


def quantize_activations(model: nn.Module, places: Iterable[Place], config: QuantConfig) -> None:
    """Give a quantized model what quantizes its activations, in place; it has to be calibrated or loaded."""
    if config.activations is not None:
        place_quantizers(model, places, config.activations, config.activation_method, config.activation_grid)


def _matches(name: str, pattern: str) -> bool:
    """Match a glob against a convolution's name or its block's (`model.0.conv` or `model.0`)."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.removesuffix(".conv"), pattern)
