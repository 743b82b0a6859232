"""Training with quantized activations: where they are, what a run leaves, and what is validated."""

from __future__ import annotations

import csv
import pickletools
import zipfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from short_runs import TINY, Run, images
from test_fine_tuning import set_up
from ultralytics.nn.tasks import DetectionModel

from yolo_qreg import QuantConfig
from yolo_qreg.activations import calibrate, find_places, measure, places_of, quantizers, ranges_of
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.model import conv_block_names, quantize_detector
from yolo_qreg.patch import QuantConv2d, bake
from yolo_qreg.together import quantize_one_by_one

CONFIG = QuantConfig(bits=8, activations=8)


@pytest.fixture(scope="module")
def run(train: Callable[..., Run]) -> Run:
    """Two epochs at 8 bits."""
    return train(CONFIG)


def test_grids_are_those_of_a_deployed_yolov5n() -> None:
    """69 convolutions read 56 tensors, which have 52 grids because of joins; each residual block's input has one."""
    model = DetectionModel("yolov5n.yaml", verbose=False)
    names = conv_block_names(model)
    seen: dict[int, torch.Tensor] = {}

    def look(_: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        seen[id(given[0])] = given[0]

    for name in names:
        model.get_submodule(name).register_forward_pre_hook(look)
    model.eval()(torch.zeros(1, 3, 64, 64))
    assert (len(names), len(seen)) == (69, 56)
    places = find_places(model, names, torch.zeros(1, 3, 64, 64))
    assert len(places) == 52
    assert sorted(name for place in places for name in place.layers) == sorted(names)
    assert [place.layers for place in places if place.picture] == [("model.0.conv",)]
    by_layer = {name: place for place in places for name in place.layers}
    assert by_layer["model.2.cv1.conv"] == by_layer["model.2.cv2.conv"], "both read the block's input"
    assert by_layer["model.2.m.0.cv1.conv"].blocks == ("model.2.m.0",)
    assert by_layer["model.9.cv2.conv"].layers == ("model.9.cv2.conv",), "pooling changes no value"
    assert by_layer["model.13.cv1.conv"] == by_layer["model.7.conv"], "the neck joins what the backbone reads"
    assert sum(len(place.blocks) for place in places) == 7


def test_a_run_says_what_was_quantized(run: Run) -> None:
    """The log has a row a grid and epoch; the file holds the ranges of its moving average, the picture's among them."""
    with (run.folder / "activations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 52
    assert {row["bits"] for row in rows} == {"8"}
    assert all(0 <= float(row["clipped"]) <= 1 for row in rows)
    picture = next(row for row in rows if row["tensor"] == "model.0.conv")
    assert float(picture["scale"]) == pytest.approx(1 / 255)
    assert float(picture["sqnr_db"]) > 100
    state = checkpoint.state_of(checkpoint.load(run.best)[1], run.best)
    assert state.config == CONFIG
    assert len(state.activations) == 52
    assert state.config.label == "dorefa-8bit-a8"
    assert (
        ranges_of(run.trainer.ema.ema)
        == checkpoint.state_of(checkpoint.load(run.folder / "weights" / "last.pt")[1], "").activations
    )


def test_steps_are_learned_once_and_averaged(run: Run) -> None:
    """Each step is in one group of the optimizer, without decay; it moved, and the average lies between."""
    groups = [g for g in run.trainer.optimizer.param_groups if g.get("param_group") == "step"]
    assert sum(len(g["params"]) for g in groups) == 51
    assert all(g["weight_decay"] == 0 for g in groups)
    live, averaged = quantizers(run.trainer.model), quantizers(run.trainer.ema.ema)
    moved = [name for name, q in live.items() if q.steps() and float(q.steps()[0].detach()) != float(q.first)]
    assert len(moved) > 40  # some tensors are 0 everywhere after so few steps
    for name in moved:
        kept = float(averaged[name].first)
        assert kept == pytest.approx(float(live[name].first), rel=1e-6), "the first scale is kept"
    assert averaged[moved[0]].steps()[0].data_ptr() != live[moved[0]].steps()[0].data_ptr()


def test_plain_ultralytics_gets_a_plain_model(run: Run) -> None:
    """No class or hook of ours is in the pickle; with ranges put back, a model computes what was validated."""
    with zipfile.ZipFile(run.best) as archive:
        (member,) = (entry for entry in archive.namelist() if entry.endswith("data.pkl"))
        names = [str(arg) for _, arg, _ in pickletools.genops(archive.read(member)) if isinstance(arg, str)]
    assert not [n for n in names if n.startswith("yolo_qreg")]
    last = run.folder / "weights" / "last.pt"
    with torch.inference_mode():
        wanted = bake(deepcopy(run.trainer.ema.ema), activations=True).half().float()(images())[0]
        model = checkpoint.as_meant(last)
        assert isinstance(model, torch.nn.Module)
        assert torch.equal(model(images())[0], wanted)
        fused = deepcopy(model).fuse(verbose=False)  # type: ignore[operator]
        read = []
        quantizers(fused)["model.3.conv"].register_forward_hook(lambda *args: read.append(args[2]))
        fused(images())
    assert len(places_of(fused)) == 52
    assert 1 < len(read[0].unique()) <= 256


def test_training_goes_on_from_its_ranges(run: Run, data: Path, tmp_path: Path) -> None:
    """The same configuration starts from the learned ranges; another width is calibrated anew."""
    model = set_up(CONFIG, run.best, data, tmp_path).model
    state = checkpoint.state_of(checkpoint.load(run.best)[1], run.best)
    assert ranges_of(model) == state.activations
    model = set_up(replace(CONFIG, activations=4, activation_grid=""), run.best, data, tmp_path / "other").model
    assert all(q.observed is not None for q in quantizers(model).values() if q.steps())


@pytest.mark.parametrize("yaml", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_other_detectors_are_quantized_and_copied(yaml: str) -> None:
    """Every quantized convolution reads a grid, all ranges are set by calibration, and a copy is independent."""
    model = DetectionModel(yaml, nc=2, verbose=False)
    config = QuantConfig(method="lsq", bits=8, activations=4, activation_method="observer")
    found = quantize_detector(model, config)
    calibrate(model, [images()])
    assert sorted(name for place in found.places for name in place.layers) == sorted(found.bits)
    rows = measure(model, images())
    assert len(rows) == len(found.places)
    copied = deepcopy(model)
    owners = {id(q) for q in quantizers(copied).values()}
    layers = [layer for layer in copied.modules() if isinstance(layer, QuantConv2d)]
    assert {id(layer.reads) for layer in layers} == owners
    assert not owners & {id(q) for q in quantizers(model).values()}
    assert set(copied.state_dict()) == set(model.state_dict())


@pytest.mark.parametrize("grid", ["symmetric", "affine"])
def test_grids_made_at_once_are_those_one_by_one(grid: str) -> None:
    """To the bit, but for rounding where tensors share a grid; none is left after a pass, also one that failed."""
    torch.manual_seed(0)
    model = DetectionModel("yolov5n.yaml", nc=3, verbose=False).train()
    pictures = torch.rand(2, 3, 64, 64)
    quantize_detector(model, replace(CONFIG, activation_grid=grid))
    calibrate(model, [pictures])
    seen: list[int] = []
    model.model[10].register_forward_pre_hook(  # type: ignore[index, operator, union-attr]
        lambda *_: seen.append(sum(made.ready is not None for made in quantizers(model).values()))
    )

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        made = model(pictures)
        torch.autograd.backward([made["boxes"].square().sum(), made["scores"].square().sum()])
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    found = gradients()
    with pytest.raises(RuntimeError):
        model(torch.rand(1, 4, 64, 64))
    assert all(made.ready is None for made in quantizers(model).values())
    quantize_one_by_one(model)
    wanted = gradients()
    assert seen == [51, 0]
    learned = {name for name in found if "input_quantizer" in name}
    assert len(learned) == 51 * (1 + (grid == "affine"))
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5 if name in learned else 0, atol=0)


def test_ranges_are_of_the_pictures_that_were_given() -> None:
    """What ran through the model before, such as to estimate BatchNorm, does not count."""
    found = []
    for before in ([], [50 * images()]):
        torch.manual_seed(0)
        model = DetectionModel(str(TINY), nc=2, verbose=False)
        quantize_detector(model, CONFIG)
        for pictures in before:
            model.eval()(pictures)
        calibrate(model, [images()])
        found.append(ranges_of(model))
    assert found[0] == found[1]


def test_a_residual_sum_reads_the_quantized_input() -> None:
    """The skip branch of a block has the values that its first convolution reads."""
    model = DetectionModel("yolov5n.yaml", nc=2, verbose=False)
    quantize_detector(model, QuantConfig(method="lsq", bits=8, activations=2))
    calibrate(model, [images()])
    block = model.get_submodule("model.2.m.0").eval()
    given = torch.randn(1, block.cv1.conv.in_channels, 8, 8)  # type: ignore[union-attr]
    read = []
    block.cv1.conv.register_forward_hook(lambda _, args, made: read.append(args[0]))  # type: ignore[union-attr]
    with torch.no_grad():
        out = block(given)
        inner = block.cv2(block.cv1(given))  # type: ignore[operator]
    assert torch.allclose(out - inner, read[0], atol=1e-5)
    assert len((read[0] * 1000).round().unique()) <= 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activations": 9}, "activations=9 is out of range; use 2-8"),
        ({"activations": 8, "bits": 32}, "fp32 has none"),
        ({"activations": 8, "activation_method": "relu"}, "choose one of lsq, pact, observer, dynamic-fixed"),
        ({"activations": 8, "activation_grid": "unsigned"}, "lsq has"),
        ({"activation_method": "pact"}, "add activations=8"),
    ],
)
def test_what_cannot_be_honoured_is_refused(settings: dict[str, object], message: str) -> None:
    """One line says value and rule."""
    with pytest.raises(InputError, match=message):
        QuantConfig(**settings)  # type: ignore[arg-type]
