"""The quantization methods by name: what each can do and where it lives. Importing this does not load torch.

A method of this package is one module beside this one, holding a `WeightQuantizer`, and one entry in `METHODS`. One of
another package is an entry point of `GROUP` that names a `MethodSpec`, or a call of `register_method`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from yolo_qreg.errors import InputError, first_line

if TYPE_CHECKING:
    from yolo_qreg.quant.activations import ActivationQuantizer
    from yolo_qreg.quant.base import WeightQuantizer

FLOAT_BITS = 32
"""The bit width that means "not quantized": the FP32 twin."""
GROUP = "yolo_qreg.methods"
"""Entry points of other packages: the name is the method's, the object its `MethodSpec`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A setting that only one method has: one of some words, or a number.

    Attributes:
        default: Its value if it is not given.
        choices: The words that it takes.
        number: The type of the numbers that it takes; by default that of `default`, if that is no word.
        least: Of a number.
        most: Of a number.
    """

    default: str | int | float
    choices: tuple[str, ...] = ()
    number: type[int] | type[float] | None = None
    least: float = 0
    most: float = 1e9

    def parse(self, name: str, value: object) -> str | int | float:
        """Return a value, perhaps typed on a command line, in the type that it has.

        Raises:
            InputError: It is not one that the option takes.
        """
        if value in self.choices:
            return str(value)
        kind = self.number or type(self.default)
        if kind is str:
            raise InputError(f"{name}={value!r} is unknown; choose one of {', '.join(self.choices)}")
        number: Any = None
        with suppress(ValueError):
            number = kind(str(value))
        if number is None or isinstance(value, bool) or not self.least <= number <= self.most:
            what = " or ".join([*self.choices, "a whole number" if kind is int else "a number"])
            raise InputError(f"{name}={value!r} is not {what} of {self.least:g} to {self.most:g}; correct it")
        return kind(number)


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """What a method can do, so that a configuration is checked before torch is loaded.

    Attributes:
        home: `module:Class` of the `WeightQuantizer`.
        bits: Bit widths it is defined for.
        per_channel: Whether it can keep one scale per output channel.
        inits: Names of its scale initialisations, default first; empty if it has no scale to initialise.
        keeps_scale: Whether quantized weights have the magnitude of the float ones. A convolution without
            BatchNorm behind it can only be quantized by a method that does.
        title: As it is written within a sentence; its name by default.
        options: Its own settings, which `WeightQuantizer.for_weight` gets by name.
        has_codes: Whether weights at inference are codes, by its options; else they are float, as in controls.
        networks: How many drawn networks' answers are averaged at inference, by its options; 0 where weights are fixed.
        refusal: Why options, all of them, do not go with a width; empty where they do.
    """

    home: str
    bits: range
    per_channel: bool = False
    inits: tuple[str, ...] = ()
    keeps_scale: bool = True
    title: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
    has_codes: Callable[[Mapping[str, Any]], bool] = lambda _: True
    networks: Callable[[Mapping[str, Any]], int] = lambda _: 0
    refusal: Callable[[Mapping[str, Any], int], str] = lambda *_: ""


class Methods(Mapping[str, MethodSpec]):
    """The methods of this package, those registered, and those of installed packages, which are looked for late."""

    def __init__(self, own: Mapping[str, MethodSpec]) -> None:
        self._known = dict(own)
        self._looked = False

    def __getitem__(self, name: str) -> MethodSpec:
        if name not in self._known:
            self._look()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._known)

    def __len__(self) -> int:
        self._look()
        return len(self._known)

    def register(self, name: str, spec: MethodSpec) -> None:
        """Add a method.

        Raises:
            InputError: There is another one of this name.
        """
        if name in self._known:
            raise InputError(f"method {name!r} exists already; choose another name")
        self._known[name] = spec

    def _look(self) -> None:
        if self._looked:
            return
        self._looked = True
        for entry in entry_points(group=GROUP):
            if entry.name in self._known:
                raise InputError(f"method {entry.name!r} of {entry.value} exists already; remove that package")
            try:
                spec = entry.load()
            except Exception as error:  # whatever a package of somebody else raises
                raise InputError(f"method {entry.name!r} ({entry.value}) does not load: {first_line(error)}") from error
            if not isinstance(spec, MethodSpec):
                raise InputError(f"method {entry.name!r}: {entry.value} is no MethodSpec; correct the entry point")
            self._known[entry.name] = spec


def _unet_refusal(options: Mapping[str, Any], bits: int) -> str:
    """Return why it has no such range: bits before and after the point, each clipped alone, are none or more."""
    integer = options["integer"]
    if options["variant"] != "unet" or integer == "auto" or 0 <= integer < bits:
        return ""
    return f"integer={integer} leaves no sense to variant=unet at {bits} bits; use 0-{bits - 1}, or variant=saturating"


def _ensemble_refusal(options: Mapping[str, Any], _: int) -> str:
    """Return why there are no several networks to average."""
    if options["test"] == "ensemble" and options["draws"] == "deterministic":
        return "test=ensemble averages networks with drawn weights; add draws=stochastic"
    if options["test"] != "ensemble" and options["networks"] != _NETWORKS:
        return f"networks={options['networks']} is of test=ensemble alone; drop it, or add that"
    return ""


_NETWORKS = 8
PERIOD, LIMIT = 100, 0.0001
"""Of dynamic ranges: steps after which they may change, and the share of numbers that may overflow."""
CODED = ("dorefa", "lsq", "fixed")
"""Methods whose errors a control can imitate."""

METHODS = Methods(
    {
        "dorefa": MethodSpec(
            "yolo_qreg.quant.dorefa:DoReFaQuantizer", range(1, 9), per_channel=True, keeps_scale=False, title="DoReFa"
        ),
        "lsq": MethodSpec(
            "yolo_qreg.quant.lsq:LSQQuantizer",
            range(2, 9),
            per_channel=True,
            inits=("paper", "mse"),
            title="LSQ",
            options={"oscillations": Option(default="free", choices=("free", "track", "dampen", "freeze"))},
        ),
        "binaryconnect": MethodSpec(
            "yolo_qreg.quant.binaryconnect:BinaryConnectQuantizer",
            range(1, 2),
            keeps_scale=False,
            title="BinaryConnect",
            options={
                "draws": Option(default="deterministic", choices=("deterministic", "stochastic")),
                "test": Option(default="binary", choices=("binary", "real", "ensemble")),
                "rates": Option(default="glorot", choices=("glorot", "same")),
                "networks": Option(default=_NETWORKS, least=2, most=64),
            },
            has_codes=lambda options: options["test"] != "real",
            networks=lambda options: options["networks"] if options["test"] == "ensemble" else 0,
            refusal=_ensemble_refusal,
        ),
        "fixed": MethodSpec(
            "yolo_qreg.quant.fixed:FixedQuantizer",
            range(2, 9),
            title="fixed point",
            options={
                "integer": Option(default="auto", choices=("auto",), number=int, least=-16, most=7),
                "variant": Option(default="saturating", choices=("saturating", "unet")),
            },
            has_codes=lambda options: options["variant"] == "saturating",
            refusal=_unet_refusal,
        ),
        "dynamic-fixed": MethodSpec(
            "yolo_qreg.quant.dynamic_fixed:DynamicFixedQuantizer",
            range(3, 9),
            title="dynamic fixed point",
            options={
                "updates": Option(default=12, least=3, most=24),
                "period": Option(default=PERIOD, least=1),
                "limit": Option(default=LIMIT, most=1),
            },
        ),
        "ternary": MethodSpec(
            "yolo_qreg.quant.ternary:TernaryQuantizer", range(2, 3), per_channel=True, title="ternary"
        ),
        "noise": MethodSpec(
            "yolo_qreg.quant.noise:NoiseQuantizer",
            range(2, 9),
            title="noise",
            options={
                "like": Option(default="dorefa", choices=CODED),
                "kind": Option(default="gaussian", choices=("gaussian", "uniform", "permuted")),
            },
            has_codes=lambda _: False,
        ),
    }
)


def register_method(name: str, spec: MethodSpec) -> None:
    """Make a method known to this process: to configurations, trainings, exports and studies in it.

    Worker processes of multi-GPU trainings and of studies begin anew and do not run this call. For those, and for the
    command line, a package names its method as an entry point of the group `yolo_qreg.methods`.

    Args:
        name: As in `QuantConfig(method=name)`.
        spec: Widths, options and the place of its `WeightQuantizer`.

    Raises:
        InputError: There is another one of this name.
    """
    METHODS.register(name, spec)


def quantizer_class(method: str) -> type[WeightQuantizer]:
    """Return the class that implements `method`; `FLOAT_BITS` is not its business."""
    module, _, name = METHODS[method].home.partition(":")
    found: type[WeightQuantizer] = getattr(import_module(module), name)
    return found


def activation_class(method: str) -> type[ActivationQuantizer]:
    """Return the class that implements a method of `ACTIVATIONS`."""
    module, _, name = ACTIVATIONS[method].home.partition(":")
    found: type[ActivationQuantizer] = getattr(import_module(module), name)
    return found


@dataclass(frozen=True, slots=True)
class ActivationSpec:
    """What a way of quantizing activations can do.

    Attributes:
        home: `module:Class` of the `ActivationQuantizer`.
        grids: Names of its grids. "symmetric" is signed with 0 at 0, "affine" has an integer zero point, "unsigned" has
            no negative values.
        bits: Bit widths it is defined for.
    """

    home: str
    grids: tuple[str, ...]
    bits: range = range(2, 9)

    def grid(self, bits: int) -> str:
        """Return the grid to take where none is named.

        Runtimes compute fastest with a symmetric one, but below 8 bits half of its levels would be wasted on a SiLU's
        few negative values.
        """
        return "affine" if bits < self.bits[-1] and "affine" in self.grids else self.grids[0]


ACTIVATIONS: Mapping[str, ActivationSpec] = {
    "lsq": ActivationSpec("yolo_qreg.quant.activations:LSQActivation", grids=("symmetric", "affine")),
    "pact": ActivationSpec("yolo_qreg.quant.activations:PACTActivation", grids=("unsigned", "symmetric")),
    "observer": ActivationSpec("yolo_qreg.quant.activations:ObservedActivation", grids=("symmetric", "affine")),
    "dynamic-fixed": ActivationSpec(
        "yolo_qreg.quant.dynamic_fixed:DynamicFixedActivation", grids=("symmetric",), bits=range(3, 9)
    ),
}
