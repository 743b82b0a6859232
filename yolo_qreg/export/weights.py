"""What a weight file of ours holds, whatever its format: integer codes, the other tensors, and how to build the model.

Letters: O output channels, I input channels, K kernel side.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yolo_qreg.activations import Range
from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.export.codes import Coded
from yolo_qreg.health import LayerHealth, layer_codes
from yolo_qreg.host import checkpoint
from yolo_qreg.host.checkpoint import QuantState
from yolo_qreg.patch import quantized_layers
from yolo_qreg.quant.registry import FLOAT_BITS

FACTS = ("date", "version", "train_metrics", "train_results")
"""Entries of a checkpoint that an export keeps as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The tensors of a model and what is known about them.

    Attributes:
        config: How the model was quantized.
        bits: Bit width of each layer that went through the quantizer; 32 in an FP32 twin.
        coded: The layers below 32 bits.
        others: All other entries of the state dict: floating point as float32, integers as they are.
        health: One row per layer, as measured at the end of training.
        activations: The grids of quantized activations; none where they are in float.
        trained: Whether it was trained with quantization.
    """

    config: QuantConfig
    bits: dict[str, int]
    coded: dict[str, Coded]
    others: dict[str, Tensor]
    health: tuple[LayerHealth, ...] = ()
    activations: tuple[Range, ...] = ()
    trained: bool = True

    def state_dict(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the state dict of the baked model, floating point entries as `dtype`.

        Raises:
            InputError: If a finite value overflows in `dtype`.
        """
        values = {f"{name}.weight": layer.values(self.config.method) for name, layer in self.coded.items()}
        return cast(self.others | values, dtype)

    def plain_state(self) -> QuantState:
        """Return what a plain export carries beside its module: no latent weights, so it cannot be trained on."""
        scales = {name: layer.scale for name, layer in self.coded.items()}
        return QuantState(
            config=self.config,
            bits=self.bits,
            tensors={},
            health=self.health,
            scales=scales,
            activations=self.activations,
            trained=self.trained,
        )


def cast(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return floating point tensors as `dtype` and the others as they are.

    Raises:
        InputError: If a finite value overflows.
    """
    done = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    for name, t in done.items():
        if t.is_floating_point() and not torch.equal(t.isfinite(), tensors[name].isfinite()):
            raise InputError(f"{name} holds values beyond the range of {str(dtype)[6:]} (65504); export with --fp32")
    return done


def dtype_of(*, fp32: bool) -> torch.dtype:
    """Return the floating point type of an export."""
    return torch.float32 if fp32 else torch.float16


def read_checkpoint(path: Path) -> tuple[Weights, nn.Module, dict[str, Any]]:
    """Read a checkpoint or plain export of ours.

    Returns:
        Its weights, the module as stored (baked, in float32) and the checkpoint's dictionary.

    Raises:
        InputError: If it is not one of ours, is damaged, or was changed after quantization.
    """
    model, ckpt = checkpoint.load(path)
    return weights_of(model, ckpt, path), model, ckpt


def weights_of(model: nn.Module, ckpt: Mapping[str, Any], path: Path) -> Weights:
    """Return the weights that a loaded checkpoint or plain export holds; the model is left as it is.

    Raises:
        InputError: If it is not one of ours, is damaged, or was changed after quantization.
    """
    try:
        return _weights(model, checkpoint.state_of(ckpt, path), path)
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: its quantization state does not fit its model ({reason}); it is damaged") from error


def _weights(model: nn.Module, state: QuantState, path: Path) -> Weights:
    others = {name: value.detach() for name, value in model.state_dict().items()}
    if state.tensors:
        checkpoint.check_fresh(model, state, path)
        coded, floats = _from_latents(model, state)
        others |= floats
    else:
        coded = _from_values(others, state, path)
    for name in coded:
        del others[f"{name}.weight"]
    return Weights(
        config=state.config,
        bits=state.bits,
        coded=coded,
        others=others,
        health=state.health,
        activations=state.activations,
        trained=state.trained,
    )


def _from_latents(model: nn.Module, state: QuantState) -> tuple[dict[str, Coded], dict[str, Tensor]]:
    """Quantize the latent weights once more, on a copy of the model; return codes by layer, and weights without."""
    coded, floats = {}, {}
    for name, layer in quantized_layers(checkpoint.requantize(deepcopy(model), state)).items():
        if layer.quantizer.has_codes:
            scale = layer.quantizer.scale(layer.weight.detach())
            coded[name] = Coded(bits=layer.quantizer.bits, codes=layer_codes(layer), scale=scale.clone())
        else:
            floats[f"{name}.weight"] = layer.quantized_weight().detach()
    return coded, floats


def _from_values(tensors: Mapping[str, Tensor], state: QuantState, path: Path) -> dict[str, Coded]:
    """Recover the codes of a plain export from its values, and check that they are what its scales allow."""
    coded = {}
    for name, bits in state.bits.items():
        if bits == FLOAT_BITS or not state.config.has_codes:
            continue
        stored = tensors[f"{name}.weight"]
        layer = Coded.from_values(stored, state.scales[name], bits, state.config.method)
        values = layer.values(state.config.method)
        if not torch.equal(values, stored) and not torch.equal(values.half().float(), stored):
            raise InputError(f"{path}: weights of {name} were changed after the export; export the original file")
        coded[name] = layer
    return coded
