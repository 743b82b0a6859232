"""Interrupted trainings: what comes back, where it goes on, and what is refused."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import LSQ, SETTINGS, STEPS_PER_EPOCH, TINY, Run, assert_same, overrides, python
from torch import Tensor
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.config import TrainConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.patch import quantized_layers

Train = Callable[..., Run]
Trained = Callable[[str], Run]


KILLED = """
import json, os, signal, sys
from yolo_qreg import QATTrainer

class Killed(QATTrainer):
    def save_model(self):
        if self.epoch == 2:  # after the CSV files have got their rows
            os.kill(os.getpid(), signal.SIGKILL)
        return super().save_model()

for given in json.loads(sys.argv[1]):
    if not (child := os.fork()):
        Killed(overrides=given).train()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""
KILLED_RUNS = {
    "dorefa-sgd": (QuantConfig(bits=8), "SGD"),
    "lsq-adamw": (replace(LSQ, bn_images=8, activations=4), "AdamW"),
}


def settings_of(name: str, data: Path, project: Path) -> dict[str, Any]:
    """Return the overrides of one of them: mosaics are on until epoch 3 and use pictures seen before."""
    config, optimizer = KILLED_RUNS[name]
    given = {"epochs": 4, "close_mosaic": 1, "optimizer": optimizer, "warmup_epochs": 1, "lr0": 0.002}
    return overrides(data, project, config, model=str(TINY), **given)


@pytest.fixture(scope="module")
def killed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs that were killed in epoch 3 of 4, each in a process of its own, by name."""
    if not hasattr(os, "fork"):
        pytest.skip("needs POSIX processes")
    folder = tmp_path_factory.mktemp("killed")
    python(KILLED, json.dumps([settings_of(name, data, folder / name) for name in KILLED_RUNS]), cwd=folder)
    return folder


def rows_without_time(path: Path) -> list[dict[str, str]]:
    """Read results.csv; the time of an epoch is not repeatable."""
    with path.open() as file:
        return [{k: v for k, v in row.items() if k != "time"} for row in csv.DictReader(file)]


def assert_same_optimizer(a: torch.optim.Optimizer, b: torch.optim.Optimizer) -> None:
    """Assert that two optimizers have equal groups, settings and momenta, bit for bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    for groups in (ours, theirs):  # the host notes the kernel in use when it resumes
        groups["param_groups"] = [{k: v for k, v in g.items() if k != "fused"} for g in groups["param_groups"]]
    assert ours["param_groups"] == theirs["param_groups"]
    assert list(ours["state"]) == list(theirs["state"])
    for index, entry in ours["state"].items():
        for key, value in entry.items():
            other = theirs["state"][index][key]
            assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, (index, key)


@pytest.mark.parametrize("name", KILLED_RUNS)
def test_a_killed_run_resumes_exactly(name: str, killed: Path, data: Path, tmp_path: Path) -> None:
    """Killed in epoch 3 of 4 and resumed, a run ends with the bits of the uninterrupted one: weights, steps, momenta.

    Data order and buffers of mosaic are part of the promise.
    """
    config, _ = KILLED_RUNS[name]
    whole = QATTrainer(overrides=settings_of(name, data, tmp_path / "whole"))
    whole.train()
    folder = killed / name / "run"
    assert len(rows_without_time(folder / "results.csv")) == 3
    assert checkpoint.load(folder / "weights" / "last.pt")[1]["epoch"] == 1

    model = YOLO(folder / "weights" / "last.pt")
    model.train(trainer=QATTrainer, resume=True)
    resumed = model.trainer
    assert resumed.start_epoch == 2
    assert resumed.save_dir == folder
    assert resumed.quant == config
    assert_same(resumed.model.state_dict(), whole.model.state_dict())
    assert_same(resumed.ema.ema.state_dict(), whole.ema.ema.state_dict())
    assert resumed.ema.updates == whole.ema.updates == 4 * STEPS_PER_EPOCH
    assert_same_optimizer(resumed.optimizer, whole.optimizer)
    assert vars(resumed.stopper) == vars(whole.stopper)
    files = [folder, tmp_path / "whole" / "run"]
    assert rows_without_time(files[0] / "results.csv") == rows_without_time(files[1] / "results.csv")
    if config.activations:
        assert len({(f / "activations.csv").read_text() for f in files}) == 1
    ours, theirs = ((f / "quantization.csv").read_text() for f in files)
    assert ours == theirs
    assert len(ours.splitlines()) == 1 + 4 * len(quantized_layers(whole.model))


@pytest.fixture(scope="module")
def stopped(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last.pt of a run that has more to do."""
    run = train(QuantConfig(bits=4), model=str(TINY), epochs=2, save_period=1)
    path = tmp_path_factory.mktemp("stopped") / "run" / "weights" / "last.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes((run.folder / "weights" / "epoch0.pt").read_bytes())
    return path


def test_resuming_with_other_quantization_is_refused(stopped: Path) -> None:
    """A configuration that differs from the run's is an error; the run's own is accepted."""
    with pytest.raises(
        InputError, match=r"^quant=\{.*'bits': 2.*\} differs from the run to resume; drop it or start a new"
    ):
        QATTrainer(overrides={"resume": str(stopped), "quant": QuantConfig(bits=2)})
    assert QATTrainer(overrides={"resume": str(stopped), "quant": QuantConfig(bits=4).to_dict()}).quant.bits == 4


def test_resuming_leaves_the_checkpoint_state(stopped: Path) -> None:
    """Set up again, the model has the live latents of the checkpoint before the optimizer is built."""
    trainer = QATTrainer(overrides={"resume": str(stopped)})
    ckpt = trainer.setup_model()
    assert ckpt is not None
    state = checkpoint.state_of(ckpt, stopped)
    layers = quantized_layers(trainer.model)
    assert list(layers) == list(state.bits)
    assert all(torch.equal(layer.weight, state.tensors[f"{name}.weight"]) for name, layer in layers.items())


def test_resuming_a_finished_run_is_refused(trained: Trained) -> None:
    """A finished run has nothing to resume, and is not taken for one of the host."""
    with pytest.raises(
        InputError, match=r"last\.pt is of a training that finished; start a new one with model=.*last\.pt$"
    ):
        QATTrainer(overrides={"resume": str(trained("dorefa").folder / "weights" / "last.pt")})


def test_resuming_a_run_of_the_host_is_refused(data: Path, tmp_path: Path) -> None:
    """A checkpoint that the host's own trainer wrote is told from ours."""
    trainer = DetectionTrainer(overrides=overrides(data, tmp_path, None, model=str(TINY), epochs=1))
    trainer.train()
    with pytest.raises(InputError, match=r"last\.pt was not trained by yolo-qreg; resume it with Ultralytics$"):
        QATTrainer(overrides={"resume": str(trainer.last)})


def test_a_moved_run_resumes_where_it_is(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`resume` writes to the folder that it was given, not to where the run once was."""
    from yolo_qreg.host import run as runs

    folders: list[Path] = []

    def stop(trainer: QATTrainer) -> None:
        folders.append(trainer.save_dir)
        if trainer.epoch == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(QuantConfig(bits=8), {"on_train_epoch_start": stop}, model=str(TINY), epochs=3)
    old = folders[0]
    moved = tmp_path / "elsewhere"
    old.rename(moved)
    monkeypatch.chdir(tmp_path)
    assert runs.resume(moved) == moved
    assert not old.exists()
    with (moved / "results.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


@pytest.mark.parametrize("at", ["best.pt", "last.pt"])
def test_a_run_killed_after_its_last_epoch_is_finished(
    at: str, train: Train, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No epoch is left: resuming makes the files that an uninterrupted training makes, and trains nothing."""
    from yolo_qreg.host import run as runs

    finish = checkpoint.finish
    folders: list[Path] = []

    def killed(path: Path, *held: Any) -> None:
        if path.name == at:
            raise InterruptedError
        finish(path, *held)

    monkeypatch.setattr(checkpoint, "finish", killed)
    with pytest.raises(InterruptedError):
        train(QuantConfig(bits=8), {"on_train_start": lambda t: folders.append(t.save_dir)}, model=str(TINY))
    monkeypatch.undo()
    (run,) = folders
    rows = (run / "results.csv").read_text()
    assert checkpoint.can_resume(run / "weights" / "last.pt")
    assert runs.resume(run) == run
    assert (run / "results.csv").read_text() == rows
    for name in ("best.pt", "last.pt"):
        whole = trained("dorefa").folder / "weights" / name
        ours, theirs = checkpoint.load(run / "weights" / name), checkpoint.load(whole)
        assert ours[1].keys() == theirs[1].keys()
        for (key, mine), other in zip(ours[0].state_dict().items(), theirs[0].state_dict().values(), strict=True):
            assert torch.equal(mine, other), key
        assert (run / "weights" / name).stat().st_size == pytest.approx(whole.stat().st_size, rel=0.01)
    assert not list((run / "weights").glob(".*"))
    with pytest.raises(InputError, match="of a training that finished"):
        runs.resume(run)


def test_a_run_killed_between_its_files_repeats_the_epoch(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """`last.pt` is written after the others, so what it says is done is on disk."""
    written = []
    write = checkpoint.write_atomic
    monkeypatch.setattr(checkpoint, "write_atomic", lambda path, how: (written.append(path.name), write(path, how)))
    train(QuantConfig(bits=8), model=str(TINY), epochs=1, save_period=1)
    assert written[:3] == ["best.pt", "epoch0.pt", "last.pt"]


def test_a_run_that_saved_nothing_begins_again_as_it_began(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the host was asked, not with the optimizer that it chose then, which makes another training."""
    from yolo_qreg.host import run as runs

    def train(name: str) -> Path:
        own = {"optimizer": "auto", "epochs": 1, "project": str(tmp_path), "name": name}
        return runs.train(TrainConfig(quant=LSQ, data=str(data), model=str(TINY), settings={**SETTINGS, **own}))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    whole = train("whole")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt, match="it begins again"):
            train("killed")
    again = runs.resume(tmp_path / "killed")
    ours, theirs = (checkpoint.load(folder / "weights" / "last.pt")[0].state_dict() for folder in (again, whole))
    assert_same(ours, theirs)
