"""Checkpoints as the trainer writes them, of small detectors that were quantized but not trained."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from yolo_qreg import health
from yolo_qreg.config import QuantConfig
from yolo_qreg.host import checkpoint
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.patch import bake, quantized_layers

NAMES = ("cat", "dog", "person")
DATA = "/home/somebody/private/pets.yaml"
TINY = Path(__file__).parents[1] / "host" / "tiny.yaml"
CONFIGS = {
    "dorefa-8bit": QuantConfig(bits=8),
    "dorefa-1bit": QuantConfig(bits=1),
    "lsq-2bit": QuantConfig(method="lsq", bits=2),
    "lsq-mixed": QuantConfig(method="lsq", bits=3, per_channel=True, first_bits=8, last_bits=6),
    "twin": QuantConfig(bits=32),
}


class Trained(NamedTuple):
    """A checkpoint and the quantized model whose moving average it holds, in eval mode."""

    path: Path
    model: nn.Module
    config: QuantConfig


def thin(yaml: str = "yolov5n.yaml", width: float = 0.08) -> dict[str, Any]:
    """Return a model of the host with one block per stage and a fraction of its channels."""
    found: dict[str, Any] = yaml_model_load(yaml)
    found["scales"] = {found["scale"]: [0.1, width, 1024]}
    return found


def detector(
    config: QuantConfig,
    yaml: str | dict[str, Any] | None = None,
    names: Sequence[str] = NAMES,
    pretrained_classes: int | None = None,
) -> nn.Module:
    """Build a quantized detector with BatchNorm statistics of its own activations, all but latents fp16-exact."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DetectionModel(yaml or str(TINY), nc=len(names), verbose=False)
        if pretrained_classes:
            model.load(DetectionModel(yaml or str(TINY), nc=pretrained_classes, verbose=False), verbose=False)
        quantize_detector(model, config)
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = 0.5
        model.train()
        with torch.no_grad():
            for _ in range(4):
                model(torch.rand(4, 3, 64, 64))
    latents = set(checkpoint.tensors_of(model))
    for name, value in model.state_dict().items():
        if name not in latents and value.is_floating_point():
            value.copy_(value.half())
    model.names = dict(enumerate(names))
    return model.eval()


def write(path: Path, model: nn.Module, config: QuantConfig, *, finished: bool = True) -> Trained:
    """Write a checkpoint with the entries of `QATTrainer.save_model` and of the host's `strip_optimizer`."""
    module = bake(deepcopy(model)).half()
    args = {"task": "detect", "mode": "train", "data": DATA, "epochs": 7, "imgsz": 64, "project": "/home/somebody/runs"}
    module.args = args
    rows, _ = health.measure(model, {})
    widths = {name: layer.quantizer.bits for name, layer in quantized_layers(model).items()}
    live: dict[str, Any] = {} if finished else {"model": model.state_dict(), "ema": model.state_dict(), "mosaic": []}
    state = checkpoint.QuantState(config, widths, checkpoint.tensors_of(model), live, tuple(rows))
    checkpoint.save(
        path,
        {
            "epoch": -1 if finished else 3,
            "model": module if finished else None,
            "ema": None if finished else module,
            "optimizer": None if finished else {"state": {0: torch.zeros(3)}},
            "train_args": args,
            "train_metrics": {"metrics/mAP50-95(B)": 0.25, "metrics/mAP50(B)": 0.5, "val/box_loss": float("nan")},
            "train_results": {"epoch": [1, 2]},
            "date": "2024-05-06T07:08:09+00:00",
            "version": "8.4.190",
            "git": {"root": "/home/somebody"},
            checkpoint.KEY: state.to_dict(),
        },
    )
    return Trained(path, model, config)
