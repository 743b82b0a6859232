"""Files that carry a hash of themselves, so that one is whole or is made again, whatever happened to it.

JSON files have it before their content, binary ones after it. Only bytes that the hash vouches for reach a parser.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_qreg.files import write_atomic

_HEAD = '{\n "sha256": "%s",'


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as JSON with its hash before it; whole or not at all."""
    text = sealed(content)
    write_atomic(path, lambda file: file.write(text))


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return the bytes that `write_sealed` writes: equal content gives equal bytes.

    Example:
        >>> print(sealed({"seed": 0}).decode())  # doctest: +ELLIPSIS
        {
         "sha256": "...",
         "seed": 0
        }
        <BLANKLINE>
    """
    body = json.dumps(content, indent=1, sort_keys=True).encode().removeprefix(b"{") + b"\n"
    return _head(body) + body


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what `write_sealed` wrote; None where there is no such file, or one that was changed in whatever way."""
    data = read_whole(path)
    if data is None:
        return None
    size = len(_head(b""))
    if data[:size] != _head(data[size:]):
        return None
    content: dict[str, Any] = json.loads(data)
    del content["sha256"]
    return content


def stamped(payload: bytes, about: Mapping[str, Any]) -> bytes:
    """Return a payload with a hash of itself, and of what it is about, after it.

    Readers of .npz and .npy files do not mind.
    """
    return payload + _foot(payload, about)


def unstamped(data: bytes | None, about: Mapping[str, Any]) -> bytes | None:
    """Return the payload; None if it is absent, was changed, or is about something else."""
    if data is None:
        return None
    end = len(data) - len(_foot(b"", {}))
    payload = data[: max(end, 0)]
    return payload if data == stamped(payload, about) else None


def read_whole(path: Path) -> bytes | None:
    """Return the bytes of a file; None for what is absent, cannot be read or is no file (a folder, a pipe)."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None


def _head(body: bytes) -> bytes:
    return (_HEAD % hashlib.sha256(body).hexdigest()).encode()


def _foot(payload: bytes, about: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode() + b"\0" + payload).hexdigest()
    return f"\nsha256 {digest}\n".encode()
