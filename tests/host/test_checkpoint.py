"""Checkpoints keep the quantized model exactly, and stay plain files of the host."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel, torch_safe_load
from ultralytics.utils.torch_utils import strip_optimizer

from yolo_qreg import health
from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.patch import bake, quantized_layers

CONFIGS = {
    "dorefa-8": QuantConfig(bits=8, skip=["model.24.*"]),
    "lsq-3": QuantConfig(method="lsq", bits=3, per_channel=True, init="mse", first_bits=8, last_bits=6),
    "twin": QuantConfig(bits=32),
}


class Written(NamedTuple):
    """A checkpoint in the middle of a training, and the quantized model that it was made from."""

    path: Path
    model: nn.Module
    config: QuantConfig


def write(path: Path, config: QuantConfig) -> Written:
    """Write a checkpoint as a training does, with latents that half precision cannot hold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DetectionModel("yolov5n.yaml", nc=2, verbose=False)
        quantize_detector(model, config)
        with torch.no_grad():
            for layer in quantized_layers(model).values():
                layer.weight.mul_(1 + 1e-4 * torch.randn_like(layer.weight))
                for step in layer.quantizer.steps():
                    step.mul_(1.01)
    model.names = {0: "a", 1: "b"}
    plain = bake(deepcopy(model)).half()
    plain.args = {"task": "detect", "imgsz": 64}
    rows, _ = health.measure(model, {})
    state = checkpoint.QuantState(
        config,
        {name: layer.quantizer.bits for name, layer in quantized_layers(model).items()},
        checkpoint.tensors_of(model),
        {"model": model.state_dict()},
        tuple(rows),
    )
    ckpt = {"epoch": 3, "model": None, "ema": plain, "updates": 5, "optimizer": {"state": {}}, "best_fitness": 0.1}
    checkpoint.save(path, ckpt | {"train_args": plain.args, "train_metrics": {}, checkpoint.KEY: state.to_dict()})
    return Written(path, model, config)


@pytest.fixture(params=CONFIGS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    """A checkpoint of every configuration of `CONFIGS` in turn."""
    return write(tmp_path / "last.pt", CONFIGS[request.param])


@pytest.fixture
def plain_file(tmp_path: Path) -> Path:
    """A checkpoint as the host writes it."""
    model = YOLO("yolov5n.yaml")
    model.save(tmp_path / "plain.pt")
    return tmp_path / "plain.pt"


def assert_same_quantization(path: Path, written: Written) -> None:
    """Assert that a file gives back the quantized layers of the model it was made from, bit for bit."""
    plain, ckpt = checkpoint.load(path)
    assert not quantized_layers(plain)
    state = checkpoint.state_of(ckpt, path)
    assert state.config == written.config
    checkpoint.check_fresh(plain, state, path)
    ours, theirs = quantized_layers(checkpoint.requantize(plain, state)), quantized_layers(written.model)
    assert list(ours) == list(theirs) == list(state.bits)
    for name, layer in ours.items():
        assert layer.quantizer.bits == theirs[name].quantizer.bits == state.bits[name]
        assert torch.equal(layer.weight.view(torch.int32), theirs[name].weight.view(torch.int32))
        assert torch.equal(layer.quantized_weight(), theirs[name].quantized_weight())
        for key, value in theirs[name].quantizer.state_dict().items():
            assert torch.equal(layer.quantizer.state_dict()[key], value)
        if layer.quantizer.bits != 32:
            assert torch.equal(health.layer_codes(layer), health.layer_codes(theirs[name]))


def test_a_file_gives_back_the_quantized_model(written: Written) -> None:
    """Latent weights, steps, codes, widths and settings survive, though the module is stored in half precision."""
    assert_same_quantization(written.path, written)


def test_it_survives_the_hosts_stripping(written: Written) -> None:
    """`strip_optimizer` keeps our key."""
    strip_optimizer(written.path)
    assert torch.load(written.path, weights_only=False)["optimizer"] is None
    assert_same_quantization(written.path, written)


def test_it_survives_saving_by_the_host(written: Written, tmp_path: Path) -> None:
    """`YOLO.save` keeps our key, before and after stripping."""
    YOLO(written.path).save(tmp_path / "again.pt")
    assert_same_quantization(tmp_path / "again.pt", written)


def test_it_loads_weights_only(written: Written) -> None:
    """The host's safe loading accepts the file, and torch's own accepts the key: tensors, numbers and strings."""
    ckpt, _ = torch_safe_load(str(written.path), safe_only=True)
    assert checkpoint.state_of(ckpt, written.path).config == written.config
    alone = written.path.with_name("key.pt")
    torch.save(ckpt[checkpoint.KEY], alone)
    again = checkpoint.QuantState.from_dict(torch.load(alone, weights_only=True))
    assert again.config == written.config
    assert again.health == tuple(health.measure(written.model, {})[0])


def test_finishing_drops_what_resuming_needs(written: Written) -> None:
    """A finished file is smaller and nothing else changes; doing it twice changes nothing."""
    size = written.path.stat().st_size
    for _ in range(2):
        checkpoint.finish(written.path, checkpoint.load(written.path)[1][checkpoint.KEY], {"epoch": [1]})
        assert written.path.stat().st_size < 0.75 * size
        ckpt = checkpoint.load(written.path)[1]
        assert checkpoint.state_of(ckpt, "").resume == {}
        assert ckpt["train_results"] == {"epoch": [1]}
        assert_same_quantization(written.path, written)


def test_an_edited_module_is_noticed(written: Written) -> None:
    """One weight of one layer that is not the quantized one is told by name; the model is left as loaded."""
    plain, ckpt = checkpoint.load(written.path)
    state = checkpoint.state_of(ckpt, written.path)
    name = list(state.bits)[7]
    with torch.no_grad():
        plain.get_submodule(name).weight[0, 0, 0, 0] += 0.25
    with pytest.raises(
        InputError, match=rf"last\.pt: weights of {re.escape(name)} were changed after quantization; export the"
    ):
        checkpoint.check_fresh(plain, state, written.path)
    assert not quantized_layers(plain)


def test_tensors_are_float32_copies(written: Written) -> None:
    """What travels is a float32 copy of weights and steps; biases of output convolutions are in the module already."""
    model = deepcopy(written.model).half()
    tensors = checkpoint.tensors_of(model)
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    assert not any(key.endswith(".bias") for key in tensors)
    assert {key.removesuffix(".weight") for key in tensors if key.endswith(".weight")} == set(quantized_layers(model))
    kept = checkpoint.tensors_of(written.model)
    before = {key: value.clone() for key, value in kept.items()}
    with torch.no_grad():
        for parameter in written.model.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[key]) for key, value in kept.items())


def test_a_plain_file_of_the_host_is_refused(plain_file: Path) -> None:
    """It has no quantization state, and the message says what to do."""
    _, ckpt = checkpoint.load(plain_file)
    message = r"plain\.pt was not trained by yolo-qreg \(it holds no quantization state\); train it here first$"
    with pytest.raises(InputError, match=message):
        checkpoint.state_of(ckpt, plain_file)


def test_a_newer_format_is_refused() -> None:
    """A file of a later release is not guessed at."""
    newer = {checkpoint.KEY: {"format": checkpoint.FORMAT + 1}}
    with pytest.raises(InputError, match=r"^x\.pt has format 2, this release reads 1; update yolo-qreg$"):
        checkpoint.state_of(newer, "x.pt")


def test_a_plain_export_cannot_be_requantized(plain_file: Path) -> None:
    """Without latent weights there is nothing to quantize."""
    plain, _ = checkpoint.load(plain_file)
    state = checkpoint.QuantState(QuantConfig(), {"model.0.conv": 8}, {}, scales={"model.0.conv": torch.ones(())})
    with pytest.raises(InputError, match=r"^a plain export holds no latent weights to quantize; use the run's own"):
        checkpoint.requantize(plain, state)
    assert not quantized_layers(plain)


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty, foreign or torn file is named in one line."""
    path = tmp_path / "x.pt"
    if content is not None:
        path.write_bytes(content)
    rule = "is not a file; name a .pt" if content is None else "is not a checkpoint that Ultralytics can load"
    with pytest.raises(InputError, match=rf"x\.pt {rule}") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    """A file is whole or as it was, and no part of it is left behind."""
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"epoch": 1})
    unpicklable: dict[str, Any] = {"epoch": 2, "big": torch.zeros(1000), "bad": lambda: None}
    with pytest.raises(AttributeError):
        checkpoint.save(path, unpicklable)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
