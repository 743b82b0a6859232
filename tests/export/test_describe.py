from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from quantized_detectors import CONFIGS, DATA, NAMES, Trained, write

from yolo_qreg.errors import InputError
from yolo_qreg.export.describe import describe
from yolo_qreg.export.packed import to_packed
from yolo_qreg.export.plain import to_plain
from yolo_qreg.host import checkpoint
from yolo_qreg.patch import quantized_layers
from yolo_qreg.quant.registry import FLOAT_BITS


def test_all_forms_of_the_same_weights_tell_the_same(each: Trained, tmp_path: Path) -> None:
    """A checkpoint, its plain export and its packed file differ in kind, size and checksum alone."""
    files = {
        "finished checkpoint": each.path,
        "plain export": to_plain(each.path, tmp_path / "x.pt"),
        "packed weights": to_packed(each.path, tmp_path / "x.safetensors"),
    }
    found = {kind: describe(path) for kind, path in files.items()}
    assert [d.kind for d in found.values()] == list(files)
    first = found["finished checkpoint"]
    for kind, path in files.items():
        one = found[kind]
        assert (one.layers, one.totals, one.config, one.names) == (first.layers, first.totals, each.config, NAMES)
        data = first.training.data if one is first else "pets.yaml"
        assert (one.training, one.twin) == (replace(first.training, data=data), each.config.bits == FLOAT_BITS)
        assert (one.size_bytes, one.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_rows_and_totals_add_up(trained: Callable[[str], Trained]) -> None:
    """One row per quantized layer, in model order; sizes are those of the tensors."""
    source = trained("lsq-mixed")
    found = describe(source.path)
    layers = quantized_layers(source.model)
    assert [row.name for row in found.layers] == list(layers)
    assert {row.bits for row in found.layers} == {3, 6, 8}
    for row in found.layers:
        weight = layers[row.name].weight
        assert row.shape == tuple(weight.shape)
        assert row.size_bytes == -(-weight.numel() * row.bits // 8) + 4 * len(weight)
        assert 1 < row.levels_used <= 2**row.bits
        assert row.sqnr_db is not None and 0 < row.sqnr_db < 60
    tensors = list(torch.load(source.path, weights_only=False)["model"].state_dict().values())
    floats = sum(t.numel() for t in tensors if t.is_floating_point())
    integers = sum(8 * t.numel() for t in tensors if not t.is_floating_point())
    assert found.totals.values == floats
    assert found.totals.float32_bytes == 4 * floats + integers
    quantized = sum(layer.weight.numel() for layer in layers.values())
    rows = sum(row.size_bytes for row in found.layers)
    assert found.totals.packed_bytes == rows + 2 * (floats - quantized) + integers
    assert found.totals.quantized_share == quantized / floats
    assert found.totals.ratio == found.totals.float32_bytes / found.totals.packed_bytes


def test_training_facts_are_told(trained: Callable[[str], Trained]) -> None:
    """A run's own file says where its data set is; metrics that are not finite are left out."""
    training = describe(trained("dorefa-8bit").path).training
    assert (training.data, training.epochs, training.imgsz) == (DATA, 7, 64)
    assert (training.host, training.date) == ("8.4.190", "2024-05-06T07:08:09+00:00")
    assert training.metrics == {"metrics/mAP50-95(B)": 0.25, "metrics/mAP50(B)": 0.5}


def test_a_description_is_plain_data(each: Trained) -> None:
    """It goes through JSON without NaN or infinity."""
    found = describe(each.path).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["config"] == each.config.to_dict()


def test_an_unfinished_checkpoint_is_told_apart(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """It holds what resuming needs."""
    last = write(tmp_path / "last.pt", trained("lsq-2bit").model, CONFIGS["lsq-2bit"], finished=False)
    assert describe(last.path).kind == "unfinished checkpoint"


def test_plain_ultralytics_weights_have_no_quantized_layer(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """A file of the host gets sizes and names, also where it says nothing of its training."""
    ckpt = torch.load(trained("twin").path, weights_only=False)
    torch.save({"model": ckpt["model"]}, tmp_path / "host.pt")
    found = describe(tmp_path / "host.pt")
    assert (found.kind, found.config, found.layers, found.names) == ("plain Ultralytics", None, (), NAMES)
    assert found.totals.quantized == 0
    assert (found.training.host, found.training.data, found.training.metrics) == (None, None, {})


def test_damaged_files_are_refused(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Foreign state under our key is not mistaken for a plain host file."""
    ckpt = torch.load(trained("twin").path, weights_only=False)
    torch.save({**ckpt, checkpoint.KEY: {"format": 99}}, tmp_path / "newer.pt")
    with pytest.raises(InputError, match="has format 99, this release reads 1; update yolo-qreg"):
        describe(tmp_path / "newer.pt")
    with pytest.raises(InputError, match="is not a file"):
        describe(tmp_path / "none.pt")
