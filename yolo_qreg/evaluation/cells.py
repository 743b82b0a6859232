"""What is stored: one cell for each model and kind of pictures, finished or absent.

A cell is named by a hash of everything its detections depend on, so that a changed setting makes new cells and never
mixes with old ones. Its files are detections (.npz), then scores (.json), then the mAP in resamples of the pictures
(.npy). Each holds a hash of itself and of what it was made from, so a file that is missing, damaged or another cell's
is made again with what comes after it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from corruptions.frost import frost_textures
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.average_precision import CocoSummary
from yolo_qreg.evaluation.damage import NAME_DIGITS, Damage
from yolo_qreg.evaluation.detections import Detections
from yolo_qreg.evaluation.results import CLEAN, OVER_SEVERITIES
from yolo_qreg.files import write_atomic
from yolo_qreg.openvino_import import import_openvino
from yolo_qreg.pictures import COLOUR
from yolo_qreg.sealed import read_sealed, read_whole, stamped, unstamped, write_sealed

if TYPE_CHECKING:
    from yolo_qreg.evaluation.config import Settings
    from yolo_qreg.evaluation.models import Subject

PICTURE_VERSIONS = ("yolo_qreg", "corruptions", "numpy", "cv2", "PIL")
"""Modules whose release damaged pictures depend on."""
MODEL_VERSIONS = ("ultralytics", "torch", "torchvision")
"""Those that detections depend on as well."""
DROPPED = "detections_left_out"
"""How many detections had no box: see `Detections.dropped`."""
SCORES = CocoSummary.__annotations__.keys() | {"voc07_ap50", "voc_ap50", DROPPED}
"""The entries of a cell's scores."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one kind of pictures.

    Attributes:
        folder: Of the store.
        key: All that the detections depend on, as plain data.
    """

    folder: Path
    key: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Corruption, severity and the hash of the key."""
        text = json.dumps(self.key, sort_keys=True, ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:NAME_DIGITS]
        return f"{self.key['corruption']}-{self.key['severity']}-{digest}"

    @property
    def detections_file(self) -> Path:
        """Where its detections lie."""
        return self.folder / f"{self.name}.npz"

    @property
    def scores_file(self) -> Path:
        """Where its scores lie."""
        return self.folder / f"{self.name}.json"

    def detected(self) -> bool:
        """Whether its detections are there, whole and of this key."""
        return self._detections() is not None

    def scored(self) -> bool:
        """Whether detections and scores are there, whole, of this key, and of each other."""
        found = self._scores()
        return found is not None and found["detections"] == _hash(self._detections())

    def finished(self, resamples: int, seed: int) -> bool:
        """Whether all of it is there: detections, scores, and the mAP in these resamples of the pictures."""
        return self.scored() and self._resampled(resamples, seed) is not None

    def keep(self, detections: Detections) -> None:
        """Write its detections, whole or not at all."""
        content = stamped(detections.to_bytes(), self.key)
        write_atomic(self.detections_file, lambda file: file.write(content))

    def keep_scores(self, scores: Mapping[str, Any]) -> None:
        """Write the scores of the detections that were kept, whole or not at all."""
        found = {"key": dict(self.key), "detections": _hash(self._whole_detections()), "scores": scores}
        write_sealed(self.scores_file, found)

    def detections(self) -> Detections:
        """Read its detections.

        Raises:
            InputError: The file is missing or damaged.
        """
        return Detections.from_bytes(self._whole_detections())

    def scores(self) -> dict[str, Any]:
        """Read its scores.

        Raises:
            InputError: The file is missing or damaged.
        """
        scores: dict[str, Any] = self._whole_scores()["scores"]
        return scores

    def resampled(self, resamples: int, seed: int) -> NDArray[np.float64]:
        """Read its mAP in each resample of the pictures, [B].

        Raises:
            InputError: The file is missing or damaged.
        """
        payload = self._resampled(resamples, seed)
        if payload is None:
            raise _lost(self._resampled_file(resamples, seed))
        values: NDArray[np.float64] = np.load(io.BytesIO(payload), allow_pickle=False)
        return values

    def keep_resampled(self, values: NDArray[np.float64], seed: int) -> None:
        """Write mAP in each resample of its pictures, [B].

        Raises:
            InputError: The cell has no scores.
        """
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        content = stamped(stream.getvalue(), self._about(len(values), seed))
        write_atomic(self._resampled_file(len(values), seed), lambda file: file.write(content))

    def _detections(self) -> bytes | None:
        return unstamped(read_whole(self.detections_file), self.key)

    def _whole_detections(self) -> bytes:
        content = self._detections()
        if content is None:
            raise _lost(self.detections_file)
        return content

    def _scores(self) -> dict[str, Any] | None:
        found = read_sealed(self.scores_file)
        whole = found is not None and found.get("key") == dict(self.key) and found["scores"].keys() == SCORES
        return found if whole else None

    def _whole_scores(self) -> dict[str, Any]:
        found = self._scores()
        if found is None:
            raise _lost(self.scores_file)
        return found

    def _resampled(self, resamples: int, seed: int) -> bytes | None:
        return unstamped(read_whole(self._resampled_file(resamples, seed)), self._about(resamples, seed))

    def _resampled_file(self, resamples: int, seed: int) -> Path:
        return self.folder / f"{self.name}.resampled-{resamples}-{seed}.npy"

    def _about(self, resamples: int, seed: int) -> dict[str, Any]:
        detections = self._whole_scores()["detections"]
        return {"key": dict(self.key), "detections": detections, "resamples": resamples, "seed": seed}


def _lost(path: Path) -> InputError:
    return InputError(f"{path} went missing or was damaged; run the same command again")


def _hash(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


Cells: TypeAlias = Mapping[Damage, Mapping[str, Cell]]
"""For each kind of pictures, clean ones first, the cell of each model by its name."""


def make_cells(subjects: Sequence[Subject], settings: Settings, digest: str, channels: int = COLOUR) -> Cells:
    """Return the cells of an evaluation, done or to be done.

    Args:
        subjects: The models.
        settings: What to evaluate.
        digest: Of the pictures and their boxes.
        channels: Of the pictures.

    Raises:
        InputError: The folder of frost textures has none.
    """
    versions = {name: release_of(name) for name in (*MODEL_VERSIONS, *PICTURE_VERSIONS)}
    common = {"data": digest, "imgsz": settings.imgsz, "batch": settings.batch}
    common |= {"device": settings.kind_of_device}
    common |= {"padding": "square"} if needs_squares(subjects) else {}
    kinds = [(CLEAN, OVER_SEVERITIES)]
    kinds += [(name, severity) for name in settings.corruptions for severity in settings.severities]
    store = settings.cells or settings.out / "cells"
    cells = {}
    for corruption, severity in kinds:
        key = {**common, "corruption": corruption, "severity": severity}
        key |= {"seed": settings.seed} if corruption != CLEAN else {}
        key |= {"textures": _frost_digest(settings.textures)} if corruption == "frost" else {}
        damage = Damage(
            corruption=corruption,
            severity=severity,
            channels=channels,
            seed=settings.seed,
            textures=settings.textures,
            cache=_cache(settings, corruption, channels),
        )
        cells[damage] = {
            subject.model.name: Cell(
                store / subject.model.sha256[:NAME_DIGITS],
                {**key, "weights": subject.model.sha256, "versions": versions | _runtime_of(subject.path)},
            )
            for subject in subjects
        }
    return cells


def needs_squares(subjects: Sequence[Subject]) -> bool:
    """Whether pictures are padded to squares: as soon as one model needs it, so that all see the same pixels."""
    return any(subject.path.suffix != ".pt" for subject in subjects)


def _runtime_of(weights: Path) -> dict[str, str]:
    """Return the release of what runs an export beside the host: other runtimes and releases round otherwise."""
    if weights.suffix == ".onnx":
        name = "onnxruntime"
    elif any(weights.glob("*.xml")):
        name = "openvino"
    else:
        return {}
    return {name: release_of(name)} if find_spec(name) else {}  # without one the host says what is missing


def _cache(settings: Settings, corruption: str, channels: int) -> Path | None:
    """Return the folder of the pictures that one seed and these releases make."""
    if settings.cache is None:
        return None
    versions = {name: release_of(name) for name in PICTURE_VERSIONS}
    parts: list[Any] = [settings.seed, versions, _frost_digest(settings.textures) if corruption == "frost" else None]
    parts += [channels] if channels != COLOUR else []
    return settings.cache / hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:NAME_DIGITS]


@cache
def _frost_digest(textures: str | None) -> str:
    digest = hashlib.sha256()
    try:
        found = frost_textures(textures).pictures
    except ValueError as error:
        raise InputError(str(error)) from error
    for texture in found:
        digest.update(str(texture.shape).encode() + texture.tobytes())
    return digest.hexdigest()


@cache
def release_of(module: str) -> str:
    """Return the release of a module as it says itself: one package of several may have brought it, or none."""
    release: str = (import_openvino() if module == "openvino" else import_module(module)).__version__
    return release.partition("+")[0]  # a build for another accelerator is the same release
