"""Settings are checked when made, and say value, rule and remedy."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from yolo_qreg.config import QuantConfig, TrainConfig
from yolo_qreg.errors import InputError
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS

REJECTED = [
    ({"method": "dorefe"}, "method='dorefe' is unknown; choose one of " + ", ".join(METHODS)),
    ({"method": "binaryconnect"}, "bits=8 is out of range for binaryconnect; use 1, or 32 for float"),
    ({"bits": 0}, "bits=0 is out of range for dorefa; use 1-8, or 32 for float"),
    ({"bits": 9}, "bits=9 is out of range for dorefa; use 1-8, or 32 for float"),
    ({"bits": -8}, "bits=-8 is out of range for dorefa; use 1-8, or 32 for float"),
    ({"bits": 16}, "bits=16 is out of range for dorefa; use 1-8, or 32 for float"),
    ({"bits": 4.0}, "bits=4.0 is out of range for dorefa; use 1-8, or 32 for float"),
    ({"bits": "8"}, "bits=8 is out of range for dorefa; use 1-8, or 32 for float"),
    ({"bits": True}, "bits=True is out of range for dorefa; use 1-8, or 32 for float"),
    ({"bits": None}, "bits=None is out of range for dorefa; use 1-8, or 32 for float"),
    ({"method": "lsq", "bits": 1}, "bits=1 is out of range for lsq; use 2-8, or 32 for float"),
    ({"first_bits": 12}, "first_bits=12 is out of range for dorefa; use 1-8, or 32 for float"),
    ({"method": "lsq", "last_bits": 1}, "last_bits=1 is out of range for lsq; use 2-8, or 32 for float"),
    (
        {"method": "noise", "per_channel": True},
        "per_channel=True is not defined for noise; use method=lsq or drop it",
    ),
    ({"init": "mse"}, "init='mse' is not one that dorefa has (none: it has no step to initialise)"),
    ({"method": "lsq", "init": "max"}, "init='max' is not one that lsq has (paper, mse)"),
    (
        {"last_bits": 8},
        "last_bits=8 needs a method that keeps the weights' scale, and dorefa does not; use method=lsq or drop it "
        "(no BatchNorm follows the output convolutions)",
    ),
    ({"skip": "model.24.*"}, "skip='model.24.*' must be a list of globs; write ['model.24.*']"),
    ({"bn_images": -1}, "bn_images=-1 must be a number of images, 0 (off) or more"),
    ({"bn_images": 1.5}, "bn_images=1.5 must be a number of images, 0 (off) or more"),
    ({"bn_images": True}, "bn_images=True must be a number of images, 0 (off) or more"),
    ({"widths": [8]}, "widths=[8] is not a mapping; write names of convolutions and their bits"),
    ({"widths": {0: 8}}, "widths: 0 is no name of a convolution; names look like 'model.0.conv'"),
    ({"widths": {"a": 9}}, "widths: a=9 is out of range for dorefa; use 1-8, or 32 for float"),
    ({"widths": {"a": True}}, "widths: a=True is out of range for dorefa; use 1-8, or 32 for float"),
    ({"method": "lsq", "widths": {"a": 1}}, "widths: a=1 is out of range for lsq; use 2-8, or 32 for float"),
    (
        {"widths": {"a": 4}, "skip": ["a"]},
        "widths say all: drop skip, first_bits and last_bits, and give 32 to what stays in float",
    ),
    ({"widths": {"a": 32}}, "widths leave everything in float; for the FP32 twin drop them and use bits=32"),
    ({"widths": {"a": 4}, "bits": 3}, "bits=3 beside widths would mean nothing; drop one of them"),
    (
        {"method": "binaryconnect", "bits": 1, "options": {"test": "ensemble"}},
        "options: test=ensemble averages networks with drawn weights; add draws=stochastic",
    ),
    (
        {"method": "binaryconnect", "bits": 1, "options": {"networks": 4}},
        "options: networks=4 is of test=ensemble alone; drop it, or add that",
    ),
    (
        {"method": "binaryconnect", "bits": 1, "options": {"draws": "stochastic", "test": "ensemble"}, "bn_images": 9},
        "bn_images=9 is for one network with fixed weights, and binaryconnect-1bit-stochastic-ensemble averages the "
        "answers of 8; drop it (bn_images=0 in a study), or test one network, as test=binary does",
    ),
    ({"bits": 32, "grad_l1": -1}, "grad_l1=-1 must be a number, 0 (off) or more"),
    ({"bits": 32, "grad_l1": float("nan")}, "grad_l1=nan must be a number, 0 (off) or more"),
    (
        {"grad_l1": 0.1},
        "grad_l1=0.1 is for float weights that are rounded afterwards, and dorefa-8bit rounds them in the training; "
        "use bits=32 and quantize what comes of it",
    ),
]

ACCEPTED: list[dict[str, Any]] = [
    {},
    {"bits": 1},
    {"bits": FLOAT_BITS, "last_bits": FLOAT_BITS, "first_bits": 8},
    {"method": "lsq", "bits": 2, "per_channel": True, "init": "mse", "last_bits": 8, "skip": ("a", "b*")},
    {"method": "lsq", "bits": FLOAT_BITS, "bn_images": 300},
    {"method": "lsq", "widths": {"a": 2, "b": 8, "c": FLOAT_BITS}},
    {"bits": FLOAT_BITS, "grad_l1": 0.05},
]


@pytest.mark.parametrize(("values", "message"), REJECTED)
def test_what_is_not_honoured_is_rejected(values: dict[str, Any], message: str) -> None:
    """One line names the value, the rule and the remedy."""
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        QuantConfig(**values)


@pytest.mark.parametrize("values", ACCEPTED)
def test_round_trip_through_plain_data(values: dict[str, Any]) -> None:
    """`to_dict` gives what JSON can carry, and `from_dict` gives the configuration back."""
    config = QuantConfig(**values)
    plain = config.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert QuantConfig.from_dict(plain) == config
    assert list(plain) == [f.name for f in dataclasses.fields(QuantConfig)]


@pytest.mark.parametrize("method", METHODS)
def test_every_width_of_a_method_is_accepted(method: str) -> None:
    """Each width of the registry and 32 make a configuration, with the method's first initialisation."""
    for bits in (*METHODS[method].bits, FLOAT_BITS):
        config = QuantConfig(method=method, bits=bits, first_bits=bits)
        assert config.bits == bits
        assert config.init == (METHODS[method].inits or ("",))[0]


@pytest.mark.parametrize(("bits", "images"), [(1, 256), (4, 256), (5, 0), (8, 0), (32, 0)])
def test_statistics_are_estimated_anew_at_few_bits(bits: int, images: int) -> None:
    """Unless told otherwise, BatchNorm is re-estimated at 4 bits and below; 0 turns it off there."""
    assert QuantConfig(bits=bits).bn_images == images
    assert QuantConfig(bits=bits, bn_images=0).bn_images == 0
    assert QuantConfig(bits=bits, bn_images=7).bn_images == 7


def test_the_smallest_width_of_a_plan_says_whether_statistics_are_estimated_anew() -> None:
    """One layer at 4 bits is enough, and `bits` is the largest width."""
    assert QuantConfig(widths={"a": 8, "b": 4}).bn_images == 256
    assert QuantConfig(widths={"a": 6, "b": 5}).bn_images == 0
    assert QuantConfig(widths={"a": 6, "b": 5, "c": 32}).bits == 6


def test_the_default_is_the_paper() -> None:
    """Without arguments: DoReFa at 8 bits on every block."""
    assert QuantConfig().to_dict() == {
        "method": "dorefa",
        "bits": 8,
        "per_channel": False,
        "init": "",
        "skip": [],
        "first_bits": None,
        "last_bits": None,
        "bn_images": 0,
        "bn_tune": 0,
        "options": {},
        "activations": None,
        "activation_method": "",
        "activation_grid": "",
        "widths": {},
        "grad_l1": 0.0,
    }
    assert TrainConfig().quant == QuantConfig()


@pytest.mark.parametrize(
    ("key", "near"), [("bit", "bits"), ("metod", "method"), ("perchannel", "per_channel"), ("skips", "skip")]
)
def test_an_unknown_key_is_answered_with_the_nearest(key: str, near: str) -> None:
    """A wrong key of a dictionary is named, with the right one beside it."""
    with pytest.raises(InputError, match=f"^quant key '{key}' is unknown; did you mean '{near}'\\?$"):
        QuantConfig.from_dict({key: 1})


def test_skip_becomes_a_tuple() -> None:
    """A list of globs is taken, and frozen with the rest."""
    config = QuantConfig(skip=["a", "b"])
    assert config.skip == ("a", "b")
    assert hash(config) == hash(QuantConfig(skip=("a", "b")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.bits = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("config", "label"),
    [
        (QuantConfig(), "dorefa-8bit"),
        (QuantConfig(method="lsq", bits=2), "lsq-2bit"),
        (QuantConfig(method="lsq", bits=32), "fp32"),
        (QuantConfig(bits=32, grad_l1=0.05), "fp32-gradl1-0.05"),
        (QuantConfig(method="lsq", widths={"a": 2, "b": 6, "c": 32}, activations=8), "lsq-2to6bit-a5e5-a8"),
        (QuantConfig(method="lsq", widths={"a": 3, "b": 3}), "lsq-3bit-d28f"),
    ],
)
def test_label(config: QuantConfig, label: str) -> None:
    """Folders and tables call a configuration by method and width, and the twin by its own name."""
    assert config.label == label


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, "lsq-4bit"),
        ({"per_channel": True, "last_bits": 8}, "lsq-4bit-pc-last8"),
        ({"first_bits": 32, "skip": ["model.24.*", "model.0"]}, "lsq-4bit-first32-skip-model.24._-model.0"),
        ({"activations": 4, "activation_grid": "symmetric"}, "lsq-4bit-a4-symmetric"),
        ({"activations": 8, "activation_method": "pact"}, "lsq-4bit-a8-pact"),
        ({"options": {"oscillations": "freeze"}}, "lsq-4bit-freeze"),
    ],
)
def test_full_label(settings: dict[str, Any], label: str) -> None:
    """Files are told apart by every setting that changes weights."""
    assert QuantConfig(method="lsq", bits=4, **settings).full_label == label


def test_long_patterns_are_hashed() -> None:
    """Names of files stay short, and differ where patterns do."""
    names = {QuantConfig(skip=[f"model.{i}.cv{k}.conv" for k in range(9)]).full_label for i in range(3)}
    names |= {QuantConfig(skip=[pattern]).full_label for pattern in ("model.2", "model.2*", "model.2?", "a/b")}
    assert len(names) == 7
    assert all(len(name) < 40 and "/" not in name for name in names)
