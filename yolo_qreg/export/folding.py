"""The float ONNX model of a run, and its quantized weights as integers with BatchNorm folded into their scales.

Letters: O output channels, I input channels, K kernel side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from torch import nn

from yolo_qreg.errors import InputError
from yolo_qreg.export import graph
from yolo_qreg.export.codes import Coded
from yolo_qreg.export.graph import PackedWeight
from yolo_qreg.export.plain import to_plain
from yolo_qreg.export.runtimes import Picture
from yolo_qreg.export.weights import Weights, read_checkpoint
from yolo_qreg.host import build, checkpoint, exporting
from yolo_qreg.quant.registry import quantizer_class
from yolo_qreg.settings import DEFAULT_SIZE

OPSET = 18
CHECKED = 8
"""Pictures on which an export is compared."""
CLOSE = 1e-4
"""Largest difference between a packed weight and the float one it replaces, relative to the layer's largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatModel:
    """What the host exports from the exact quantized weights, before integers take their place.

    Attributes:
        weights: Codes and other tensors.
        model: The module that they belong to, BatchNorm not folded.
        plain: A float32 .pt of it.
        file: The float ONNX model.
        size: Sides of its pictures in pixels.
        channels: Of its pictures.
    """

    weights: Weights
    model: nn.Module
    plain: Path
    file: Path
    size: int
    channels: int

    @property
    def head(self) -> str:
        """Beginning of the names of the head's modules."""
        return f"model.{len(self.model.model) - 1}."  # type: ignore[arg-type]

    def graph(self) -> ModelProto:
        """Return the ONNX model, to be changed."""
        return onnx.load(str(self.file))

    def pictures(self) -> Iterator[Picture]:
        """Return pictures of the generated data set, tiled to the size of the model."""
        from yolo_qreg.data.shapes_render import render

        for index in range(CHECKED):
            pixels = render("train", index).pixels
            repeats = -(-self.size // pixels.shape[0])
            tiled = np.tile(pixels, (repeats, repeats, -(-self.channels // 3)))
            cut = tiled[: self.size, : self.size, : self.channels].transpose(2, 0, 1)[None]
            yield np.ascontiguousarray(cut).astype(np.float32) / np.float32(255)

    def promised_bytes(self, stored: Mapping[str, int]) -> int:
        """Return what an exported file takes where layers take so many bytes in place of float32."""
        weights = self.weights.coded
        return self.file.stat().st_size + sum(size - 4 * weights[name].codes.numel() for name, size in stored.items())

    def integers(self, found: ModelProto) -> dict[str, PackedWeight]:
        """Return the quantized weights by layer, as they are to stand in a graph.

        Raises:
            InputError: A layer is not in the graph, or is there with other values.
        """
        names = graph.convolution_weights(found)
        constants = {tensor.name: tensor for tensor in found.graph.initializer}
        made = {}
        for layer, coded in self.weights.coded.items():
            if layer not in names:
                if self._only_trains(layer):
                    continue
                raise InputError(
                    f"layer {layer} is no convolution of the exported model; export it --to packed instead"
                )
            weight = _fold(coded, self.weights.config.method, _batchnorm_factor(self.model, layer))
            held = numpy_helper.to_array(constants[names[layer]])
            if held.shape != weight.codes.shape or np.abs(weight.values() - held).max() > CLOSE * np.abs(held).max():
                raise InputError(
                    f"layer {layer} has other weights in the exported model; export it --to packed instead"
                )
            made[layer] = weight
        return made

    def _only_trains(self, layer: str) -> bool:
        """Tell whether a layer is in that branch of a head of two which inference leaves out."""
        two = any(name.startswith(f"{self.head}one2one_") for name, _ in self.model.named_modules())
        return two and layer.startswith(self.head)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint of ours that was read, before the host exports it.

    Attributes:
        path: The file.
        weights: Codes and other tensors.
        model: The module as stored.
        checkpoint: Its dictionary.
    """

    path: Path
    weights: Weights
    model: nn.Module
    checkpoint: Mapping[str, Any]

    @property
    def origin(self) -> Mapping[str, Any]:
        """What the training began from, as `Origin.to_dict` gives it; empty in exports."""
        return checkpoint.state_of(self.checkpoint, self.path).origin


def read_source(path: Path) -> Source:
    """Read a checkpoint of ours or a plain export.

    Raises:
        InputError: It is not one of ours or was changed, or a package that exports need is missing.
    """
    exporting.check_installed()
    weights, model, ckpt = read_checkpoint(path)
    return Source(path=path, weights=weights, model=model, checkpoint=ckpt)


def float_model(source: Source, folder: Path, *, imgsz: int | None = None, dynamic: bool = False) -> FloatModel:
    """Let the host export a checkpoint.

    Args:
        source: The checkpoint.
        folder: Takes the files.
        imgsz: Sides of its pictures in pixels; that of the training by default.
        dynamic: Whether batch and sides may vary.

    Raises:
        InputError: The host cannot export it.
    """
    args = source.checkpoint.get("train_args") or {}
    plain = to_plain(source.path, folder / "plain.pt", fp32=True)
    size = exporting.sides(imgsz or build.with_defaults(args).get("imgsz") or DEFAULT_SIZE, plain)
    return FloatModel(
        weights=source.weights,
        model=source.model,
        plain=plain,
        file=exporting.float_onnx(plain, imgsz=size, opset=OPSET, dynamic=dynamic),
        size=size,
        channels=build.spec_of(source.model).channels,
    )


def convolutions(found: ModelProto, layers: Mapping[str, PackedWeight]) -> list[NodeProto]:
    """Return the nodes of a graph that quantized layers have become."""
    return [n for n in found.graph.node if n.op_type == "Conv" and n.input[1].removesuffix(".weight") in layers]


def _batchnorm_factor(model: nn.Module, layer: str) -> NDArray[np.float64]:
    """Return gamma / sqrt(variance + epsilon) of the BatchNorm behind a convolution, float64 [O]; 1 without one."""
    conv: Any = model.get_submodule(layer)
    norm: Any = getattr(model.get_submodule(layer.rpartition(".")[0]), "bn", None)
    if not layer.endswith(".conv") or norm is None:
        return np.ones(conv.out_channels)
    factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return factor.numpy()  # type: ignore[no-any-return]


def _fold(coded: Coded, method: str, factor: NDArray[np.float64]) -> PackedWeight:
    kind = quantizer_class(method)
    slope, offset = kind.grid(coded.bits)
    unit = np.broadcast_to(kind.unit(coded.scale, coded.bits).numpy(), factor.shape)
    return PackedWeight(
        codes=coded.codes.numpy(),
        bits=coded.bits,
        slope=slope,
        offset=offset,
        scale=(unit * factor).astype(np.float32),
    )
