"""Packed weights: one safetensors file with integer codes at their own width, and everything to rebuild the model.

A quantized layer `L` is stored as `L.weight.codes`, uint8, written as `codes.pack` says, and `L.weight.scale`,
float32 [] or [O]. All other entries of the state dict stand under their own names. One header entry, `yolo-qreg`,
holds the rest as JSON. Reading such a file runs no code from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from yolo_qreg.activations import Range
from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.export import codes as bits_of_codes
from yolo_qreg.export.codes import Coded
from yolo_qreg.export.plain import output_path
from yolo_qreg.export.weights import FACTS, Weights, cast, dtype_of, read_checkpoint
from yolo_qreg.files import write_atomic
from yolo_qreg.health import LayerHealth
from yolo_qreg.host import build, checkpoint
from yolo_qreg.host.build import ModelSpec
from yolo_qreg.inputs import checkpoint_of, is_safetensors, packed_file
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS

HEADER = "yolo-qreg"
FORMAT = 1
_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A packed file, read and checked.

    Attributes:
        weights: Codes and other tensors.
        dtype: Floating point type of the other tensors, and of the model to rebuild.
        spec: How to build the model.
        args: Training settings that differ from the host's defaults.
        facts: Date, host version and metrics of the training.
    """

    weights: Weights
    dtype: torch.dtype
    spec: ModelSpec
    args: dict[str, Any]
    facts: dict[str, Any]


def to_packed(source: Path, out: Path | None = None, *, fp32: bool = False) -> Path:
    """Write the weights of a run as integer codes of their own width; equal weights give equal bytes.

    An FP32 twin has no codes: its file holds floating point tensors alone.

    Args:
        source: A run folder (its weights/best.pt is taken), a checkpoint of ours or a plain export.
        out: File to write, ending in .safetensors; by default beside the checkpoint, named after method and bits.
        fp32: Store the tensors that are not quantized as float32 instead of fp16.

    Returns:
        The file written.

    Raises:
        InputError: If the source is not a checkpoint of ours, was changed or is no plain detection model, or `out`
            cannot be written to.
    """
    path = checkpoint_of(Path(source))
    weights, model, ckpt = read_checkpoint(path)
    out = output_path(path, out, weights.config.label, ".safetensors", fp32=fp32)
    spec = build.spec_of(model)
    tensors = cast(weights.others, dtype_of(fp32=fp32))
    for name, layer in weights.coded.items():
        stream = bits_of_codes.pack(layer.codes.flatten().numpy(), layer.bits)
        tensors[f"{name}.weight.codes"] = torch.from_numpy(stream)
        tensors[f"{name}.weight.scale"] = layer.scale
    shapes = {name: list(layer.codes.shape) for name, layer in weights.coded.items()}
    header = {
        "format": FORMAT,
        "config": weights.config.to_dict(),
        "layers": {name: [bits, shapes.get(name)] for name, bits in weights.bits.items()},
        "dtype": str(dtype_of(fp32=fp32)).removeprefix("torch."),
        "model": spec.to_dict(),
        "args": build.changed_args(ckpt.get("train_args") or {}),
        "facts": {key: ckpt[key] for key in FACTS if key in ckpt},
        "health": [[r.layer, r.bits, r.weights, r.levels_used, r.sqnr_db, r.flipped] for r in weights.health],
    }
    if weights.activations:
        header["activations"] = [r.to_list() for r in weights.activations]
    if not weights.trained:
        header["trained"] = False
    text = json.dumps(_finite(header), allow_nan=False, separators=(",", ":"))
    contiguous = {name: t.contiguous() for name, t in tensors.items()}
    write_atomic(out, lambda file: file.write(save(contiguous, metadata={HEADER: text})))
    return out


def unpack(packed: Path, out: Path | None = None) -> Path:
    """Rebuild from a packed file the plain .pt that `to_plain` writes from its source: equal in every tensor.

    Args:
        packed: A file that `to_packed` wrote.
        out: File to write, ending in .pt; by default beside the packed one.

    Returns:
        The file written.

    Raises:
        InputError: If the file is not one of ours, is damaged or newer, or `out` cannot be written to.
    """
    path = Path(packed)
    held = read(path)
    out = output_path(path, out, held.weights.config.label, ".pt")
    try:
        model = build.build(held.spec, held.weights.state_dict(held.dtype), held.args)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); export it again") from error
    facts = held.facts | {checkpoint.KEY: held.weights.plain_state().to_dict()}
    checkpoint.save(out, build.host_checkpoint(model, facts))
    return out


def read(path: Path) -> Packed:
    """Read a packed file and check all of it, so that building the model cannot fail or run anything odd.

    Raises:
        InputError: If the file is not one of ours, is damaged, or of a newer format.
    """
    if not is_safetensors(packed_file(path)):
        raise InputError(f"{path} is not in safetensors format; yolo-qreg export --to packed writes such files")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); copy or export it again") from error
    if HEADER not in metadata:
        raise InputError(f"{path} was not packed by yolo-qreg (no {HEADER!r} in its header)")
    try:
        header = json.loads(metadata[HEADER])
        version = header["format"]
        if version != FORMAT:
            raise InputError(f"{path} has packed format {version!r}, this release reads {FORMAT}; update yolo-qreg")
        return _interpret(header, tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    except (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); export it again") from error


def _interpret(header: Mapping[str, Any], tensors: dict[str, Tensor]) -> Packed:
    config = QuantConfig.from_dict(header["config"])
    spec = ModelSpec.from_dict(header["model"])
    dtype = _DTYPES[header["dtype"]]
    coded = {
        name: _take_layer(tensors, name, bits, shape, config)
        for name, (bits, shape) in header["layers"].items()
        if bits != FLOAT_BITS and config.has_codes
    }
    for name, t in tensors.items():
        if t.is_floating_point() and t.dtype != dtype:
            raise ValueError(f"tensor {name} is {t.dtype}, the header says {dtype}")
    values = {f"{name}.weight": layer.codes.float() for name, layer in coded.items()}
    build.check_tensors(spec, tensors | values)
    return Packed(
        weights=Weights(
            config=config,
            bits={name: bits for name, (bits, _) in header["layers"].items()},
            coded=coded,
            others=cast(tensors, torch.float32),
            health=tuple(_health(row) for row in header["health"]),
            activations=tuple(map(Range.from_list, header.get("activations", ()))),
            trained=bool(header.get("trained", True)),
        ),
        dtype=dtype,
        spec=spec,
        args=build.portable_args(header["args"]),
        facts=_facts(header["facts"]),
    )


def _take_layer(tensors: dict[str, Tensor], name: str, bits: int, shape: list[int], config: QuantConfig) -> Coded:
    """Remove a layer's codes and scale from `tensors` and return them, checked."""
    if bits not in METHODS[config.method].bits:
        raise ValueError(f"layer {name} has {bits!r} bits")
    if len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"layer {name} has shape {shape!r}")
    stream, scale = tensors.pop(f"{name}.weight.codes"), tensors.pop(f"{name}.weight.scale")
    if scale.dtype != torch.float32 or list(scale.shape) not in ([], shape[:1]):
        raise ValueError(f"scale of {name} is {scale.dtype} {list(scale.shape)}")
    if not scale.isfinite().all() or (scale < 0).any():
        raise ValueError(f"scale of {name} is negative or not finite")
    if stream.dtype != torch.uint8:
        raise ValueError(f"codes of {name} are {stream.dtype}")
    codes = bits_of_codes.unpack(stream.numpy(), bits, math.prod(shape))
    return Coded(bits=bits, codes=torch.from_numpy(codes).view(shape), scale=scale)


def _health(row: list[Any]) -> LayerHealth:
    """Read one row; JSON has no infinity, which is what an SQNR without noise is."""
    layer, bits, weights, levels_used, sqnr, flipped = row
    return LayerHealth(
        layer=str(layer),
        bits=int(bits),
        weights=int(weights),
        levels_used=int(levels_used),
        sqnr_db=math.inf if sqnr is None else float(sqnr),
        flipped=None if flipped is None else float(flipped),
    )


def _facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """Read what is known of the training; metrics are numbers, the rest is passed on and never computed with."""
    facts = {key: found[key] for key in FACTS if key in found}
    if "train_metrics" in facts:
        metrics = facts["train_metrics"] or {}
        facts["train_metrics"] = {str(k): None if v is None else float(v) for k, v in metrics.items()}
    return facts


def _finite(value: Any) -> Any:
    """Return plain data in which None stands for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
