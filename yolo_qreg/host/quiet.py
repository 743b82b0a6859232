"""The host's lines kept off the terminal, where what it says is not about what the user asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ultralytics.utils import LOGGER


@contextmanager
def quiet(level: int = logging.ERROR) -> Iterator[None]:
    """Drop the host's messages below a level meanwhile: how fast the disk is, advice on how to use a file."""
    before = LOGGER.level
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.setLevel(before)
