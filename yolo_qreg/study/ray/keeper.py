"""What comes back from the machines of a cluster, and its way into the folder of the study."""

from __future__ import annotations

from pathlib import Path

from yolo_qreg.files import write_atomic
from yolo_qreg.study.ray.node import LAST, Delivery, Files, read_files
from yolo_qreg.study.runs import LOG


class Keeper:
    """Stands beside the folder of the study, as an actor of Ray, and stores what trainings send."""

    def __init__(self) -> None:
        self._begun: set[Path] = set()

    def begin(self, folder: Path) -> Files:
        """Return the files of a run folder, for a training that begins or begins again."""
        if folder in self._begun:
            _append(folder / LOG, b"\nlost with its machine, and begun again from here\n")
        self._begun.add(folder)
        return read_files(folder)

    def take(self, folder: Path, delivery: Delivery) -> None:
        """Store what an epoch changed."""
        store(delivery.files, folder)
        _append(folder / LOG, delivery.log)


def _append(path: Path, text: bytes) -> None:
    with path.open("ab") as log:
        log.write(text)


def store(files: Files, folder: Path) -> None:
    """Write what came back, each file whole or as it was; last.pt, which continues a training, after all others."""
    for name, content in sorted(files.items(), key=lambda entry: entry[0] == LAST):
        write_atomic(folder / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
