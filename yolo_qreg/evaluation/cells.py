"""The store of a sweep: one cell for each model and kind of pictures, finished or absent.

A cell is named by a hash of everything its detections depend on, so that a changed setting makes new cells and never
mixes with old ones. Its files are detections (.npz), then scores (.json), then the mAP in resamples of the pictures
(.npy). Each holds a hash of itself and of what it was made from, so a file that is missing, damaged or another cell's
is made again with what comes after it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.average_precision import CocoSummary
from yolo_qreg.evaluation.detections import Detections
from yolo_qreg.files import write_atomic
from yolo_qreg.sealed import read_sealed, read_whole, stamped, unstamped, write_sealed

NAME_DIGITS = 16
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

    def finished(self) -> bool:
        """Whether detections and scores are there, whole, of this key, and of each other."""
        found = self._scores()
        return found is not None and found["detections"] == _hash(self._detections())

    def keep(self, detections: Detections) -> None:
        """Write its detections, whole or not at all."""
        content = stamped(detections.to_bytes(), self.key)
        write_atomic(self.detections_file, lambda file: file.write(content))

    def finish(self, scores: Mapping[str, Any]) -> None:
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
        scores: dict[str, Any] = self._finished()["scores"]
        return scores

    def resampled(self, resamples: int, seed: int) -> NDArray[np.float64] | None:
        """Return what `keep_resampled` wrote, [B]; None where nothing is, or what is damaged or of other detections.

        Raises:
            InputError: The cell is not finished.
        """
        payload = unstamped(read_whole(self._resampled_file(resamples, seed)), self._about(resamples, seed))
        if payload is None:
            return None
        values: NDArray[np.float64] = np.load(io.BytesIO(payload), allow_pickle=False)
        return values

    def keep_resampled(self, values: NDArray[np.float64], seed: int) -> None:
        """Write mAP in each resample of its pictures, [B].

        Raises:
            InputError: The cell is not finished.
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
            raise InputError(f"{self.detections_file} went missing or was damaged; run the same command again")
        return content

    def _scores(self) -> dict[str, Any] | None:
        found = read_sealed(self.scores_file)
        whole = found is not None and found.get("key") == dict(self.key) and found["scores"].keys() == SCORES
        return found if whole else None

    def _finished(self) -> dict[str, Any]:
        found = self._scores()
        if found is None:
            raise InputError(f"{self.scores_file} went missing or was damaged; run the same command again")
        return found

    def _resampled_file(self, resamples: int, seed: int) -> Path:
        return self.folder / f"{self.name}.resampled-{resamples}-{seed}.npy"

    def _about(self, resamples: int, seed: int) -> dict[str, Any]:
        detections = self._finished()["detections"]
        return {"key": dict(self.key), "detections": detections, "resamples": resamples, "seed": seed}


def _hash(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
