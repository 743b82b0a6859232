"""Training through the host's own API, on a data set of twelve pictures."""

from __future__ import annotations

import csv
import json
import pickletools
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from short_runs import (
    IMAGES,
    LSQ,
    SETTINGS,
    SIDE_PX,
    TINY,
    TINY_CONVS,
    Run,
    assert_same,
    images,
    overrides,
    python,
    snapshot,
)
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.patch import bake, quantized_layers

Train = Callable[..., Run]
Trained = Callable[[str], Run]

QUANTIZED = ("dorefa", "lsq")

WITHOUT_US = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "yolo_qreg":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


# ------------------------------------------------------------------------------------------------ what a run leaves


@pytest.mark.parametrize("name", ["dorefa", "lsq", "twin"])
def test_the_settings_are_in_the_run_folder(trained: Trained, name: str) -> None:
    """`args.yaml` holds the host's settings and, under `quant`, ours as plain data."""
    run = trained(name)
    held = yaml.safe_load((run.folder / "args.yaml").read_text())
    assert QuantConfig.from_dict(held["quant"]) == run.config
    assert (held["epochs"], held["imgsz"]) == (2, SIDE_PX)


@pytest.mark.parametrize("name", QUANTIZED)
def test_logs_have_a_block_an_epoch(trained: Trained, name: str) -> None:
    """`results.csv` has a row an epoch, `quantization.csv` a row a layer and epoch; flips are known from epoch 2 on."""
    run = trained(name)
    with (run.folder / "results.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    with (run.folder / "quantization.csv").open() as file:
        rows = list(csv.DictReader(file))
    layers = list(quantized_layers(run.trainer.model))
    assert [(r["epoch"], r["layer"]) for r in rows] == [(e, n) for e in "12" for n in layers]
    assert all(r["flipped"] == "" for r in rows[: len(layers)])
    assert all(0 <= float(r["flipped"]) <= 1 for r in rows[len(layers) :])
    assert any(float(r["flipped"]) > 0 for r in rows[len(layers) :])
    assert all(1 < int(r["levels_used"]) <= int(r["levels"]) == 2 ** int(r["bits"]) for r in rows)


def test_a_twin_has_no_quantization_log(trained: Trained) -> None:
    """At 32 bits nothing is quantized, so nothing is logged and the EMA is saved as it is."""
    run = trained("twin")
    assert not (run.folder / "quantization.csv").exists()
    plain, ckpt = checkpoint.load(run.folder / "weights" / "last.pt")
    latents = checkpoint.state_of(ckpt, "").tensors
    assert len(latents) == TINY_CONVS
    assert all(torch.equal(plain.state_dict()[key], value.half().float()) for key, value in latents.items())


@pytest.mark.parametrize("file", ["best.pt", "last.pt"])
@pytest.mark.parametrize("name", ["dorefa", "lsq", "twin"])
def test_no_class_of_ours_is_pickled(trained: Trained, name: str, file: str) -> None:
    """The pickle of a weight file names no module of this package."""
    with zipfile.ZipFile(trained(name).folder / "weights" / file) as archive:
        (member,) = (entry for entry in archive.namelist() if entry.endswith("data.pkl"))
        names = [str(arg) for _, arg, _ in pickletools.genops(archive.read(member)) if isinstance(arg, str)]
    assert "ultralytics.nn.tasks" in names or any(n.startswith("ultralytics.nn.tasks ") for n in names)
    assert not [n for n in names if n.startswith("yolo_qreg")]


@pytest.mark.parametrize("name", QUANTIZED)
def test_weights_lie_on_the_grid(trained: Trained, name: str) -> None:
    """Each quantized layer of best.pt, or each channel with a step of its own, has at most 2**bits values."""
    run = trained(name)
    plain, ckpt = checkpoint.load(run.best)
    state = checkpoint.state_of(ckpt, run.best)
    assert len(state.bits) == (TINY_CONVS if name == "dorefa" else 75)
    for layer, bits in state.bits.items():
        weight = plain.get_submodule(layer).weight
        for part in weight if run.config.per_channel else [weight]:
            assert len(part.unique()) <= min(2**bits, part.numel())
    assert sum(len(plain.get_submodule(n).weight.unique()) for n in state.bits) > len(state.bits)


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_file_holds_the_moving_average(trained: Trained, name: str) -> None:
    """last.pt holds the EMA's latents and steps in float32; the module is what baking them gives, in half precision."""
    run = trained(name)
    path = run.folder / "weights" / "last.pt"
    plain, ckpt = checkpoint.load(path)
    state = checkpoint.state_of(ckpt, path)
    assert not state.resume
    checkpoint.check_fresh(plain, state, path)
    assert_same(state.tensors, checkpoint.tensors_of(run.trainer.ema.ema))
    assert [row.layer for row in state.health] == list(state.bits)
    expected = bake(deepcopy(run.trainer.ema.ema)).half().float().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize("name", QUANTIZED)
def test_training_moves_latents_and_steps(trained: Trained, name: str) -> None:
    """Live weights differ from the averaged ones, which lag behind, and steps from their first values.

    A part of the head to which no box is assigned has no gradient.
    """
    run = trained(name)
    averaged = quantized_layers(run.trainer.ema.ema)
    moved = {"weight": 0, "step": 0}
    for key, layer in quantized_layers(run.trainer.model).items():
        moved["weight"] += not torch.equal(layer.weight, averaged[key].weight)
        moved["step"] += any(not torch.equal(s, layer.quantizer.first_step) for s in layer.quantizer.steps())
    assert moved["weight"] >= 0.8 * len(averaged)
    assert moved["step"] >= 0.8 * len(averaged) or name == "dorefa"


# ------------------------------------------------------------------------------------------- without this package


def test_plain_ultralytics_uses_the_weights(trained: Trained, data: Path, tmp_path: Path) -> None:
    """A process that cannot import this package, with the host's safe loading, predicts, validates and exports.

    Its predictions are those of the quantized model: of latent weights quantized anew, rounded to half precision as
    in the file.
    """
    pytest.importorskip("onnxruntime")
    run = trained("lsq")
    np.save(tmp_path / "images.npy", images().numpy())
    code = (
        WITHOUT_US
        + """
import numpy as np, torch
from ultralytics import YOLO
weights, data, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
x = torch.from_numpy(np.load("images.npy"))
model = YOLO(weights)
with torch.no_grad():
    raw = model.model.float().eval()(x)[0].numpy()
found = YOLO(weights).predict(np.zeros((side, side, 3), np.uint8), imgsz=side, conf=0.0001, verbose=False)
assert found[0].names == {0: "blue", 1: "red"}
settings = dict(imgsz=side, batch=4, device="cpu", workers=0, plots=False, project=".", name="val")
metrics = YOLO(weights).val(data=data, **settings)
onnx = YOLO(weights).export(format="onnx", imgsz=side, device="cpu")
import onnxruntime
onnx_model = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
exported = onnx_model.run(None, {onnx_model.get_inputs()[0].name: x[:1].numpy()})[0]
np.savez("found.npz", raw=raw, exported=exported, map=metrics.box.map)
assert not [name for name in sys.modules if name.startswith("yolo_qreg")]
"""
    )
    copy = tmp_path / "best.pt"  # the export is written beside the weights
    copy.write_bytes(run.best.read_bytes())
    python(code, copy, data, SIDE_PX, cwd=tmp_path, ULTRALYTICS_SAFE_LOAD="1")
    found = np.load(tmp_path / "found.npz")

    plain, ckpt = checkpoint.load(run.best)
    rounded = bake(checkpoint.requantize(plain, checkpoint.state_of(ckpt, run.best))).half().float().eval()
    with torch.no_grad():
        expected = rounded(images())[0].numpy()
    span = np.ptp(expected)
    assert span > 10
    np.testing.assert_allclose(found["raw"], expected, atol=1e-5 * span, rtol=0)
    np.testing.assert_allclose(found["exported"], expected[:1], atol=1e-4 * span, rtol=0)
    assert float(found["map"]) == pytest.approx(ckpt["train_metrics"]["metrics/mAP50-95(B)"], abs=1e-3)


def test_plain_ultralytics_fine_tunes_the_weights(trained: Trained, data: Path, tmp_path: Path) -> None:
    """Without this package the host trains on from best.pt, in float; what it writes is no longer ours."""
    code = (
        WITHOUT_US
        + """
import json
from ultralytics import YOLO
YOLO(sys.argv[1]).train(**json.loads(sys.argv[2]))
"""
    )
    settings = SETTINGS | {"data": str(data), "project": str(tmp_path), "name": "run", "epochs": 1}
    python(code, trained("dorefa").best, json.dumps(settings), cwd=tmp_path)
    path = tmp_path / "run" / "weights" / "best.pt"
    with pytest.raises(InputError, match="was not trained by yolo-qreg"):
        checkpoint.state_of(checkpoint.load(path)[1], path)


def test_fine_tuning_from_our_own_weights(trained: Trained, data: Path, tmp_path: Path) -> None:
    """A run may start from best.pt of another one, at another width: the baked weights become its latents."""
    run = trained("dorefa")
    trainer = QATTrainer(overrides=overrides(data, tmp_path, LSQ, model=str(run.best), epochs=1))
    trainer.setup_model()
    layers = quantized_layers(trainer.model)
    assert len(layers) == TINY_CONVS + 4
    baked = checkpoint.load(run.best)[0].state_dict()
    assert all(torch.equal(layer.weight, baked[f"{name}.weight"]) for name, layer in layers.items())
    assert trainer.quant == LSQ


# ------------------------------------------------------------------------------------------------------- training


def detector(config: QuantConfig) -> Any:
    """Build a quantized YOLOv5n for two classes."""
    model = DetectionModel("yolov5n.yaml", nc=2, verbose=False)
    quantize_detector(model, config)
    return model


@pytest.mark.parametrize("name", ["SGD", "AdamW", "MuSGD"])
def test_steps_have_optimizer_groups_of_their_own(trained: Trained, name: str) -> None:
    """Every parameter is in one group; steps are in groups "step", without weight decay, and never orthogonalised."""
    trainer, model = trained("lsq").trainer, detector(LSQ)
    optimizer = trainer.build_optimizer(model, name=name, lr=0.01, momentum=0.9, decay=0.05, iterations=100)
    assert type(optimizer).__name__ == name
    ids = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    steps = {id(layer.quantizer.step): layer for layer in quantized_layers(model).values()}
    own = [g for g in optimizer.param_groups if g["param_group"] == "step"]
    assert {id(p) for g in own for p in g["params"]} == set(steps)
    assert all(g["weight_decay"] == 0 and not g.get("use_muon") for g in own)
    assert len({g["lr"] for g in own}) == len(own)
    for group in own:
        for p in group["params"]:
            factor = steps[id(p)].quantizer.step_lr_factor() if name == "AdamW" else 1.0
            assert group["lr"] == pytest.approx(0.01 * factor)
    if name == "AdamW":
        assert len(own) > 1
    decayed = [p for g in optimizer.param_groups if g["weight_decay"] > 0 for p in g["params"]]
    assert {id(layer.weight) for layer in steps.values()} <= {id(p) for p in decayed}
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = [layer.quantizer.step.detach().clone() for layer in steps.values()]
    optimizer.step()
    assert all(not torch.equal(b, layer.quantizer.step) for b, layer in zip(before, steps.values(), strict=True))


def test_without_steps_the_optimizer_is_the_hosts(trained: Trained) -> None:
    """DoReFa learns no step, so the groups are those of the host."""
    trainer, model = trained("dorefa").trainer, detector(QuantConfig())
    settings: dict[str, Any] = {"name": "SGD", "lr": 0.01, "momentum": 0.9, "decay": 0.05, "iterations": 100}
    ours = trainer.build_optimizer(model, **settings).param_groups
    theirs = DetectionTrainer.build_optimizer(trainer, model, **settings).param_groups
    assert [[id(p) for p in g["params"]] for g in ours] == [[id(p) for p in g["params"]] for g in theirs]


@pytest.fixture(scope="module")
def watched(train: Train) -> tuple[Run, list[str]]:
    """A run with BatchNorm re-estimation, save_period and early stopping, and what was seen during it."""
    seen: list[str] = []
    kept: dict[str, dict[str, Tensor]] = {}

    def start(trainer: Any) -> None:
        trainer.stopper.best_fitness = 1.0  # no epoch is better
        trainer.stopper.best_epoch = 0
        trainer.validator.add_callback("on_val_start", lambda _: validating(trainer))

    def validating(trainer: Any) -> None:
        kept["shown"] = snapshot(trainer.ema.ema)
        if not quantized_layers(trainer.ema.ema):
            seen.append("baked")

    def epoch_end(trainer: Any) -> None:
        kept["before"] = snapshot(trainer.ema.ema)

    def fit_end(trainer: Any) -> None:
        if trainer.epoch == 0 and "checked" not in seen:
            after = snapshot(trainer.ema.ema)
            seen.append("checked")
            seen.append("latent" if quantized_layers(trainer.ema.ema) else "lost")
            seen.extend(key for key, value in after.items() if not torch.equal(value, kept["before"][key]))
            moved = [k for k, v in kept["shown"].items() if "running" in k and not torch.equal(v, after[k])]
            seen.append(f"statistics {len(moved)}")

    run = train(
        QuantConfig(method="lsq", bits=3, bn_images=6),
        {"on_train_start": start, "on_train_epoch_end": epoch_end, "on_fit_epoch_end": fit_end},
        model=str(TINY),
        epochs=5,
        patience=1,
        save_period=1,
    )
    return run, seen


def test_validating_and_saving_leave_the_latents_alone(watched: tuple[Run, list[str]]) -> None:
    """The host validates a baked copy; afterwards the moving average is the latent one again, with the same bits."""
    _, seen = watched
    assert seen[:3] == ["baked", "checked", "latent"]
    assert seen[3].startswith("statistics"), f"changed: {seen[3:]}"


def test_statistics_are_those_of_the_baked_weights(watched: tuple[Run, list[str]], data: Path) -> None:
    """With `bn_images`, saved BatchNorm statistics are estimated on training pictures, evenly spaced, as they are."""
    run, seen = watched
    assert seen[3] == f"statistics {2 * TINY_CONVS}"
    path = run.folder / "weights" / "epoch0.pt"
    plain, _ = checkpoint.load(path)
    import cv2

    files = sorted((data.parent / "images" / "train").glob("*.png"))
    picks = [files[round(i)] for i in np.linspace(0, IMAGES["train"] - 1, 6)]
    batch = np.stack([cv2.imread(str(file))[..., ::-1].transpose(2, 0, 1) for file in picks])
    first = plain.model[0]
    with torch.no_grad():
        x = first.conv(torch.from_numpy(batch.copy()).float() / 255).double()
    by_channel = x.transpose(0, 1).flatten(1)
    # the file holds weights and statistics in half precision
    torch.testing.assert_close(first.bn.running_mean.double(), by_channel.mean(1), rtol=5e-3, atol=1e-3)
    torch.testing.assert_close(first.bn.running_var.double(), by_channel.var(1), rtol=5e-3, atol=1e-3)


def test_early_stopping_and_save_period(watched: tuple[Run, list[str]]) -> None:
    """`patience` stops the run, and `save_period` leaves a file an epoch that is as complete as last.pt was."""
    run, _ = watched
    with (run.folder / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1
    assert sorted(p.name for p in (run.folder / "weights").iterdir()) == ["best.pt", "epoch0.pt", "last.pt"]
    assert not list(run.folder.glob(".saving-*"))
    for file_name, resumable in (("epoch0.pt", True), ("best.pt", False), ("last.pt", False)):
        path = run.folder / "weights" / file_name
        plain, ckpt = checkpoint.load(path)
        state = checkpoint.state_of(ckpt, path)
        assert state.config == run.config
        checkpoint.check_fresh(plain, state, path)
        assert bool(state.resume) is resumable


def test_recovery_from_nan_restores_latents_and_steps(train: Train) -> None:
    """A loss that is not finite in epoch 2 makes the run go back to the averaged state of epoch 1, and go on."""
    saved: dict[str, Tensor] = {}
    restarts: list[dict[str, Tensor]] = []
    poisoned: list[int] = []

    def on_save(trainer: Any) -> None:
        if trainer.epoch == 0:
            saved.update(snapshot(trainer.ema.ema))

    def epoch_start(trainer: Any) -> None:
        if trainer.epoch == 1:
            restarts.append(snapshot(trainer.model))
            restarts.append(snapshot(trainer.ema.ema))

    def batch_end(trainer: Any) -> None:
        if trainer.epoch == 1 and not poisoned:
            poisoned.append(1)
            for layer in quantized_layers(trainer.model).values():
                layer.weight.data.fill_(float("nan"))
                layer.quantizer.step.data.fill_(float("nan"))

    callbacks = {"on_model_save": on_save, "on_train_epoch_start": epoch_start, "on_train_batch_end": batch_end}
    run = train(LSQ, callbacks, model=str(TINY), epochs=3, save_period=1)
    assert poisoned and len(restarts) == 4
    assert_same(restarts[2], saved)
    assert_same(restarts[3], saved)
    assert all(torch.isfinite(value).all() for value in run.trainer.model.state_dict().values())
    with (run.folder / "results.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    repeated = run.folder / "weights" / "epoch1.pt"  # not what was baked before the recovery
    plain, ckpt = checkpoint.load(repeated)
    checkpoint.check_fresh(plain, checkpoint.state_of(ckpt, repeated), repeated)


def test_a_poisoned_moving_average_is_mended_before_it_is_baked(train: Train) -> None:
    """In the first epoch, where the host cannot recover, non-finite averages are replaced by the live weights."""

    def epoch_end(trainer: Any) -> None:
        if trainer.epoch == 0:
            for layer in quantized_layers(trainer.ema.ema).values():
                layer.weight.data[0] = float("nan")

    run = train(QuantConfig(), {"on_train_epoch_end": epoch_end}, model=str(TINY), epochs=1)
    live = quantized_layers(run.trainer.model)
    for name, layer in quantized_layers(run.trainer.ema.ema).items():
        assert torch.equal(layer.weight, live[name].weight), name
    plain, _ = checkpoint.load(run.best)
    assert len(plain.model[0].conv.weight.unique()) > 100


SMALL = """
nc: 2
backbone: [[-1, 1, Conv, [8, 3, 4]], [-1, 1, Conv, [16, 3, 2]]]
head: [[[1], 1, Detect, [nc]]]
"""


def test_compiled_training(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `compile` the host wraps the model: it ends with the weights of the eager run, and saves baked ones."""

    def traced(model: nn.Module, mode: bool, **_: Any) -> Any:
        return torch.compile(model, backend="aot_eager") if mode else model  # as for inductor, without its C++ compiler

    monkeypatch.setattr("ultralytics.engine.trainer.attempt_compile", traced)
    (tmp_path / "small.yaml").write_text(SMALL)
    start = YOLO(tmp_path / "small.yaml")
    start.save(tmp_path / "start.pt")
    runs = [train(LSQ, epochs=1, model=tmp_path / "start.pt", compile=mode) for mode in (True, False)]
    assert hasattr(runs[0].trainer.model, "_orig_mod")
    plain, ckpt = checkpoint.load(runs[0].best)
    state = checkpoint.state_of(ckpt, runs[0].best)
    checkpoint.check_fresh(plain, state, runs[0].best)
    eager = quantized_layers(runs[1].trainer.model)
    assert list(state.bits) == list(eager)
    for name, layer in quantized_layers(runs[0].trainer.model._orig_mod).items():
        torch.testing.assert_close(layer.weight, eager[name].weight, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(layer.quantizer.step, eager[name].quantizer.step, rtol=1e-4, atol=1e-6)


class WithoutGradient(nn.Module):
    """A compiled layer as torch 2.11 made them: the output is right, the gradient 0."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y.detach() + 0 * y


@pytest.mark.parametrize("config", [QuantConfig(bits=8), QuantConfig(bits=1), LSQ], ids=lambda c: c.label)
def test_compiling_is_refused_where_it_loses_the_gradient(
    config: QuantConfig, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer's compiled gradient is compared with the eager one before anything is trained."""
    given = overrides(data, tmp_path, config, model=tmp_path / "small.yaml", compile=True)
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.setattr("ultralytics.engine.trainer.attempt_compile", lambda model, **_: WithoutGradient(model))
    with pytest.raises(InputError, match=r"^compile=True: torch .* gives layer 'model.*' another gradient than"):
        QATTrainer(overrides=given).setup_model()
    twin = QATTrainer(overrides=given | {"quant": {"bits": 32}})
    twin.setup_model()  # has no gradient of ours


def test_compiling_is_refused_where_it_fails(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that torch cannot compile ends the run with the compiler's reason in one line."""

    def broken(model: nn.Module, **_: Any) -> Any:
        def backend(*_: Any) -> Any:
            raise RuntimeError("no linker")

        return torch.compile(model, backend=backend)

    monkeypatch.setattr("ultralytics.engine.trainer.attempt_compile", broken)
    (tmp_path / "small.yaml").write_text(SMALL)
    trainer = QATTrainer(overrides=overrides(data, tmp_path, LSQ, model=tmp_path / "small.yaml", compile=True))
    with pytest.raises(
        InputError, match=r"^compile=True: torch .* cannot compile layer 'model.*' \(.*no linker\); drop"
    ):
        trainer.setup_model()


@pytest.mark.parametrize("config", [QuantConfig(bits=8), LSQ], ids=lambda c: c.label)
def test_a_layer_of_zeros_trains(config: QuantConfig, train: Train, tmp_path: Path) -> None:
    """A pruned or zero-initialised convolution gets away from zero, and the others are trained as well."""
    (tmp_path / "small.yaml").write_text(SMALL)
    start = YOLO(tmp_path / "small.yaml")
    with torch.no_grad():
        start.model.model[1].conv.weight.zero_()
    start.save(tmp_path / "zero.pt")
    before = {name: value.clone() for name, value in start.model.state_dict().items()}
    run = train(config, model=tmp_path / "zero.pt", lr0=1e-3)
    after = {name: layer.weight for name, layer in quantized_layers(run.trainer.model).items()}
    assert all(torch.isfinite(value).all() for value in run.trainer.model.state_dict().values())
    stayed = [name for name, weight in after.items() if torch.equal(weight, before[f"{name}.weight"])]
    assert not stayed
    assert 1e-7 < after["model.1.conv"].abs().max().item() < 1
    with (run.folder / "results.csv").open() as file:
        assert all(np.isfinite(float(row["train/box_loss"])) for row in csv.DictReader(file))


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantize": 8}, "^quantize=8 is the host's own quantization; drop it, `quant` replaces it$"),
        ({"compile": True, "distill_model": "x.pt"}, "^compile=True does not go with distill_model, as in Ultralytics"),
        (
            {"amp": "bf16"},
            "^amp='bf16' (does not run on cpu: bfloat16 autocast|needs ultralytics 8.4.129) ",
        ),
        ({"quant": {"bits": 9}}, "^bits=9 is out of range for dorefa"),
        ({"quant": {"bit": 8}}, "^quant key 'bit' is unknown; did you mean 'bits'"),
    ],
)
def test_what_is_not_supported_is_refused(settings: dict[str, Any], message: str, data: Path, tmp_path: Path) -> None:
    """Settings that would be ignored or clash are an error, and no run folder is made."""
    with pytest.raises(InputError, match=message):
        QATTrainer(overrides=overrides(data, tmp_path, None, **settings))
    assert not list(tmp_path.iterdir())


def test_a_skip_pattern_that_matches_nothing_stops_the_run(data: Path, tmp_path: Path) -> None:
    """The error of the plan comes through the trainer before the first step."""
    trainer = QATTrainer(overrides=overrides(data, tmp_path, QuantConfig(skip=["nothing*"])))
    with pytest.raises(InputError, match=r"^skip='nothing\*' matches no Conv block"):
        trainer.train()
