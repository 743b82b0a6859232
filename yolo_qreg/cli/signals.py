"""Signals of `kill`, `timeout`, schedulers and closed terminals: each does what Ctrl-C does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from yolo_qreg.processes import ENDING

BUNCH = 5.0
"""Seconds between signals that are one request to end."""


@dataclass
class Ended:
    """Which signal came first, if one did, and when the last one did."""

    number: int | None = None
    at: float | None = None

    def status(self, status: int) -> int:
        """Return the exit status that shells expect of a command that a signal ended; Ctrl-C's is 130."""
        return status if self.number is None or not status else 128 + self.number


@contextmanager
def as_ctrl_c() -> Iterator[Ended]:
    """Raise KeyboardInterrupt at these signals; those that follow within seconds, as they come in bunches, do nothing.

    A signal that this process was started to ignore, as by nohup, stays ignored. Processes that libraries fork, and
    terminate when they take too long, simply end: OpenVINO does that without a network.
    """
    ended, own = Ended(), os.getpid()

    def end(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        now, before = time.monotonic(), ended.at
        ended.number, ended.at = ended.number or number, now
        if before is None or now - before > BUNCH:
            raise KeyboardInterrupt

    asking = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]  # Python handles Ctrl-C
    before = {number: signal.signal(number, end) for number in asking}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
