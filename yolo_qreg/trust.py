"""Whether files may run code: weights, model YAMLs and data YAMLs can hold some, and a stranger's may hold anything.

The answer stands in an environment variable, so that it holds for the processes that a command starts as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "YOLO_QREG_TRUST"
REMEDY = f"if you know where it comes from, repeat with --trust (or {VARIABLE}=1)"


def trusted() -> bool:
    """Tell whether the user lets files run code."""
    return os.environ.get(VARIABLE, "") not in {"", "0"}


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Let files run code meanwhile, here and in processes started meanwhile; `trust=False` leaves all as it is."""
    before = os.environ.get(VARIABLE)
    if trust:
        os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before
