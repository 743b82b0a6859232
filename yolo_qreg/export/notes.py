"""The JSON of an export, which says what it is and how it was proved: NAME.export.json, or export.json in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yolo_qreg import __version__
from yolo_qreg.errors import InputError
from yolo_qreg.files import write_text

IN_FOLDER = "export.json"
PACKAGES = ("ultralytics", "torch", "onnx", "onnxruntime", "openvino")
ROOM = 1.1
"""How much larger than its integers and other values a file may be, beside what the graph's own words take."""
WORDS = 5000
"""Bytes that a quantized layer's operators and names take at most."""


def note_file(target: Path) -> Path:
    """Return where the note of an exported file or folder is."""
    return target / IN_FOLDER if target.is_dir() else target.with_suffix(".export.json")


def check_note(target: Path) -> None:
    """Check that the note of a file can be written.

    Raises:
        InputError: A folder is in its place.
    """
    note = target.with_suffix(".export.json")
    if note.is_dir():
        raise InputError(f"{note} is a folder, where the note of {target.name} belongs; move it away")


def to_text(facts: Mapping[str, Any]) -> str:
    """Return a note as it is written."""
    return json.dumps(facts, indent=1) + "\n"


def extend(target: Path, entries: Mapping[str, Any]) -> None:
    """Add entries to the note of what was exported.

    Raises:
        InputError: It is not there, or damaged.
    """
    write_text(note_file(target), to_text({**read(target), **entries}))


def read(target: Path) -> dict[str, Any]:
    """Read the note of an exported file or folder.

    Raises:
        InputError: It is not there, or damaged.
    """
    path = note_file(target)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; export {target.name} again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); export {target.name} again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged (it holds no entries); export {target.name} again")
    return found


def contents(files: Iterable[Path]) -> dict[str, Any]:
    """Return the size of what was written, and a hash of it."""
    digest, size = hashlib.sha256(), 0
    for file in sorted(files):
        data = file.read_bytes()
        digest.update(data)
        size += len(data)
    return {"bytes": size, "sha256": digest.hexdigest()}


def check_size(size: int, promised: int, layers: int) -> dict[str, int]:
    """Compare the size of a file with what its integers and other values take.

    Args:
        size: In bytes.
        promised: Bytes of integers and other values, and of what is no quantized layer's.
        layers: Number of quantized layers.

    Raises:
        InputError: The file is larger.
    """
    most = round(ROOM * promised) + WORDS * layers
    if size > most:
        raise InputError(
            f"the exported model takes {size:,} bytes, where its bits allow {most:,}: its weights were stored wider "
            "than they are; please report this"
        )
    return {"bytes": size, "at most": most}


def versions() -> dict[str, str]:
    """Return the releases that had a part in an export."""
    there = [name for name in PACKAGES if find_spec(name) is not None]
    return {"yolo-qreg": __version__} | {name: version(name) for name in there}
