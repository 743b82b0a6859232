"""Pascal VOC's classes, which stand in `voc.yaml` alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from yolo_qreg.errors import InputError


def voc_yaml() -> Path:
    """The absolute path of the project's `voc.yaml`: inside an installed package, or `data/` of a clone.

    Raises:
        InputError: If neither is there, which means a damaged installation.
    """
    here = Path(__file__).resolve().parent
    places = (here / "voc.yaml", here.parents[1] / "data" / "voc.yaml")
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"{places[0]}: voc.yaml is missing from this installation; install yolo-qreg again")


@cache
def class_names() -> tuple[str, ...]:
    """Names by class number, in the host's order."""
    names = yaml.safe_load(voc_yaml().read_text(encoding="utf-8"))["names"]
    return tuple(names[number] for number in range(len(names)))


@cache
def class_numbers() -> dict[str, int]:
    """Class numbers by name."""
    return {name: number for number, name in enumerate(class_names())}
