"""How much a detector loses when one layer at a time is quantized, measured and estimated.

The layer's weights are replaced by a q, q the quantized ones and a the factor of least |a q - w| for methods that
change the scale of weights, which BatchNorm absorbs; for others a is 1. Nothing is trained. Loss and mAP are those of
training pictures, so that no choice that follows from them is made on the pictures a model is judged by.

The cheap estimate of the rise of the loss is sigma^2 tr(H_ll) / 2, sigma^2 the mean square of the errors and H_ll the
layer's part of the Hessian: one trace for all widths (HAWQ-V2, Dong et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolo_qreg.analysis.curvature import ALL, Ticked, hessian_traces
from yolo_qreg.analysis.network import Network, load_network
from yolo_qreg.analysis.noise import Noise, quantization_noise
from yolo_qreg.analysis.objective import Objective, Sampled, shifted
from yolo_qreg.analysis.parts import Part, do_missing
from yolo_qreg.analysis.sensitivity_config import SensitivityConfig
from yolo_qreg.analysis.sensitivity_record import FILE, LayerCost, Sensitivity
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.average_precision import average_precision, mean_of_defined
from yolo_qreg.evaluation.detections import Detections, GroundTruth, is_box
from yolo_qreg.evaluation.matching import match
from yolo_qreg.evaluation.material import check_names
from yolo_qreg.evaluation.models import Subject, single_class, subjects, training_data
from yolo_qreg.export.codes import packed_bytes
from yolo_qreg.export.describe import FLOAT_BYTES, PACKED_FLOAT_BYTES, describe
from yolo_qreg.files import check_writable, sweep
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.differentiable import Shown, labelled_batches
from yolo_qreg.host.predict import device_of
from yolo_qreg.host.scored import Scored
from yolo_qreg.progress import Tell, Watch
from yolo_qreg.quant.registry import METHODS, quantizer_class
from yolo_qreg.sealed import write_sealed
from yolo_qreg.settings import DEFAULT_SIZE

PARTS = "layers"
"""Folder of what is finished: one file for each layer."""
VERSIONS = ("yolo_qreg", "ultralytics", "torch")


def measure_sensitivity(config: SensitivityConfig, watch: Callable[[int], Watch], tell: Tell) -> Sensitivity:
    """Measure what is missing, and return all of it.

    Args:
        config: Settings.
        watch: Called with the amount of work; returns what is told of progress.
        tell: Told what was taken unasked.

    Raises:
        InputError: Weights or data cannot be used or do not fit each other, or a folder cannot be written.
    """
    (subject,) = subjects([config.weights])
    network = load_network(subject.path)
    if network.config is not None:
        raise InputError(
            f"{subject.path} is quantized ({network.config.label}); name float weights, as of its FP32 twin"
        )
    named, _ = training_data([subject]) if config.data is None else (config.data, ())
    data, size = resolve_data(named), config.imgsz or subject.imgsz or DEFAULT_SIZE
    check_writable(config.out)
    sweep(config.out)
    pictures = _pictures(config, network, subject, data, size)
    tell(f"{subject.path}: one layer at a time, on {pictures.pictures} training pictures of {data} at {size} px")
    bench = _Bench(network, pictures, config)
    about = {
        "weights": subject.model.sha256,
        "pictures": pictures.digest,
        "method": config.method,
        "per_channel": config.per_channel,
        "seed": config.seed,
        "versions": {name: str(import_module(name).__version__) for name in VERSIONS},
    }
    parts = bench.parts(config.out / PARTS, about)
    do_missing(parts, watch)
    base, traces, *layers = [part.kept() for part in parts]
    found = Sensitivity(
        layers=tuple(
            LayerCost(**row, **_trace_of(traces[row["layer"]], row["variance"]))
            for part in layers
            for row in part["rows"]
        ),
        loss=base["loss"],
        map50_95=base["map50_95"],
        fixed_bytes=_fixed_bytes(subject.path, network),
        setup={**about, "name": subject.model.name, "data": data.name, "imgsz": size, "images": pictures.pictures}
        | {"probes": config.probes},
    )
    write_sealed(config.out / FILE, found.to_dict())
    return found


def _pictures(config: SensitivityConfig, network: Network, subject: Subject, data: Path, size: int) -> Shown:
    shown = labelled_batches(
        data,
        "train",
        config.images,
        size,
        channels=network.channels,
        device=device_of(config.device),
        single_class=single_class([subject]),
    )
    check_names(subject.names, shown.names, subject.path, data)
    return shown


def _trace_of(trace: Mapping[str, Any], variance: float) -> dict[str, Any]:
    found = Sampled(**trace)
    return {"trace": found.value, "trace_error": found.error, "estimate": found.value * variance / 2}


def _fixed_bytes(path: Path, network: Network) -> int:
    """Return what a packed file takes beside the layers' codes and scales."""
    totals = describe(path).totals
    floats = totals.values - sum(weight.numel() for weight in network.latents.values())
    integers = totals.float32_bytes - FLOAT_BYTES * totals.values
    return PACKED_FLOAT_BYTES * floats + integers


def _truth_of(pictures: Shown) -> GroundTruth:
    """Return the boxes of pictures in pixels of the squares that they are shown in."""
    sides: list[tuple[int, int]] = []
    image, label, boxes = [], [], []
    for batch in pictures.batches:
        height, width = batch.img.shape[2:]
        placed = batch.bboxes.cpu() * torch.tensor([width, height] * 2)
        centre, extent = placed[:, :2], placed[:, 2:]
        image.append(batch.batch_idx.cpu() + len(sides))
        label.append(batch.cls.flatten().cpu())
        boxes.append(torch.cat([centre - extent / 2, centre + extent / 2], 1))
        sides += [(width, height)] * len(batch.img)
    return GroundTruth(
        image_ids=tuple(map(str, range(len(sides)))),
        sizes=np.array(sides, np.int32),
        image=torch.cat(image).numpy().astype(np.int32),
        label=torch.cat(label).numpy().astype(np.int16),
        boxes=torch.cat(boxes).numpy(),
        names=pictures.names,
    )


class _Bench:
    """A float network whose layers are quantized one at a time."""

    def __init__(self, network: Network, pictures: Shown, config: SensitivityConfig) -> None:
        self._network, self._pictures, self._config = network, pictures, config
        self._scored = Scored(network.model, list(network.latents), pictures.batches)
        self._truth = _truth_of(pictures)
        self._macs: dict[str, int] = {}
        self._ready = False

    def parts(self, folder: Path, about: Mapping[str, Any]) -> list[Part]:
        """Return the parts: the network as it is, the traces, and each layer at all widths."""
        config = self._config
        base = Part("float weights", folder / "float.json", {**about, "part": "float"}, 1, self._float)
        key = {**about, "part": "traces", "probes": config.probes}
        traces = Part(
            "Hessian traces", folder / "traces.json", key, len(self._pictures.batches) * config.probes, self._traces
        )
        layers = [
            Part(
                name,
                folder / f"{name}.json",
                {**about, "part": name, "bits": list(config.bits)},
                len(config.bits),
                partial(self._layer, name),
            )
            for name in self._network.latents
        ]
        return [base, traces, *layers]

    def _float(self, tick: Ticked) -> dict[str, Any]:
        loss, detections = self._look(None)
        tick()
        return {"loss": loss, "map50_95": self._map(detections)}

    def _traces(self, tick: Ticked) -> dict[str, Any]:
        scored = self._scored
        objective = Objective(scored.weights, [partial(scored.loss, batch) for batch in scored.batches])
        rng = torch.Generator().manual_seed(self._config.seed)
        probes = self._config.probes
        found = hessian_traces(objective, probes, rng, lambda: [tick() for _ in range(probes)])
        return {name: asdict(value) for name, value in found.items() if name != ALL}

    def _layer(self, name: str, tick: Ticked) -> dict[str, Any]:
        """Return the costs of one layer at each width, without what follows from its trace."""
        if not self._ready:
            self._scored.keep()
            self._base, self._found = self._look(None)
            self._macs = self._scored.multiply_accumulates()
            self._ready = True
        weight, rows = self._network.latents[name], []
        for bits in self._config.bits:
            noise, error = self._noise(weight, bits)
            with shifted(self._scored.weights, {name: error}):
                loss, detections = self._look(name)
            scales = len(weight) if self._config.per_channel else 1
            rows.append(
                {
                    "layer": name,
                    "bits": bits,
                    "weights": weight.numel(),
                    "size_bytes": packed_bytes(weight.numel(), bits) + FLOAT_BYTES * scales,
                    "macs": self._macs[name],
                    "variance": noise.variance,
                    "relative": noise.relative,
                    "loss_rise": loss - self._base,
                    "map_drop": self._map(self._found) - self._map(detections),
                }
            )
            tick()
        return {"rows": rows}

    def _noise(self, weight: Tensor, bits: int) -> tuple[Noise, Tensor]:
        spec = METHODS[self._config.method]
        quantizer = quantizer_class(self._config.method).for_weight(
            weight,
            bits,
            per_channel=self._config.per_channel,
            init=spec.inits[-1] if spec.inits else "",  # the step of least squared error
            **{key: option.default for key, option in spec.options.items()},
        )
        return quantization_noise(weight, quantizer, rescale=not spec.keeps_scale)

    def _look(self, changed: str | None) -> tuple[float, Detections]:
        """Return mean loss and detections at the present weights, of which one layer's may have changed."""
        loss, found = self._scored.look(changed)
        counts = [len(scores) for _, scores, _ in found]
        boxes, scores, labels = map(np.concatenate, zip(*found, strict=True))
        images = np.repeat(np.arange(len(found), dtype=np.int32), counts)
        good = is_box(boxes)
        return loss, Detections(image=images[good], label=labels[good], score=scores[good], boxes=boxes[good])

    def _map(self, detections: Detections) -> float:
        return float(mean_of_defined(average_precision(match(self._truth, detections))) or 0.0)
