"""What a weight file is: its kind, each quantized layer, what it weighs against FP32, and how it was trained."""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.export import packed
from yolo_qreg.export.codes import Coded
from yolo_qreg.export.weights import Weights, weights_of
from yolo_qreg.host import build, checkpoint
from yolo_qreg.host.origin import Origin, Training
from yolo_qreg.inputs import described_file, is_safetensors
from yolo_qreg.quant.registry import FLOAT_BITS

Kind = Literal[
    "unfinished checkpoint",
    "finished checkpoint",
    "post-training quantized",
    "post-training quantized, AdaRound",
    "plain export",
    "packed weights",
    "packed ONNX",
    "int8 ONNX",
    "int8 OpenVINO",
    "plain Ultralytics",
]

BYTE = 8
FLOAT_BYTES = 4
PACKED_FLOAT_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """One quantized layer.

    Attributes:
        name: Module name.
        shape: Shape of its weight, [O, I, K, K].
        bits: Bit width.
        levels_used: Distinct codes that occur, of 2**bits.
        sqnr_db: Signal to quantization noise ratio at the end of training, in dB; None if not known or infinite.
        size_bytes: Packed size of its codes and scale.
        container: Bits that a code takes in the file, where that is an exported model.
    """

    name: str
    shape: tuple[int, ...]
    bits: int
    levels_used: int
    sqnr_db: float | None
    size_bytes: int
    container: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Info:
    """What computes in int8.

    Attributes:
        runtime: For which the graph is laid out.
        nearest: How many layers hold the nearest of 255 levels instead of the trained integers.
        convolutions: How many convolutions the runtime had where the model was exported; None where no note says.
        in_int8: How many of them ran in int8 kernels.
    """

    runtime: str
    nearest: int
    convolutions: int | None
    in_int8: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sizes of all tensors of the model, BatchNorm statistics included; file headers are not.

    Attributes:
        values: Number of floating point values.
        quantized: How many of them are quantized weights.
        float32_bytes: Size if all were float32.
        packed_bytes: Size with quantized weights at their own width and the others as fp16.
    """

    values: int
    quantized: int
    float32_bytes: int
    packed_bytes: int

    @property
    def ratio(self) -> float:
        """How many times smaller the packed tensors are."""
        return self.float32_bytes / self.packed_bytes

    @property
    def quantized_share(self) -> float:
        """Quantized share of all values, 0..1."""
        return self.quantized / self.values


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInfo:
    """What the file says about its training; None where it says nothing.

    Attributes:
        host: Version of Ultralytics.
        date: When the file was saved, ISO 8601.
        data: The data set: its absolute path in a run's own files, its file name in exports.
        epochs: Epochs asked for.
        imgsz: Image size in pixels.
        metrics: Validation metrics and losses of the saved epoch, by the host's names.
    """

    host: str | None
    date: str | None
    data: str | None
    epochs: int | None
    imgsz: int | None
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A weight file.

    Attributes:
        path: The file described.
        kind: What sort of file it is.
        twin: Whether it is an FP32 twin: trained by the same code without quantization.
        config: How it was quantized; None for files that are not ours.
        layers: Its quantized layers, in model order.
        totals: Sizes.
        size_bytes: Size of the file.
        sha256: Its checksum.
        names: Class names, in class order.
        training: Where it comes from.
        past: The same as far as trainings are compared by it.
        container: How codes are stored, where the file is an exported model.
        int8: What computes in int8, where it is one that does.
    """

    path: Path
    kind: Kind
    twin: bool
    config: QuantConfig | None
    layers: tuple[LayerInfo, ...]
    totals: Totals
    size_bytes: int
    sha256: str
    names: tuple[str, ...]
    training: TrainingInfo
    past: Training
    container: str | None = None
    int8: Int8Info | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with the derived figures."""
        derived = {"ratio": self.totals.ratio, "quantized_share": self.totals.quantized_share}
        plain: dict[str, Any] = asdict(replace(self, past=Training({}, None)))
        del plain["past"]
        config = self.config.to_dict() if self.config else None
        plain["training"]["origin"] = self.past.origin.to_dict() if self.past.origin else None
        return plain | {"path": str(self.path), "config": config, "totals": plain["totals"] | derived}


def describe(path: Path) -> Description:
    """Describe a checkpoint, plain export, packed file, ONNX model or OpenVINO folder of ours, or Ultralytics' .pt.

    Args:
        path: A file, an OpenVINO folder, or a run folder (its weights/best.pt is taken).

    Raises:
        InputError: If it is none of these, or damaged.
    """
    path = described_file(Path(path))
    if path.suffix == ".onnx" or path.is_dir():
        return _describe_graph(path)
    if is_safetensors(path):
        held = packed.read(path)
        return _describe(path, "packed weights", held.weights, held.spec.names, held.args, held.facts)
    model, ckpt = checkpoint.load(path)
    args, names = ckpt.get("train_args") or {}, _names(getattr(model, "names", {}))
    if ckpt.get(checkpoint.KEY) is None:
        totals = _totals(model.state_dict(), {})
        return _compose(path, "plain Ultralytics", None, (), totals, names, args, ckpt)
    weights = weights_of(model, ckpt, path)
    state = checkpoint.state_of(ckpt, path)
    trained: Kind = "unfinished checkpoint" if state.resume else "finished checkpoint"
    if not state.trained:
        trained = "post-training quantized, AdaRound" if state.rounding else "post-training quantized"
    return _describe(path, trained if state.tensors else "plain export", weights, names, args, ckpt)


def says_what_it_is(path: Path) -> bool:
    """Tell whether `describe` knows a weight file: a .pt or, where onnx is installed, a graph of ours."""
    if path.suffix != ".onnx" and not path.is_dir():
        return path.suffix == ".pt"
    if find_spec("onnx") is None:
        return False
    from yolo_qreg.export import graph, ir

    if path.is_dir():
        return ir.is_ours(path)

    try:
        return graph.NOTE in graph.metadata_of(path)
    except Exception:  # protobuf raises types of its own; whoever runs the file will say what is wrong with it
        return False


def _describe(
    path: Path, kind: Kind, weights: Weights, names: list[str], args: Mapping[str, Any], facts: Mapping[str, Any]
) -> Description:
    sqnr = {row.layer: row.sqnr_db for row in weights.health if math.isfinite(row.sqnr_db)}
    layers = tuple(
        LayerInfo(
            name=name,
            shape=tuple(layer.codes.shape),
            bits=layer.bits,
            levels_used=layer.levels_used(),
            sqnr_db=sqnr.get(name),
            size_bytes=layer.size_bytes(),
        )
        for name, layer in weights.coded.items()
    )
    return _compose(path, kind, weights.config, layers, _totals(weights.others, weights.coded), names, args, facts)


def _describe_graph(path: Path) -> Description:
    """Describe an exported model; SQNR is not known there, and data and epochs of the training neither."""
    from yolo_qreg.export import graph, ir  # load onnx

    held = ir.read(path) if path.is_dir() else graph.read(path)
    widths = {name: graph.BYTE if held.int8 else graph.container_of(width) for name, width in held.bits.items()}
    layers = tuple(
        LayerInfo(
            name=name,
            shape=tuple(codes.shape),
            bits=held.bits[name],
            levels_used=len(np.unique(codes)),
            sqnr_db=None,
            size_bytes=graph.stored_bytes(codes.size, widths[name]) + FLOAT_BYTES * codes.shape[0],
            container=widths[name],
        )
        for name, codes in held.codes.items()
    )
    quantized = sum(codes.size for codes in held.codes.values())
    scales = sum(codes.shape[0] for codes in held.codes.values())
    totals = Totals(
        values=quantized + held.floats - scales,
        quantized=quantized,
        float32_bytes=FLOAT_BYTES * (quantized + held.floats - scales),
        packed_bytes=sum(layer.size_bytes for layer in layers) + FLOAT_BYTES * (held.floats - scales),
    )
    try:  # the host writes its metadata as Python literals
        config = QuantConfig.from_dict(held.config)
        names = _names(ast.literal_eval(held.metadata.get("names", "{}")))
        sides = [int(side) for side in ast.literal_eval(held.metadata.get("imgsz", "[]"))]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (SyntaxError, TypeError, ValueError, OverflowError, RecursionError, MemoryError, KeyError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); export it again") from error
    args = {"imgsz": sides[0]} if sides else {}
    facts: dict[str, Any] = {key: held.metadata[key] for key in ("date", "version") if key in held.metadata}
    kind: Kind = "int8 OpenVINO" if path.is_dir() else "int8 ONNX" if held.int8 else "packed ONNX"
    found = _compose(path, kind, config, layers, totals, names, args, facts)
    return replace(
        found,
        training=replace(found.training, data=None, epochs=None),
        container="int8 behind DequantizeLinear" if held.int8 else "bytes behind Cast and Sub",
        int8=_int8(path, held.runtime, held.nearest) if held.int8 else None,
    )


def _int8(path: Path, runtime: str, nearest: int) -> Int8Info:
    """Return what computes in int8, with what the note beside a model says, if it is there."""
    from yolo_qreg.export import notes

    try:
        note = notes.read(path)
    except InputError:
        note = {}
    counts = [note.get(key) for key in ("convolutions", "convolutions in int8 on this machine")]
    known = [count if isinstance(count, int) else None for count in counts]
    return Int8Info(runtime=runtime, nearest=nearest, convolutions=known[0], in_int8=known[1])


def _compose(
    path: Path,
    kind: Kind,
    config: QuantConfig | None,
    layers: tuple[LayerInfo, ...],
    totals: Totals,
    names: list[str],
    args: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Description:
    settings = build.with_defaults(args) if config or args else {}
    metrics = facts.get("train_metrics") or {}
    size, checksum = _contents(path)
    return Description(
        path=path,
        kind=kind,
        twin=config is not None and config.bits == FLOAT_BITS,
        config=config,
        layers=layers,
        totals=totals,
        size_bytes=size,
        sha256=checksum,
        names=tuple(names),
        training=TrainingInfo(
            host=facts.get("version"),
            date=facts.get("date"),
            data=args.get("data"),
            epochs=settings.get("epochs"),
            imgsz=settings.get("imgsz"),
            metrics={k: float(v) for k, v in metrics.items() if v is not None and math.isfinite(v)},
        ),
        past=Training(_learned(args, config), Origin.from_dict((facts.get(checkpoint.KEY) or {}).get("origin"))),
    )


def _learned(args: Mapping[str, Any], config: QuantConfig | None) -> dict[str, Any]:
    """Return the settings of a training; the host drops those that are not its own when it ends.

    What was quantized afterwards may say how it was trained.
    """
    return ({} if config is None else {"quant": config.to_dict()}) | dict(args)


def _contents(path: Path) -> tuple[int, str]:
    """Return the size of a file, or of all files of a folder, and its checksum."""
    size, checksum = 0, hashlib.sha256()
    for part in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with part.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                checksum.update(block)
                size += len(block)
    return size, checksum.hexdigest()


def _totals(others: Mapping[str, Tensor], coded: Mapping[str, Coded]) -> Totals:
    quantized = sum(layer.codes.numel() for layer in coded.values())
    floats = sum(t.numel() for t in others.values() if t.is_floating_point())
    integers = sum(t.numel() * t.element_size() for t in others.values() if not t.is_floating_point())
    return Totals(
        values=quantized + floats,
        quantized=quantized,
        float32_bytes=FLOAT_BYTES * (quantized + floats) + integers,
        packed_bytes=sum(layer.size_bytes() for layer in coded.values()) + PACKED_FLOAT_BYTES * floats + integers,
    )


def _names(names: Any) -> list[str]:
    """Return class names in class order; older files of the host hold a list."""
    return [str(names[key]) for key in sorted(names)] if isinstance(names, Mapping) else [str(n) for n in names]
