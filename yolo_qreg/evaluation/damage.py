"""Corrupted pictures in order, made by worker processes that know neither torch nor the host."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from corruptions import corrupt, rng_for
from corruptions.pixels import Image
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.results import CLEAN
from yolo_qreg.files import write_atomic

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4
"""Pictures under way per worker, at least: enough to keep all busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One kind of pictures.

    Attributes:
        corruption: `clean` or one of the 19.
        severity: 1 to 5, 0 for clean.
        seed: Of the random numbers.
        textures: Folder of frost textures; None for the default.
        cache: Folder that keeps corrupted pictures, losslessly; None to keep none.
    """

    corruption: str
    severity: int
    seed: int = 0
    textures: str | None = None
    cache: Path | None = None

    def picture(self, path: Path) -> Image:
        """Return a picture damaged at its original size, BGR [H, W, 3], as the host and OpenCV have it.

        Raises:
            InputError: It cannot be read or is too small.
        """
        if self.corruption == CLEAN:
            return read(path)
        kept = self._kept(path)
        if kept is not None and kept.is_file():
            return read(kept)
        rng = rng_for(self.seed, path.name, self.corruption, self.severity)
        try:
            rgb = corrupt(read(path)[..., ::-1], self.corruption, self.severity, rng, textures=self.textures)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        damaged = np.ascontiguousarray(rgb[..., ::-1])
        if kept is not None:
            _, data = cv2.imencode(".png", damaged, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            write_atomic(kept, lambda file: file.write(data.tobytes()))
        return damaged

    def _kept(self, path: Path) -> Path | None:
        return self.cache and self.cache / f"{self.corruption}-{self.severity}" / f"{path.name}.png"


def read(path: Path) -> Image:
    """Read a picture as BGR [H, W, 3], upright.

    Raises:
        InputError: It cannot be read.
    """
    try:
        picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise InputError(f"{path} cannot be read ({error}); replace it or remove it from the data set") from error
    if picture is None:
        raise InputError(f"{path} is not a whole picture; replace it or remove it from the data set")
    return np.asarray(picture, np.uint8)


class Workshop:
    """Worker processes for the pictures of a whole sweep; with 0 workers everything happens in this process.

    One process more is for other work, so that this does not hold up the pictures.

    Args:
        workers: Number of processes that make pictures.
        ahead: Pictures to make before they are asked for.
    """

    def __init__(self, workers: int, ahead: int = 0) -> None:
        self._ahead = max(ahead, AHEAD * workers)
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), start_worker) if workers else None
        self._aside = ProcessPoolExecutor(1, get_context("spawn"), start_worker) if workers else None

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield what `work` makes of each item, in order; a bounded number is made ahead."""
        if self._pool is None:
            yield from map(work, items)
            return
        under_way: deque[Future[Result]] = deque()
        left = iter(items)
        try:
            while True:
                for item in islice(left, self._ahead - len(under_way)):
                    under_way.append(self._pool.submit(work, item))
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def aside(self, work: Callable[..., Result], *args: object) -> Future[Result]:
        """Have something computed beside the pictures."""
        if self._aside is not None:
            return self._aside.submit(work, *args)
        done: Future[Result] = Future()
        done.set_result(work(*args))
        return done

    def close(self) -> None:
        """Stop the workers; what they have not begun is dropped."""
        for pool in (self._pool, self._aside):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(device: str = "cpu") -> int:
    """Return how many workers suit this machine: on a CPU the models take far longer than the damage."""
    cores = available_cores()
    return max(1, cores // 4 if device == "cpu" else min(cores - 1, 16))


def start_worker() -> None:
    """Make a process work on one core, leave Ctrl-C to its parent, and end when that is killed."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
