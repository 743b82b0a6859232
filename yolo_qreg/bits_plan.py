"""Plans of widths: a bit width for each convolution of a model, read from and written to YAML files.

A training keeps the widths themselves in its settings, never the name of the file: that may move or change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from yolo_qreg.errors import InputError, did_you_mean
from yolo_qreg.files import write_text

_LONGEST_REASON = 200
_KEYS = ("bits", "about")


def read_plan(path: Path) -> dict[str, Any]:
    """Return the widths of a plan by the names of convolutions; whether they fit a method and a model is seen later.

    The file holds a mapping `bits` of names to widths. What stands below `about` is for readers.

    Raises:
        InputError: The file is not there, or holds no such mapping.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"bits plan {path} cannot be read ({error.strerror}); name a file of allocate") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise InputError(f"bits plan {path} is no YAML ({reason}); correct it") from error
    if not isinstance(found, dict) or not isinstance(found.get("bits"), dict) or not found["bits"]:
        raise InputError(f"bits plan {path} holds no widths; write lines such as model.0.conv: 8 below bits:")
    for key in found:
        if key not in _KEYS:
            raise InputError(f"bits plan {path}: key {key!r} is unknown; {did_you_mean(key, _KEYS)}")
    return dict(found["bits"])


def write_plan(path: Path, widths: Mapping[str, int], about: Mapping[str, Any]) -> None:
    """Write a plan, with plain data about how it was made."""
    write_text(path, yaml.safe_dump({"about": dict(about), "bits": dict(widths)}, sort_keys=False))


def short_hash(widths: Mapping[str, int]) -> str:
    """Return four hexadecimal digits that tell plans apart."""
    return hashlib.sha256(json.dumps(sorted(widths.items())).encode()).hexdigest()[:4]
