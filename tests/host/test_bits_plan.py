"""A width for each layer, from the plan's file through training, resuming, fine-tuning and exports."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from short_runs import TINY, Run, assert_same

from yolo_qreg import QATTrainer, QuantConfig, TrainConfig, api, describe, export_weights, unpack
from yolo_qreg.analysis.run import load
from yolo_qreg.bits_plan import read_plan, write_plan
from yolo_qreg.cli import main
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.models import subjects
from yolo_qreg.findings.analysis import MEASURES
from yolo_qreg.findings.names import kind_of
from yolo_qreg.host import checkpoint
from yolo_qreg.host.model import plan
from yolo_qreg.patch import quantized_layers

NAMES = ["model.0.conv", *(f"model.1.{part}.conv" for part in ("cv1", "cv2", "cv3", "m.0.cv1", "m.0.cv2"))]
NAMES += ["model.2.conv", *(f"model.3.cv{way}.{level}.{i}.conv" for way in (2, 3) for level in (0, 1) for i in (0, 1))]
WIDTHS = {name: (8, 2, 3, 32, 5)[i % 5] for i, name in enumerate(NAMES)} | {"model.3.cv2.0.2": 8}
HELD = {name: bits for name, bits in WIDTHS.items() if bits != 32}


@pytest.fixture(scope="module")
def run(train: Callable[..., Run]) -> Run:
    """Two epochs of a plan, the first one kept."""
    return train(QuantConfig(method="lsq", widths=WIDTHS, bn_images=0), model=str(TINY), save_period=1)


def test_each_layer_is_trained_at_its_width(run: Run) -> None:
    """In the model, in the checkpoint, in the run's settings, which do not name a file, and in the health log."""
    assert {name: layer.quantizer.bits for name, layer in quantized_layers(run.trainer.model).items()} == HELD
    model, ckpt = checkpoint.load(run.best)
    assert checkpoint.state_of(ckpt, run.best).bits == HELD
    for name, bits in HELD.items():
        assert len(model.get_submodule(name).weight.unique()) <= 2**bits
    assert yaml.safe_load((run.folder / "args.yaml").read_text())["quant"]["widths"] == WIDTHS
    rows = [line.split(",") for line in (run.folder / "quantization.csv").read_text().splitlines()[1:]]
    assert {row[1]: int(row[2]) for row in rows if row[0] == "2"} == HELD


def test_an_interrupted_training_is_repeated_to_the_bit(run: Run, tmp_path: Path) -> None:
    """Resumed after the first epoch, the run ends with the bits of the uninterrupted one."""
    last = tmp_path / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes((run.folder / "weights" / "epoch0.pt").read_bytes())
    resumed = QATTrainer(overrides={"resume": str(last)})
    resumed.train()
    assert resumed.quant == run.config
    assert_same(resumed.model.state_dict(), run.trainer.model.state_dict())


def test_fine_tuning_goes_on_where_widths_are_the_same(run: Run, train: Callable[..., Run]) -> None:
    """Under another plan, steps of layers that keep their width are taken over, others begin anew."""
    changed = {**WIDTHS, "model.0.conv": 4}
    seen: dict[str, torch.Tensor] = {}

    def look(trainer: Any) -> None:
        seen.update({name: q.quantizer.step.clone() for name, q in quantized_layers(trainer.model).items()})

    held = checkpoint.requantize(*_loaded(run.best))
    earlier = {name: layer.quantizer.step for name, layer in quantized_layers(held).items()}
    config = QuantConfig(method="lsq", widths=changed, bn_images=0)
    train(config, {"on_train_start": look}, model=str(run.best), epochs=1)
    assert not torch.equal(seen["model.0.conv"], earlier["model.0.conv"])
    assert all(torch.equal(seen[name], earlier[name]) for name in HELD if name != "model.0.conv")


def _loaded(path: Path) -> tuple[Any, checkpoint.QuantState]:
    model, ckpt = checkpoint.load(path)
    return model, checkpoint.state_of(ckpt, path)


@pytest.mark.parametrize("kind", ["pt", "packed", "onnx"])
def test_exports_keep_each_width(kind: Any, run: Run, tmp_path: Path) -> None:
    """What is exported says, layer by layer, what the plan says, and its size follows from that."""
    suffix = {"pt": ".pt", "packed": ".safetensors", "onnx": ".onnx"}[kind]
    found = describe(export_weights(run.best, kind, tmp_path / f"out{suffix}"))
    assert {layer.name: layer.bits for layer in found.layers} == HELD
    assert found.config is not None
    assert found.config.label == run.config.label
    if kind == "packed":
        again, _ = checkpoint.load(unpack(tmp_path / "out.safetensors", tmp_path / "again.pt"))
        plain, _ = checkpoint.load(export_weights(run.best, "pt", tmp_path / "plain.pt"))
        assert_same(again.state_dict(), plain.state_dict())
        for layer in found.layers:
            assert layer.size_bytes == math.ceil(math.prod(layer.shape) * HELD[layer.name] / 8) + 4


def test_no_single_width_describes_it(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables call it mixed, and info its own label; the layers are in the table above."""
    (found,) = subjects([run.best])
    assert found.model.bits is None
    assert kind_of(found.model.method, found.model.bits) == "mixed-width LSQ"
    assert main(["info", str(run.folder)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"quantized  lsq-2to8bit-[0-9a-f]{4}", printed)
    assert "widths" not in printed


def test_its_noise_is_that_of_its_layers_widths(run: Run, data: Path, tmp_path: Path) -> None:
    """An analysis takes a plan for no width, least of all for float, and compares it with single ones."""
    least = "--imgsz 32 --images 2 --layer-images 1 --probes 2 --directions 1 --bits 8"
    assert main(["analyze", str(run.best), "--data", str(data), "--out", str(tmp_path), *least.split()]) == 0
    (model,) = load(tmp_path).models
    assert (model.method, model.bits) == ("lsq", None)
    own = {row.layer: row for row in model.noise if row.own}
    assert set(own) == set(HELD)
    assert {row.layer for row in model.noise if (row.own, row.bits) == (False, 8)} == set(HELD)
    worst, best = (max(own, key=lambda name: side * own[name].relative) for side in (1, -1))
    assert (HELD[worst], HELD[best]) == (2, 8)
    for measure in ("noise", "predicted_outputs", "quantized_loss"):
        assert MEASURES[measure][1](model) not in (None, 0.0)
    assert "mixed-width LSQ" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_plan_is_kept_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained has the widths of the file as it was, without its name."""
    asked: list[TrainConfig] = []
    monkeypatch.setattr(api, "train", lambda config: asked.append(config) or tmp_path)
    file = tmp_path / "plan.yaml"
    write_plan(file, WIDTHS, {"size": 1000})
    assert read_plan(file) == WIDTHS
    assert main(["train", "--bits-plan", str(file), "--method", "lsq", "--data", "shapes"]) == 0
    assert asked[0].quant == QuantConfig(method="lsq", widths=WIDTHS)
    assert str(file) not in str(asked[0])


def test_weights_are_quantized_by_a_plan_without_training(tiny_twin: Run, tmp_path: Path) -> None:
    """The same plan serves as a baseline that needs no training."""
    write_plan(tmp_path / "plan.yaml", WIDTHS, {})
    words = ["--bits-plan", str(tmp_path / "plan.yaml"), "--bn-images", "0", "--out", str(tmp_path)]
    assert main(["quantize", str(tiny_twin.folder), *words]) == 0
    (file,) = tmp_path.glob("run-lsq-2to8bit-*-ptq.pt")
    assert {layer.name: layer.bits for layer in describe(file).layers} == HELD


BAD = {
    "": "holds no widths; write lines such as model.0.conv: 8 below bits:",
    "bits: 8": "holds no widths; write lines such as model.0.conv: 8 below bits:",
    "bits: [8": "is no YAML",
    "bits: {a: 8}\nsize: 3": "key 'size' is unknown; did you mean 'bits'?",
    "bits: {a: 9}": "widths: a=9 is out of range for dorefa; use 1-8, or 32 for float",
    "bits: {a: 2.5}": "widths: a=2.5 is out of range for dorefa; use 1-8, or 32 for float",
    "bits: {1: 8}": "widths: 1 is no name of a convolution; names look like 'model.0.conv'",
}


@pytest.mark.parametrize(("text", "said"), BAD.items())
def test_a_wrong_plan_is_one_line(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what is wrong before anything heavy is loaded."""
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    assert main(["train", "--bits-plan", str(file), "--data", "shapes"]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_two_widths_are_one_too_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan beside --bits is refused, and so is a plan that is not there."""
    file = tmp_path / "plan.yaml"
    assert main(["train", "--bits-plan", str(file)]) == 2
    assert "plan.yaml cannot be read (No such file or directory); name a file of allocate" in capsys.readouterr().err
    shutil.copy(TINY, file)
    write_plan(file, WIDTHS, {})
    assert main(["train", "--bits-plan", str(file), "--bits", "4", "--method", "lsq"]) == 2
    assert "--bits and --bits-plan both say widths; drop one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "widths", "said"),
    [
        ("lsq", {**WIDTHS, "model.9.conv": 8}, "'model.9.conv' is no convolution that is quantized; did you mean 'mod"),
        ("lsq", dict.fromkeys(NAMES[1:], 8), f"'model.0.conv' of {len(NAMES)} blocks missing; give each a width"),
        ("lsq", dict.fromkeys(NAMES[2:], 8), f"'model.0.conv' and 1 more of {len(NAMES)} blocks missing"),
        ("dorefa", WIDTHS, "'model.3.cv2.0.2' has no BatchNorm behind it, and dorefa changes the weights' scale"),
    ],
)
def test_a_plan_of_another_model_is_refused(method: str, widths: dict[str, int], said: str, run: Run) -> None:
    """Names that the model does not have, layers that are not named, and outputs that a method cannot quantize."""
    model, _ = checkpoint.load(run.best)
    with pytest.raises(InputError, match=re.escape(said)):
        plan(model, QuantConfig(method=method, widths=widths))
