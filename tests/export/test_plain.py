from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from quantized_detectors import NAMES, Trained, write

from yolo_qreg.errors import InputError
from yolo_qreg.export.plain import to_plain
from yolo_qreg.export.weights import read_checkpoint
from yolo_qreg.host import checkpoint
from yolo_qreg.patch import bake, quantized_layers
from yolo_qreg.quant.registry import FLOAT_BITS


def test_float32_values_are_exactly_those_of_training(each: Trained, tmp_path: Path) -> None:
    """With fp32, every tensor equals the baked quantized model's, which computes from the float32 latents."""
    out = to_plain(each.path, tmp_path / "out.pt", fp32=True)
    held = torch.load(out, weights_only=False)["model"].state_dict()
    expected = bake(deepcopy(each.model)).state_dict()
    assert held.keys() == expected.keys()
    assert all(torch.equal(held[key], expected[key]) and held[key].dtype == expected[key].dtype for key in held)


@pytest.mark.parametrize("fp32", [False, True])
def test_codes_of_a_plain_export_are_those_of_training(each: Trained, tmp_path: Path, fp32: bool) -> None:
    """Without latent weights, codes and scales follow from the stored values."""
    weights, _, _ = read_checkpoint(to_plain(each.path, tmp_path / "out.pt", fp32=fp32))
    layers = {n: m for n, m in quantized_layers(each.model).items() if m.quantizer.bits != FLOAT_BITS}
    assert weights.coded.keys() == layers.keys()
    for name, layer in layers.items():
        assert torch.equal(weights.coded[name].codes, layer.quantizer.codes(layer.weight.detach()))
        assert torch.equal(weights.coded[name].scale, layer.quantizer.scale(layer.weight.detach()))


def test_export_holds_nothing_of_the_training_machine(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Latents, optimizer, resume state, git and absolute paths are gone; class names, data set and metrics stay."""
    source = trained("lsq-2bit")
    out = to_plain(source.path, tmp_path / "out.pt")
    ckpt = torch.load(out, weights_only=False)
    assert b"somebody" not in out.read_bytes()
    assert ckpt["ema"] is ckpt["optimizer"] is None
    assert ckpt["epoch"] == -1
    assert ckpt["train_args"]["data"] == "pets.yaml"
    assert ckpt["train_args"]["imgsz"] == 64
    assert ckpt["train_metrics"]["metrics/mAP50(B)"] == 0.5
    assert ckpt["model"].names == dict(enumerate(NAMES))
    state = checkpoint.state_of(ckpt, out)
    assert (state.config, state.tensors, state.resume) == (source.config, {}, {})
    assert len(state.health) == len(state.bits) == len(state.scales) == len(quantized_layers(source.model))
    assert next(ckpt["model"].parameters()).dtype == torch.float16
    assert out.stat().st_size < source.path.stat().st_size / 2


def test_an_unfinished_checkpoint_exports_to_the_same_tensors(
    trained: Callable[[str], Trained], tmp_path: Path
) -> None:
    """A last.pt that could be resumed gives what the finished file gives."""
    source = trained("lsq-mixed")
    last = write(tmp_path / "last.pt", source.model, source.config, finished=False)
    ours = torch.load(to_plain(last.path), weights_only=False)["model"].state_dict()
    theirs = torch.load(to_plain(source.path, tmp_path / "best.pt"), weights_only=False)["model"].state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert (tmp_path / "last-lsq-3bit.pt").is_file()


def test_a_run_folder_stands_for_its_best_checkpoint(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """The file lands beside best.pt, named after method and bits, and tells float32 apart."""
    (tmp_path / "weights").mkdir()
    shutil.copy(trained("dorefa-8bit").path, tmp_path / "weights" / "best.pt")
    assert to_plain(tmp_path) == tmp_path / "weights" / "best-dorefa-8bit.pt"
    assert to_plain(tmp_path, fp32=True) == tmp_path / "weights" / "best-dorefa-8bit-float32.pt"


def test_a_plain_export_is_not_taken_for_a_checkpoint(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Quantizing baked weights once more would be another function, so `requantize` refuses."""
    out = to_plain(trained("dorefa-8bit").path, tmp_path / "out.pt")
    model, ckpt = checkpoint.load(out)
    with pytest.raises(InputError, match="holds no latent weights"):
        checkpoint.requantize(model, checkpoint.state_of(ckpt, out))


def test_wrong_outputs_are_refused_before_anything_is_written(
    trained: Callable[[str], Trained], tmp_path: Path
) -> None:
    """Each message names the path and the rule; nothing appears on disk."""
    source = shutil.copy(trained("twin").path, tmp_path / "best-fp32.pt")
    before = source.read_bytes()
    for out, message in {
        tmp_path: "is a folder; name a file in it",
        tmp_path / "none" / "x.pt": "does not exist; create it first",
        tmp_path / "x.onnx": "must end in .pt",
        source: "is the source itself",
        None: "is the source itself",
    }.items():
        with pytest.raises(InputError, match=message):
            to_plain(source, out)
    assert list(tmp_path.iterdir()) == [source]
    assert source.read_bytes() == before


def test_wrong_sources_are_refused(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Missing, foreign, damaged and edited files each get a line of their own."""
    empty = tmp_path / "run"
    empty.mkdir()
    junk, foreign, odd = tmp_path / "junk.pt", tmp_path / "foreign.pt", tmp_path / "odd.pt"
    junk.write_bytes(b"PK no checkpoint")
    ckpt = torch.load(trained("lsq-2bit").path, weights_only=False)
    torch.save({**ckpt, checkpoint.KEY: None}, foreign)
    torch.save({**ckpt, checkpoint.KEY: {**ckpt[checkpoint.KEY], "health": [[1]]}}, odd)
    for source, message in {
        empty: "holds no weights/best.pt; name a finished run",
        tmp_path / "none.pt": "none.pt is not a file",
        junk: "not a checkpoint that Ultralytics can load",
        foreign: "was not trained by yolo-qreg",
        odd: "its quantization state does not fit its model .* damaged",
    }.items():
        with pytest.raises(InputError, match=message):
            to_plain(source, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("exported", [False, True])
def test_edited_weights_are_refused(trained: Callable[[str], Trained], tmp_path: Path, exported: bool) -> None:
    """A module that was trained or edited after quantization is no longer what its codes say."""
    source = trained("lsq-2bit").path
    ckpt = torch.load(to_plain(source, tmp_path / "x.pt") if exported else source, weights_only=False)
    ckpt["model"].model[0].conv.weight.data[0, 0, 0, 0] += 0.01
    torch.save(ckpt, tmp_path / "edited.pt")
    with pytest.raises(InputError, match=r"weights of model\.0\.conv were changed after"):
        to_plain(tmp_path / "edited.pt", tmp_path / "out.pt")


def test_values_beyond_half_precision_ask_for_float32(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """An export never holds infinity where training did not."""
    ckpt = torch.load(trained("twin").path, weights_only=False)
    ckpt["model"].float().model[0].bn.running_var[0] = 1e5
    torch.save(ckpt, tmp_path / "big.pt")
    with pytest.raises(InputError, match=r"model\.0\.bn\.running_var holds values beyond .* export with --fp32"):
        to_plain(tmp_path / "big.pt", tmp_path / "out.pt")
    assert to_plain(tmp_path / "big.pt", tmp_path / "out.pt", fp32=True).is_file()


def test_weights_in_a_folder_that_cannot_be_written(
    trained: Callable[[str], Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the option that puts the file elsewhere."""

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"to \(Permission denied\); name a file elsewhere with --out"):
        to_plain(trained("lsq-2bit").path)
