"""A converted folder: images/ and labels/ by split, and the record of what was made there.

The folder is compared with what it has to hold, file by file; no dates of labels or annotations are believed. What the
record does not name belongs to the user and is neither changed nor removed.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from yolo_qreg.data.voc_devkit import SPLITS, tracked, visible_files
from yolo_qreg.errors import InputError
from yolo_qreg.files import write_atomic
from yolo_qreg.sealed import read_sealed, read_whole, sealed

LOG = logging.getLogger(__name__)

RECORD = ".voc-conversion.json"
_FORMAT = 2
YAML = "voc.yaml"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to convert: its id, the devkit's file and the text of its label file."""

    name: str
    file: Path
    label: bytes


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """What a split has to hold: the year's folder that it comes from, and the pictures."""

    source: Path
    pictures: Sequence[Picture]


Plan = Mapping[str, SplitPlan]
"""By split."""


@dataclass(slots=True)
class _Made:
    """What was made of one split: from which year's folder, and the ids."""

    source: str
    names: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Changes:
    """What an update did.

    Attributes:
        written: Pictures that were made or changed.
        unchanged: Pictures that were right already.
        removed: Pictures taken out.
    """

    written: int = 0
    unchanged: int = 0
    removed: int = 0


class ConvertedFolder:
    """A folder that this module made, or an empty one."""

    def __init__(self, path: Path, *, difficult: bool) -> None:
        """Take up the record of earlier runs.

        Args:
            path: The folder; need not exist.
            difficult: Whether its labels hold boxes marked difficult.

        Raises:
            InputError: It holds data of another origin, or labels made with the other choice for difficult boxes.
        """
        self.path = path
        self._difficult = difficult
        self._made: dict[str, _Made] = {}
        self._begun = False
        if not (path / RECORD).exists():
            for place in (path / YAML, *(path / kind / split for kind in ("images", "labels") for split in SPLITS)):
                if place.is_file() or visible_files(place):
                    raise InputError(f"{place}: holds data that were not made here; name an empty folder")
            return
        record = read_sealed(path / RECORD)
        if record is None or record.get("format") != _FORMAT:
            raise InputError(
                f"{path / RECORD}: damaged, or of another release, so nobody knows what was converted here; "
                "name another folder"
            )
        if record["difficult"] != difficult:
            raise InputError(
                f"{path}: its labels were made with difficult={record['difficult']}, not difficult={difficult}; "
                "name another folder"
            )
        self._made = {split: _Made(found["source"], set(found["names"])) for split, found in record["made"].items()}

    def others(self, sources: Mapping[str, Path]) -> dict[str, set[str]]:
        """The splits, with their ids, that other devkits gave: those that neither are in `sources` nor come from one.

        Args:
            sources: The year's folder of each split to convert.
        """
        now = {str(source) for source in sources.values()}
        return {
            split: made.names
            for split, made in self._made.items()
            if split not in sources and made.source not in now and made.names
        }

    def taken(self, split: str, names: Iterable[str]) -> dict[str, Path]:
        """For each id of a split whose place is taken, the file that lies there: the user's, or a folder."""
        ours = self._made[split].names if split in self._made else set()
        places = {"jpg": self.path / "images" / split, "txt": self.path / "labels" / split}
        found = {}
        for suffix, folder in places.items():
            there = visible_files(folder)
            for name in names:
                entry = there.get(f"{name}.{suffix}")
                if entry and (name not in ours or entry.is_dir(follow_symlinks=False)):
                    found[name] = folder / entry.name
        return found

    def update(self, plan: Plan, *, copy: bool) -> Changes:
        """Make the folder hold just what the plan says, and what other devkits gave.

        Pictures that left a split are removed first, so that none is ever in two. While files change there is no
        voc.yaml: nobody trains on a folder that is half of one state and half of another.
        """
        changes = Changes()
        kept = self.others({split: planned.source for split, planned in plan.items()})
        for split in [split for split in self._made if split not in kept]:
            wanted = {picture.name for picture in plan[split].pictures} if split in plan else set()
            for name in sorted(self._made[split].names - wanted):
                self._begin(plan)
                self._remove(split, name)
                changes.removed += 1
        for split in plan:
            self._fill(split, plan, changes, copy=copy)
        self._made = {split: self._made[split] for split in kept}
        for split, planned in plan.items():
            self._made[split] = _Made(str(planned.source), {picture.name for picture in planned.pictures})
        self._save()
        return changes

    def _fill(self, split: str, plan: Plan, changes: Changes, *, copy: bool) -> None:
        images, labels = self.path / "images" / split, self.path / "labels" / split
        shown, texts = visible_files(images), visible_files(labels)
        for picture in tracked(plan[split].pictures, split):
            image, text = images / f"{picture.name}.jpg", labels / f"{picture.name}.txt"
            placed = image.name in shown and _is_placed(picture.file, image, copy=copy)
            labelled = text.name in texts and read_whole(text) == picture.label
            cached = images / f"{picture.name}.npy"  # the host's, with cache=disk
            if cached.name in shown and (not placed or cached.stat().st_mtime_ns <= picture.file.stat().st_ctime_ns):
                _discard(cached)
            if placed and labelled:
                changes.unchanged += 1
                continue
            self._begin(plan)
            images.mkdir(parents=True, exist_ok=True)
            labels.mkdir(parents=True, exist_ok=True)
            if not labelled:  # the label first: a picture without one is trained on as background
                _replace(text, partial(_write, picture.label))
            if not placed:
                _place(picture.file, image, copy=copy)
            changes.written += 1

    def _begin(self, plan: Plan) -> None:
        """Before the first change: note what will be made, and drop what is derived from the old state."""
        if self._begun:
            return
        self._begun = True
        for split, planned in plan.items():
            made = self._made.setdefault(split, _Made(str(planned.source)))
            made.names |= {picture.name for picture in planned.pictures}
        self._save()
        _discard(self.path / YAML)
        for split in SPLITS:  # the host's label caches, which some releases compare by the sum of the sizes alone
            _discard(self.path / "labels" / f"{split}.cache")
            for kind in ("images", "labels"):
                for part in (self.path / kind / split).glob(".*.part"):  # of a run that was killed
                    part.unlink(missing_ok=True)

    def _remove(self, split: str, name: str) -> None:
        images, labels = self.path / "images" / split, self.path / "labels" / split
        for path in (images / f"{name}.jpg", images / f"{name}.npy", labels / f"{name}.txt"):
            _discard(path)
        with suppress(OSError):  # it holds more
            images.rmdir()
            labels.rmdir()

    def _save(self) -> None:
        made = {split: {"source": m.source, "names": sorted(m.names)} for split, m in self._made.items() if m.names}
        write_if_changed(self.path / RECORD, sealed({"format": _FORMAT, "difficult": self._difficult, "made": made}))


def write_if_changed(path: Path, content: bytes) -> None:
    """Write a file unless it holds just this."""
    if read_whole(path) != content:
        write_atomic(path, lambda file: file.write(content))


def _discard(path: Path) -> None:
    """Remove what is there, but no folder: that is not of our making."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)


def _is_placed(source: Path, target: Path, *, copy: bool) -> bool:
    """Whether `target` is a link to the picture, or a copy of it as it is now."""
    if target.is_symlink():
        return not copy and target.readlink() == source
    if not target.is_file():
        return False
    wanted, found = source.stat(), target.stat()
    if wanted.st_size != found.st_size:
        return False
    # Nothing but a write sets the time of change, so a source that has not changed since the copy is the one copied.
    if wanted.st_mtime_ns == found.st_mtime_ns and wanted.st_ctime_ns < found.st_ctime_ns:
        return True
    same = source.read_bytes() == target.read_bytes()
    if same:
        os.utime(target, ns=(found.st_atime_ns, wanted.st_mtime_ns))
    return same


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _place(source: Path, target: Path, *, copy: bool) -> None:
    if not copy:
        try:
            _replace(target, lambda part: part.symlink_to(source))
            return
        except (OSError, NotImplementedError):  # Windows without the privilege, FAT and some network drives
            LOG.debug("%s: no symbolic link possible, copied", target)
    times = source.stat()
    _replace(target, lambda part: shutil.copyfile(source, part))
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    """Let `make` write a hidden file beside `path` and rename it: whole or absent.

    Not `write_atomic`: waiting for the disk 40,000 times would take minutes, and a rerun mends what a power cut left.
    """
    part = path.with_name(f".{path.name}.{os.getpid():08}.part")
    try:
        make(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
