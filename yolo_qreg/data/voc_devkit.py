"""Which pictures a VOCdevkit folder lists, and which splits a converted folder holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from yolo_qreg.errors import InputError

# The 2012 test split has no public annotations. The host takes a data set for complete once its validation folder
# exists, so test2007 is made last: an interrupted download is then noticed.
_SPLITS: Mapping[str, tuple[str, ...]] = MappingProxyType({"2012": ("train", "val"), "2007": ("train", "val", "test")})


@dataclass(frozen=True, slots=True)
class Split:
    """One list of pictures: its name ("train2007"), the year's folder and the ids."""

    name: str
    source: Path
    ids: tuple[str, ...]


def find_splits(devkit: Path) -> list[Split]:
    """The lists of pictures to convert, in the order of the work.

    Raises:
        InputError: If there are none.
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
    return [Split(f"{name}{year}", source, ids[name]) for name in there]


def _read_list(path: Path) -> tuple[str, ...]:
    """The picture ids of an ImageSets list, the first word of each line; empty if there is no list."""
    if not path.is_file():
        return ()
    return tuple(line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


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
