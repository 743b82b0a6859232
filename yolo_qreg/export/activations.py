"""Where a graph's activations are quantized, and over what range.

Runtimes run a convolution in int8 if what it reads was quantized and its weight is made of integers. Only tensors that
quantized convolutions read are touched, after the activation function; what meets in a Concat shares one scale, so that
joining, pooling and enlarging stay in int8. Grids are symmetric and signed, but for the picture, which is 0 to 255.

Letters: N bins of a histogram.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from yolo_qreg.errors import InputError

PASSING = frozenset({"Concat", "MaxPool", "Resize", "Split"})
"""Operators that give the values that they get: the same scale fits before and behind."""
PICTURE = "images"
LEVELS = 127
"""Of a signed grid, on either side of 0."""
PICTURE_SCALE = 1 / 255
PERCENT_KEPT = 99.99
BINS = 2048
TRIED = 80
"""Ranges that are tried for the least squared error, from the widest down to a fifth of it."""
LEAST = 1e-6
"""Range of a tensor that is 0 everywhere."""


def activation_groups(model: ModelProto, convolutions: Iterable[NodeProto]) -> dict[str, str]:
    """Return the tensors to quantize so that convolutions read integers, each with the name of its group.

    Args:
        model: The graph.
        convolutions: Those of its nodes that are to run in int8.

    Returns:
        By tensor, one tensor of its group: those that meet on the way to a convolution.
    """
    made_by = {output: node for node in model.graph.node for output in node.output}
    leader: dict[str, str] = {}

    def group(tensor: str) -> str:
        leader.setdefault(tensor, tensor)
        while leader[tensor] != tensor:
            tensor = leader[tensor]
        return tensor

    known: dict[str, list[str]] = {}

    def sources(tensor: str) -> list[str]:
        if tensor not in known:
            node = made_by.get(tensor)
            if node is not None and node.op_type in PASSING:
                inputs = node.input if node.op_type == "Concat" else node.input[:1]
                known[tensor] = list(dict.fromkeys(source for name in inputs for source in sources(name)))
            else:
                known[tensor] = [tensor]
            first, *others = map(group, known[tensor])
            for other in others:
                leader[group(other)] = group(first)
        return known[tensor]

    found = list(dict.fromkeys(source for conv in convolutions for source in sources(conv.input[0])))
    return {tensor: group(tensor) for tensor in found}


@dataclass(slots=True)
class Histogram:
    """Magnitudes of a group of tensors; it doubles its range whenever a larger value comes, which moves no value.

    Attributes:
        width: Of a bin, a power of two: the same ones are tried whatever came first.
        counts: [N].
        peak: The largest magnitude.
    """

    width: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    peak: float = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values, of any shape.

        Raises:
            InputError: One is not finite.
        """
        sizes = np.abs(values, dtype=np.float32).ravel()
        largest = float(sizes.max(initial=0.0))
        if not np.isfinite(largest):
            raise InputError("the model gives values that are not finite; calibrate on pictures that it can detect in")
        self.peak = max(self.peak, largest)
        if not self.width:
            self.width = 2.0 ** math.ceil(math.log2(max(largest, LEAST) / BINS))
        while self.peak > self.width * BINS:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
            self.width *= 2
        positions = np.minimum((sizes / self.width).astype(np.int64), BINS - 1)
        self.counts += np.bincount(positions, minlength=BINS)

    def limit(self, ranges: str) -> float:
        """Return the largest magnitude that a grid should hold; `ranges` is one of `config.RANGES`."""
        if ranges == "minmax" or not self.peak:
            return max(self.peak, LEAST)
        if ranges == "percentile":
            share = np.cumsum(self.counts) / self.counts.sum()
            return max(min(self.width * (1 + int(np.argmax(share >= PERCENT_KEPT / 100))), self.peak), LEAST)
        centres = (np.arange(BINS) + 0.5) * self.width
        tried = np.linspace(self.peak, self.peak / 5, TRIED)
        errors = [self._error(centres, float(limit) / LEVELS) for limit in tried]
        return float(tried[int(np.argmin(errors))])

    def _error(self, centres: NDArray[np.floating[Any]], scale: float) -> float:
        rounded = scale * np.clip(np.round(centres / scale), 0, LEVELS)
        return float((self.counts * (rounded - centres) ** 2).sum())


def calibrate(
    model: ModelProto, groups: Mapping[str, str], pictures: Iterable[NDArray[np.float32]], ranges: str
) -> dict[str, float]:
    """Run pictures through a float model and return the scale of each tensor; the order of pictures does not matter.

    Args:
        model: The graph.
        groups: As `activation_groups` returns them.
        pictures: Each [1, C, H, W] in 0..1.
        ranges: How a range is chosen, one of `config.RANGES`.

    Raises:
        InputError: There is no picture, or the model gives values that are not finite.
    """
    import onnxruntime

    wanted = [tensor for tensor in groups if tensor != PICTURE]
    open_model = ModelProto()
    open_model.CopyFrom(model)
    del open_model.graph.output[:]
    open_model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # sums in one order: the same ranges everywhere
    runtime = onnxruntime.InferenceSession(open_model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seen = {group: Histogram() for tensor, group in groups.items() if tensor != PICTURE}
    count = 0
    for picture in pictures:
        count += 1
        for tensor, values in zip(wanted, runtime.run(wanted, {PICTURE: picture}), strict=True):
            seen[groups[tensor]].add(values)
    if not count:
        raise InputError("there is no picture to calibrate on; name a data set with a training split")
    limits = {group: histogram.limit(ranges) for group, histogram in seen.items()}
    return {tensor: PICTURE_SCALE if tensor == PICTURE else limits[group] / LEVELS for tensor, group in groups.items()}


def quantize_activations(
    model: ModelProto, scales: Mapping[str, float], convolutions: Sequence[NodeProto], float_part: str
) -> None:
    """Put QuantizeLinear and DequantizeLinear behind tensors, in place, for the operators that gain from it.

    Convolutions of `convolutions`, passing operators and residual sums read the quantized tensor; the rest, such as the
    head's decoding, keeps the float one.

    Args:
        model: The graph.
        scales: By tensor.
        convolutions: Those that are to run in int8.
        float_part: Beginning of the names of nodes whose sums stay float.
    """
    readers = {node.name for node in convolutions}
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []
    behind: dict[str, list[NodeProto]] = {}
    for tensor, scale in scales.items():
        made = _pair(tensor, scale)
        behind[tensor] = made[0]
        tensors += made[1]
    nodes += behind.get(PICTURE, [])
    for node in model.graph.node:
        residual = node.op_type == "Add" and not node.name.startswith(float_part)
        if node.name in readers or node.op_type in PASSING or residual:
            for i, tensor in enumerate(node.input):
                if tensor in scales:
                    node.input[i] = tensor + ".dequantized"
        nodes.append(node)
        for output in node.output:
            nodes += behind.get(output, [])
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(tensors)


def _pair(tensor: str, scale: float) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the two operators behind a tensor, and their constants."""
    kind = TensorProto.UINT8 if tensor == PICTURE else TensorProto.INT8
    names = [f"{tensor}.scale", f"{tensor}.zero"]
    constants = [
        helper.make_tensor(names[0], TensorProto.FLOAT, [], [scale]),
        helper.make_tensor(names[1], kind, [], [0]),
    ]
    quantized, dequantized = f"{tensor}.quantized", f"{tensor}.dequantized"
    operators = [
        helper.make_node("QuantizeLinear", [tensor, *names], [quantized], name=quantized),
        helper.make_node("DequantizeLinear", [quantized, *names], [dequantized], name=dequantized),
    ]
    return operators, constants
