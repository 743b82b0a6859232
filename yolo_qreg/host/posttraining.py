"""Quantization without training: the quantizers of a training put around weights that were trained in float.

Steps take the values of least squared error, BatchNorm the statistics of the quantized network, and activations ranges
that fit what they are on training pictures. What is written is what a training writes, so that exports and evaluations
take it as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from ultralytics import __version__ as host_version

from yolo_qreg import activations, health
from yolo_qreg.config import BN_IMAGES, RANGE_IMAGES, STRIDE, QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.files import check_writable
from yolo_qreg.host import build, checkpoint, exporting, rounding
from yolo_qreg.host.batchnorm import BATCH, reestimate
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.model import plan, quantize_detector
from yolo_qreg.host.origin import Origin, confirm_data
from yolo_qreg.inputs import checkpoint_of
from yolo_qreg.patch import bake, quantized_layers
from yolo_qreg.progress import Watch
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS

WEIGHTS = "weights"


def quantize(
    source: Path,
    configs: Sequence[QuantConfig],
    out: Path | None = None,
    data: str | Path | None = None,
    *,
    adaround: bool = False,
    begin: Callable[[int], Watch] = lambda _: lambda *_: None,
) -> list[Path]:
    """Write a float detector's weights quantized in every way of `configs`; nothing is trained.

    Args:
        source: A run folder (its weights/best.pt is taken), or a .pt with float weights.
        configs: What to write. `bn_images` is the number of training pictures that BatchNorm is estimated on.
        out: Folder of the files; beside the weights by default.
        data: Data set of which training pictures are taken; that of the training by default.
        adaround: Whether AdaRound chooses integers, instead of the nearest (lsq).
        begin: Given the number of layers that AdaRound works on, returns what is told of them.

    Returns:
        The files, NAME-lsq-4bit-ptq.pt and such.

    Raises:
        InputError: The weights are quantized or of another kind, pictures are not there, or a file cannot be written.
    """
    path = checkpoint_of(Path(source))
    model, ckpt = checkpoint.load(path)
    held = checkpoint.state_of(ckpt, path) if checkpoint.KEY in ckpt else None
    if held is not None and held.config.has_codes and any(bits != FLOAT_BITS for bits in held.bits.values()):
        raise InputError(f"{path} is quantized already ({held.config.label}); name float weights, as of its FP32 twin")
    channels = build.spec_of(model).channels
    for config in configs:
        _check(config, adaround=adaround)
    targets = [_target(path, out, config, adaround=adaround) for config in configs]
    if twice := [target for target in targets if targets.count(target) > 1]:
        raise InputError(f"{twice[0]} would be written twice; give each width once")
    if held is not None and held.tensors:  # in float32, where the module is rounded
        model = bake(checkpoint.requantize(model, held))
    args = ckpt.get("train_args") or {}
    if held is not None and held.config.grad_l1:  # of the training, which the file's own settings say nothing of
        args = {**args, "quant": held.config.to_dict()}
    origin = Origin.from_dict(held.origin) if held is not None else None
    wanted = max(max(config.bn_images or 0, RANGE_IMAGES if config.activations else 0) for config in configs)
    wanted = max(wanted, rounding.IMAGES if adaround else 0)
    pictures: list[NDArray[np.float32]] = []
    if wanted:
        stride = max(STRIDE, int(model.stride.max()))  # type: ignore[operator]
        size = -(-int(build.with_defaults(args)["imgsz"]) // stride) * stride
        pictures = exporting.training_pictures(_data(path, data, origin), wanted, size, channels)
    model = model.float()
    watch = begin(sum(len(plan(model, config).bits) for config in configs) if adaround else 0)
    for config, target in zip(configs, targets, strict=True):
        quantized = _quantized(deepcopy(model), config, pictures, model if adaround else None, watch)
        past = held.origin if held is not None else {}
        checkpoint.save(target, _composed(quantized, config, args, origin=past, adaround=adaround))
    return targets


def _check(config: QuantConfig, *, adaround: bool) -> None:
    if not config.has_codes:
        raise InputError(f"{config.label} has no codes, so that there is nothing to quantize; choose another method")
    if not config.bn_images and not METHODS[config.method].keeps_scale:
        raise InputError(
            f"bn_images=0 does not fit {config.method}, which changes the weights' scale: without training only new "
            "statistics of BatchNorm make up for it; use 256"
        )
    if adaround and config.method != "lsq":
        raise InputError(f"--adaround chooses between the levels of lsq, and {config.method} has others; use lsq")


def _target(path: Path, out: Path | None, config: QuantConfig, *, adaround: bool) -> Path:
    """Return the file to write."""
    run = path.resolve().parent.parent if path.parent.name == WEIGHTS else None
    stem = run.name if run is not None and path.stem in {"best", "last"} else path.stem
    folder = path.parent if out is None else Path(out)
    if not folder.is_dir():
        raise InputError(f"--out {folder} is no folder; create it first")
    check_writable(folder, "name another folder with --out")
    words = [stem, config.full_label, *(["adaround"] if adaround else [])]
    words += [] if config.bn_images == BN_IMAGES else [f"bn{config.bn_images}"]
    return folder / f"{'-'.join(words)}-ptq.pt"


def _data(path: Path, data: str | Path | None, origin: Origin | None) -> Path:
    """Return the data set that was named, or that of the training."""
    if data is not None:
        return resolve_data(data)
    if origin is None:
        raise InputError(f"{path} names no data set; name one with --data, whose training pictures are looked at")
    return confirm_data(None, origin.data, path)


@torch.no_grad()
def _quantized(
    model: Any, config: QuantConfig, pictures: Sequence[NDArray[np.float32]], plain: nn.Module | None, watch: Watch
) -> nn.Module:
    """Quantize a float model, in place; BatchNorm sees the activations that will be there.

    Args:
        model: The model.
        config: How.
        pictures: [1, C, H, W] each, in 0..1.
        plain: The float model once more, where AdaRound is to choose the integers.
        watch: Told of its layers.
    """
    model.eval()
    quantize_detector(model, config)
    if plain is not None:
        with torch.enable_grad():
            looked_at = [torch.from_numpy(picture) for picture in _spread(pictures, rounding.IMAGES)]
            rounding.round_adaptively(model, plain.eval(), looked_at, watch)
    seen = _spread(pictures, config.bn_images or 0)
    if seen:
        reestimate(model, _batches(seen))
    if config.activations is not None:
        activations.calibrate(model, _batches(_spread(pictures, RANGE_IMAGES)), own_statistics=True)
        if seen:
            reestimate(model, _batches(seen))
    return model


def _spread(pictures: Sequence[NDArray[np.float32]], count: int) -> list[NDArray[np.float32]]:
    picks = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
    return [pictures[i] for i in picks]


def _batches(pictures: Sequence[NDArray[np.float32]]) -> list[Tensor]:
    """Return pictures in full batches, or all of them where they are fewer than one."""
    size = min(BATCH, len(pictures))
    return [torch.from_numpy(np.concatenate(pictures[i : i + size])) for i in range(0, len(pictures) - size + 1, size)]


def _composed(
    model: nn.Module, config: QuantConfig, args: Mapping[str, Any], *, origin: dict[str, Any], adaround: bool
) -> dict[str, Any]:
    """Return a finished checkpoint of a quantized model."""
    rows, _ = health.measure(model, {})
    state = checkpoint.QuantState(
        config=config,
        bits={name: layer.quantizer.bits for name, layer in quantized_layers(model).items()},
        tensors=checkpoint.tensors_of(model),
        health=tuple(rows),
        origin=origin,
        activations=activations.ranges_of(model),
        trained=False,
        rounding="adaround" if adaround else "",
    )
    plain: Any = bake(deepcopy(model)).half()
    build.settle(plain, args)
    facts = {
        "date": datetime.now().astimezone().isoformat(),
        "version": host_version,
        "train_args": dict(args),
        checkpoint.KEY: state.to_dict(),
    }
    return build.host_checkpoint(plain, facts)


def without_training(config: QuantConfig) -> QuantConfig:
    """Return a configuration whose steps have the least squared error, where the method has them."""
    if "mse" in METHODS[config.method].inits:
        return replace(config, init="mse")
    return config
