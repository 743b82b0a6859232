"""A trained detector with its float and its quantized weights, both in the scale that the network computes in.

Letters: w latent float weights of a layer, q its quantized ones, a the factor of least |a q - w|. Methods that change
the scale of weights (DoReFa) leave a network whose BatchNorm fits q. Its float counterpart then has w / a, and the
quantization error is q - w / a. For others a is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yolo_qreg.analysis.noise import Noise, best_factor, noise_of, quantization_noise
from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.differentiable import check_detector
from yolo_qreg.host.model import conv_block_names
from yolo_qreg.patch import bake, quantized_layers
from yolo_qreg.quant.base import WeightQuantizer
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS, quantizer_class

EXACT_DB = 120
"""SQNR above which weights are on their levels, as AdaRound leaves them: what differs is the rounding of float32."""


@dataclass(frozen=True, slots=True)
class Network:
    """A detector whose weights are known in float.

    Attributes:
        model: The plain detector, with the weights that it is used with.
        layers: Names of the convolutions that are looked at.
        latents: Float weights w of these; empty where the file holds quantized ones alone.
        factors: a of each.
        quantizers: Of the quantized ones; none in a float network.
        config: How it was quantized; None for float.
        channels: Of the pictures that it takes.
        sqnr_db: Of layers whose float weights are not known, what the file says of the end of the training.
    """

    model: Any
    layers: tuple[str, ...]
    latents: Mapping[str, Tensor]
    factors: Mapping[str, float]
    quantizers: Mapping[str, WeightQuantizer]
    config: QuantConfig | None
    channels: int
    sqnr_db: Mapping[str, float] = field(default_factory=dict)

    @property
    def base(self) -> dict[str, Tensor]:
        """Float weights in the scale of the network: w / a."""
        return {name: weight / self.factors[name] for name, weight in self.latents.items()}

    def noise(self, method: str, bits: int | None) -> dict[str, Noise]:
        """Return what the errors of a quantizer are like in each layer; see `errors`.

        Without float weights that is the size of its own, |a q - w|^2 over |w|^2 as the file has it. As a q is
        orthogonal to the error, |w / a|^2 is |q|^2 over 1 less that.
        """
        if self.latents:
            return {name: known for name, (known, _) in self.errors(method, bits).items()}
        found = {}
        for name, level in self.sqnr_db.items():
            share = 10 ** (-level / 10)
            power = float(_weight_of(self.model, name).double().square().mean())
            variance = share / (1 - share) * power
            found[name] = Noise(variance=variance, relative=share, correlation=None, kurtosis=None, step=None)
        return found

    def errors(self, method: str, bits: int | None) -> dict[str, tuple[Noise, Tensor]]:
        """Return what the errors of a quantizer are like in each layer, and the errors themselves.

        The network's own method and width means its own quantizers, with the steps and widths of their layers; layers
        that they leave in float are left out.
        """
        found = {}
        for name, latent in self.latents.items():
            quantizer = self._quantizer(name, method, bits)
            if quantizer is None:
                continue
            rescale = not METHODS[method].keeps_scale
            known, error = quantization_noise(latent, quantizer, rescale=rescale)
            factor = self.factors[name]
            step = None if known.step is None else known.step / abs(factor)
            found[name] = noise_of(latent / factor, error / factor, step), error / factor
        return found

    @property
    def own(self) -> tuple[str, int | None] | None:
        """Method and width that the network was quantized with; no width where layers have several by a plan."""
        if self.config is None:
            return None
        return self.config.method, None if self.config.mixed else self.config.bits

    def _quantizer(self, name: str, method: str, bits: int | None) -> WeightQuantizer | None:
        if bits is None or (method, bits) == self.own:
            return self.quantizers.get(name)
        spec, own = METHODS[method], self.config
        options = {key: option.default for key, option in spec.options.items()}
        return quantizer_class(method).for_weight(
            self.latents[name],
            bits,
            per_channel=own is not None and own.method == method and own.per_channel,
            init=spec.inits[-1] if spec.inits else "",  # the step of least squared error
            **options,
        )


def load_network(path: Path) -> Network:
    """Read a .pt file of ours, or a float one of Ultralytics.

    Raises:
        InputError: It is another kind of file or model, has quantized activations, or comes from a training that
            diverged.
    """
    model, ckpt = checkpoint.load(path)
    check_detector(model, path)
    plain: Any = model
    _check_finite(model, path)
    state = checkpoint.state_of(ckpt, path) if checkpoint.KEY in ckpt else None
    channels = int(plain.yaml.get("channels", 3))
    if state is None or not state.config.has_codes:
        names = _conv_names(model, path)
        weights = {name: _weight_of(model, name).clone() for name in names}
        return Network(model, tuple(names), weights, dict.fromkeys(names, 1.0), {}, None, channels)
    if state.activations:
        raise InputError(
            f"{path} computes with quantized activations, which have no derivatives; name one with float activations"
        )
    if not state.tensors or state.rounding:  # AdaRound leaves the chosen levels in place of float weights
        levels = {row.layer: row.sqnr_db for row in state.health if 0 < row.sqnr_db < EXACT_DB}
        return Network(model, tuple(state.bits), {}, {}, {}, state.config, channels, levels)
    if state.config.networks:
        raise InputError(
            f"{path} averages the answers of {state.config.networks} networks, and a loss is of one; name a model that "
            "is one network"
        )
    layers = quantized_layers(checkpoint.requantize(model, state).eval())
    coded = {name: layer for name, layer in layers.items() if layer.quantizer.bits != FLOAT_BITS}
    latents = {name: layer.weight.detach().float().clone() for name, layer in layers.items()}
    rescale = not METHODS[state.config.method].keeps_scale
    with torch.no_grad():
        factors = {
            name: best_factor(latents[name], layer.quantized_weight()) if rescale and name in coded else 1.0
            for name, layer in layers.items()
        }
    quantizers = {name: layer.quantizer.eval() for name, layer in coded.items()}
    return Network(bake(model), tuple(layers), latents, factors, quantizers, state.config, channels)


def _conv_names(model: nn.Module, path: Path) -> list[str]:
    try:
        return conv_block_names(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_finite(model: nn.Module, path: Path) -> None:
    """Refuse what would make every number NaN."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{path}: {name} holds NaN or infinity; name weights of a training that did not diverge")


def _weight_of(model: nn.Module, name: str) -> Tensor:
    weight = model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight.detach().float()
