"""Every difference between the supported releases of the host, each with the release that needs it.

With the oldest a resumed training ends with the bits of an uninterrupted one, which earlier releases do not give. How
older ones read pictures otherwise than the newest is told in docs/data.md, and tested as far as they agree.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from typing import Any

from ultralytics import __version__ as release
from ultralytics.data.utils import get_split_fraction
from ultralytics.utils import LOGGER

from yolo_qreg.errors import InputError

__all__ = [
    "OLDEST",
    "TESTED",
    "check_host",
    "get_split_fraction",
    "is_before",
    "release",
    "restart",
]

OLDEST = "8.4.174"
TESTED = "8.4.190"
"""Newest release that the tests have passed on."""


def check_host(*, training: bool = False) -> None:
    """Check the installed release before anything is begun; one that is newer than tested is said once, and runs.

    Args:
        training: Whether packages that the host imports only after an epoch have to be there.

    Raises:
        InputError: The release is too old, or such a package is missing.
    """
    if is_before(OLDEST):
        raise InputError(f"ultralytics {release} is older than {OLDEST}, the oldest supported; update ultralytics")
    if training and find_spec("polars") is None:
        raise InputError("polars is not installed, which Ultralytics needs to save a training; pip install polars")
    if _numbers(release) > _numbers(TESTED):
        _say_once(f"yolo-qreg: ultralytics {release} is newer than {TESTED}, the newest that was tested")


@cache
def _say_once(line: str) -> None:
    LOGGER.warning(line)


def is_before(other: str) -> bool:
    """Tell whether the installed host is older than another release."""
    return _numbers(release) < _numbers(other)


def restart(loader: Any, seed: int) -> None:
    """Start a training loader's order and workers anew, drawn from `seed`."""
    loader.generator.manual_seed(seed)
    loader.reset()


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", name)[:3])
