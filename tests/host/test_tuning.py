"""The last epochs that train BatchNorm alone, and widths in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import SETTINGS, TINY, Run, assert_same, snapshot
from torch.nn.modules.batchnorm import _BatchNorm

from yolo_qreg import QATTrainer, QuantConfig, TrainConfig, api
from yolo_qreg.cli import main
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint

STEADY = QuantConfig(method="lsq", bits=2, bn_images=4, bn_tune=1)


@pytest.fixture(scope="module")
def tuned(train: Callable[..., Run]) -> tuple[Run, list[dict[str, torch.Tensor]]]:
    """Two epochs, the second of which tunes, and the averaged model as both ended."""
    ends: list[dict[str, torch.Tensor]] = []

    def note(trainer: Any) -> None:
        ends.append(snapshot(trainer.ema.ema))

    run = train(STEADY, callbacks={"on_train_epoch_end": note}, model=str(TINY), save_period=1)
    return run, ends


def test_only_scales_and_shifts_of_batchnorm_train(tuned: tuple[Run, list[dict[str, torch.Tensor]]]) -> None:
    """Averaged weights, steps and head keep their bits in the last epoch; scales and shifts move.

    All but those of a branch of the head that no object is assigned to.
    """
    run, (before, after) = tuned
    norms = {name for name, module in run.trainer.model.named_modules() if isinstance(module, _BatchNorm)}
    assert list(before) == list(after)
    moved = []
    for key, value in after.items():
        home, _, kind = key.rpartition(".")
        if home in norms and kind in {"weight", "bias"}:
            moved.append(not torch.equal(value, before[key]))
        elif not (home in norms and kind.startswith("running")):
            assert torch.equal(value, before[key]), key
    assert sum(moved) > len(moved) / 2


def test_statistics_are_those_of_the_quantized_weights(tuned: tuple[Run, list[dict[str, torch.Tensor]]]) -> None:
    """Tuning keeps the statistics that the epoch before was saved with, estimated on training pictures."""
    run, (_, after) = tuned
    saved, _ = checkpoint.load(run.folder / "weights" / "epoch0.pt")
    last, _ = checkpoint.load(run.folder / "weights" / "last.pt")
    for name, module in saved.named_modules():
        if isinstance(module, _BatchNorm):
            torch.testing.assert_close(after[f"{name}.running_mean"], module.running_mean, rtol=2e-3, atol=1e-4)
            assert torch.equal(last.get_submodule(name).running_var, after[f"{name}.running_var"].half().float())
            assert torch.equal(last.get_submodule(name).weight, after[f"{name}.weight"].half().float())


def test_a_run_resumed_before_tuning_is_the_same(
    tuned: tuple[Run, list[dict[str, torch.Tensor]]], tmp_path: Path
) -> None:
    """Bit for bit, as everywhere."""
    run, _ = tuned
    last = tmp_path / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes((run.folder / "weights" / "epoch0.pt").read_bytes())
    resumed = QATTrainer(overrides={"resume": str(last)})
    resumed.train()
    assert_same(resumed.ema.ema.state_dict(), run.trainer.ema.ema.state_dict())
    assert_same(resumed.model.state_dict(), run.trainer.model.state_dict())


def test_gradients_that_are_pending_move_nothing_at_rest(train: Callable[..., Run]) -> None:
    """The host accumulates them over batches, also across epochs. BatchNorm of frozen layers is at rest, too."""
    trainer = train(STEADY, model=str(TINY), nbs=12, val=False, freeze=1).trainer
    average = trainer.ema.ema.state_dict()
    for key, value in trainer.model.state_dict().items():
        assert torch.equal(value, average[key]), key
    frozen, tuned = (average[f"model.{layer}.bn.weight"] for layer in (0, 2))
    assert frozen.eq(1).all() and not tuned.eq(1).any()


def test_a_training_whose_last_epochs_are_not_there_is_refused(train: Callable[..., Run]) -> None:
    """Some epoch has to train weights, and the last ones have to be known."""
    with pytest.raises(InputError, match="bn_tune=1 leaves none of 1 epochs; use fewer"):
        train(STEADY, model=str(TINY), epochs=1)
    with pytest.raises(InputError, match="bn_tune=1 needs to know the last epochs; drop time, set epochs"):
        train(STEADY, model=str(TINY), time=0.1)


def test_weights_that_are_named_are_for_the_first_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pretrained` would take the place of what was trained at the width before."""
    asked: list[TrainConfig] = []
    monkeypatch.setattr("yolo_qreg.api.training.train", lambda config: asked.append(config) or Path(config.quant.label))
    quants = [QuantConfig(bits=bits) for bits in (8, 4)]
    api.train_in_turn(TrainConfig(model="a.pt", settings={"pretrained": "b.pt", "epochs": 1}), quants)
    assert [config.settings for config in asked] == [{"pretrained": "b.pt", "epochs": 1}, {"epochs": 1}]
    assert [str(config.model) for config in asked] == ["a.pt", str(Path("dorefa-8bit/weights/best.pt"))]


def test_widths_in_turn_go_on_from_latents(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--bits 8,4 --progressive` makes two runs; the second begins with the float latents of the first."""
    began: list[dict[str, torch.Tensor]] = []
    build = QATTrainer.build_optimizer

    def note(trainer: QATTrainer, model: Any, *args: Any, **kwargs: Any) -> Any:
        began.append(snapshot(model))
        return build(trainer, model, *args, **kwargs)

    monkeypatch.setattr(QATTrainer, "build_optimizer", note)
    settings = {**SETTINGS, "epochs": 1, "project": str(tmp_path), "name": "turn"}
    words = ["--data", str(data), "--model", str(TINY), "--bits", "8,4", "--progressive", "--method", "lsq"]
    assert main(["train", *words, *(f"{key}={value}" for key, value in settings.items())]) == 0
    first, second = (tmp_path / f"turn-lsq-{bits}bit" for bits in (8, 4))
    assert str(first) in (said := capsys.readouterr().out) and str(second) in said
    _, ckpt = checkpoint.load(first / "weights" / "best.pt")
    latents = checkpoint.state_of(ckpt, first).tensors
    assert all(torch.equal(began[1][key], value) for key, value in latents.items() if key.endswith("conv.weight"))
    assert checkpoint.state_of(checkpoint.load(second / "weights" / "best.pt")[1], second).config.bits == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--bits 8,4", "--bits 8,4 are several trainings; add --progressive, or use the study command"),
        ("--bits 8 --progressive", "--progressive takes several widths, not 8; write --bits 8,4,2"),
        ("--bits 8,x --progressive", "--bits '8,x' is no width; write 8, or 8,4,2 with --progressive"),
        ("--bits 8,8 --progressive", "--bits 8,8 has a width twice; give each once"),
        ("--bits 8,9 --progressive", "bits=9 is out of range for dorefa; use 1-8, or 32 for float"),
    ],
)
def test_widths_are_checked_first(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, before anything is trained."""
    assert main(["train", *words.split()]) == 2
    assert said in capsys.readouterr().err
