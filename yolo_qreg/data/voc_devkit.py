"""Which pictures a VOCdevkit folder lists, and which splits a converted folder holds."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from yolo_qreg.errors import InputError

Item = TypeVar("Item")

# The 2012 test split has no public annotations. The host takes a data set for complete once its validation folder
# exists, so test2007 is made last: an interrupted download is then noticed.
_SPLITS: Mapping[str, tuple[str, ...]] = MappingProxyType({"2012": ("train", "val"), "2007": ("train", "val", "test")})
SPLITS = tuple(f"{name}{year}" for year, names in _SPLITS.items() for name in (*names, "trainval"))
"""Every split that a converted folder can hold."""


@dataclass(frozen=True, slots=True)
class Split:
    """One list of pictures: its name ("train2007"), the year's folder and the ids, each once."""

    name: str
    source: Path
    ids: tuple[str, ...]

    @property
    def file(self) -> Path:
        """The list itself."""
        return self.source / "ImageSets" / "Main" / f"{self.name[:-4]}.txt"


def find_splits(devkit: Path) -> list[Split]:
    """The lists of pictures to convert, in the order of the work; no picture is in two of them.

    Raises:
        InputError: If there are none, a list cannot be read, or two of them share a picture.
    """
    devkit = devkit.expanduser().absolute()
    if devkit.name in {f"VOC{year}" for year in _SPLITS} and devkit.is_dir():
        years = [devkit]
    else:
        years = _years_in(devkit) or _years_in(devkit / "VOCdevkit")
    if not years:
        raise InputError(f"{devkit}: no VOC2007 or VOC2012 folder; unpack the VOC archives and name their VOCdevkit")
    splits = [split for year in years for split in _splits_of(year)]
    if not splits:
        raise InputError(f"{devkit}: no picture lists in ImageSets/Main (train.txt, val.txt, trainval.txt, test.txt)")
    return splits


def _years_in(home: Path) -> list[Path]:
    return [home / f"VOC{year}" for year in _SPLITS if (home / f"VOC{year}").is_dir()]


def _splits_of(source: Path) -> list[Split]:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        if not (source / folder).is_dir():
            raise InputError(f"{source}: no {folder} in it; unpack the whole VOC archive")
    year = source.name.removeprefix("VOC")
    lists = {name: source / "ImageSets" / "Main" / f"{name}.txt" for name in (*_SPLITS[year], "trainval")}
    ids = {name: _read_list(path) for name, path in lists.items()}
    there = [name for name in _SPLITS[year] if ids[name]]
    if ids["trainval"] and not {"train", "val"} <= set(there):
        there = ["trainval", *(name for name in there if name == "test")]
    splits = [Split(f"{name}{year}", source, ids[name]) for name in there]
    _check_disjoint(splits)
    return splits


def _read_list(path: Path) -> tuple[str, ...]:
    """The picture ids of an ImageSets list, the first word of each line; empty if there is no list."""
    if not path.is_file():
        return ()
    text = path.read_bytes()
    wide = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell's `>` writes
    try:
        lines = text.decode("utf-16" if wide else "utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        number = text.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {number} is not UTF-8; save the list as UTF-8") from error
    return tuple(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _check_disjoint(splits: Iterable[Split]) -> None:
    """Refuse lists that share pictures: a model would be validated on what it was trained on."""
    for one, other in combinations(splits, 2):
        listed = set(one.ids)
        if shared := [name for name in other.ids if name in listed]:
            raise InputError(
                f"{one.file} and {other.file.name} both list {shared[0]!r} ({len(shared)} in all); "
                "a picture belongs to one split: take it out of the other list"
            )


def is_picture_name(name: str) -> bool:
    """Whether an id can name a visible file of one folder, so that it leads nowhere else and can be printed."""
    return name.isprintable() and not name.startswith(".") and not {"/", "\\"} & set(name)


def splits_in(out: Path) -> list[str]:
    """The splits that a folder holds, none of them a part of another; earlier runs may have made some."""
    found: list[str] = []
    for year, names in _SPLITS.items():
        there = [name for name in (*names, "trainval") if visible_files(out / "images" / f"{name}{year}")]
        parts = {"train", "val"} & set(there)
        if "trainval" in there:
            doubled = {"trainval"} if len(parts) == 2 else parts
            there = [name for name in there if name not in doubled]
        found += [f"{name}{year}" for name in there]
    return found


def visible_files(folder: Path) -> dict[str, os.DirEntry[str]]:
    """The visible entries of a folder by name; none if it does not exist. Unfinished files are hidden ones."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry for entry in entries if not entry.name.startswith(".")}


def tracked(items: Sequence[Item], label: str) -> Iterable[Item]:
    """The items, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, label, console=console, disable=not console.is_terminal, transient=True)
