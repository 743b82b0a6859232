"""Quantized weights in an ONNX graph: integer codes at their own width, decoded by standard operators.

A weight becomes `(a code - z) * scale[o]`: the integers are exact in float, and one rounding by the scale follows, into
which BatchNorm is folded. Runtimes fold these constants when they load the model, so that it computes like any float
one; a DequantizeLinear in front of a convolution would be kept, and be slower.

Letters: O output channels, I input channels, K kernel side.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from yolo_qreg.errors import InputError
from yolo_qreg.export.codes import pack, packed_bytes, unpack

NOTE = "qreg"
"""Entry of the metadata that says which tensors hold codes."""
FORMAT = 1
CODES = ".codes"
"""Ending of the tensor that holds a weight's codes."""
INT8 = ".int8"
"""Ending of the tensor that holds a weight's integers in a model that computes in int8."""
CONTAINERS = (1, 2, 4, 8)
"""Widths of which a byte holds a whole number."""
BYTE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedWeight:
    """One quantized weight as the graph holds it.

    Attributes:
        codes: uint8 [O, I, K, K].
        bits: Width of a code.
        slope: a of the integers a code - z.
        offset: z of them.
        scale: Of the integers, by output channel, with BatchNorm's factor, float32 [O].
    """

    codes: NDArray[np.uint8]
    bits: int
    slope: int
    offset: int
    scale: NDArray[np.float32]

    @property
    def container(self) -> int:
        """Bits that a code takes in the file."""
        return container_of(self.bits)

    def values(self) -> NDArray[np.float32]:
        """Return the weight as a runtime computes it, float32 [O, I, K, K]."""
        integers = np.float32(self.slope) * self.codes.astype(np.float32) - np.float32(self.offset)
        return integers * self.scale.reshape(-1, *[1] * (self.codes.ndim - 1))


def container_of(bits: int) -> int:
    """Return the narrowest width of `CONTAINERS` that holds codes of `bits` bits.

    >>> [container_of(bits) for bits in (1, 2, 3, 5)]
    [1, 2, 4, 8]
    """
    return next(width for width in CONTAINERS if width >= bits)


def stored_bytes(n: int, bits: int) -> int:
    """Return how many bytes `n` codes of `bits` bits take in the file."""
    return packed_bytes(n, container_of(bits))


def convolution_weights(model: ModelProto) -> dict[str, str]:
    """Return the weights of convolutions that are constants of the graph: module name to tensor name."""
    constants = {tensor.name for tensor in model.graph.initializer}
    names = [node.input[1] for node in model.graph.node if node.op_type == "Conv" and node.input[1] in constants]
    return {name.removesuffix(".weight"): name for name in names}


def replace_weights(model: ModelProto, packed: Mapping[str, PackedWeight]) -> None:
    """Put packed weights in place of float ones, in place; convolutions read what is decoded under the old names.

    Args:
        model: A float model.
        packed: By the name of the tensor that each replaces.
    """
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []
    for name, weight in packed.items():
        made = _decoder(name, weight)
        nodes += made[0]
        tensors += made[1]
    graph = model.graph
    kept = [tensor for tensor in graph.initializer if tensor.name not in packed]
    following = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, *tensors])
    graph.node.extend([*nodes, *following])


def read_codes(model: ModelProto, name: str, bits: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read the codes that `replace_weights` stored for a tensor, uint8 of `shape`.

    Raises:
        ValueError: They are not there, or of another size.
    """
    found = [tensor for tensor in model.graph.initializer if tensor.name == name + CODES]
    if len(found) != 1 or found[0].data_type != TensorProto.UINT8:
        raise ValueError(f"tensor {name + CODES} is missing")
    stream = numpy_helper.to_array(found[0])
    codes = unpack(stream.reshape(-1), container_of(bits), math.prod(shape)).reshape(shape)
    if codes.size and int(codes.max()) >> bits:
        raise ValueError(f"tensor {name + CODES} holds codes of more than {bits} bits")
    return codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an exported model says of itself.

    Attributes:
        config: How it was quantized, as plain data.
        int8: Whether it computes in int8; activations are float otherwise.
        runtime: For which an int8 model is laid out.
        nearest: How many of its layers are not the trained integers but the nearest levels.
        codes: By layer, uint8 [O, I, K, K]; in a model that computes in int8 its integers, int8.
        bits: By layer.
        floats: Number of floating point values beside the codes, scales included.
        metadata: Further entries, the host's among them.
    """

    config: dict[str, Any]
    int8: bool
    runtime: str
    nearest: int
    codes: Mapping[str, NDArray[np.uint8] | NDArray[np.int8]]
    bits: dict[str, int]
    floats: int
    metadata: dict[str, str]


class Reader(Protocol):
    """Reads the integers of a tensor of some name, of codes of so many bits and of a shape."""

    def __call__(self, name: str, bits: int, shape: tuple[int, ...], /) -> NDArray[np.uint8] | NDArray[np.int8]:
        """Raise ValueError where they are not there."""


def read(path: Path) -> Held:
    """Read the codes of a packed model; nothing is run.

    Raises:
        InputError: It is no ONNX model, not one of ours, damaged or of a newer release.
    """
    try:
        model = onnx.load(str(path))
        metadata = {entry.key: entry.value for entry in model.metadata_props}
    except Exception as error:  # protobuf raises types of its own
        raise InputError(f"{path} is no ONNX model ({' '.join(str(error).split())[:100]}); export it again") from error
    if NOTE not in metadata:
        raise InputError(f"{path} was not exported by yolo-qreg (no {NOTE!r} in its metadata)")
    floats = sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT)

    def integers(name: str, bits: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | NDArray[np.int8]:
        stored = any(tensor.name == name + INT8 for tensor in model.graph.initializer)
        return _read_int8(model, name, shape) if stored else read_codes(model, name, bits, shape)

    return interpret(path, metadata, integers, floats)


def interpret(path: Path, metadata: Mapping[str, str], integers: Reader, floats: int) -> Held:
    """Read what a model says of itself, and its integers.

    Args:
        path: Of the model, for messages.
        metadata: Its entries, ours among them.
        integers: Reads those of a tensor.
        floats: Number of its floating point values.

    Raises:
        InputError: It is damaged or of a newer release.
    """
    try:
        found = json.loads(metadata[NOTE])
        if found["format"] != FORMAT:
            raise InputError(f"{path} has ONNX format {found['format']}, this release reads {FORMAT}; update yolo-qreg")
        bits = {layer: int(width) for layer, (width, _, _) in found["layers"].items()}
        return Held(
            config=dict(found["config"]),
            int8=found.get("kind") == "int8",
            runtime=str(found.get("runtime", "openvino")),
            nearest=len(found.get("nearest levels", ())),
            codes={
                layer: integers(name, bits[layer], _sides(shape)) for layer, (_, shape, name) in found["layers"].items()
            },
            bits=bits,
            floats=floats,
            metadata={key: value for key, value in metadata.items() if key != NOTE},
        )
    except InputError:
        raise
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError, StopIteration) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); export it again") from error


def _sides(shape: Any) -> tuple[int, ...]:
    if len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"a layer has shape {shape!r}")
    return tuple(shape)


def _read_int8(model: ModelProto, name: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
    found = [tensor for tensor in model.graph.initializer if tensor.name == name + INT8]
    if len(found) != 1 or found[0].data_type != TensorProto.INT8 or tuple(found[0].dims) != shape:
        raise ValueError(f"tensor {name + INT8} is missing, or of another shape")
    return numpy_helper.to_array(found[0])


def metadata_of(path: Path) -> dict[str, str]:
    """Return the entries of a model's metadata."""
    return {entry.key: entry.value for entry in onnx.load(str(path), load_external_data=False).metadata_props}


def note(model: ModelProto, entries: Mapping[str, str]) -> None:
    """Add entries to the metadata of a model."""
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)


def _decoder(name: str, weight: PackedWeight) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the operators and constants that compute a weight under `name`."""
    graph = _Builder(name)
    wide = graph.constant(CODES, _stored(weight))
    if weight.container < BYTE:
        shifts = np.arange(BYTE - weight.container, -1, -weight.container, dtype=np.uint8)
        shifted = graph.add("BitShift", [wide, graph.constant(".shifts", shifts)], direction="RIGHT")
        mask = graph.constant(".mask", np.uint8(2**weight.container - 1))
        flat = graph.add("Reshape", [graph.add("BitwiseAnd", [shifted, mask]), graph.integers(".flat", [-1])])
        length = [graph.integers(".begin", [0]), graph.integers(".end", [weight.codes.size])]
        whole = graph.add("Slice", [flat, *length])
        wide = graph.add("Reshape", [whole, graph.integers(".shape", weight.codes.shape)])
    value = graph.add("Cast", [wide], to=TensorProto.FLOAT)
    if weight.slope != 1:
        value = graph.add("Mul", [value, graph.constant(".slope", np.float32(weight.slope))])
    integers = graph.add("Sub", [value, graph.constant(".offset", np.float32(weight.offset))])
    scale = weight.scale.reshape(-1, *[1] * (weight.codes.ndim - 1))
    graph.add("Mul", [integers, graph.constant(".scale", scale)], output=name)
    return graph.nodes, graph.tensors


def _stored(weight: PackedWeight) -> NDArray[np.uint8]:
    """Return codes as they are at 8 bits, and as a column of bytes at fewer."""
    if weight.container == BYTE:
        return weight.codes
    return pack(weight.codes.reshape(-1), weight.container).reshape(-1, 1)


class _Builder:
    """Collects operators and constants under names that begin with a tensor's own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []

    def constant(self, ending: str, value: NDArray[np.generic] | np.generic) -> str:
        """Add a constant; `from_array` stores raw bytes, where a list would take a byte and a half a code."""
        self.tensors.append(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), self.name + ending)
        )
        return self.name + ending

    def integers(self, ending: str, values: tuple[int, ...] | list[int]) -> str:
        """Add a constant of int64, for shapes and positions."""
        return self.constant(ending, np.array(values, np.int64))

    def add(self, operator: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Add an operator and return the name of its result."""
        result = output or f"{self.name}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [result], name=f"{result}.{operator}", **attributes))
        return result
