"""Trainings, and quantization without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolo_qreg.config import QuantConfig, TrainConfig
from yolo_qreg.progress import watched


def train(config: TrainConfig) -> Path:
    """Train with quantized weights, or the FP32 twin.

    Args:
        config: Model, data, quantization, seed, and Ultralytics' own training settings.

    Returns:
        The run folder; weights/best.pt and weights/last.pt in it load in plain Ultralytics.

    Raises:
        InputError: A setting, the data set or the model file is wrong; nothing was trained.

    Example:
        `train(TrainConfig(quant=QuantConfig(method="lsq", bits=4), data="shapes", settings={"epochs": 20}))`
    """
    from yolo_qreg.host import run

    return run.train(config)


def train_in_turn(config: TrainConfig, quants: Sequence[QuantConfig]) -> list[Path]:
    """Train several times, each from the best weights of the time before: at 8, then 4, then 2 bits.

    A run takes over the float latents of the one before if both have the same method.

    Args:
        config: As for `train`; its `quant` is not used, a `name` among its settings begins those of the runs, and
            `pretrained` is for the first.
        quants: How weights are quantized, in turn.

    Returns:
        The run folders. If one is interrupted, resume it, and go on with the rest from its best.pt.

    Raises:
        InputError: As `train` does, for the first; what was trained is kept.
    """
    folders: list[Path] = []
    name = config.settings.get("name")
    for quant in quants:
        settings = {**config.settings, **({"name": f"{name}-{quant.label}"} if name else {})}
        model = config.model
        if folders:
            model = folders[-1] / "weights" / "best.pt"
            settings.pop("pretrained", None)  # the host would take that instead
        folders.append(train(replace(config, quant=quant, model=model, settings=settings)))
    return folders


def resume(folder: str | Path, settings: Mapping[str, Any] | None = None, data: str | Path | None = None) -> Path:
    """Continue an interrupted training from its last epoch, or finish one that was killed while it ended.

    One that was interrupted before it had saved anything is begun again in its folder.

    Args:
        folder: A run folder, or its weights/last.pt.
        settings: What may change on the way, such as {"device": 0, "workers": 4}.
        data: Where the run's data set is now, if it was moved; it has to have the same content.

    Returns:
        The run folder.

    Raises:
        InputError: There is nothing to continue, the data set is gone or has other content, a setting may not change,
            or another process trains in the folder.
    """
    from yolo_qreg.host import run

    return run.resume(Path(folder), settings, data)


def quantize(
    source: str | Path,
    configs: QuantConfig | Sequence[QuantConfig],
    out: str | Path | None = None,
    data: str | Path | None = None,
    *,
    adaround: bool = False,
    quiet: bool = True,
) -> list[Path]:
    """Quantize float weights without training, by the quantizers of a training: the baseline that it has to beat.

    Steps of LSQ take the values of least squared error; `init` of a configuration does not apply.

    Args:
        source: A run folder of an FP32 twin (its weights/best.pt is taken), or any .pt of a float detector.
        configs: How to quantize; one file is written for each. `bn_images` says on how many training pictures BatchNorm
            is estimated anew.
        out: Folder of the files; beside the weights by default.
        data: Data set whose training pictures are looked at; that of the training by default.
        adaround: Whether AdaRound learns, layer by layer, if a weight takes the integer above or below it, so that the
            layer's answers are kept; otherwise it takes the nearest. For "lsq"; some minutes for each width.
        quiet: Whether to say nothing on the way.

    Returns:
        The files, as a training writes them: `evaluate` and `export_weights` take them.

    Raises:
        InputError: The weights are quantized already, pictures are not there, or a file cannot be written.

    Example:
        `quantize("runs/detect/fp32", [QuantConfig(method="lsq", bits=b, bn_images=256) for b in (8, 4)])`
    """
    from yolo_qreg.host import posttraining

    chosen = [configs] if isinstance(configs, QuantConfig) else list(configs)
    chosen = [posttraining.without_training(config) for config in chosen]
    with watched(quiet or not adaround) as begin:
        target = None if out is None else Path(out)
        return posttraining.quantize(Path(source), chosen, target, data, adaround=adaround, begin=begin)
