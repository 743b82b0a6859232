"""Processes that end together, and signals at the wrong moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PARENT = "YOLO_QREG_PARENT"
"""Environment variable of a process that is to end with the one of this id, which started it."""
WITH_FEEDER = "YOLO_QREG_FEEDER"
"""Environment variable of a training: file descriptor of its connection to the process that makes its batches."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a process to end."""
POLL = 1.0
"""Seconds between looks at the parent."""


def end_with_parent() -> None:
    """Kill this process group as soon as the parent is gone, however it went, if the parent asked for that.

    The process has to lead a group of its own; loader workers and the workers of a multi-GPU training are in it.
    """
    if (parent := os.environ.pop(PARENT, None)) is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(POLL)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals that end this process wait for what must not be cut in two, such as a file that is being written.

    What a handler raises while torch writes or reads is swallowed there, and leaves half a file that looks finished.
    """
    came: list[int] = []
    held = {}
    if threading.current_thread() is threading.main_thread():  # which alone runs handlers, and may set them
        held = {number: handler for number in ENDING if callable(handler := signal.getsignal(number))}
    try:
        for number in held:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def unhurt_by_ctrl_c() -> Iterator[None]:
    """Start processes within this that Ctrl-C does not reach, from their first instruction on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
