"""What single quantized layers cost, measured on a small detector."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from short_runs import Run

from yolo_qreg import QuantConfig, describe, quantize
from yolo_qreg.analysis.allocation import Budget, allocate
from yolo_qreg.analysis.network import load_network
from yolo_qreg.analysis.sensitivity import measure_sensitivity
from yolo_qreg.analysis.sensitivity_config import SensitivityConfig
from yolo_qreg.analysis.sensitivity_record import Sensitivity, load_sensitivity
from yolo_qreg.api import sensitivity
from yolo_qreg.cli import main
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.differentiable import Differentiable, labelled_batches
from yolo_qreg.shipped import shipped

BITS = (3, 2)
IMAGES = 4


@pytest.fixture(scope="module")
def config(tiny_twin: Run, tmp_path_factory: pytest.TempPathFactory) -> SensitivityConfig:
    """Two widths of it on the pictures that it was trained on."""
    out = tmp_path_factory.mktemp("sensitivity")
    return SensitivityConfig(weights=tiny_twin.folder, out=out, bits=BITS, images=IMAGES, probes=4, device="cpu")


@pytest.fixture(scope="module")
def found(config: SensitivityConfig) -> Sensitivity:
    """What was measured."""
    return sensitivity(config, quiet=True)


def test_the_rise_is_that_of_a_file_with_one_quantized_layer(
    found: Sensitivity, tiny_twin: Run, data: Path, tmp_path: Path
) -> None:
    """Made by the quantize command, run from the first layer on, with the targets that float weights were given."""
    network = load_network(tiny_twin.best)
    names = list(network.latents)
    batches = labelled_batches(data, "train", IMAGES, 64, channels=3, device=torch.device("cpu")).batches
    plain = Differentiable(network.model, names, batches)
    base = float(plain.loss(0).detach())
    assert found.loss == pytest.approx(base, rel=1e-6)
    for name in (names[0], names[7], names[-1]):
        widths = {**dict.fromkeys(names, 32), name: 2}
        (file,) = quantize(tiny_twin.folder, QuantConfig(method="lsq", widths=widths, bn_images=0), tmp_path)
        model, ckpt = checkpoint.load(file)
        layer = checkpoint.requantize(model, checkpoint.state_of(ckpt, file)).get_submodule(name)
        with torch.no_grad():
            kept = plain.weights[name].clone()
            plain.weights[name].copy_(layer.quantized_weight())  # type: ignore[operator]
            rise = float(plain.loss(0)) - base
            plain.weights[name].copy_(kept)
        cost = found.by_layer[name][2]
        assert cost.estimate == pytest.approx(cost.variance * cost.trace / 2)
        # steps differ in their last digits, by which a weight may have another code
        assert cost.loss_rise == pytest.approx(rise, rel=0.03, abs=1e-6)
        assert cost.variance == pytest.approx(
            float((layer.quantized_weight() - kept).square().mean().detach()), rel=1e-4
        )  # type: ignore[operator]


def test_sizes_are_those_of_packed_files(found: Sensitivity, tiny_twin: Run, tmp_path: Path) -> None:
    """A plan takes what `info` says of weights that were quantized by it."""
    plan = allocate(found, Budget(kind="mean-bits", most=2.6))
    assert set(plan.widths.values()) == set(BITS)
    (file,) = quantize(tiny_twin.folder, QuantConfig(method="lsq", widths=plan.widths, bn_images=0), tmp_path)
    assert describe(file).totals.packed_bytes == plan.size_bytes


def test_what_is_finished_is_kept(found: Sensitivity, config: SensitivityConfig) -> None:
    """Only a layer whose file is gone is measured again, to the same numbers; the table and the picture are there."""
    name = found.layers[0].layer
    (config.out / "layers" / f"{name}.json").unlink()
    (config.out / "sensitivity.json").unlink()
    done: list[str] = []
    again = measure_sensitivity(config, lambda total: lambda label, count: done.extend([label] * count), lambda _: None)
    assert again == found == load_sensitivity(config.out)
    assert done == [name] * len(BITS)
    with (config.out / "sensitivity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], int(row["bits"])) for row in rows] == [(cost.layer, cost.bits) for cost in found.layers]
    assert [float(row["loss_rise"]) for row in rows] == [cost.loss_rise for cost in found.layers]
    assert (config.out / "sensitivity.png").stat().st_size > 10_000


def test_multiply_accumulates_are_counted(found: Sensitivity) -> None:
    """The first convolution of 3 x 3 has stride 4: 16 x 16 places of 8 channels of 27 values."""
    assert found.layers[0].macs == 16 * 16 * 8 * 27


def test_quantized_weights_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line names what to take instead."""
    assert main(["sensitivity", str(shipped("shapes-dorefa8")), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "is quantized (dorefa-8bit); name float weights, as of its FP32 twin" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "noise"}, "method='noise' is not one whose errors are known; choose of dorefa, lsq, fixed"),
        ({"bits": ()}, "bits is empty; name at least one width, such as 4"),
        ({"bits": (1,)}, "bits=1 is out of range for lsq; use 2-8, or 32 for float"),
        ({"bits": (32,)}, "bits=32 quantizes nothing; use widths below"),
        ({"images": 0}, "images=0 is not a whole number from 1 to 100,000; correct it"),
        ({"imgsz": 100}, "imgsz=100 is no multiple of 32; use 96"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, object], said: str) -> None:
    """Settings are checked when made."""
    with pytest.raises(InputError, match=said):
        SensitivityConfig(weights=Path("best.pt"), **values)  # type: ignore[arg-type]
