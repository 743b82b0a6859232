"""Where a graph's activations are quantized, which depends on the runtime that it is for.

Runtimes run a convolution in int8 if what it reads was quantized and its weight is made of integers; what joins, pools
or enlarges tensors stays in int8 if one grid fits all of them.

- OpenVINO and TensorRT fuse the activation function into the convolution, so that only tensors which quantized
  convolutions read are touched, after it. Grids are signed and symmetric; OpenVINO's picture is 0 to 255.
- ONNX Runtime has no such kernels, and none for signed tensors on x86. There every operator on the way from one
  convolution to the next is quantized, and grids are unsigned with a zero point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from yolo_qreg.export.ranges import PICTURE, PICTURE_GRID, Grid, Histogram

PASSING = frozenset({"Concat", "MaxPool", "Resize", "Split"})
"""Operators that give the values that they get: the same grid fits before and behind."""
ELEMENTWISE = frozenset({"Sigmoid", "Mul", "Add"})
"""Further operators that ONNX Runtime has in int8."""
SIGMOID_GRID = Grid(1 / 255, 0, signed=False)
SILU_FLOOR = -8.0
"""SiLU is within 0.003 of 0 below it, so that a grid need not reach further down."""
INT32_MOST = 2**31 - 1


@dataclass(frozen=True)
class ReadLayout:
    """OpenVINO's and TensorRT's: what quantized convolutions read, after the activation function.

    Attributes:
        model: The float graph.
        convs: Those of its nodes that are to run in int8.
        float_part: Beginning of the names of nodes whose sums stay float.
        picture: Grid of the picture.
        learned: Grids of what a convolution reads, by the name of its node.
    """

    model: ModelProto
    convs: Sequence[NodeProto]
    float_part: str
    picture: Grid = PICTURE_GRID
    learned: Mapping[str, Grid] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[str, str]:
        """The tensors to quantize, each with the name of its group."""
        return activation_groups(self.model, self.convs)

    @cached_property
    def fixed(self) -> dict[str, Grid]:
        """The grids of the picture and of what a training has found ranges for."""
        sources = Sources(self.model)
        known = {tensor: self.learned.get(conv.name) for conv in self.convs for tensor in sources.of(conv.input[0])}
        return _spread(self.groups, known) | {PICTURE: self.picture}

    def grid(self, group: str, found: Histogram, ranges: str) -> Grid:
        """Return a symmetric grid."""
        return Grid.symmetric(found.limit(ranges))

    def apply(self, model: ModelProto, grids: Mapping[str, Grid]) -> None:
        """Quantize activations, in place.

        Convolutions, passing operators and residual sums read the quantized tensor; the rest, such as the head's
        decoding, keeps the float one.
        """
        readers = {node.name for node in self.convs}
        for node in model.graph.node:
            residual = node.op_type == "Add" and not node.name.startswith(self.float_part)
            if node.op_type in PASSING or residual:
                readers.add(node.name)
        _insert(model, grids, readers)


@dataclass(frozen=True)
class WholeLayout:
    """ONNX Runtime's: all tensors between quantized convolutions, SiLU's factors included.

    Attributes:
        model: The float graph.
        convs: Those of its nodes that are to run in int8.
        learned: Grids of what a convolution reads, by the name of its node.
    """

    model: ModelProto
    convs: Sequence[NodeProto]
    learned: Mapping[str, Grid] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[str, str]:
        """The tensors to quantize, each with the name of its group."""
        names = {node.name for node in self.convs}
        found = {node.input[0]: None for node in self.convs}
        union = _Union()
        for node in self.model.graph.node:
            inputs = _data_inputs(node)
            whole = all(tensor in found for tensor in inputs)
            if node.name in names or (whole and node.op_type in PASSING | ELEMENTWISE):
                found |= dict.fromkeys(node.output)
            if node.op_type in PASSING and whole:
                union.join([*inputs, *node.output])
        return {tensor: union.leader(tensor) for tensor in found}

    @cached_property
    def fixed(self) -> dict[str, Grid]:
        """The grids of the picture, of sigmoids, and of what a training has found ranges for."""
        sigmoids = [node.output[0] for node in self.model.graph.node if node.op_type == "Sigmoid"]
        grids = {name: SIGMOID_GRID for name in sigmoids if name in self.groups}
        known = {conv.input[0]: grid for conv in self.convs if (grid := self.learned.get(conv.name))}
        return (
            grids
            | _spread(self.groups, {name: grid.shifted() for name, grid in known.items()})
            | {PICTURE: PICTURE_GRID}
        )

    @cached_property
    def _silu_inputs(self) -> set[str]:
        """Tensors that only a SiLU reads."""
        readers: dict[str, set[str]] = {}
        for node in self.model.graph.node:
            for tensor in node.input:
                readers.setdefault(tensor, set()).add(node.op_type)
        return {tensor for tensor, kinds in readers.items() if kinds == {"Sigmoid", "Mul"}}

    def grid(self, group: str, found: Histogram, ranges: str) -> Grid:
        """Return a grid with a zero point."""
        floor = SILU_FLOOR if group in self._silu_inputs else -math.inf
        return Grid.unsigned(*found.bounds(ranges, floor))

    def apply(self, model: ModelProto, grids: Mapping[str, Grid]) -> None:
        """Quantize activations, in place; every operator reads the quantized tensors."""
        _insert(model, grids, None)


def activation_groups(model: ModelProto, convolutions: Iterable[NodeProto]) -> dict[str, str]:
    """Return the tensors to quantize so that convolutions read integers, each with the name of its group.

    Args:
        model: The graph.
        convolutions: Those of its nodes that are to run in int8.

    Returns:
        By tensor, one tensor of its group: those that meet on the way to a convolution.
    """
    sources, union = Sources(model), _Union()
    found: dict[str, None] = {}
    for conv in convolutions:
        met = sources.of(conv.input[0])
        union.join(met)
        found |= dict.fromkeys(met)
    return {tensor: union.leader(tensor) for tensor in found}


class Sources:
    """The tensors whose values another one holds: itself, or what passing operators made it from."""

    def __init__(self, model: ModelProto) -> None:
        self._made_by = {output: node for node in model.graph.node for output in node.output}
        self._known: dict[str, list[str]] = {}

    def of(self, tensor: str) -> list[str]:
        """Return them, each once."""
        if tensor not in self._known:
            node = self._made_by.get(tensor)
            passes = node is not None and node.op_type in PASSING
            inputs = _data_inputs(node) if node is not None and passes else []
            self._known[tensor] = list(dict.fromkeys(s for name in inputs for s in self.of(name))) or [tensor]
        return self._known[tensor]


def _spread(groups: Mapping[str, str], known: Mapping[str, Grid | None]) -> dict[str, Grid]:
    """Return the grids that are known of some tensors for all of their groups."""
    grids = {groups[tensor]: grid for tensor, grid in known.items() if grid is not None}
    return {tensor: grids[group] for tensor, group in groups.items() if group in grids}


def quantize_biases(model: ModelProto, grids: Mapping[str, Grid], scales: Mapping[str, np.ndarray]) -> None:
    """Store the biases of int8 convolutions as int32, in place, where they fit: ONNX Runtime's kernels want them so.

    Args:
        model: The graph, activations quantized.
        grids: Of its activations.
        scales: Of int8 weights by the name of the tensor, float32 [O].
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    made: list[NodeProto] = []
    for node in model.graph.node:
        source = node.input[0].removesuffix(".dequantized") if node.input else ""
        if node.op_type != "Conv" or len(node.input) < 3 or node.input[1] not in scales or source not in grids:
            continue
        bias = numpy_helper.to_array(constants[node.input[2]]).astype(np.float64)
        scale = np.float32(grids[source].scale) * scales[node.input[1]]
        if not scale.all() or np.abs(np.rint(bias / scale)).max() > INT32_MOST:
            continue
        name = f"{node.input[1]}.bias"
        values = np.rint(bias / scale).astype(np.int32)
        zeros = np.zeros(len(scale), np.int32)
        parts = {f"{name}.int32": values, f"{name}.scale": scale, f"{name}.zero": zeros}
        model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in parts.items())
        made.append(helper.make_node("DequantizeLinear", list(parts), [name], name=f"{name}.dequantize", axis=0))
        node.input[2] = name
    _replace_nodes(model, [*made, *model.graph.node])
    read = {tensor for node in model.graph.node for tensor in node.input}
    kept = [TensorProto.FromString(t.SerializeToString()) for t in model.graph.initializer if t.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


class _Union:
    """Sets of tensors that share something; a set is named by one of its own."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def leader(self, tensor: str) -> str:
        """Return the name of the set that a tensor is in."""
        self._above.setdefault(tensor, tensor)
        while self._above[tensor] != tensor:
            tensor = self._above[tensor]
        return tensor

    def join(self, tensors: Sequence[str]) -> None:
        """Make one set of those that tensors are in."""
        first, *others = map(self.leader, tensors)
        for other in others:
            self._above[self.leader(other)] = self.leader(first)


def _data_inputs(node: NodeProto) -> list[str]:
    """Return the inputs of an operator that are data, not shapes."""
    return list(node.input if node.op_type not in PASSING - {"Concat"} else node.input[:1])


def _insert(model: ModelProto, grids: Mapping[str, Grid], readers: set[str] | None) -> None:
    """Put QuantizeLinear and DequantizeLinear behind tensors, in place.

    Args:
        model: The graph.
        grids: By tensor.
        readers: Names of the nodes that read the quantized tensors; None for all.
    """
    nodes: list[NodeProto] = []
    behind: dict[str, list[NodeProto]] = {}
    for tensor, grid in grids.items():
        behind[tensor], constants = _pair(tensor, grid)
        model.graph.initializer.extend(constants)
    nodes += behind.get(PICTURE, [])
    for node in model.graph.node:
        if readers is None or node.name in readers:
            for i, tensor in enumerate(node.input):
                if tensor in grids:
                    node.input[i] = tensor + ".dequantized"
        nodes.append(node)
        for output in node.output:
            nodes += behind.get(output, [])
    _replace_nodes(model, nodes)


def _replace_nodes(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _pair(tensor: str, grid: Grid) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the operators behind a tensor, and their constants; one more clips to a grid of fewer levels."""
    kind = TensorProto.INT8 if grid.signed else TensorProto.UINT8
    names = [f"{tensor}.scale", f"{tensor}.zero"]
    constants = [
        helper.make_tensor(names[0], TensorProto.FLOAT, [], [grid.scale]),
        helper.make_tensor(names[1], kind, [], [grid.zero]),
    ]
    quantized, dequantized = f"{tensor}.quantized", f"{tensor}.dequantized"
    operators: list[NodeProto] = []
    if grid.ends is not None:
        clipped = f"{tensor}.clipped"
        bounds = [f"{tensor}.least", f"{tensor}.most"]
        for name, end in zip(bounds, grid.ends, strict=True):
            constants.append(helper.make_tensor(name, TensorProto.FLOAT, [], [grid.scale * (end - grid.zero)]))
        operators.append(helper.make_node("Clip", [tensor, *bounds], [clipped], name=clipped))
        tensor = clipped
    operators += [
        helper.make_node("QuantizeLinear", [tensor, *names], [quantized], name=quantized),
        helper.make_node("DequantizeLinear", [quantized, *names], [dequantized], name=dequantized),
    ]
    return operators, constants
