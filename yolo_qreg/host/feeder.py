"""The process that makes the batches of one seed for all of its trainings: `python -m yolo_qreg.host.feeder`."""

from __future__ import annotations

import mmap
import os
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import IterableSimpleNamespace

from yolo_qreg.host.labels import scanning
from yolo_qreg.host.sharing import OWN, draw_anew, know_augmentations, packed, restart_if_due
from yolo_qreg.processes import end_with_parent

AHEAD = 4
"""Batches that may be made before the slowest training has read the first of them."""


@dataclass(slots=True)
class Reader:
    """A training that reads batches.

    Attributes:
        connection: To it.
        joined: What it told of itself as it joined.
        behind: Batches that it has not read yet.
        wanted: The epoch that it asked for last, with what the host has done to its loader; None at work.
    """

    connection: Connection
    joined: dict[str, Any]
    behind: int = 0
    wanted: dict[str, Any] | None = None


class Source(DetectionTrainer):
    """As much of the host's trainer as its training loader needs.

    Args:
        joined: What a training told of itself.
    """

    def __init__(self, joined: dict[str, Any]) -> None:
        self.args = IterableSimpleNamespace(**joined["settings"])
        know_augmentations(self.args)
        self.data = joined["data"]
        self.device = torch.device("cpu")
        self.model = nn.Module()
        self.model.stride = torch.tensor([joined["stride"]])
        self.train_loader = self.get_dataloader(self.data["train"], joined["batch"], rank=-1, mode="train")

    def build_dataset(self, img_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the host's data set while no other training scans the same labels."""
        with scanning(img_path):
            return super().build_dataset(img_path, *args, **kwargs)


@dataclass(slots=True)
class Feeder:
    """Gives batches to trainings until all of them have left.

    Attributes:
        folder: Where batches lie.
        readers: The trainings.
    """

    folder: Path
    readers: list[Reader]
    _places: list[tuple[str, mmap.mmap]] = field(default_factory=list)
    _made: int = 0

    def run(self) -> None:
        """Make every epoch that somebody asks for, the earliest first."""
        first = min((reader.joined for reader in self.readers), key=lambda joined: joined["epoch"], default=None)
        if first is None:
            return
        source = Source(first)
        loader, dataset, closed, begun = source.train_loader, source.train_loader.dataset, False, False
        for index in first["buffer"] if getattr(dataset, "buffer", None) == [] else ():
            dataset.load_image(index)
        while (wanted := self._next_epoch()) is not None:
            epoch = wanted["epoch"]
            restart_if_due(loader, draw_anew(source.args.seed, epoch), first=not begun)
            if wanted["closed"] and not closed:
                source._close_dataloader_mosaic()
                if wanted["began_anew"]:
                    loader.reset()
            closed, begun = wanted["closed"], True
            asking = [reader for reader in self.readers if reader.wanted and reader.wanted["epoch"] == epoch]
            for reader in asking:
                reader.wanted = None
            for batch in loader:
                self._give(packed(batch), asking)
            for reader in asking:
                self._send(reader, list(getattr(dataset, "buffer", ())))

    def _next_epoch(self) -> dict[str, Any] | None:
        """Wait until every training has asked for an epoch or left, and return the earliest; None when all have."""
        while any(reader.wanted is None for reader in self.readers):
            self._listen()
        return min((r.wanted for r in self.readers if r.wanted), key=lambda wanted: wanted["epoch"], default=None)

    def _give(self, parts: list[memoryview], asking: list[Reader]) -> None:
        while any(reader in self.readers and reader.behind >= AHEAD for reader in asking):
            self._listen()
        name, place = self._place(sum(part.nbytes for part in parts))
        begin = 0
        for part in parts:
            place[begin : begin + part.nbytes] = part
            begin += part.nbytes
        for reader in asking:
            if reader in self.readers:
                reader.behind += 1
                self._send(reader, (name, [part.nbytes for part in parts]))

    def _place(self, size: int) -> tuple[str, mmap.mmap]:
        """Return the next of the mapped files in turn, a new one where it is too small."""
        turn = self._made % AHEAD
        self._made += 1
        if turn < len(self._places) and self._places[turn][1].size() >= size:
            return self._places[turn]
        path = self.folder / f"{self._made}.batch"
        with path.open("w+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, not a signal later
            found = str(path), mmap.mmap(file.fileno(), size)
        if turn < len(self._places):
            Path(self._places[turn][0]).unlink()
        self._places[turn : turn + 1] = [found]
        return found

    def _send(self, reader: Reader, message: Any) -> None:
        try:
            reader.connection.send(message)
        except OSError:
            self._drop(reader)

    def _listen(self) -> None:
        """Take what trainings say: that a batch is read, which epoch they want, or nothing any more."""
        by_connection = {id(reader.connection): reader for reader in self.readers}
        for connection in wait([reader.connection for reader in self.readers]):
            reader = by_connection[id(connection)]
            try:
                message = reader.connection.recv()
            except (EOFError, OSError):
                self._drop(reader)
                continue
            if message is None:
                reader.behind -= 1
            else:
                reader.wanted = message

    def _drop(self, reader: Reader) -> None:
        if reader in self.readers:
            self.readers.remove(reader)
            reader.connection.close()


def _gather(readers: list[Reader]) -> list[Reader]:
    """Wait until each training has told of itself or ended; return those that came, with what they told."""
    came: list[Reader] = []
    waiting = {id(reader.connection): reader for reader in readers}
    while waiting:
        for connection in wait([reader.connection for reader in waiting.values()]):
            reader = waiting.pop(id(connection))
            try:
                reader.joined = reader.connection.recv()
                refusal = _other(came[0].joined, reader.joined) if came else ""
                reader.connection.send(refusal)
                if not refusal:
                    came.append(reader)
            except (EOFError, OSError):
                reader.connection.close()
    return came


def _other(one: dict[str, Any], another: dict[str, Any]) -> str:
    """Say in what two trainings differ that keeps them from reading the same batches; nothing if they agree."""
    mine, theirs = ({**joined["settings"], "batch": joined["batch"]} for joined in (one, another))
    keys = [key for key in mine | theirs if key not in OWN and mine.get(key) != theirs.get(key)]
    return f"trainings with other {', '.join(keys)} cannot share batches; leave --share-batches out" if keys else ""


def main(folder: str, *handles: str) -> None:
    """Feed the trainings at the other ends of connections until all have ended.

    Args:
        folder: For the batches.
        handles: Of the connections, inherited from who started this.
    """
    end_with_parent()
    readers = _gather([Reader(Connection(int(handle)), {}) for handle in handles])
    Feeder(Path(folder), readers).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
