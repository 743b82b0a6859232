"""Every method of the registry through the real path: trained, resumed, saved, described, packed and unpacked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from short_runs import TINY, Run, assert_same

from yolo_qreg import InputError, QATTrainer, QuantConfig, describe, export_weights, quantize, unpack
from yolo_qreg.analysis.network import load_network
from yolo_qreg.evaluation.models import subjects
from yolo_qreg.host import checkpoint
from yolo_qreg.host.predict import Detector
from yolo_qreg.patch import quantized_layers
from yolo_qreg.quant.registry import METHODS

VARIANTS = {
    "dorefa": QuantConfig(bits=4, per_channel=True, bn_images=0),
    "lsq-freeze": QuantConfig(method="lsq", bits=2, options={"oscillations": "freeze"}, bn_images=0),
    "fixed": QuantConfig(method="fixed", bits=4, last_bits=8, bn_images=0),
    "unet": QuantConfig(method="fixed", bits=5, options={"variant": "unet"}, bn_images=0),
    "dynamic-fixed": QuantConfig(method="dynamic-fixed", bits=8, options={"period": 1}, bn_images=0),
    "noise": QuantConfig(method="noise", bits=4, options={"kind": "permuted", "like": "lsq"}, bn_images=0),
    "binaryconnect": QuantConfig(method="binaryconnect", bits=1, options={"draws": "stochastic"}, bn_images=0),
    "ensemble": QuantConfig(
        method="binaryconnect", bits=1, options={"draws": "stochastic", "test": "ensemble", "networks": 2}
    ),
    "ternary": QuantConfig(method="ternary", bits=2, per_channel=True, last_bits=2, bn_images=0),
}
RESUMED = ("lsq-freeze", "dynamic-fixed", "noise", "binaryconnect")
"""Those with state of their own, or draws."""


@pytest.fixture(scope="module", params=VARIANTS)
def run(request: pytest.FixtureRequest, train: Callable[..., Run]) -> Run:
    """Two epochs of a small detector, the first one kept."""
    return train(VARIANTS[request.param], model=str(TINY), save_period=1, val=False)


def test_every_method_is_here() -> None:
    """Who adds a method adds a line above."""
    assert {config.method for config in VARIANTS.values()} == set(METHODS)


@pytest.mark.parametrize("run", RESUMED, indirect=True)
def test_resuming_repeats_the_run(run: Run, tmp_path: Path) -> None:
    """Resumed after its first epoch, it ends with the same bits: weights, averages, and all state of the method."""
    last = tmp_path / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes((run.folder / "weights" / "epoch0.pt").read_bytes())
    resumed = QATTrainer(overrides={"resume": str(last)})
    resumed.train()
    assert resumed.quant == run.config
    assert_same(resumed.model.state_dict(), run.trainer.model.state_dict())
    assert_same(resumed.ema.ema.state_dict(), run.trainer.ema.ema.state_dict())


@pytest.mark.parametrize("run", ["dynamic-fixed"], indirect=True)
def test_ranges_of_gradients_do_not_depend_on_what_scales_the_loss(run: Run, train: Callable[..., Run]) -> None:
    """AMP's factor, here doubled after each step, is taken out: the run has the bits of one without."""

    def scale(trainer: QATTrainer) -> None:
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=1)

    scaled = train(run.config, {"on_train_start": scale}, model=str(TINY), val=False)
    assert scaled.trainer.scaler.get_scale() == 2.0**12
    assert_same(scaled.trainer.model.state_dict(), run.trainer.model.state_dict())


def test_what_is_saved_is_what_the_method_means(run: Run, tmp_path: Path) -> None:
    """The file holds the weights of eval mode; packed and unpacked again they are those of the plain export."""
    last = run.folder / "weights" / "last.pt"
    saved, ckpt = checkpoint.load(last)
    assert not any("tracker" in key for key in checkpoint.state_of(ckpt, last).tensors)  # of a resumed training alone
    layers = quantized_layers(run.trainer.ema.ema)
    coded = {name for name, layer in layers.items() if layer.quantizer.has_codes}
    for name, layer in layers.items():
        weight = layer.weight.detach()
        values = layer.quantizer(weight)
        assert torch.equal(saved.get_submodule(name).weight, values.half().float())
    plain = export_weights(last, "pt", tmp_path / "plain.pt")
    packed = export_weights(last, "packed", tmp_path / "packed.safetensors")
    again = unpack(packed, tmp_path / "again.pt")
    ours, theirs = (checkpoint.load(path)[0].state_dict() for path in (again, plain))
    assert_same(ours, theirs)
    assert bool(coded) == run.config.has_codes
    for file in (last, plain, packed):
        found = describe(file)
        assert not found.twin and {row.name for row in found.layers} == coded
        if file != packed:
            (subject,) = subjects([file])
            assert subject.model.method == run.config.method and subject.model.bits == run.config.bits


@pytest.mark.parametrize("run", ["ensemble"], indirect=True)
def test_an_ensemble_answers_by_the_mean_of_drawn_networks(run: Run) -> None:
    """Two networks of plus and minus one, +1 with probability (w + 1) / 2 and the same each time, in the host's net."""
    last = run.folder / "weights" / "last.pt"
    with pytest.raises(InputError, match="averages the answers of 2 networks, and a loss is of one; name a model that"):
        load_network(last)
    state = checkpoint.state_of(checkpoint.load(last)[1], last)
    names = [name for name, bits in state.bits.items() if bits == 1]
    latents = torch.cat([state.tensors[f"{name}.weight"].flatten() for name in names])
    model = Detector(last, imgsz=64)._host.model
    again = checkpoint.as_meant(last)
    pictures, answers, drawn = torch.rand(2, 3, 64, 64), [], []
    for member in again.members:
        plain, _ = checkpoint.load(last)
        drawn.append(torch.cat([member.get_submodule(name).weight.detach().flatten() for name in names]))
        assert set(drawn[-1].unique().tolist()) == {-1.0, 1.0}
        assert abs(float((drawn[-1] - latents).sum())) < 5 * float((1 - latents.square()).sum().sqrt())
        plain.load_state_dict(member.state_dict())
        answers.append(plain.eval()(pictures)[0].detach())
    assert not torch.equal(*drawn)
    with torch.no_grad():
        torch.testing.assert_close(again(pictures)[0], torch.stack(answers).mean(0))
        torch.testing.assert_close(model(pictures)[0], again(pictures)[0], rtol=1e-3, atol=1e-3)  # folded


def test_weights_of_a_control_are_quantized_afterwards(run: Run, tmp_path: Path) -> None:
    """What was trained with noise is evaluated as it is, and quantized; what is quantized already is refused."""
    wanted = [QuantConfig(method="lsq", bits=4, bn_images=0)]
    if run.config.has_codes:
        with pytest.raises(InputError, match="is quantized already"):
            quantize(run.best, wanted, tmp_path)
    else:
        (file,) = quantize(run.folder / "weights" / "last.pt", wanted, tmp_path)
        assert {row.bits for row in describe(file).layers} == {4}
        held = checkpoint.state_of(checkpoint.load(file)[1], file).tensors
        for name, layer in quantized_layers(run.trainer.ema.ema).items():
            assert torch.equal(held[f"{name}.weight"], layer.quantizer(layer.weight.detach())), name


def test_health_is_of_layers_with_codes(run: Run) -> None:
    """Layers whose weights stay float are passed over."""
    rows = run.folder / "quantization.csv"
    assert rows.is_file() == run.config.has_codes
