"""The store of a sweep: one cell for each model and kind of pictures, finished or absent.

A cell is named by a hash of everything its detections depend on, so that a changed setting makes new cells and never
mixes with old ones. It is two files: detections (.npz), then scores (.json) with the hash of the detections; where one
is missing or damaged the cell is not finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.detections import Detections
from yolo_qreg.evaluation.scoring import SCORES
from yolo_qreg.files import write_atomic

NAME_DIGITS = 16


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
        """Whether its detections are there, whole."""
        try:
            self.detections()
        except InputError:
            return False
        return True

    def finished(self) -> bool:
        """Whether both files are there, whole, and of this key."""
        try:
            found = json.loads(self.scores_file.read_text(encoding="utf-8"))
            return bool(
                found["key"] == dict(self.key)
                and found["detections"] == hashlib.sha256(self.detections_file.read_bytes()).hexdigest()
                and found["scores"].keys() == SCORES
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def keep(self, detections: Detections) -> None:
        """Write its detections, whole or not at all."""
        detections.save(self.detections_file)

    def finish(self, scores: Mapping[str, Any]) -> None:
        """Write the scores of the detections that were kept, whole or not at all."""
        digest = hashlib.sha256(self.detections_file.read_bytes()).hexdigest()
        found = {"key": dict(self.key), "detections": digest, "scores": scores}
        text = json.dumps(found, indent=1, sort_keys=True) + "\n"
        write_atomic(self.scores_file, lambda file: file.write(text.encode()))

    def detections(self) -> Detections:
        """Read its detections.

        Raises:
            InputError: The file is missing or damaged.
        """
        return Detections.load(self.detections_file)

    def scores(self) -> dict[str, Any]:
        """Read its scores; it has to be finished."""
        scores: dict[str, Any] = json.loads(self.scores_file.read_text(encoding="utf-8"))["scores"]
        return scores
