"""Training that starts from a weight file of an earlier quantized training."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import SETTINGS, Run
from ultralytics import YOLO

from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.export.plain import to_plain
from yolo_qreg.host import checkpoint
from yolo_qreg.patch import bake, quantized_layers

Trained = Callable[[str], Run]


def set_up(config: QuantConfig, model: Path, data: Path, project: Path, **settings: Any) -> QATTrainer:
    """Return a trainer that has built and quantized its model."""
    given = {"model": str(model), "data": str(data), "project": str(project), "mode": "train", "task": "detect"}
    trainer = QATTrainer(overrides=SETTINGS | given | {"quant": config} | settings)
    trainer.setup_model()
    return trainer


@pytest.mark.parametrize("name", ["dorefa", "lsq"])
def test_it_starts_from_the_network_that_was_trained(trained: Trained, name: str, data: Path, tmp_path: Path) -> None:
    """With the same configuration, latents and steps are those of the file, so codes do not move."""
    run = trained(name)
    model = set_up(run.config, run.best, data, tmp_path).model
    state = checkpoint.state_of(checkpoint.load(run.best)[1], run.best)
    assert set(quantized_layers(model)) == set(state.bits)
    for key, value in checkpoint.tensors_of(model).items():
        assert torch.equal(value, state.tensors[key]), key
    held = checkpoint.load(run.best)[0].state_dict()
    for key, value in bake(deepcopy(model)).state_dict().items():
        assert torch.equal(value.half(), held[key].half()), key


def test_the_hosts_own_way_of_starting_does_too(trained: Trained, data: Path, tmp_path: Path) -> None:
    """`YOLO(best.pt).train(trainer=QATTrainer)` hands over a module; the latents are found in its file."""
    run = trained("dorefa")
    trainer = QATTrainer(
        overrides=SETTINGS
        | {"model": str(run.best), "data": str(data), "project": str(tmp_path), "quant": run.config, "mode": "train"}
    )
    source = YOLO(str(run.best)).model
    trainer.model = trainer.get_model(weights=source, cfg=source.yaml)
    trainer.setup_model()
    state = checkpoint.state_of(checkpoint.load(run.best)[1], run.best)
    assert all(torch.equal(v, state.tensors[k]) for k, v in checkpoint.tensors_of(trainer.model).items())


@pytest.mark.parametrize("config", [QuantConfig(bits=32), QuantConfig(method="lsq", bits=8)])
def test_another_method_starts_from_the_baked_weights(
    trained: Trained, config: QuantConfig, data: Path, tmp_path: Path
) -> None:
    """BatchNorm belongs to the quantized weights: for float, or another quantizer, they are the network."""
    best = trained("dorefa").best
    held = checkpoint.load(best)[0].state_dict()
    for name, layer in quantized_layers(set_up(config, best, data, tmp_path).model).items():
        assert torch.equal(layer.weight, held[f"{name}.weight"])


def test_from_scratch_takes_nothing_over(trained: Trained, data: Path, tmp_path: Path) -> None:
    """With pretrained=False a weight file gives the architecture alone."""
    run = trained("dorefa")
    model = set_up(run.config, run.best, data, tmp_path, pretrained=False).model
    state = checkpoint.state_of(checkpoint.load(run.best)[1], run.best)
    assert not any(torch.equal(v, state.tensors[k]) for k, v in checkpoint.tensors_of(model).items())


def test_an_export_without_latents_is_refused(trained: Trained, data: Path, tmp_path: Path) -> None:
    """Quantizing baked DoReFa weights again would be another network: the message says what to take."""
    run = trained("dorefa")
    plain = to_plain(run.best, tmp_path / "plain.pt")
    with pytest.raises(InputError, match=r"plain export without latent weights; train from the run's own best\.pt"):
        set_up(run.config, plain, data, tmp_path)
