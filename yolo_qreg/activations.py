"""Where activations are quantized: at the inputs of quantized convolutions, with one grid for what meets in a join.

The places are those of an exported graph (`export.activations`), found by running the model once: a tensor that is
joined with others, pooled or enlarged before a convolution reads it shares its grid with them, because then all of this
can be done on integers. Where such a tensor is also added to a residual block's result, the block's input is quantized.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from yolo_qreg.errors import InputError
from yolo_qreg.patch import BlockInput, QuantConv2d, quantized_layers, unquantized
from yolo_qreg.quant.activations import PICTURE_LEVELS, ActivationQuantizer, FixedActivation
from yolo_qreg.quant.registry import activation_class

PASSING = frozenset({"cat", "concat", "max_pool2d", "interpolate", "chunk", "split"})
"""Functions that give the values that they get: the same grid fits before and behind."""
MOST_NEGATIVE = -128
SUMS = frozenset({"add", "__add__", "__radd__", "__iadd__", "add_"})


@dataclass(frozen=True, slots=True)
class Place:
    """One grid.

    Attributes:
        layers: The quantized convolutions that read it, in model order; the first owns the quantizer.
        blocks: Residual blocks whose input is quantized as well, because it is added to their result.
        picture: Whether it is the picture's, which is fixed.
    """

    layers: tuple[str, ...]
    blocks: tuple[str, ...] = ()
    picture: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A place with the grid of a finished model: values scale (q - zero_point), q an integer of low .. high."""

    place: Place
    bits: int
    scale: float
    zero_point: int
    low: int
    high: int

    def to_list(self) -> list[Any]:
        """Return plain data."""
        place = [list(self.place.layers), list(self.place.blocks), self.place.picture]
        return [*place, self.bits, self.scale, self.zero_point, self.low, self.high]

    @classmethod
    def from_list(cls, found: Sequence[Any]) -> Range:
        """Read what `to_list` wrote, distrusting it.

        Raises:
            InputError: It is something else.
        """
        try:
            layers, blocks, picture, bits, scale, zero_point, low, high = found
            place = Place(tuple(map(str, layers)), tuple(map(str, blocks)), bool(picture))
            made = cls(place, int(bits), float(scale), int(zero_point), int(low), int(high))
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"a range of activations is damaged ({error}); copy or export the file again") from error
        fits = MOST_NEGATIVE <= made.low <= made.zero_point <= made.high <= PICTURE_LEVELS
        if not (layers and 0 < made.scale < math.inf and fits):
            raise InputError(f"{str(found)[:100]} is no range of activations; copy or export the file again")
        return made


class _Trace(TorchFunctionMode):
    """Notes where tensors come from, and what adds them to what inside which module."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[Tensor] = []  # so that no two tensors have one id
        self.sources: dict[int, list[int]] = {}
        self.inside: list[tuple[str, int]] = []
        self.read: dict[str, int] = {}
        self.added: list[tuple[str, int]] = []

    def of(self, tensor: Tensor) -> list[int]:
        """Return the ids of the tensors that one is joined from: itself, if it is computed."""
        if id(tensor) not in self.sources:
            self.alive.append(tensor)
            self.sources[id(tensor)] = [id(tensor)]
        return self.sources[id(tensor)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in PASSING:
            given = args[0] if isinstance(args[0], (tuple, list)) else args[:1]
            sources = list(dict.fromkeys(source for tensor in given for source in self.of(tensor)))
            for part in made if isinstance(made, (tuple, list)) else [made]:
                self.alive.append(part)
                self.sources[id(part)] = sources
        elif name in SUMS:
            for tensor in (value for value in args[:2] if isinstance(value, Tensor)):
                entered = [block for block, given in self.inside if given == id(tensor)]
                if entered:
                    self.added.append((entered[-1], id(tensor)))
        return made

    def enter(self, name: str, args: tuple[Any, ...]) -> None:
        """Note that a module is entered, and with what."""
        given = args[0] if args and isinstance(args[0], Tensor) else None
        if given is not None:
            self.of(given)
            self.read[name] = id(given)
        self.inside.append((name, -1 if given is None else id(given)))

    def leave(self) -> None:
        """Note that a module is left."""
        self.inside.pop()


@torch.no_grad()
def find_places(model: nn.Module, layers: Iterable[str], picture: Tensor) -> tuple[Place, ...]:
    """Run a model once, and find the places of its activation quantizers.

    Args:
        model: A model in one mode throughout, training or eval.
        layers: Names of the quantized convolutions.
        picture: Float [1, C, H, W] on the model's device.
    """
    training = model.training
    model.eval()
    trace, handles = _Trace(), []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, args, name=name: trace.enter(name, args)))
        handles.append(module.register_forward_hook(lambda *_: trace.leave(), always_call=True))
    try:
        with trace:
            model(picture)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return _grouped(trace, layers, id(picture))


def _grouped(trace: _Trace, layers: Iterable[str], picture: int) -> tuple[Place, ...]:
    """Return the places: layers whose sources are joined anywhere stand together."""
    leader: dict[int, int] = {}

    def find(source: int) -> int:
        leader.setdefault(source, source)
        while leader[source] != source:
            source = leader[source]
        return source

    readers = {name: trace.sources[trace.read[name]] for name in layers if name in trace.read}
    for sources in readers.values():
        for other in sources[1:]:
            leader[find(other)] = find(sources[0])
    found: dict[int, list[str]] = {}
    for name, sources in readers.items():
        found.setdefault(find(sources[0]), []).append(name)
    blocks: dict[int, list[str]] = {}
    for block, tensor in trace.added:
        sources = trace.sources[tensor]
        if all(source in leader for source in sources):
            blocks.setdefault(find(sources[0]), []).append(block)
    return tuple(
        Place(tuple(names), tuple(dict.fromkeys(blocks.get(group, []))), group == find(picture))
        for group, names in found.items()
    )


def place_quantizers(model: nn.Module, places: Iterable[Place], bits: int, method: str, grid: str) -> None:
    """Give quantizing convolutions, in place, what quantizes their inputs; it has to be calibrated or loaded."""
    for place in places:
        quantizer = FixedActivation.picture() if place.picture else activation_class(method).make(bits, grid)
        _attach(model, place, quantizer)


def place_ranges(model: nn.Module, ranges: Sequence[Range]) -> None:
    """Give convolutions of a baked model, in place, the fixed grids of their activations.

    Raises:
        InputError: A layer is not there.
    """
    modules = dict(model.named_modules())
    layers = [name for r in ranges for name in r.place.layers]
    blocks = [name for r in ranges for name in r.place.blocks]
    odd = [name for name in layers if type(modules.get(name)) is not nn.Conv2d or layers.count(name) > 1]
    odd += [name for name in blocks if name not in modules]
    if odd:
        raise InputError(f"the model has no layer {odd[0]!r} whose activations could be quantized; it is damaged")
    for r in ranges:
        for name in r.place.layers:
            unquantized(model, name)
        _attach(model, r.place, FixedActivation(r.bits, r.low, r.high, r.scale, r.zero_point))


def _attach(model: nn.Module, place: Place, quantizer: ActivationQuantizer) -> None:
    owner, *others = (model.get_submodule(name) for name in place.layers)
    device = next(owner.parameters()).device
    owner.read_through(quantizer.to(device).train(owner.training), own=True)  # type: ignore[operator]
    for layer in others:
        layer.read_through(quantizer, own=False)  # type: ignore[operator]
    for name in place.blocks:
        model.get_submodule(name).register_forward_pre_hook(BlockInput(quantizer))


def quantizers(model: nn.Module) -> dict[str, ActivationQuantizer]:
    """Return the activation quantizers of a model by the name of the convolution that owns each."""
    return {
        name: layer.reads
        for name, layer in quantized_layers(model).items()
        if layer.reads is not None and layer.owns_input
    }


def places_of(model: nn.Module) -> tuple[Place, ...]:
    """Return where the activation quantizers of a model are."""
    readers: dict[int, list[str]] = {}
    blocks: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantConv2d) and module.reads is not None:
            readers.setdefault(id(module.reads), []).append(name)
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, BlockInput):
                blocks.setdefault(id(hook.quantizer), []).append(name)
    return tuple(
        Place(tuple(readers[id(q)]), tuple(blocks.get(id(q), [])), isinstance(q, FixedActivation))
        for q in quantizers(model).values()
    )


def ranges_of(model: nn.Module) -> tuple[Range, ...]:
    """Return the grids that a model's activations are on now."""
    found = []
    for place in places_of(model):
        quantizer = quantizers(model)[place.layers[0]]
        scale, zero_point, low, high = quantizer.qparams()
        found.append(Range(place, quantizer.bits, float(scale), zero_point, low, high))
    return tuple(found)


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Tensor], *, own_statistics: bool = False) -> None:
    """Set the ranges of those activation quantizers that have none, from pictures.

    Args:
        model: A quantized model.
        batches: Float images [N, 3, H, W] in 0..1 on its device.
        own_statistics: Whether BatchNorm uses its running statistics, as in a finished model. Otherwise it takes those
            of each batch, as in training, and leaves the running ones alone: those of a model that is about to train
            may fit other weights.
    """
    waiting = [q for q in quantizers(model).values() if q.observed is not None]
    if not waiting:
        return
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and not own_statistics]
    held = [(norm.training, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for quantizer in waiting:  # it may have seen other pictures, or those of other statistics
        quantizer.observe_again()
    training = model.training
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        for images in batches:
            model(images)
    finally:
        model.train(training)
        for norm, (mode, momentum, count) in zip(norms, held, strict=True):
            norm.training, norm.momentum, norm.num_batches_tracked = mode, momentum, count
    for quantizer in waiting:
        quantizer.calibrate()


@dataclass(frozen=True, slots=True)
class ActivationHealth:
    """How well one tensor uses its grid.

    Attributes:
        tensor: The convolution that reads it first.
        bits: Bit width.
        scale: Distance of two levels.
        zero_point: The integer that stands for 0.
        sqnr_db: Signal to quantization noise ratio, in dB.
        clipped: Share of values beyond the grid's ends, 0..1.
    """

    tensor: str
    bits: int
    scale: float
    zero_point: int
    sqnr_db: float
    clipped: float


@torch.no_grad()
def measure(model: nn.Module, images: Tensor) -> list[ActivationHealth]:
    """Measure every activation quantizer of a model on pictures, float [N, 3, H, W] in 0..1 on its device."""
    sums: dict[str, list[float]] = {}
    handles = []
    found = quantizers(model)
    for name, quantizer in found.items():
        scale, zero_point, low, high = quantizer.qparams()
        ends = [float(scale) * (low - zero_point - 0.5), float(scale) * (high - zero_point + 0.5)]

        def look(_: nn.Module, given: tuple[Tensor], made: Tensor, name: str = name, ends: list[float] = ends) -> None:
            x, y = given[0].double(), made.double()
            outside = ((x < ends[0]) | (x > ends[1])).sum()
            new = [float(part) for part in (x.square().sum(), (x - y).square().sum(), outside)] + [float(x.numel())]
            sums[name] = [a + b for a, b in zip(sums.get(name, [0.0] * 4), new, strict=True)]

        handles.append(quantizer.register_forward_hook(look))
    training = model.training
    try:
        model.eval()(images)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return [_row(name, found[name], sums[name]) for name in found if name in sums]


def _row(name: str, quantizer: ActivationQuantizer, sums: Sequence[float]) -> ActivationHealth:
    power, noise, outside, count = sums
    sqnr = 10 * math.log10(power / noise) if noise > 0 and power > 0 else (math.inf if power > 0 else 0.0)
    scale, zero_point, _, _ = quantizer.qparams()
    return ActivationHealth(name, quantizer.bits, float(scale), zero_point, sqnr, outside / count)


def summary(rows: Sequence[ActivationHealth]) -> str:
    """Return one line over all tensors."""
    if not rows:
        return "no quantized activation"
    worst = min(rows, key=lambda row: row.sqnr_db)
    most = max(rows, key=lambda row: row.clipped)
    finite = [row.sqnr_db for row in rows if math.isfinite(row.sqnr_db)]
    mean = sum(finite) / len(finite) if finite else math.inf
    return (
        f"activations at {worst.bits} bits on {len(rows)} grids: SQNR {mean:.1f} dB (worst {worst.sqnr_db:.1f}, "
        f"{worst.tensor}), clipped at most {100 * most.clipped:.2f}% ({most.tensor})"
    )
