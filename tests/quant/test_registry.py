"""What every method of the registry has in common, and how one is added."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.patch import QuantConv2d, bake, quantize_convs, quantized_layers
from yolo_qreg.quant.base import FloatQuantizer, WeightQuantizer, per_output_channel
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS, MethodSpec, quantizer_class, register_method

CASES = [
    pytest.param(method, bits, per_channel, init, id=f"{method}-{bits}{'-channel' if per_channel else ''}-{init}")
    for method, spec in METHODS.items()
    for bits in spec.bits
    for per_channel in ((False, True) if spec.per_channel else (False,))
    for init in (spec.inits or ("",))
    if QuantConfig(method=method, bits=bits).has_codes
]


def make(method: str, weight: Tensor, bits: int, per_channel: bool, init: str) -> WeightQuantizer:
    """Make a quantizer with the default options of its method."""
    options = QuantConfig(method=method, bits=bits).options
    return quantizer_class(method).for_weight(weight, bits, per_channel=per_channel, init=init, **options)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Compare two float32 tensors bit for bit, so that 0 and -0 differ."""
    return a.dtype == b.dtype == torch.float32 and torch.equal(a.view(torch.int32), b.view(torch.int32))


def check_contract(quantizer: WeightQuantizer, weight: Tensor) -> None:
    """Assert what `WeightQuantizer` promises of any weight."""
    bits = quantizer.bits
    with torch.no_grad():
        forward, codes, scale = quantizer(weight), quantizer.codes(weight), quantizer.scale(weight)
    assert forward.dtype == torch.float32 and forward.shape == weight.shape and torch.isfinite(forward).all()
    assert codes.dtype == torch.uint8 and codes.shape == weight.shape and int(codes.max()) < 2**bits
    assert scale.dtype == torch.float32 and scale.shape in {(), weight.shape[:1]} and not scale.requires_grad
    assert same_bits(quantizer.values(codes, scale, bits), forward)
    rows = zip(forward, codes, strict=True) if scale.ndim else [(forward, codes)]
    for values, names in rows:
        assert len(values.unique()) <= min(2**bits, values.numel())
        pairs = torch.stack([names.flatten().double(), values.flatten().double()], 1).unique(dim=0)
        assert len(pairs) == len(names.unique())  # one value per code
        assert bool((pairs[:, 1].diff() >= 0).all())  # and the larger code has no smaller value


@pytest.mark.parametrize(("method", "bits", "per_channel", "init"), CASES)
def test_every_code_survives_a_round_trip(method: str, bits: int, per_channel: bool, init: str, weight: Tensor) -> None:
    """Codes and scale give back the forward values bit for bit: at most 2**bits, in the order of the codes."""
    check_contract(make(method, weight, bits, per_channel, init), weight)


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from([case.values for case in CASES]),
    shape=st.tuples(*[st.integers(1, 5)] * 4),
    exponent=st.integers(-12, 6),
    seed=st.integers(0, 2**31),
)
def test_round_trip_over_shapes_and_scales(
    case: tuple[Any, ...], shape: tuple[int, ...], exponent: int, seed: int
) -> None:
    """The contract holds for any 4-D shape and any magnitude, also for a weight the step was not made from."""
    method, bits, per_channel, init = case
    first, later = torch.randn((2, *shape), generator=torch.Generator().manual_seed(seed)) * 10.0**exponent
    quantizer = make(method, first, bits, per_channel, init)
    check_contract(quantizer, first)
    check_contract(quantizer, later * 1.7)


@pytest.mark.parametrize(("method", "bits", "per_channel", "init"), CASES)
def test_values_are_multiples_of_integers(method: str, bits: int, per_channel: bool, init: str) -> None:
    """In float64, values are (a code - z) times the unit, to the rounding of float32: what other formats store."""
    kind = quantizer_class(method)
    weight = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(bits))
    quantizer = make(method, weight, bits, per_channel, init)
    codes, scale = quantizer.codes(weight), quantizer.scale(weight)
    slope, offset = kind.grid(bits)
    wanted = per_output_channel(kind.unit(scale, bits), weight) * (slope * codes.double() - offset)
    torch.testing.assert_close(quantizer(weight).double(), wanted, rtol=1e-7, atol=0)


@pytest.mark.parametrize(("method", "bits", "per_channel", "init"), CASES)
def test_quantizing_is_float32_under_autocast(method: str, bits: int, per_channel: bool, init: str) -> None:
    """Under bfloat16 autocast the quantized weight has the same bits as without."""
    conv = nn.Conv2d(4, 6, 3, bias=False)
    quantizer = make(method, conv.weight, bits, per_channel, init)
    layer = QuantConv2d.from_conv(conv, quantizer)
    plain = layer.quantized_weight()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = layer.quantized_weight()
        assert layer(torch.rand(1, 4, 8, 8)).dtype == torch.bfloat16  # autocast is on
    assert same_bits(mixed, plain)


@pytest.mark.parametrize("method", METHODS)
def test_names_lead_to_classes(method: str) -> None:
    """Each entry names a `WeightQuantizer`; its first initialisation is the default of a configuration."""
    assert issubclass(quantizer_class(method), WeightQuantizer)
    assert QuantConfig(method=method, bits=METHODS[method].bits[-1]).init == (METHODS[method].inits or ("",))[0]


def test_the_float_quantizer_is_the_identity_without_codes() -> None:
    """At 32 bits the weight itself is used, and asking for codes is a mistake."""
    weight = torch.randn(2, 2, 1, 1)
    quantizer = FloatQuantizer.for_weight(weight, FLOAT_BITS, per_channel=False, init="")
    assert quantizer(weight) is weight
    for ask in (quantizer.codes, quantizer.scale):
        with pytest.raises(TypeError, match="no "):
            ask(weight)
    with pytest.raises(TypeError, match="no codes"):
        quantizer.values(weight, weight, FLOAT_BITS)


class PowerOfTwo(WeightQuantizer):
    """A method that this package does not have: signs times powers of two, 3 bits. It notes how it is called."""

    seen: list[tuple[torch.dtype, bool]] = []

    @classmethod
    def for_weight(cls, weight: Tensor, bits: int, *, per_channel: bool, init: str) -> PowerOfTwo:
        return cls(bits)

    def forward(self, weight: Tensor) -> Tensor:
        self.seen.append((weight.dtype, torch.is_autocast_enabled("cpu")))
        quantized = self.values(self.codes(weight), self.scale(weight), self.bits)
        return weight + (quantized - weight).detach()

    def codes(self, weight: Tensor) -> Tensor:
        exponent = weight.abs().clamp_min(1e-30).log2().round().clamp(-3, 0)
        return ((exponent + 3) + 4 * (weight >= 0)).to(torch.uint8)

    def scale(self, weight: Tensor) -> Tensor:
        return weight.new_ones(())

    @staticmethod
    def values(codes: Tensor, scale: Tensor, bits: int) -> Tensor:
        return scale * 2.0 ** (codes % 4 - 3.0) * (2.0 * (codes >= 4) - 1)


@pytest.fixture
def third_method(monkeypatch: pytest.MonkeyPatch) -> str:
    """Register `PowerOfTwo` as a user of the package would: a module and one entry."""
    module = ModuleType("power_of_two")
    module.PowerOfTwo = PowerOfTwo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(METHODS, "_known", dict(METHODS))  # what is registered is forgotten with the test
    register_method("po2", MethodSpec("power_of_two:PowerOfTwo", bits=range(3, 4)))
    monkeypatch.setattr(PowerOfTwo, "seen", [])
    return "po2"


def test_one_entry_makes_a_method(third_method: str) -> None:
    """A registered method passes the checks of a configuration, quantizes, trains and bakes."""
    with pytest.raises(InputError, match=r"bits=4 is out of range for po2; use 3, or 32"):
        QuantConfig(method=third_method, bits=4)
    with pytest.raises(InputError, match=r"init='mse' is not one that po2 has \(none"):
        QuantConfig(method=third_method, bits=3, init="mse")
    config = QuantConfig(method=third_method, bits=3, last_bits=3)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 1, 1))
    quantize_convs(model, {"0": 3, "2": 3}, config)
    x = torch.rand(2, 2, 6, 6)
    expected = model(x)
    expected.sum().backward()
    assert all(layer.weight.grad is not None for layer in quantized_layers(model).values())
    assert torch.equal(bake(model)(x), expected)
    assert set(model[0].weight.abs().unique().tolist()) <= {1.0, 0.5, 0.25, 0.125}


def test_a_method_sees_float32_and_no_autocast(third_method: str) -> None:
    """A quantizer gets float32 weights outside autocast, also when the model is in half precision."""
    conv = nn.Conv2d(2, 3, 1, bias=False).bfloat16()
    layer = QuantConv2d.from_conv(
        conv, quantizer_class(third_method).for_weight(conv.weight, 3, per_channel=False, init="")
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer.quantized_weight()
    assert PowerOfTwo.seen == [(torch.float32, False)]


@pytest.mark.parametrize("module", ["yolo_qreg", "yolo_qreg.config", "yolo_qreg.quant.registry"])
def test_settings_are_checked_without_torch(module: str) -> None:
    """A fresh process that imports settings and registry has loaded neither torch nor the host."""
    code = (
        f"import sys, {module}; from yolo_qreg.config import QuantConfig; QuantConfig(method='lsq', bits=4); "
        "print(sorted({'torch', 'ultralytics', 'numpy', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
