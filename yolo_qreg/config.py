"""Settings as frozen data, checked when made. No torch: the command line builds these before anything heavy loads."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from yolo_qreg.bits_plan import short_hash
from yolo_qreg.errors import InputError, did_you_mean
from yolo_qreg.quant.registry import ACTIVATIONS, FLOAT_BITS, METHODS, MethodSpec

BITS = 8
"""The width where none is named."""
BN_BITS = 4
"""BatchNorm statistics are re-estimated by default at this width and below."""
BN_IMAGES = 256
RANGE_IMAGES = 64
"""Training pictures that ranges of activations are calibrated on."""
RANGES = ("minmax", "percentile", "mse")
"""How ranges of activations are chosen."""
Runtime = Literal["openvino", "ort", "tensorrt"]
"""For which an int8 graph is laid out."""
MOST_IN_NAMES = 40
"""Characters of patterns that stand in a label; of longer ones a hash does."""
_FIT_FOR_NAMES = re.compile(r"[A-Za-z0-9.*-]+")
STRIDE = 32
"""What image sizes are multiples of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantConfig:
    """How the weights of a model are quantized.

    Attributes:
        method: A key of `yolo_qreg.quant.registry.METHODS`, such as "dorefa" or "lsq".
        bits: Bit width of the weights of every `Conv` block: 1..8 (lsq: 2..8), or 32 for the FP32 twin, which runs
            through the same code without quantizing.
        per_channel: One scale per output channel instead of one per layer, where the method has that (lsq, dorefa).
        init: How steps start: "paper" is 2 mean|w| / sqrt(Qp), "mse" the step of least squared error (lsq only).
            An empty string takes the method's default.
        skip: Globs on module names, a list or tuple; matching `Conv` blocks stay in float.
        first_bits: Bit width of the first convolution if it differs; 32 leaves it in float.
        last_bits: Bit width of the head's biased output convolutions, which are in float otherwise. Needs a method
            that keeps the scale of the weights (lsq), because no BatchNorm follows them.
        bn_images: Training images on which BatchNorm statistics are estimated anew for the quantized EMA weights
            before each validation and save; 0 keeps the statistics of training. None, the default, is 256 at 4 bits
            and below, where it measurably helps, and 0 above. Numbers above 32 count in full batches of 32.
        bn_tune: How many of the last epochs train BatchNorm's scales and shifts alone, with averaged, quantized weights
            and BatchNorm statistics fixed.
        options: Further settings of the method, by name; those that are not given are filled in.
        activations: Bit width of what quantized convolutions read, 2..8; None leaves it in float.
        activation_method: A key of `yolo_qreg.quant.registry.ACTIVATIONS`: "lsq" learns steps, "pact" clipping bounds,
            "observer" and "dynamic-fixed" follow the values seen. An empty string takes "lsq", where activations are
            quantized.
        activation_grid: "symmetric", "affine" or "unsigned", as the method has them; an empty string takes the
            method's default at that width.
        widths: Bit width of every convolution by its name, such as {"model.0.conv": 8}, instead of one for all; 32
            leaves one in float. `bits` is then the largest of the others. `bits_plan.read_plan` reads them from a file.
        grad_l1: Weight of the l1 norm of the gradient by the weights of `Conv` blocks, which is added to the loss
            of a training in float (Alizadeh et al. 2020): it makes rounding them afterwards cost less.

    Raises:
        InputError: If a value is out of range or the method does not honour it.
    """

    method: str = "dorefa"
    bits: int = BITS
    per_channel: bool = False
    init: str = ""
    skip: Sequence[str] = ()
    first_bits: int | None = None
    last_bits: int | None = None
    bn_images: int | None = None
    bn_tune: int = 0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    activations: int | None = None
    activation_method: str = ""
    activation_grid: str = ""
    widths: Mapping[str, int] = field(default_factory=dict, hash=False)
    grad_l1: float = 0.0

    def __post_init__(self) -> None:
        """Reject what the method does not honour."""
        spec = METHODS.get(self.method)
        if spec is None:
            raise InputError(f"method={self.method!r} is unknown; choose one of {', '.join(METHODS)}")
        if not isinstance(self.skip, (tuple, list)):  # a string would be a sequence of one-letter globs
            raise InputError(f"skip={self.skip!r} must be a list of globs; write [{self.skip!r}]")
        object.__setattr__(self, "skip", tuple(self.skip))
        for name in ("bits", "first_bits", "last_bits"):
            self._check_bits(name, getattr(self, name), optional=name != "bits")
        self._check_widths()
        if self.per_channel and not spec.per_channel:
            raise InputError(f"per_channel=True is not defined for {self.method}; use method=lsq or drop it")
        if self.init and self.init not in spec.inits:
            known = ", ".join(spec.inits) or "none: it has no step to initialise"
            raise InputError(f"init={self.init!r} is not one that {self.method} has ({known})")
        if not self.init and spec.inits:
            object.__setattr__(self, "init", spec.inits[0])
        object.__setattr__(self, "options", _options(self.method, spec, self.options))
        for bits in (self.bits, self.first_bits, self.last_bits, *self.widths.values()):
            refusal = spec.refusal(self.options, bits) if bits not in (None, FLOAT_BITS) else ""
            if refusal:
                raise InputError(f"options: {refusal}")
        if self.last_bits not in (None, FLOAT_BITS) and not spec.keeps_scale:
            raise InputError(
                f"last_bits={self.last_bits} needs a method that keeps the weights' scale, and {self.method} does not; "
                "use method=lsq or drop it (no BatchNorm follows the output convolutions)"
            )
        if self.bn_images is None:
            few = self.fewest_bits <= BN_BITS and not self.networks
            object.__setattr__(self, "bn_images", BN_IMAGES if few else 0)
        if isinstance(self.bn_images, bool) or not isinstance(self.bn_images, int) or self.bn_images < 0:
            raise InputError(f"bn_images={self.bn_images!r} must be a number of images, 0 (off) or more")
        if isinstance(self.bn_tune, bool) or not isinstance(self.bn_tune, int) or self.bn_tune < 0:
            raise InputError(f"bn_tune={self.bn_tune!r} must be a number of epochs, 0 (off) or more")
        self._check_activations()
        self._check_grad_l1()
        self._check_networks()

    def _check_widths(self) -> None:
        """Check a plan, and let `bits` be its largest width."""
        if not isinstance(self.widths, Mapping):
            raise InputError(f"widths={self.widths!r} is not a mapping; write names of convolutions and their bits")
        object.__setattr__(self, "widths", dict(self.widths))
        if not self.widths:
            return
        for name, bits in self.widths.items():
            if not isinstance(name, str):
                raise InputError(f"widths: {name!r} is no name of a convolution; names look like 'model.0.conv'")
            self._check_bits(f"widths: {name}", bits, optional=False)
        if self.skip or self.first_bits is not None or self.last_bits is not None:
            raise InputError("widths say all: drop skip, first_bits and last_bits, and give 32 to what stays in float")
        quantized = [bits for bits in self.widths.values() if bits != FLOAT_BITS]
        if not quantized:
            raise InputError("widths leave everything in float; for the FP32 twin drop them and use bits=32")
        if self.bits not in (BITS, max(quantized)):
            raise InputError(f"bits={self.bits} beside widths would mean nothing; drop one of them")
        object.__setattr__(self, "bits", max(quantized))

    def _check_networks(self) -> None:
        given = {"bn_images": self.bn_images, "bn_tune": self.bn_tune, "activations": self.activations}
        for name, value in given.items():
            if self.networks and value:
                raise InputError(
                    f"{name}={value} is for one network with fixed weights, and {self.label} averages the answers of "
                    f"{self.networks}; drop it (bn_images=0 in a study), or test one network, as test=binary does"
                )

    def _check_grad_l1(self) -> None:
        weight = self.grad_l1
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise InputError(f"grad_l1={weight!r} must be a number, 0 (off) or more")
        object.__setattr__(self, "grad_l1", float(weight))
        if weight and self.bits != FLOAT_BITS:
            raise InputError(
                f"grad_l1={weight} is for float weights that are rounded afterwards, and {self.label} rounds them in "
                "the training; use bits=32 and quantize what comes of it"
            )

    def _check_activations(self) -> None:
        bits, method, grid = self.activations, self.activation_method, self.activation_grid
        if bits is None:
            if method or grid:
                raise InputError(
                    f"activation_method={method!r}, activation_grid={grid!r} need a bit width; add activations=8"
                )
            return
        if not self.has_codes:
            raise InputError(f"activations={bits} needs quantized weights, and {self.label} has none; drop it")
        method = method or next(iter(ACTIVATIONS))
        spec = ACTIVATIONS.get(method)
        if spec is None:
            raise InputError(f"activation_method={method!r} is unknown; choose one of {', '.join(ACTIVATIONS)}")
        if isinstance(bits, bool) or not isinstance(bits, int) or bits not in spec.bits:
            raise InputError(f"activations={bits!r} is out of range; use {spec.bits.start}-{spec.bits[-1]}")
        grid = grid or spec.grid(bits)
        if grid not in spec.grids:
            raise InputError(f"activation_grid={grid!r} is not one that {method} has ({', '.join(spec.grids)})")
        object.__setattr__(self, "activation_method", method)
        object.__setattr__(self, "activation_grid", grid)

    def _check_bits(self, name: str, bits: object, *, optional: bool) -> None:
        if bits is None and optional:
            return
        allowed = METHODS[self.method].bits
        if isinstance(bits, bool) or not isinstance(bits, int) or (bits not in allowed and bits != FLOAT_BITS):
            raise InputError(
                f"{name}={bits} is out of range for {self.method}; use {_span(allowed)}, or {FLOAT_BITS} for float"
            )

    @property
    def label(self) -> str:
        """Short name for run folders and tables, such as "dorefa-8bit", "lsq-4bit-a8", "lsq-2to8bit-3fa2" or "fp32"."""
        if self.bits == FLOAT_BITS:
            return f"fp32-gradl1-{self.grad_l1:g}" if self.grad_l1 else "fp32"
        known = METHODS[self.method].options
        changed = {name: value for name, value in self.options.items() if value != known[name].default}
        words = [value if isinstance(value, str) else f"{name}{value}" for name, value in changed.items()]
        activations = [f"a{self.activations}"] if self.activations else []
        return "-".join([self.method, *self._width_words(), *activations, *words])

    def _width_words(self) -> list[str]:
        """Return "8bit", or of a plan what widths it has and, as others have the same, a hash."""
        if not self.widths:
            return [f"{self.bits}bit"]
        span = f"{self.fewest_bits}to{self.bits}bit" if self.mixed else f"{self.bits}bit"
        return [span, short_hash(self.widths)]

    @property
    def fewest_bits(self) -> int:
        """The smallest width of the weights."""
        return min(self.widths.values(), default=self.bits)

    @property
    def mixed(self) -> bool:
        """Whether a plan gives layers different widths, so that no single one describes the model."""
        return len({bits for bits in self.widths.values() if bits != FLOAT_BITS}) > 1

    @property
    def full_label(self) -> str:
        """`label` with the other settings by which weights differ, such as "lsq-4bit-pc-last8"; fit for file names."""
        found = ["pc"] if self.per_channel else []
        found += [f"{name}{bits}" for name in ("first", "last") if (bits := getattr(self, f"{name}_bits"))]
        if self.activations:
            spec = ACTIVATIONS[self.activation_method]
            found += [self.activation_method] * (self.activation_method != next(iter(ACTIVATIONS)))
            found += [self.activation_grid] * (self.activation_grid != spec.grid(self.activations))
        skipped = "-".join(self.skip)
        if len(skipped) > MOST_IN_NAMES or not _FIT_FOR_NAMES.fullmatch(skipped):
            skipped = hashlib.sha256(skipped.encode()).hexdigest()[:8] if skipped else ""
        return "-".join([self.label, *found, *([f"skip-{skipped.replace('*', '_')}"] if skipped else [])])

    @property
    def has_codes(self) -> bool:
        """Whether weights at inference are codes; those of twins and controls are float."""
        return self.bits != FLOAT_BITS and METHODS[self.method].has_codes(self.options)

    @property
    def networks(self) -> int:
        """How many networks with drawn weights answer at inference, on average; 0 for one whose weights are fixed."""
        return 0 if self.bits == FLOAT_BITS else METHODS[self.method].networks(self.options)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings, for YAML, JSON and checkpoints."""
        return {**asdict(self), "skip": list(self.skip)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantConfig:
        """Build from a mapping; a wrong key is answered with the nearest right one."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(f"quant key {key!r} is unknown; {did_you_mean(key, known)}")
        return cls(**dict(values))


def _span(widths: range) -> str:
    """Return widths as 2-8, or the only one."""
    return f"{widths[0]}-{widths[-1]}" if len(widths) > 1 else str(widths[0])


def _options(method: str, spec: MethodSpec, given: object) -> dict[str, Any]:
    """Return all options of a method, in its order, those that are given checked."""
    if not isinstance(given, Mapping):
        raise InputError(f"options={given!r} is not a mapping; write names and values")
    for name in given:
        if name not in spec.options:
            known = ", ".join(spec.options) or "none"
            raise InputError(f"options: {name!r} is not one that {method} has ({known}); correct it")
    return {
        name: option.parse(f"options: {name}", given[name]) if name in given else option.default
        for name, option in spec.options.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes:
        quant: How the weights are quantized.
        data: "voc", "shapes" or the path of a data set's YAML file.
        model: A model YAML (trained from scratch) or a .pt file (fine-tuned from).
        seed: Seed of every random draw.
        settings: Ultralytics training settings by their own names, such as {"epochs": 50, "imgsz": 320}.
    """

    quant: QuantConfig = field(default_factory=QuantConfig)
    data: str | Path = "voc"
    model: str | Path = "yolov5n.yaml"
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How the ranges of int8 activations are found: on training pictures, never on those that a model is judged by.

    Attributes:
        data: "voc", "shapes" or a data set's YAML file; None for what the model was trained on.
        images: Number of pictures of its training split, spread evenly.
        ranges: "minmax" clips nothing, "percentile" a hundredth of a percent, "mse" what costs least squared error.

    Raises:
        InputError: A value cannot be used.
    """

    data: str | Path | None = None
    images: int = 128
    ranges: str = "percentile"

    def __post_init__(self) -> None:
        """Check numbers and names."""
        if isinstance(self.images, bool) or not isinstance(self.images, int) or self.images < 1:
            raise InputError(f"images={self.images!r} is not a number of pictures; use 1 or more")
        if self.ranges not in RANGES:
            raise InputError(f"ranges={self.ranges!r} is unknown; choose one of {', '.join(RANGES)}")


def check_stride(imgsz: int) -> None:
    """Check that an image size is one of the host, which would round it without a word."""
    if imgsz < STRIDE or imgsz % STRIDE:
        nearest = max(STRIDE, round(imgsz / STRIDE) * STRIDE)
        raise InputError(f"imgsz={imgsz} is no multiple of {STRIDE}; use {nearest}")
