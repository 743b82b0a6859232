"""From a VOCdevkit folder to the layout that Ultralytics' VOC.yaml makes: images/ and labels/ by split and year."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolo_qreg.data.voc_classes import class_names
from yolo_qreg.data.voc_devkit import Split, find_splits, is_picture_name, splits_in, tracked
from yolo_qreg.data.voc_folder import YAML, ConvertedFolder, Picture, SplitPlan, write_if_changed
from yolo_qreg.data.voc_xml import read_annotation, shown_size
from yolo_qreg.errors import InputError

LOG = logging.getLogger(__name__)

_VALIDATION_ORDER = ("test2007", "val2012", "val2007")
_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class VocSummary:
    """What `convert_devkit` did.

    Attributes:
        yaml: The data file written for the folder.
        splits: Folders below images/ and labels/, such as "train2007".
        written: Pictures made or changed in this run.
        unchanged: Pictures that an earlier run had finished.
        removed: Pictures taken out of a split, which no longer lists them or cannot be used any more.
        boxes: Boxes in all of these splits' labels.
        difficult: Boxes marked difficult; kept or dropped as asked.
        clipped: Boxes cut back to their picture.
        problems: What was skipped and why: pictures, or single objects of a picture.
    """

    yaml: Path
    splits: tuple[str, ...]
    written: int
    unchanged: int
    removed: int
    boxes: int
    difficult: int
    clipped: int
    problems: tuple[str, ...]

    @property
    def up_to_date(self) -> bool:
        """Whether there was nothing to do."""
        return self.written == self.removed == 0 and self.unchanged > 0


def convert_devkit(
    devkit: Path, out: Path, *, difficult: bool = False, copy: bool = False, strict: bool = False
) -> VocSummary:
    """Build `out/images`, `out/labels` and `out/voc.yaml` from a VOCdevkit folder.

    Any subset of the years 2007 and 2012 and of their splits will do. `train` and `val` become train2007, val2007 and
    so on; where one of the two lists is missing, `trainval` is taken whole (trainval2007). Everything is read again
    in each run and compared with what is there, so the folder is what lists, annotations and pictures say now, whatever
    their dates; a second run changes nothing, and an interrupted one is continued. In voc.yaml validation is test2007,
    else val2012, else val2007, and training everything else; a folder with one split only uses it for both, which is
    logged, as is what was skipped. Devkits that are kept apart can be converted one after the other into the same
    folder: voc.yaml names all that is there.

    Args:
        devkit: The folder with VOC2007 and VOC2012 in it, its parent, or one of these two folders.
        out: The folder to build; made if absent.
        difficult: Keep boxes marked difficult, which the host and the VOC benchmark leave out.
        copy: Copy the pictures. By default they are symbolic links with absolute targets, or copies where the file
            system has no links.
        strict: Fail at the first problem instead of skipping it.

    Raises:
        InputError: For a folder that is no VOCdevkit or holds nothing usable, lists that share a picture, an `out` that
            something else made, and under `strict` for a broken XML, a missing picture or annotation, an unknown class,
            a box without area or an annotation of another picture size. Nothing is changed then.
        OSError: If `out` cannot be written.
    """
    splits = find_splits(devkit)
    out = out.expanduser().resolve()
    folder = ConvertedFolder(out, difficult=difficult)
    _check_others(out, folder.others({split.name: split.source.resolve() for split in splits}), splits)
    reader = _Reader(folder, keep_difficult=difficult, strict=strict)
    plan = {split.name: SplitPlan(split.source.resolve(), reader.pictures(split)) for split in splits}
    if not any(planned.pictures for planned in plan.values()):
        raise InputError(f"{devkit}: none of its pictures could be converted; the first problem: {reader.problems[0]}")
    changes = folder.update(plan, copy=copy)
    _report(reader.problems)
    return VocSummary(
        yaml=_write_yaml(out),
        splits=tuple(plan),
        written=changes.written,
        unchanged=changes.unchanged,
        removed=changes.removed,
        boxes=reader.boxes,
        difficult=reader.difficult,
        clipped=reader.clipped,
        problems=tuple(reader.problems),
    )


class _Reader:
    """Reads the pictures and annotations of splits; counts boxes, and collects what cannot be used."""

    def __init__(self, folder: ConvertedFolder, *, keep_difficult: bool, strict: bool) -> None:
        self.folder = folder
        self.keep_difficult = keep_difficult
        self.strict = strict
        self.boxes = self.difficult = self.clipped = 0
        self.problems: list[str] = []

    def pictures(self, split: Split) -> list[Picture]:
        """What a split has to hold."""
        taken = self.folder.taken(split.name, split.ids)
        source = split.source.resolve() / "JPEGImages"
        found = []
        for name in tracked(split.ids, f"{split.name}, reading"):
            if name in taken:
                self.problem(f"{taken[name]}: was not made here; move it away")
            elif (label := self._label(split, name)) is not None:
                found.append(Picture(name, source / f"{name}.jpg", label))
        return found

    def _label(self, split: Split, name: str) -> bytes | None:
        if not is_picture_name(name):
            self.problem(f"{split.file}: {name!r} is no picture's name")
            return None
        jpeg, xml = split.source / "JPEGImages" / f"{name}.jpg", split.source / "Annotations" / f"{name}.xml"
        for path, what in ((jpeg, "picture"), (xml, "annotation")):
            if not path.is_file():
                self.problem(f"{path}: {what} is missing")
                return None
        try:
            size = shown_size(jpeg)
        except ValueError as error:
            self.problem(f"{jpeg}: {error}")
            return None
        try:
            annotation = read_annotation(xml, size, keep_difficult=self.keep_difficult)
        except ValueError as error:
            self.problem(f"{xml}: {error}")
            return None
        for reason in annotation.skipped:
            self.problem(f"{xml}: {reason}")
        self.boxes += len(annotation.lines)
        self.difficult += annotation.difficult
        self.clipped += annotation.clipped
        return "".join(f"{line}\n" for line in annotation.lines).encode()

    def problem(self, text: str) -> None:
        """Note what is skipped; an error under `strict`."""
        if self.strict:
            raise InputError(f"{text}; mend it, or convert without strict to skip it")
        self.problems.append(text)


def _check_others(out: Path, others: Mapping[str, set[str]], splits: Iterable[Split]) -> None:
    """Refuse a picture that another devkit put into another split of the same year."""
    for other, names in others.items():
        for split in splits:
            shared = sorted(names & set(split.ids)) if split.name[-4:] == other[-4:] else []
            if shared:
                raise InputError(
                    f"{out}: another devkit gave it {shared[0]!r} in {other} ({len(shared)} in all), "
                    f"{split.file} lists it too; name another folder"
                )


def _write_yaml(out: Path) -> Path:
    """Write the data file for the splits that exist, in the host's format."""
    splits = splits_in(out)
    val = next((name for name in _VALIDATION_ORDER if name in splits), splits[0])
    train = [name for name in splits if name not in {val, "test2007"}]
    if not train:
        LOG.warning("%s: only %s is there; voc.yaml names it for training and validation alike", out, val)
        train = [val]
    content: dict[str, Any] = {"path": str(out), "train": [f"images/{name}" for name in train], "val": f"images/{val}"}
    if "test2007" in splits:
        content["test"] = "images/test2007"
    content["names"] = dict(enumerate(class_names()))
    header = "# Pascal VOC, converted by yolo_qreg.data.voc from a VOCdevkit folder.\n"
    text = header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_if_changed(out / YAML, text.encode())
    return out / YAML


def _report(problems: list[str]) -> None:
    for problem in problems[:_SHOWN_PROBLEMS]:
        LOG.warning("skipped: %s", problem)
    if len(problems) > _SHOWN_PROBLEMS:
        LOG.warning("skipped: %d more", len(problems) - _SHOWN_PROBLEMS)
