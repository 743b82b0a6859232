"""The quantization methods by name: what each can do and where it lives. Importing this does not load torch.

A new method is one module beside this one, holding a `WeightQuantizer`, and one entry in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolo_qreg.quant.base import WeightQuantizer

FLOAT_BITS = 32
"""The bit width that means "not quantized": the FP32 twin."""


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """What a method can do, so that a configuration is checked before torch is loaded.

    Attributes:
        home: `module:Class` of the `WeightQuantizer`.
        bits: Bit widths it is defined for.
        per_channel: Whether it can keep one scale per output channel.
        inits: Names of its scale initialisations, default first; empty if it has no scale to initialise.
        keeps_scale: Whether quantized weights have the magnitude of the float ones. A convolution without
            BatchNorm behind it can only be quantized by a method that does.
    """

    home: str
    bits: range
    per_channel: bool = False
    inits: tuple[str, ...] = ()
    keeps_scale: bool = True


METHODS: Mapping[str, MethodSpec] = {
    "dorefa": MethodSpec("yolo_qreg.quant.dorefa:DoReFaQuantizer", bits=range(1, 9), keeps_scale=False),
    "lsq": MethodSpec("yolo_qreg.quant.lsq:LSQQuantizer", range(2, 9), per_channel=True, inits=("paper", "mse")),
}


def quantizer_class(method: str) -> type[WeightQuantizer]:
    """Return the class that implements `method`; `FLOAT_BITS` is not its business."""
    module, _, name = METHODS[method].home.partition(":")
    found: type[WeightQuantizer] = getattr(import_module(module), name)
    return found
