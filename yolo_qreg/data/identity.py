"""What a data set is, whatever its place: a fingerprint of its content, and what two of them differ in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RECORD = "training.json"
"""In a run folder: what its training began from, its data set among it, and whether it is finished."""
MOST_NAMES = 3
"""Class names that a message shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitIdentity:
    """Content of one split. Folders and order do not count, so a data set that was moved is the same.

    Attributes:
        pictures: How many there are, each as often as it is listed.
        names: Hash of their file names.
        sizes: Hash of file names and sizes in bytes.
        labels: Hash of file names and label rows; no label file is the same as an empty one.
    """

    pictures: int
    names: str
    sizes: str
    labels: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataIdentity:
    """A data set: where it was, and what it held.

    Attributes:
        path: Absolute path of its YAML file.
        names: Class names, in class order.
        channels: Of its pictures.
        splits: By name, "train" and "val".
    """

    path: str
    names: tuple[str, ...]
    channels: int
    splits: Mapping[str, SplitIdentity]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON and checkpoints."""
        return asdict(self) | {"names": list(self.names)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> DataIdentity:
        """Read what `to_dict` wrote."""
        splits = {name: SplitIdentity(**split) for name, split in found["splits"].items()}
        return cls(path=found["path"], names=tuple(found["names"]), channels=found["channels"], splits=splits)

    def differences(self, other: DataIdentity) -> tuple[str, ...]:
        """Return in what the content differs from that of another, each as "this against that"; nothing if equal.

        Splits that only one of them knows are left out.
        """
        found = []
        if self.names != other.names:
            found.append(f"{_listed(self.names)} against {_listed(other.names)}")
        if self.channels != other.channels:
            found.append(f"{self.channels} channels against {other.channels}")
        for name, split in self.splits.items():
            if name in other.splits and (difference := _difference(split, other.splits[name])):
                found.append(f"{name}: {difference}")
        return tuple(found)


def split_identity(pictures: Iterable[tuple[Path, Path]]) -> SplitIdentity:
    """Return the identity of a split from its pictures and their label files; the latter need not exist.

    A picture counts by name and size, so thousands take a second; only label files are read.
    """
    rows = sorted((os.fsencode(picture.name), _size(picture), _labels(label)) for picture, label in pictures)
    return SplitIdentity(
        pictures=len(rows),
        names=_hash(name for name, _, _ in rows),
        sizes=_hash(b"%s %d" % (name, size) for name, size, _ in rows),
        labels=_hash(b"%s\n%s" % (name, text) for name, _, text in rows),
    )


def _difference(mine: SplitIdentity, theirs: SplitIdentity) -> str:
    if mine.pictures != theirs.pictures:
        return f"{mine.pictures} pictures against {theirs.pictures}"
    if mine.names != theirs.names:
        return "pictures of other names"
    parts = [what for what in ("sizes", "labels") if getattr(mine, what) != getattr(theirs, what)]
    return " and ".join("pictures of other file sizes" if part == "sizes" else "other labels" for part in parts)


def _listed(names: tuple[str, ...]) -> str:
    rest = ", ..." if len(names) > MOST_NAMES else ""
    return f"{len(names)} classes ({', '.join(names[:MOST_NAMES])}{rest})"


def _size(picture: Path) -> int:
    try:
        return picture.stat().st_size
    except OSError:
        return -1


def _labels(file: Path) -> bytes:
    """Return the rows of a label file without what no reader of it sees: line ends, empty lines and wide spaces."""
    try:
        rows = file.read_bytes().splitlines()
    except OSError:
        return b""
    return b"\n".join(filter(None, (b" ".join(row.split()) for row in rows)))


def _hash(entries: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(b"%d:%s" % (len(entry), entry))
    return digest.hexdigest()[:32]
