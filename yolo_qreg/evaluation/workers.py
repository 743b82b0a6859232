"""Worker processes that know neither torch nor the host: how they start, and what they are given to do."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import cv2

from yolo_qreg.errors import InputError
from yolo_qreg.processes import unhurt_by_ctrl_c

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOK = 1.0
"""Seconds between looks at the workers."""
AHEAD = 4
"""Pictures under way per worker, at least: enough to keep all busy."""
DEAD = (
    "a worker process died, for want of memory perhaps; repeat the command with fewer --workers: what is done is kept"
)


class Workshop:
    """Worker processes for the pictures of a whole sweep; with 0 workers everything happens in this process.

    A few processes more are for other work, so that this does not hold up the pictures.

    Args:
        workers: Number of processes that make pictures.
        ahead: Pictures to make before they are asked for.
    """

    def __init__(self, workers: int, ahead: int = 0) -> None:
        self._ahead = max(ahead, AHEAD * workers)
        self._closed = threading.Event()
        self._pool = self._start(workers) if workers else None
        self._aside = self._start(max(1, workers // 4)) if workers else None

    def _start(self, workers: int) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(workers, FreshProcesses(), begin_worker)
        watched = pool._processes, pool._result_queue, self._closed
        threading.Thread(target=_end_if_torn, args=watched, daemon=True).start()
        return pool

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
                    under_way.append(_submit(self._pool, work, item))
                if not under_way:
                    return
                yield under_way.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(DEAD) from error
        finally:
            for future in under_way:
                future.cancel()

    def aside(self, work: Callable[..., Result], *args: object) -> Future[Result]:
        """Have something computed beside the pictures."""
        if self._aside is not None:
            return _submit(self._aside, work, *args)
        done: Future[Result] = Future()
        done.set_result(work(*args))
        return done

    def close(self, wait: bool = False) -> None:
        """Stop the workers; what they have not begun is dropped.

        Args:
            wait: Until they have ended; a process that ends itself meanwhile would say so, or wait for ever.
        """
        self._closed.set()
        for pool in (self._pool, self._aside):
            if pool is not None:
                pool.shutdown(wait=wait, cancel_futures=True)

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(wait=kind is None)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(device: str = "cpu") -> int:
    """Return how many workers suit this machine: on a CPU the models take far longer than the damage."""
    cores = available_cores()
    return max(1, cores // 4 if device == "cpu" else min(cores - 1, 16))


def _end_if_torn(workers: Mapping[int, BaseProcess], results: Any, closed: threading.Event) -> None:
    """End a pool of which a worker was killed while it sent a result: its parent would wait for the rest for ever."""
    while not any(worker.exitcode for worker in list(workers.values())):
        if closed.is_set() and all(worker.exitcode == 0 for worker in list(workers.values())):
            return
        time.sleep(LOOK)
    time.sleep(LOOK)  # in which an executor that does not wait for the rest sees it by itself
    for worker in list(workers.values()):
        worker.kill()
    results._writer.close()  # no writer is left: what waits reads the end


def _submit(pool: ProcessPoolExecutor, work: Callable[..., Result], *args: object) -> Future[Result]:
    """Submit work; a worker that is started for it leaves Ctrl-C to its parent."""
    with unhurt_by_ctrl_c():
        return pool.submit(work, *args)


def begin_worker() -> None:
    """Let OpenCV work on one core, and end when the parent is killed."""
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - multiprocessing's hook
        with _script_hidden():
            return SpawnProcess._Popen(process_obj)


class FreshProcesses(SpawnContext):
    """Spawns processes that do not import the main module again.

    `multiprocessing` has every spawned process run the script that it came from. What workers of ours do lies in
    modules, and a script without `if __name__ == "__main__"` would begin its training anew in each of them.
    """

    Process = _Process


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Take from the main module what tells a spawned process where to find it, for the moment of its start."""
    main = vars(sys.modules["__main__"])
    known: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(known)
