"""An analysis of several models: what it takes where it was not told, the work that is missing, and the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from yolo_qreg.analysis.config import AnalysisConfig
from yolo_qreg.analysis.network import Network, load_network
from yolo_qreg.analysis.parts import Laboratory, Part, Pictures, do_missing
from yolo_qreg.analysis.records import Analysis, ModelAnalysis, NoiseRow, RiseRow, Sharpness, row_from
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.material import check_names
from yolo_qreg.evaluation.models import Subject, single_class, subjects, training_data, training_size
from yolo_qreg.files import check_writable, sweep
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.differentiable import labelled_batches
from yolo_qreg.host.predict import device_of
from yolo_qreg.progress import Tell, Watch
from yolo_qreg.sealed import read_sealed, write_sealed
from yolo_qreg.settings import DEFAULT_SIZE

PARTS = "parts"
"""Folder of what is finished."""
FILE = "analysis.json"
"""What was found."""
VERSIONS = ("yolo_qreg", "ultralytics", "torch")


def analyze(config: AnalysisConfig, watch: Callable[[int], Watch], tell: Tell) -> Analysis:
    """Do what is missing of an analysis, and return all of it.

    Args:
        config: Settings; its sources are weights and run folders.
        watch: Called with the amount of work; returns what is told of progress.
        tell: Told what was taken unasked.

    Raises:
        InputError: Weights or data cannot be used or do not fit each other, or a folder cannot be written.
    """
    chosen = subjects(config.sources)
    networks = [load_network(subject.path) for subject in chosen]
    _check_channels(chosen, networks)
    device = device_of(config.device)
    data, size = _data(config, chosen, tell), _size(config, chosen, tell)
    if bare := [s.model.name for s, network in zip(chosen, networks, strict=True) if not network.latents]:
        tell(f"no terms of the theorem for {', '.join(bare)}, whose files hold no float weights to take noise from")
    check_writable(config.out)
    sweep(config.out)
    one = single_class(chosen)

    def shown(split: str, count: int) -> Any:
        channels = networks[0].channels
        return labelled_batches(data, split, count, size, channels=channels, device=device, single_class=one)

    pictures = Pictures(shown("train", config.images), shown("val", config.images), shown("train", config.layer_images))
    about = {
        "imgsz": size,
        "device": device.type,
        "pictures": [part.digest for part in (pictures.training, pictures.validation, pictures.layers)],
        "versions": {name: str(import_module(name).__version__) for name in VERSIONS},
    }
    laboratories = []
    for subject, network in zip(chosen, networks, strict=True):
        check_names(subject.names, pictures.training.names, subject.path, data)
        laboratories.append(Laboratory(subject.model.name, network, pictures, config))
    parts = [
        list(laboratory.parts(config.out / PARTS, {**about, "weights": subject.model.sha256}))
        for laboratory, subject in zip(laboratories, chosen, strict=True)
    ]
    do_missing([part for group in parts for part in group], watch)
    return Analysis(
        models=tuple(_collect(subject, group) for subject, group in zip(chosen, parts, strict=True)),
        setup={
            "data": data.parent.name if data.stem == "data" else data.name,
            "training pictures": pictures.training.pictures,
            "validation pictures": pictures.validation.pictures,
            "pictures for layers": pictures.layers.pictures,
            "imgsz": size,
            "probes": config.probes,
            "directions": config.directions,
            "seed": config.seed,
            "device": device.type,
            "versions": about["versions"],
        },
    )


def save(found: Analysis, folder: Path) -> None:
    """Write what was found."""
    write_sealed(folder / FILE, found.to_dict())


def load(folder: Path) -> Analysis:
    """Return what an analysis found, from its folder.

    Raises:
        InputError: It holds none, or a damaged one.
    """
    found = read_sealed(folder / FILE)
    if found is None:
        raise InputError(f"{folder} holds no whole {FILE}; run the analysis again, which keeps what is finished")
    try:
        return Analysis.from_dict(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / FILE} is of another version; run the analysis again") from error


def _collect(subject: Subject, parts: Sequence[Part]) -> ModelAnalysis:
    """Return what the finished parts of a model say."""
    results = [part.kept() for part in parts]
    noise, *rises, sharpness = [found for found in results if "norms" not in found]
    return ModelAnalysis(
        name=subject.model.name,
        method=subject.model.method,
        bits=subject.model.bits,
        noise=tuple(row_from(NoiseRow, row) for row in noise["rows"]),
        rises=tuple(row_from(RiseRow, row) for group in rises for row in group["rows"]),
        sharpness=row_from(Sharpness, sharpness),
    )


def _check_channels(chosen: Sequence[Subject], networks: Sequence[Network]) -> None:
    """Refuse models that take different pictures."""
    for subject, network in zip(chosen, networks, strict=True):
        if network.channels != networks[0].channels:
            raise InputError(
                f"{subject.path} takes pictures of {network.channels} channels, and {chosen[0].path} of "
                f"{networks[0].channels}; analyze them apart"
            )


def _data(config: AnalysisConfig, chosen: Sequence[Subject], tell: Tell) -> Path:
    named: str | Path | None = config.data
    if named is None:
        named, changed = training_data(chosen)
        if changed:
            tell(f"{named} has changed since the training: {'; '.join(changed)} (now against then)")
    return resolve_data(named)


def _size(config: AnalysisConfig, chosen: Sequence[Subject], tell: Tell) -> int:
    size = config.imgsz or training_size(chosen)
    if size is None:
        tell(f"the weights do not agree on an image size: taking {DEFAULT_SIZE} (--imgsz)")
    return size or DEFAULT_SIZE
