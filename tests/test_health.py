"""Health of quantized layers: counted, and minimised by brute force."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yolo_qreg import health, health_log
from yolo_qreg.config import QuantConfig
from yolo_qreg.health import LayerHealth
from yolo_qreg.patch import quantize_convs, quantized_layers

ROWS = [
    LayerHealth("a.conv", 2, 30, 3, 12.5, None),
    LayerHealth("b.conv", 4, 10, 8, 20.5, 0.25),
]


@pytest.fixture
def model() -> nn.Module:
    """Three quantized convolutions, at 8, 2 and 32 bits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
    quantize_convs(net, {"0": 8, "1": 2, "2": 32}, QuantConfig(method="lsq"))
    return net


def brute_force_db(weight: Tensor, quantized: Tensor) -> float:
    """Try a million factors."""
    w, q = weight.double().numpy().ravel(), quantized.double().numpy().ravel()
    factors = np.linspace(-3, 3, 1_000_001)
    noise = (w @ w) - 2 * factors * (w @ q) + factors**2 * (q @ q)
    return float(10 * np.log10((w @ w) / noise.min()))


@pytest.mark.parametrize("scale", [1.0, 16.0, 0.4])
def test_sqnr_is_that_of_the_best_factor(scale: float) -> None:
    """The ratio is 10 log10(|w|^2 / min_a |w - a q|^2): scaling the quantized weight changes nothing."""
    weight = 0.1 * torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    quantized = scale * (weight / 0.07).round() * 0.07
    assert health.sqnr_db(weight, quantized) == pytest.approx(brute_force_db(weight, quantized), abs=1e-3)


def test_sqnr_at_its_ends() -> None:
    """A multiple of the weight has no noise; zeros in place of the weight are all noise; a weight of zeros is 0 dB."""
    weight = torch.tensor([1.0, -2.0, 0.5])
    assert health.sqnr_db(weight, 4 * weight) > 100
    assert health.sqnr_db(weight, torch.zeros(3)) == 0
    assert health.sqnr_db(weight, torch.tensor([2.0, 1.0, 0.0])) == pytest.approx(0, abs=1e-12)  # orthogonal
    assert health.sqnr_db(torch.zeros(3), torch.ones(3)) in {0, math.inf}


def test_levels_are_counted(model: nn.Module) -> None:
    """Levels used are the distinct quantized values; layers at 32 bits are passed over."""
    rows, codes = health.measure(model, {})
    layers = quantized_layers(model)
    assert [r.layer for r in rows] == ["0", "1"] == list(codes)
    for row in rows:
        quantized = layers[row.layer].quantized_weight().detach()
        assert row.levels_used == len(set(quantized.flatten().tolist()))
        assert (row.bits, row.levels) == (layers[row.layer].quantizer.bits, 2**row.bits)
        assert row.weights == quantized.numel()
        assert row.flipped is None
        assert row.sqnr_db == pytest.approx(brute_force_db(layers[row.layer].weight.detach(), quantized), abs=1e-3)


def test_flips_are_counted(model: nn.Module) -> None:
    """The share of flips is that of weights whose code changed since the codes passed in."""
    _, before = health.measure(model, {})
    layer = quantized_layers(model)["1"]
    with torch.no_grad():
        layer.weight[0, :2] *= -1
    changed = (layer.quantizer.codes(layer.weight.detach()) != before["1"]).sum().item()
    assert 0 < changed <= 18
    rows, _ = health.measure(model, before)
    assert rows[0].flipped == 0
    assert rows[1].flipped == pytest.approx(changed / layer.weight.numel())


def test_measuring_changes_nothing(model: nn.Module) -> None:
    """Neither weights nor the codes handed out move when training goes on."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    _, codes = health.measure(model, {})
    kept = {k: v.clone() for k, v in codes.items()}
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    with torch.no_grad():
        quantized_layers(model)["0"].weight.neg_()
    assert all(torch.equal(codes[k], kept[k]) for k in codes)


def test_summary_weighs_layers_by_size() -> None:
    """Levels are pooled; SQNR and flips are means over weights; the worst layer is named."""
    assert health.summary(ROWS) == "levels used 55%, SQNR 14.5 dB (worst 12.5, a.conv), codes flipped 25.00%"
    assert health.summary(ROWS[:1]) == "levels used 75%, SQNR 12.5 dB (worst 12.5, a.conv)"
    assert health.summary([]) == "no quantized layer"


def test_the_log_grows_by_a_block_an_epoch(tmp_path: Path) -> None:
    """One header, then a row per layer and epoch; a share that is not known is empty."""
    path = tmp_path / "quantization.csv"
    health_log.append(path, 1, ROWS)
    health_log.append(path, 2, ROWS[1:])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["epoch"], r["layer"]) for r in rows] == [("1", "a.conv"), ("1", "b.conv"), ("2", "b.conv")]
    assert rows[0] == {
        "epoch": "1",
        "layer": "a.conv",
        "bits": "2",
        "weights": "30",
        "levels_used": "3",
        "levels": "4",
        "sqnr_db": "12.5000",
        "flipped": "",
        "oscillating": "",
    }
    assert rows[1]["flipped"] == "0.250000"


def test_later_epochs_are_dropped(tmp_path: Path) -> None:
    """`keep_epochs` keeps header and rows up to an epoch, and drops a torn last row."""
    path = tmp_path / "quantization.csv"
    for epoch in range(1, 13):
        health_log.append(path, epoch, ROWS)
    with path.open("a") as file:
        file.write("1")  # the start of a row of epoch 13 when the power went
    health_log.keep_epochs(path, 2)
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(health_log.COLUMNS)
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "1", "2", "2"]
    health_log.append(path, 3, ROWS)
    assert len(path.read_text().splitlines()) == 7
    assert b"\r" not in path.read_bytes()  # one kind of line ends, resumed or not


def test_rows_that_are_none_do_not_end_a_training(tmp_path: Path) -> None:
    """The picture is drawn of the others; the file is read at the end of hours of work."""
    path = tmp_path / "quantization.csv"
    health_log.append(path, 1, ROWS)
    with path.open("ab") as file:
        file.write(b"2,a.conv,2,30,much,4,12.5,\nx,a.conv\n\xff\xfe\n\xc2\xb2,a.conv,2,30,3,4,12.5,\n")
    health_log.draw(path, tmp_path / "quantization.png")
    assert (tmp_path / "quantization.png").is_file()
    health_log.keep_epochs(path, 1)
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("exists", [False, True])
def test_a_file_without_a_header_is_no_file(tmp_path: Path, exists: bool) -> None:
    """An absent log stays absent, and an empty one goes, so that the next block begins with a header."""
    path = tmp_path / "quantization.csv"
    if exists:
        path.touch()
    health_log.keep_epochs(path, 2)
    assert not path.exists()


def test_epochs_of_the_hosts_csv_are_dropped(tmp_path: Path) -> None:
    """The host's results.csv, whose numbers are printed with %g, is cut the same way."""
    path = tmp_path / "results.csv"
    path.write_text("epoch,time\n1,2.5\n2,5\n3,7.5\n")
    health_log.keep_epochs(path, 2)
    assert path.read_text() == "epoch,time\n1,2.5\n2,5\n"


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """A log gives a PNG; a log without rows gives none."""
    import cv2

    path, picture = tmp_path / "quantization.csv", tmp_path / "quantization.png"
    path.write_text(",".join(health_log.COLUMNS) + "\n")
    health_log.draw(path, picture)
    assert not picture.exists()
    health_log.append(path, 1, ROWS)
    health_log.append(path, 3, ROWS)  # a layer may be missing in an epoch, and an epoch in the file
    health_log.draw(path, picture)
    image = cv2.imread(str(picture))
    assert image is not None and image.shape[1] > image.shape[0] > 100
    assert image.std() > 10
