"""The grids of a graph's activations, calibrated: what values a tensor takes, and what range of them a grid holds.

Letters: N bins of a histogram.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from yolo_qreg.errors import InputError

PICTURE = "images"
LEVELS = 127
"""Of a signed grid, on either side of 0."""
UNSIGNED_LEVELS = 255
PERCENT_KEPT = 99.99
BINS = 2048
TRIED = 80
"""Ranges that are tried for the least squared error, from the widest down to a fifth of it."""
LEAST = 1e-6
"""Range of a tensor that is 0 everywhere."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The values that an int8 tensor can take: scale (q - zero).

    Attributes:
        scale: Distance of two levels.
        zero: The integer that stands for 0.
        signed: Whether q is -128 .. 127; else it is 0 .. 255.
        ends: The least and the largest q of a grid of fewer levels; None for all of them.
    """

    scale: float
    zero: int = 0
    signed: bool = True
    ends: tuple[int, int] | None = None

    @classmethod
    def symmetric(cls, limit: float) -> Grid:
        """Return the signed grid of -limit .. limit."""
        return cls(limit / LEVELS)

    @classmethod
    def unsigned(cls, low: float, high: float) -> Grid:
        """Return the grid of 0 .. 255 that holds low .. high and 0 exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, LEAST) / UNSIGNED_LEVELS
        return cls(scale, round(-low / scale), signed=False)

    def shifted(self) -> Grid:
        """Return the grid of the same values with unsigned integers."""
        if not self.signed:
            return self
        by = LEVELS + 1
        ends = None if self.ends is None else (self.ends[0] + by, self.ends[1] + by)
        return Grid(self.scale, self.zero + by, signed=False, ends=ends)


PICTURE_GRID = Grid(1 / UNSIGNED_LEVELS, 0, signed=False)
"""That of the pixels, which are 0 to 255 already."""


@dataclass(slots=True)
class Histogram:
    """Values of a group of tensors; it doubles its range whenever a larger one comes, which moves no value.

    Attributes:
        width: Of a bin, a power of two: the same ones are tried whatever came first.
        counts: By magnitude, of values below 0 and of the others, [2, N].
        peaks: The largest magnitude of either.
    """

    width: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, BINS), np.int64))
    peaks: list[float] = field(default_factory=lambda: [0.0, 0.0])

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(self.peaks)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values, of any shape.

        Raises:
            InputError: One is not finite.
        """
        flat = values.astype(np.float32, copy=False).ravel()
        lowest, highest = float(flat.min(initial=0.0)), float(flat.max(initial=0.0))
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise InputError("the model gives values that are not finite; calibrate on pictures that it can detect in")
        self.peaks = [max(self.peaks[0], -lowest), max(self.peaks[1], highest)]
        if not self.width:
            self.width = 2.0 ** math.ceil(math.log2(max(-lowest, highest, LEAST) / BINS))
        while self.peak > self.width * BINS:
            paired = self.counts.reshape(2, -1, 2).sum(2)
            self.counts = np.concatenate([paired, np.zeros((2, BINS // 2), np.int64)], axis=1)
            self.width *= 2
        positions = np.minimum((np.abs(flat) / self.width).astype(np.int64), BINS - 1)
        positions += BINS * (flat >= 0)
        self.counts += np.bincount(positions, minlength=2 * BINS).reshape(2, BINS)

    def limit(self, ranges: str) -> float:
        """Return the largest magnitude that a grid should hold; `ranges` is one of `config.RANGES`."""
        if ranges == "minmax" or not self.peak:
            return max(self.peak, LEAST)
        if ranges == "percentile":
            return max(self._kept(self.counts.sum(0), self.peak), LEAST)
        tried = np.linspace(self.peak, self.peak / 5, TRIED)
        errors = [self._error(Grid.symmetric(float(limit)), -LEVELS, LEVELS) for limit in tried]
        return float(tried[int(np.argmin(errors))])

    def bounds(self, ranges: str, floor: float = -math.inf) -> tuple[float, float]:
        """Return the least and the largest value that a grid should hold.

        Args:
            ranges: One of `config.RANGES`.
            floor: What lies below it does not matter.
        """
        below, above = self.peaks
        if ranges == "percentile":
            below, above = self._kept(self.counts[0], below), self._kept(self.counts[1], above)
        low, high = max(-below, floor), above
        if ranges != "mse" or not self.peak:
            return low, high
        shares = np.linspace(1, 1 / 5, TRIED)
        errors = [self._error(Grid.unsigned(low * share, high * share), 0, UNSIGNED_LEVELS, floor) for share in shares]
        share = float(shares[int(np.argmin(errors))])
        return low * share, high * share

    def _kept(self, counts: NDArray[np.int64], peak: float) -> float:
        """Return the magnitude below which all but a few of the values on one side lie."""
        every = self.counts.sum()
        beyond = (every - counts.sum() + np.cumsum(counts)) / every
        return min(self.width * (1 + int(np.argmax(beyond >= PERCENT_KEPT / 100))), peak)

    def _error(self, grid: Grid, least: int, most: int, floor: float = -math.inf) -> float:
        """Return the squared error of values on a grid; those below the floor count as it."""
        centres = (np.arange(BINS) + 0.5) * self.width
        values = np.maximum(np.stack([-centres, centres]), floor)
        rounded = grid.scale * (np.clip(np.rint(values / grid.scale) + grid.zero, least, most) - grid.zero)
        errors: Any = self.counts * (rounded - values) ** 2
        return float(errors.sum())


class Layout(Protocol):
    """What calibration has to know of a way to quantize a graph."""

    @property
    def groups(self) -> Mapping[str, str]:
        """The tensors to quantize, each with the name of its group, which shares one grid."""

    @property
    def fixed(self) -> Mapping[str, Grid]:
        """Grids of tensors whose range is known."""

    def grid(self, group: str, found: Histogram, ranges: str) -> Grid:
        """Return the grid of a group."""


def calibrate(
    model: ModelProto, layout: Layout, pictures: Iterable[NDArray[np.float32]], ranges: str
) -> dict[str, Grid]:
    """Run pictures through a float model and return the grid of each tensor; the order of pictures does not matter.

    Args:
        model: The graph.
        layout: What is quantized, and how.
        pictures: Each [1, C, H, W] in 0..1.
        ranges: How a range is chosen, one of `config.RANGES`.

    Raises:
        InputError: There is no picture, or the model gives values that are not finite.
    """
    wanted = [tensor for tensor in layout.groups if tensor not in layout.fixed]
    if not wanted:
        return {tensor: layout.fixed[tensor] for tensor in layout.groups}
    answer = _runtime(model, wanted)
    seen = {layout.groups[tensor]: Histogram() for tensor in wanted}
    count = 0
    for picture in pictures:
        count += 1
        for tensor, values in zip(wanted, answer(picture), strict=True):
            seen[layout.groups[tensor]].add(values)
    if not count:
        raise InputError("there is no picture to calibrate on; name a data set with a training split")
    grids = {group: layout.grid(group, histogram, ranges) for group, histogram in seen.items()}
    return {tensor: layout.fixed.get(tensor) or grids[group] for tensor, group in layout.groups.items()}


def _runtime(model: ModelProto, wanted: list[str]) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return a function from a picture to the values of tensors inside a model."""
    import onnxruntime

    open_model = ModelProto()
    open_model.CopyFrom(model)
    del open_model.graph.output[:]
    open_model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # sums in one order: the same ranges everywhere
    runtime = onnxruntime.InferenceSession(open_model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda picture: runtime.run(wanted, {PICTURE: picture})
