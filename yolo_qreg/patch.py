"""The model swap: convolutions whose weights are quantized on the way in, and the way back to plain ones.

Letters: O output channels, I input channels, K kernel side. Works on any `nn.Module`; which layers of a detector to
take is `yolo_qreg.host.model`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.quant.activations import ActivationQuantizer
from yolo_qreg.quant.base import FloatQuantizer, WeightQuantizer
from yolo_qreg.quant.registry import FLOAT_BITS, quantizer_class
from yolo_qreg.together import quantize_at_once, quantize_one_by_one

M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=nn.Conv2d)
DEAD = 1e-7
"""A layer without larger weights is as good as zero; the steps of methods do not get as small."""


class QuantConv2d(nn.Conv2d):
    """A convolution that runs on the quantized image of its weight.

    `weight` stays the latent float32 parameter under its old name, so pretrained weights, the moving average and
    `deepcopy` work as before; the quantizer's state is stored beside it under `quantizer.`.
    """

    quantizer: WeightQuantizer
    ready: Tensor | None = None  # the quantized weight, during a forward pass of the model
    owns_input: bool = False
    _reads: tuple[ActivationQuantizer, ...] = ()  # in a tuple: torch would store what is shared several times

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, quantizer: WeightQuantizer) -> QuantConv2d:
        """Take over the parameters (the same objects) and geometry of a plain convolution."""
        new = _same_geometry(cls, conv)
        new.weight = conv.weight
        new.quantizer = quantizer.train(conv.training)
        return new

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [N, I, H, W] with the quantized weight; the quantizer computes in float32 also under AMP.

        In a model that was cast to another type, as the host does on a GPU for the last validation after AMP, the
        weight is cast once it is quantized.
        """
        for quantizer in self._reads:
            x = quantizer(x)
        y: Tensor = self._conv_forward(x, self.quantized_weight().to(self.weight.dtype), self.bias)
        return y

    @property
    def reads(self) -> ActivationQuantizer | None:
        """What quantizes its input; None if that is in float."""
        return self._reads[0] if self._reads else None

    def read_through(self, quantizer: ActivationQuantizer, *, own: bool) -> None:
        """Quantize the input; the quantizer's state is stored with the one convolution that owns it."""
        self._reads, self.owns_input = (quantizer,), own
        if own:
            self.input_quantizer = quantizer

    def quantized_weight(self) -> Tensor:
        """Return the quantized weight, float32 [O, I, K, K]."""
        if self.ready is not None:
            return self.ready
        with torch.autocast(self.weight.device.type, enabled=False):
            quantized: Tensor = self.quantizer(self.weight.float())
        return quantized

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Let a plain convolution's weights load: quantizer state that they lack keeps its value."""
        for part in ("quantizer", "input_quantizer"):
            own = getattr(self, part, None)
            for key, value in own.state_dict(prefix=f"{prefix}{part}.").items() if own is not None else ():
                state_dict.setdefault(key, value)
        super()._load_from_state_dict(state_dict, prefix, *args)


class BlockInput:
    """A hook that quantizes the input of a residual block, which is added to the block's result."""

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        self.quantizer = quantizer

    def __call__(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Quantize the first argument."""
        return self.quantizer(args[0]), *args[1:]


def quantize_convs(model: nn.Module, bits: Mapping[str, int], config: QuantConfig) -> None:
    """Replace convolutions by quantizing ones, in place.

    Args:
        model: Any module.
        bits: Bit width per module name, as `host.model.plan` gives them; every name must be a plain `nn.Conv2d`.
        config: The method and its options.

    Raises:
        InputError: If `bits` is empty, a name is missing or not a plain convolution, or all weights of a layer would
            become zero. The model is unchanged then.
    """
    if not bits:
        raise InputError("no convolution to quantize: loosen skip, or use a model with Conv blocks")
    modules = dict(model.named_modules())
    for name in bits:
        if type(modules.get(name)) is not nn.Conv2d:
            kind = type(modules[name]).__name__ if name in modules else "missing"
            raise InputError(f"layer {name!r} is {kind}, not a plain Conv2d; quantize an unmodified model")
    made = {}
    for name, width in bits.items():
        conv = modules[name]
        float_layer = width == FLOAT_BITS
        kind_of = FloatQuantizer if float_layer else quantizer_class(config.method)
        options = {} if float_layer else config.options
        weight = conv.weight.detach().float()
        quantizer = kind_of.for_weight(weight, width, per_channel=config.per_channel, init=config.init, **options)
        _check_alive(name, weight, quantizer, config)
        made[name] = QuantConv2d.from_conv(conv, quantizer)
    for name, conv in made.items():
        with torch.no_grad():
            conv.weight.copy_(conv.quantizer.first_weight(conv.weight.float()))
        _replace(model, name, conv)
    quantize_one_by_one(model)
    quantize_at_once(model, quantized_layers(model).values())


@torch.no_grad()
def _check_alive(name: str, weight: Tensor, quantizer: WeightQuantizer, config: QuantConfig) -> None:
    """Check that a quantizer, without draws, leaves something of a layer that training begins with."""
    peak = float(weight.abs().max())
    if peak > DEAD and not quantizer.eval()(weight).any():
        raise InputError(
            f"{config.label} makes all weights of {name!r} zero at {quantizer.bits} bits, the largest of which is "
            f"{peak:.2g}; take another range (fixed: integer=auto), or more bits"
        )


def bake(model: M, *, activations: bool = False) -> M:
    """Replace every quantizing convolution by a plain one holding the quantized weight, in place; return the model.

    The weight is that of eval mode, also where the model is in training mode.

    Bake before anything that fuses BatchNorm, saves or exports: folding BatchNorm into latent weights and
    quantizing afterwards is another function.

    Args:
        model: Any module.
        activations: Whether activations stay quantized. Convolutions that read such ones are then of a class of ours,
            around weights that are quantized already; without, activations are in float.
    """
    quantize_one_by_one(model)
    for name, layer in quantized_layers(model).items():
        conv = _same_geometry(nn.Conv2d, layer)
        conv.weight = nn.Parameter(_final_weight(layer), requires_grad=layer.weight.requires_grad)
        _replace(model, name, conv)
        if activations and layer.reads is not None:
            unquantized(model, name).read_through(layer.reads, own=layer.owns_input)
    if not activations:
        for module in model.modules():
            for key in [k for k, hook in module._forward_pre_hooks.items() if isinstance(hook, BlockInput)]:
                del module._forward_pre_hooks[key]
    return model


@torch.no_grad()
def _final_weight(layer: QuantConv2d) -> Tensor:
    """Return the weight that a layer is left with, [O, I, K, K]; its quantizer is on the CPU from here on.

    It is quantized there, wherever the model is: a GPU's tanh and sums differ in the last bit, which moves some of a
    million weights to the next level, and a file has to hold what any machine makes of its latents.
    """
    quantizer = layer.quantizer.eval().to("cpu")
    with torch.autocast("cpu", enabled=False):
        quantized: Tensor = quantizer(layer.weight.detach().float().cpu())
    return quantized.to(layer.weight.device, layer.weight.dtype, copy=True)


def unquantized(model: nn.Module, name: str) -> QuantConv2d:
    """Replace a plain convolution, in place, by one that uses its weight as it is; return the new one."""
    conv = QuantConv2d.from_conv(model.get_submodule(name), FloatQuantizer(FLOAT_BITS))  # type: ignore[arg-type]
    _replace(model, name, conv)
    return conv


def quantized_layers(model: nn.Module) -> dict[str, QuantConv2d]:
    """Return the quantizing convolutions of a model by name, in the order of its modules."""
    return {name: m for name, m in model.named_modules() if isinstance(m, QuantConv2d)}


def _same_geometry(kind: type[C], conv: nn.Conv2d) -> C:
    """Make a convolution like `conv`, with its bias and mode; its weight is left for the caller to set."""
    new = kind(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]  # torch types it as any tuple
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device="meta",
    )
    new.bias = conv.bias
    return new.train(conv.training)


def _replace(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)
