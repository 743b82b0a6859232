"""Batches of pictures that are made once and read by several trainings of one seed.

A feeder (`host/feeder.py`) runs the host's own training loader. Batches lie in files that the processes map into their
memory; a connection tells each training where the next one is, and tells the feeder when it has been read.
"""

from __future__ import annotations

import mmap
import os
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolo_qreg.errors import InputError
from yolo_qreg.host import compat
from yolo_qreg.processes import WITH_FEEDER

OWN = frozenset({"quant", "model", "pretrained", "name", "project", "save_dir", "exist_ok", "resume"})
"""Settings in which trainings may differ that read the same batches."""


def draw_anew(seed: int, epoch: int, rank: int = -1, attempts: int = 0) -> int:
    """Seed everything that an epoch draws from, by seed and epoch alone, and return what its loader is seeded with.

    Args:
        seed: Of the training.
        epoch: From 0.
        rank: Of the process in multi-GPU training; -1 for the only one.
        attempts: How often the epoch was given up before.
    """
    words = np.random.SeedSequence((seed, epoch, rank + 1, attempts))
    drawn = int(words.generate_state(1, np.uint32)[0])
    random.seed(drawn)
    np.random.seed(drawn)  # noqa: NPY002  # the host's augmentations draw from the global generator
    torch.manual_seed(drawn)
    return drawn


def know_augmentations(args: Any) -> None:
    """Import our transforms where augmentations are given: by now they are dicts, whose classes are found by name."""
    if getattr(args, "augmentations", None):
        import_module("corruptions.transforms")


def restart_if_due(loader: Any, drawn: int, first: bool) -> None:
    """Start a loader anew for an epoch; one with workers goes on, unless this is the first epoch of the process."""
    if loader.num_workers == 0 or loader.iterator is None or first:
        compat.restart(loader, drawn)


@contextmanager
def nothing_loaded(args: Any) -> Iterator[None]:
    """Build loaders within this that keep no pictures and start no workers: somebody else will do the work."""
    kept = args.cache, args.workers
    args.cache, args.workers = False, 0
    try:
        yield
    finally:
        args.cache, args.workers = kept


class SharedLoader:
    """Stands for a training loader of the host: the same pictures in the same order, read from a feeder.

    Args:
        loader: The host's own, of which everything but batches is taken.
        trainer: Whose epochs these are.
        feeder: Connection to it.
    """

    def __init__(self, loader: Any, trainer: Any, feeder: Connection) -> None:
        self._loader, self._trainer = loader, trainer
        self.closed = False
        self._began_anew = False
        self._due: int | None = None
        self._maps: dict[str, mmap.mmap] = {}
        self._feeder = feeder
        self._pinned = trainer.device.type == "cuda"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def reset(self) -> None:
        """Note that the host wants its iteration begun anew; the feeder does it."""
        self._began_anew = self.closed

    def close(self) -> None:
        """Leave the feeder."""
        self._feeder.close()
        self._maps.clear()
        self._loader.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the batches of the trainer's epoch; one that is done again, with other draws, is loaded here."""
        epoch = self._trainer.epoch
        if self._due is None:
            self._join()
        elif epoch != self._due:
            self._feeder.close()
        if self._feeder.closed:
            yield from self._loader
            return
        self._send({"epoch": epoch, "closed": self.closed, "began_anew": self._began_anew})
        self._due = epoch + 1
        for _ in range(len(self)):
            batch = self._take(*self._receive())
            self._send(None)
            yield batch
        self._loader.dataset.buffer = self._receive()

    def _join(self) -> None:
        settings = dict(vars(self._trainer.args))
        self._send(
            {
                "settings": settings,
                "data": self._trainer.data,
                "stride": int(self._trainer.stride),
                "batch": self._loader.batch_size,
                "epoch": self._trainer.epoch,
                "buffer": list(getattr(self._loader.dataset, "buffer", ())),
            }
        )
        if refusal := self._receive():
            raise InputError(str(refusal))

    def _send(self, message: Any) -> None:
        with _said():
            self._feeder.send(message)

    def _receive(self) -> Any:
        with _said():
            return self._feeder.recv()

    def _take(self, name: str, sizes: list[int]) -> dict[str, Any]:
        """Copy a batch out of a mapped file, so that its place can be used again."""
        if name not in self._maps:
            with Path(name).open("rb") as file:
                self._maps[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        held, begin, parts = self._maps[name], 0, []
        for size in sizes:
            parts.append(bytearray(held[begin : begin + size]))
            begin += size
        batch: dict[str, Any] = pickle.loads(parts[0], buffers=parts[1:])
        tensors = {key: torch.from_numpy(value) for key, value in batch.items() if isinstance(value, np.ndarray)}
        if self._pinned:
            tensors = {key: value.pin_memory() for key, value in tensors.items()}
        return batch | tensors


def packed(batch: dict[str, Any]) -> list[memoryview]:
    """Return a batch as what `SharedLoader` reads: pickled, with the memory of its tensors apart."""
    found: list[pickle.PickleBuffer] = []
    plain = {k: np.ascontiguousarray(v.numpy()) if isinstance(v, Tensor) else v for k, v in batch.items()}
    head = pickle.dumps(plain, protocol=5, buffer_callback=found.append)
    return [memoryview(head), *(buffer.raw() for buffer in found)]


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise InputError("what makes the batches of this seed has ended; its log lies beside the runs") from error


def connection_to_feeder() -> Connection | None:
    """Return the connection that this process was started with to get its batches from; None to load its own."""
    handle = os.environ.pop(WITH_FEEDER, None)
    return None if handle is None else Connection(int(handle))
