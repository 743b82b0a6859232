"""Quantization without training, of the weights of an FP32 twin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from short_runs import SIDE_PX, TINY, TINY_CONVS, TINY_RANGES, Run

from yolo_qreg import QuantConfig, quantize
from yolo_qreg.activations import quantizers
from yolo_qreg.analysis.network import load_network
from yolo_qreg.cli import main
from yolo_qreg.errors import InputError
from yolo_qreg.export import packed as container
from yolo_qreg.export.describe import describe
from yolo_qreg.export.weights import read_checkpoint
from yolo_qreg.host import checkpoint
from yolo_qreg.host.batchnorm import float_images, training_images
from yolo_qreg.host.predict import Detector
from yolo_qreg.quant.lsq import LSQQuantizer

Trained = Callable[[str], Run]


@pytest.fixture(scope="module")
def files(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The twin at 8 and 2 bits, with activations at 8, as the command writes them; by width."""
    out = tmp_path_factory.mktemp("ptq")
    given = ["quantize", str(trained("twin").folder), "--bits", "8", "2", "--activations", "8", "--bn-images", "8"]
    assert main([*given, "--out", str(out)]) == 0
    return {bits: out / f"run-lsq-{bits}bit-a8-bn8-ptq.pt" for bits in (8, 2)}


@pytest.mark.parametrize("bits", [8, 2])
def test_codes_are_those_of_the_float_weights(files: dict[int, Path], trained: Trained, bits: int) -> None:
    """Latents are the twin's in float32; each layer has the codes of the step of least squared error."""
    twin = checkpoint.state_of(checkpoint.load(trained("twin").best)[1], "")
    state = checkpoint.state_of(checkpoint.load(files[bits])[1], "")
    weights, _, _ = read_checkpoint(files[bits])
    assert len(weights.coded) == TINY_CONVS
    for layer, coded in weights.coded.items():
        latent = twin.tensors[f"{layer}.weight"]
        assert torch.equal(state.tensors[f"{layer}.weight"], latent)
        quantizer = LSQQuantizer.for_weight(latent, bits, per_channel=False, init="mse")
        assert torch.equal(coded.codes, quantizer.codes(latent))
    assert describe(files[bits]).kind == "post-training quantized"
    assert (len(state.activations), state.origin) == (TINY_RANGES, twin.origin)


def test_batchnorm_fits_the_quantized_network(files: dict[int, Path], trained: Trained) -> None:
    """Its means and variances are others than the twin's; parameters are the same."""
    twin, found = (checkpoint.load(path)[0].state_dict() for path in (trained("twin").best, files[2]))
    for key, value in twin.items():
        if key.endswith(("running_mean", "running_var")):
            assert not torch.equal(found[key], value), key
        elif key.endswith(("bn.weight", "bn.bias")):
            assert torch.equal(found[key], value), key


def test_an_evaluation_runs_quantized_activations(files: dict[int, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Its detector holds a grid each, and what a layer reads has at most 256 values; `info` says what others do."""
    detector = Detector(files[8], imgsz=SIDE_PX)
    found = quantizers(detector._host.model)
    assert len(found) == TINY_RANGES
    read = []
    found["model.2.conv"].register_forward_hook(lambda *args: read.append(args[2]))
    detector.detect([np.full((50, 60, 3), 90, np.uint8)])
    assert 1 < len(read[0].unique()) <= 256
    assert main(["info", str(files[8])]) == 0
    assert "plain Ultralytics runs this file with float activations" in capsys.readouterr().out


def test_exports_keep_the_ranges(files: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plain file, and a packed one that was unpacked, hold the grids of the checkpoint; damaged ones are one line."""
    wanted = checkpoint.state_of(checkpoint.load(files[2])[1], "")
    plain = tmp_path / "plain.pt"
    assert main(["export", str(files[2]), "--to", "pt", "--out", str(plain)]) == 0
    assert "this file runs with float ones" in capsys.readouterr().out
    unpacked = container.unpack(container.to_packed(files[2], tmp_path / "a.safetensors"), tmp_path / "again.pt")
    for path in (plain, unpacked):
        state = checkpoint.state_of(checkpoint.load(path)[1], path)
        assert (state.activations, state.trained) == (wanted.activations, False)
        assert isinstance(checkpoint.as_meant(path), torch.nn.Module)
    row = wanted.activations[1].to_list()
    for position, value in ((0, []), (0, ["model.0.act"]), (1, ["nothing"]), (4, "x"), (4, 0.0), (5, 999), (7, 1e9)):
        _, ckpt = checkpoint.load(plain)
        ckpt["qreg"]["activations"] = [[*row[:position], value, *row[position + 1 :]]]
        damaged = tmp_path / "damaged.pt"
        checkpoint.save(damaged, ckpt)
        with pytest.raises(InputError, match=r"range of activations|could be quantized"):
            checkpoint.as_meant(damaged)


def test_what_has_no_float_weights_is_refused(
    files: dict[int, Path], trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quantized files, missing statistics of BatchNorm and methods without codes are one line each."""
    twin = str(trained("twin").folder)
    before = set(trained("twin").best.parent.iterdir())
    for words, message in (
        ([str(files[8]), "--bits", "4"], "quantized already (lsq-8bit-a8)"),
        ([twin, "--bits", "8", "--method", "dorefa", "--bn-images", "0"], "bn_images=0 does not fit dorefa"),
        ([twin, "--bits", "32"], "fp32 has no codes"),
        ([twin, "--bits", "8", "--option", "like=lsq"], "options: 'like' is not one that lsq has"),
        ([twin, "--bits", "8", "--first-bits", "9"], "first_bits=9 is out of range"),
        ([twin, "--bits", "4", "--method", "dorefa", "--adaround"], "and dorefa has others; use lsq"),
        ([twin, "--bits", "8,4,8"], "lsq-8bit-ptq.pt would be written twice"),
        ([twin, "--bits", "8", "--out", f"{twin}/none"], "is no folder"),
    ):
        assert main(["quantize", *words]) == 2
        assert message in capsys.readouterr().err
    assert set(trained("twin").best.parent.iterdir()) == before


def test_the_function_writes_one_file_for_each_configuration(trained: Trained, data: Path, tmp_path: Path) -> None:
    """A named data set is looked at; DoReFa's weights are those of a training at its start."""
    configs = [QuantConfig(bits=bits, bn_images=4) for bits in (1, 4)]
    written = quantize(trained("twin").best, configs, tmp_path, data)
    assert [path.name for path in written] == ["run-dorefa-1bit-bn4-ptq.pt", "run-dorefa-4bit-bn4-ptq.pt"]
    assert [max(layer.levels_used for layer in describe(path).layers) for path in written] == [2, 16]


def test_adaround_keeps_the_answers_of_layers(
    train: Callable[..., Run], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first block answers nearer to the float one than with nearest integers; exports have the chosen codes."""
    run = train(QuantConfig(bits=32), model=str(TINY), epochs=1, val=False)
    given = [
        "quantize",
        str(run.folder),
        "--bits",
        "2",
        "--skip",
        "model.3.*",
        "--bn-images",
        "8",
        "--out",
        str(tmp_path),
    ]
    assert main(given) == 0
    assert main([*given, "--adaround"]) == 0
    label = "run-lsq-2bit-skip-model.3._"
    plain, nearest, learned = run.best, tmp_path / f"{label}-bn8-ptq.pt", tmp_path / f"{label}-adaround-bn8-ptq.pt"
    pictures = next(float_images(training_images(run.trainer.args, run.trainer.data, 8, 32), torch.device("cpu")))
    block = checkpoint.load(plain)[0].get_submodule("model.0").eval()
    errors = []
    with torch.no_grad():
        wanted = block(pictures)
        for path in (nearest, learned):
            weight = read_checkpoint(path)[0].coded["model.0.conv"].values("lsq")
            block.get_submodule("conv").weight.copy_(weight)  # type: ignore[operator]
            errors.append(float((block(pictures) - wanted).square().sum()))
    assert errors[1] < errors[0]
    state = checkpoint.state_of(checkpoint.load(learned)[1], learned)
    codes = {layer: coded.codes for layer, coded in read_checkpoint(learned)[0].coded.items()}
    packed = container.read(container.to_packed(learned, tmp_path / "a.safetensors")).weights.coded
    for layer, held in codes.items():
        step = state.tensors[f"{layer}.quantizer.step"]
        assert torch.equal(state.tensors[f"{layer}.weight"], step * (held.float() - 2)), "latents are the levels"
        assert torch.equal(packed[layer].codes, held)
    assert not load_network(learned).latents, "levels are no float weights"
    assert main(["info", str(learned)]) == 0
    assert "post-training quantized, AdaRound" in capsys.readouterr().out
    again = quantize(
        run.best, QuantConfig(method="lsq", bits=2, skip=["model.3.*"], bn_images=8), data.parent, adaround=True
    )
    other = read_checkpoint(again[0])[0].coded
    assert all(torch.equal(other[layer].codes, held) for layer, held in codes.items())
