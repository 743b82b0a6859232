"""The data sets that go by a name: `shapes` and `voc`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.data.voc_classes import voc_yaml

NAMED_DATA: Mapping[str, Callable[[], Path]] = MappingProxyType({"shapes": ensure_shapes, "voc": voc_yaml})
"""Name -> function that returns the data file in the host's format."""


def named_data(name: str) -> Path | None:
    """The data file that a name stands for, generating `shapes` if need be; None if `name` is no such name.

    Raises:
        InputError: As `ensure_shapes` and `voc_yaml` do.
    """
    find = NAMED_DATA.get(name)
    return None if find is None else find()
