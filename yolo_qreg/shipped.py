"""The shipped weights: where they are, in a clone or an installed package, and the card that describes each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from yolo_qreg.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def weights_folder() -> Path:
    """Return the folder of the shipped weights.

    Raises:
        InputError: If the installation lacks it.
    """
    for place in (_PACKAGE / "_weights", _PACKAGE.parent / "weights"):
        if any(place.glob("*.json")):
            return place
    raise InputError(f"{_PACKAGE / '_weights'} is missing; install yolo-qreg again")


def read_card(name: str) -> dict[str, Any]:
    """Return the card of a shipped weight file, by its name without suffix, such as "shapes-fp32"."""
    card: dict[str, Any] = json.loads((weights_folder() / f"{name}.json").read_text(encoding="utf-8"))
    return card


def shipped(name: str) -> Path:
    """Return a shipped weight file, checked against the sha256 on its card.

    Raises:
        InputError: If there is no such file or its bytes are not the card's.
    """
    known = sorted(p.stem for p in weights_folder().glob("*.json"))
    if name not in known:
        raise InputError(f"weights {name!r} are not shipped; there are {', '.join(known)}")
    card = read_card(name)
    path: Path = weights_folder() / card["file"]
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != card["sha256"]:
        raise InputError(f"{path} is missing or damaged (its sha256 is not the card's); get it again")
    return path
