"""Activation quantizers: one scale and one integer zero point for a whole tensor, as ONNX's operators have them.

`forward(x)` is `scale * (clip(rint(x / scale) + zero_point, low, high) - zero_point)` in float32, with a true division:
what QuantizeLinear and DequantizeLinear give, ties included. METHODS: LSQ (Esser et al. 2020, arXiv:1902.08153), its
offset as in LSQ+ (Bhalgat et al. 2020, arXiv:2004.09576) but on an integer, so that 0 keeps a code and convolutions may
pad; PACT (Choi et al. 2018, arXiv:1805.06085); and ranges that are observed, not learned.

Letters: N images, C channels, H and W sides of a feature map. A tensor is float [N, C, H, W].
"""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn

from yolo_qreg.quant.activation_grids import SMALLEST_SCALE, Clipped, Fixed, Grid, Grids, Learned, zero_point
from yolo_qreg.quant.observed import LEAST, Observed

PICTURE_LEVELS = 255
MOVING = 0.01
"""Share of the newest batch in an observed range."""


class QParams(NamedTuple):
    """A grid as runtimes take it: values scale (q - zero_point) for the integers q of low .. high."""

    scale: Tensor
    zero_point: int
    low: int
    high: int


def integer_range(bits: int, grid: str) -> tuple[int, int]:
    """Return the least and the largest integer of a grid; only symmetric ones are signed."""
    if grid == "symmetric":
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


class ActivationQuantizer(nn.Module, ABC):
    """Quantizes a tensor that convolutions read.

    Until it was calibrated it counts what it sees and changes nothing. Its state is float32, whatever the model is cast
    to. A tensor that several convolutions read is quantized once: what was made last is remembered while it is in use.

    Attributes:
        bits: Bit width.
        low: The least integer.
        high: The largest one.
        first: Its first scale, [], 0 before calibration; resumed runs make the same optimizer groups by it.
        observed: What was seen; None once it was calibrated.
        ready: The grid in use, during a forward pass of a model that makes those of all quantizers at once.
    """

    decays: bool = False
    """Whether its learned values take part in weight decay."""
    ready: Grid | None = None

    def __init__(self, bits: int, low: int, high: int) -> None:
        super().__init__()
        self.bits, self.low, self.high = bits, low, high
        self.first: Tensor
        self.register_buffer("first", torch.zeros(()))
        self.observed: Observed | None = Observed()
        self._last: tuple[Any, Any, list[int]] | None = None

    @classmethod
    def make(cls, bits: int, grid: str) -> ActivationQuantizer:
        """Make one that is to be calibrated, or to be loaded; its state has its final shape."""
        return cls(bits, *integer_range(bits, grid))

    @abstractmethod
    def quantize(self, x: Tensor) -> Tensor:
        """Return the quantized tensor, float32 as `x` is; differentiable."""

    @abstractmethod
    def fit(self, seen: Observed) -> None:
        """Set the state, in place, to what fits the values seen."""

    @abstractmethod
    def qparams(self) -> QParams:
        """Return the grid in use."""

    def steps(self) -> list[nn.Parameter]:
        """Return what is learned; none by default."""
        return []

    def group(self) -> Hashable:
        """Return what those have in common whose grids `grids` can make at once; None, the default, if it cannot."""
        return None

    @classmethod
    def grids(cls, quantizers: Sequence[ActivationQuantizer]) -> list[Grid]:
        """Return the grids in use of some that are of one group."""
        raise NotImplementedError

    def step_lr_factor(self) -> float:
        """Return the learning rate of `steps` under an Adam-like optimizer, as a factor of the weights' rate."""
        return 1.0

    def loss_scaled(self, factor: float) -> None:
        """Be told by what the loss is multiplied from now on; nothing depends on it by default."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor on the grid, of the same type; computed in float32 also under AMP."""
        if self.observed is not None:
            self.observed.add(x)
            return x
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return self._quantized(x)
        state = [step._version for step in self.steps()]
        if self._last is not None and self._last[2] == state:
            made: Tensor | None = self._last[1]()
            if made is not None and (made is x or self._last[0]() is x):
                return made
        y = self._quantized(x)
        self._last = weakref.ref(x), weakref.ref(y), state
        return y

    def calibrate(self) -> None:
        """Begin to quantize, over a range that fits what was seen; one that began before is left as it is."""
        if self.observed is not None:
            with torch.no_grad():
                self.fit(self.observed)
                self.first.copy_(self.qparams().scale)
            self.observed = None

    def observe_again(self) -> None:
        """Forget the range; count what comes until `calibrate`."""
        self.observed = Observed()

    def _quantized(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.quantize(x.float()).to(x.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if float(self.first) > 0:
            self.observed = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ActivationQuantizer:
        """Let the state move to other devices, but not to other types."""
        super()._apply(lambda t: t.to(fn(t).device) if t.is_floating_point() else fn(t), recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was made last: copies begin without."""
        return {**self.__dict__, "_last": None}

    def extra_repr(self) -> str:
        """Show bit width and integers where a module is printed."""
        return f"bits={self.bits}, integers={self.low}..{self.high}"


class LSQActivation(ActivationQuantizer):
    """A learned step, and on an affine grid a learned lower end.

    Attributes:
        step: The scale, [].
        offset: The value of the integer 0 of an affine grid before it is moved to a multiple of the step, []; None on a
            symmetric grid.
    """

    def __init__(self, bits: int, low: int, high: int, *, affine: bool = False) -> None:
        super().__init__(bits, low, high)
        self.step = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(())) if affine else None

    @classmethod
    def make(cls, bits: int, grid: str) -> LSQActivation:
        """Make one that is to be calibrated, or to be loaded."""
        return cls(bits, *integer_range(bits, grid), affine=grid == "affine")

    def quantize(self, x: Tensor) -> Tensor:
        """Return the quantized tensor."""
        grid = self.ready or self.grids([self])[0]
        y: Tensor = Learned.apply(x, *grid, self.low, self.high)
        return y

    def group(self) -> Hashable:
        """Return what those have in common whose grids can be made at once."""
        return type(self), self.low, self.high, self.offset is None

    @classmethod
    def grids(cls, quantizers: Sequence[LSQActivation]) -> list[Grid]:  # type: ignore[override]
        """Return the grids in use of some that are of one group."""
        low, high, count = quantizers[0].low, quantizers[0].high, len(quantizers)
        offsets = [q.offset for q in quantizers if q.offset is not None]
        found: tuple[Tensor, ...] = Grids.apply(low, high, count, *(q.step for q in quantizers), *offsets)
        if not offsets:
            return [Grid(scale, None, low, high) for scale in found]
        return [Grid(*found[index::count]) for index in range(count)]

    def fit(self, seen: Observed) -> None:
        """Take the step, and lower end, of least squared error."""
        if self.offset is None:
            self.step.fill_(seen.symmetric(self.low, self.high))
            return
        scale, low = seen.affine(self.high)
        self.step.fill_(scale)
        self.offset.fill_(low)

    def qparams(self) -> QParams:
        """Return the grid in use."""
        scale = self.step.detach().clamp_min(SMALLEST_SCALE)
        zero = 0 if self.offset is None else int(zero_point(scale, self.offset.detach(), self.low, self.high))
        return QParams(scale, zero, self.low, self.high)

    def steps(self) -> list[nn.Parameter]:
        """Return step and offset."""
        return [self.step] if self.offset is None else [self.step, self.offset]

    def step_lr_factor(self) -> float:
        """Return ten times the first step as a power of four, at most 1, as for weights."""
        return float(min(1.0, 4.0 ** round(math.log(max(10 * float(self.first), SMALLEST_SCALE), 4))))


class PACTActivation(ActivationQuantizer):
    """A learned clipping bound, which weight decay pulls down; scale = bound / the largest integer.

    Attributes:
        bound: [].
    """

    decays = True

    def __init__(self, bits: int, low: int, high: int) -> None:
        super().__init__(bits, low, high)
        self.bound = nn.Parameter(torch.ones(()))

    def quantize(self, x: Tensor) -> Tensor:
        """Return the quantized tensor."""
        y: Tensor = Clipped.apply(x, self.bound, self.low, self.high)
        return y

    def fit(self, seen: Observed) -> None:
        """Take the largest value, so that nothing is clipped at first."""
        self.bound.fill_(max(seen.high, -seen.low if self.low else 0.0, LEAST))

    def qparams(self) -> QParams:
        """Return the grid in use."""
        return QParams((self.bound.detach() / self.high).clamp_min(SMALLEST_SCALE), 0, self.low, self.high)

    def steps(self) -> list[nn.Parameter]:
        """Return the bound."""
        return [self.bound]


class ObservedActivation(ActivationQuantizer):
    """A range that follows the least and largest values of batches in training, and learns nothing.

    Attributes:
        ends: The range, [2]; it contains 0.
    """

    def __init__(self, bits: int, low: int, high: int) -> None:
        super().__init__(bits, low, high)
        self.ends: Tensor
        self.register_buffer("ends", torch.zeros(2))

    def quantize(self, x: Tensor) -> Tensor:
        """Return the quantized tensor; in training mode the range moves first."""
        if self.training:
            self._follow(x.detach())
        y: Tensor = Fixed.apply(x, *self._grid(), self.low, self.high)
        return y

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        least, most = x.aminmax()
        seen = torch.stack([-least, most]).clamp_min_(0)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(seen, distributed.ReduceOp.MAX)
        seen[0].neg_()
        self.ends.lerp_(seen, MOVING)

    def _grid(self) -> tuple[Tensor, Tensor | None]:
        """Return scale and zero point, []; no zero point on a symmetric grid."""
        if self.low:
            return (self.ends.abs().amax() / self.high).clamp_min(SMALLEST_SCALE), None
        scale = ((self.ends[1] - self.ends[0]) / self.high).clamp_min(SMALLEST_SCALE)
        return scale, zero_point(scale, self.ends[0], self.low, self.high)

    def fit(self, seen: Observed) -> None:
        """Take the least and largest value."""
        self.ends.copy_(torch.tensor([seen.low, max(seen.high, LEAST)]))

    def qparams(self) -> QParams:
        """Return the grid in use."""
        scale, zero = self._grid()
        return QParams(scale, 0 if zero is None else int(zero), self.low, self.high)


class FixedActivation(ActivationQuantizer):
    """A grid that is known: the picture's, and those of a finished model.

    Attributes:
        scale: [].
        zero_point: The integer that stands for 0.
    """

    def __init__(self, bits: int, low: int, high: int, scale: float, zero_point: int = 0) -> None:
        super().__init__(bits, low, high)
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.zero_point = zero_point
        self.first.copy_(self.scale)
        self.observed = None

    @classmethod
    def picture(cls) -> FixedActivation:
        """Return the grid of pixels, 0 to 255 over 255, whatever the width of the others."""
        return cls(8, 0, PICTURE_LEVELS, 1 / PICTURE_LEVELS)

    def quantize(self, x: Tensor) -> Tensor:
        """Return the quantized tensor."""
        y: Tensor = Fixed.apply(x, self.scale, None, self.low - self.zero_point, self.high - self.zero_point)
        return y

    def fit(self, seen: Observed) -> None:
        """Do nothing: the grid is known."""

    def observe_again(self) -> None:
        """Do nothing: the grid is known."""

    def qparams(self) -> QParams:
        """Return the grid."""
        return QParams(self.scale, self.zero_point, self.low, self.high)
