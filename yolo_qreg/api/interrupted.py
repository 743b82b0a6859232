"""What is said where somebody interrupts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """Say, where somebody interrupts, what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"interrupted; what was finished is kept in {folder}: repeat the command to continue"
        ) from stop
