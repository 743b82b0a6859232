"""From a VOCdevkit folder to the layout that Ultralytics' VOC.yaml makes: images/ and labels/ by split and year."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolo_qreg.data.voc_devkit import Split, find_splits, splits_in, visible_files
from yolo_qreg.data.voc_xml import CLASS_NAMES, read_annotation
from yolo_qreg.errors import InputError
from yolo_qreg.files import write_atomic

LOG = logging.getLogger(__name__)

_STATE = ".voc-conversion.json"
_FORMAT = 1
_VALIDATION_ORDER = ("test2007", "val2012", "val2007")
_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class VocSummary:
    """What `convert_devkit` did; the counts of boxes are those of this run.

    Attributes:
        yaml: The data file written for the folder.
        splits: Folders below images/ and labels/, such as "train2007".
        written: Pictures converted in this run.
        unchanged: Pictures that an earlier run had finished.
        boxes: Boxes written.
        difficult: Boxes marked difficult among the pictures written; kept or dropped as asked.
        clipped: Boxes cut back to their picture.
        problems: What was skipped and why: pictures, or single objects of a picture.
    """

    yaml: Path
    splits: tuple[str, ...]
    written: int
    unchanged: int
    boxes: int
    difficult: int
    clipped: int
    problems: tuple[str, ...]

    @property
    def up_to_date(self) -> bool:
        """Whether there was nothing to do."""
        return self.written == 0 and self.unchanged > 0


def convert_devkit(
    devkit: Path, out: Path, *, difficult: bool = False, copy: bool = False, strict: bool = False
) -> VocSummary:
    """Build `out/images`, `out/labels` and `out/voc.yaml` from a VOCdevkit folder.

    Any subset of the years 2007 and 2012 and of their splits will do. `train` and `val` become train2007, val2007 and
    so on; where one of the two lists is missing, `trainval` is taken whole (trainval2007). Work that an earlier run
    finished is kept, unless its XML is newer; so a second run does nothing and an interrupted one is resumed. In
    voc.yaml validation is test2007, else val2012, else val2007, and training everything else; a folder with one split
    only uses it for both, which is logged. Devkits that are kept apart can be converted one after the other into the
    same folder: voc.yaml names all that is there.

    Args:
        devkit: The folder with VOC2007 and VOC2012 in it, its parent, or one of these two folders.
        out: The folder to build; made if absent.
        difficult: Keep boxes marked difficult, which the host and the VOC benchmark leave out.
        copy: Copy the pictures. By default they are symbolic links with absolute targets, or copies where the file
            system has no links.
        strict: Fail at the first problem instead of skipping it.

    Raises:
        InputError: For a folder that is no VOCdevkit or holds nothing usable, an `out` that something else made, and
            under `strict` for a broken XML, a missing picture or annotation, an unknown class or a box without area.
        OSError: If `out` cannot be written.
    """
    splits = find_splits(devkit)
    out = out.expanduser().resolve()
    job = _Job(out, difficult=difficult, copy=copy, strict=strict)
    job.prepare(splits)
    try:
        for split in splits:
            job.convert(split)
    finally:
        job.save_state()
    if not job.written and not job.unchanged:
        raise InputError(f"{devkit}: none of its pictures could be converted; the first problem: {job.problems[0]}")
    _report(job.problems)
    return VocSummary(
        yaml=_write_yaml(out),
        splits=tuple(split.name for split in splits),
        written=job.written,
        unchanged=job.unchanged,
        boxes=job.boxes,
        difficult=job.difficult,
        clipped=job.clipped,
        problems=tuple(job.problems),
    )


class _Job:
    """One conversion: its options, its counts and what it remembers between runs."""

    def __init__(self, out: Path, *, difficult: bool, copy: bool, strict: bool) -> None:
        self.out = out
        self.keep_difficult = difficult
        self.copy = copy
        self.strict = strict
        self.written = self.unchanged = self.boxes = self.difficult = self.clipped = 0
        self.problems: list[str] = []
        self.skipped_objects: dict[str, list[str]] = {}  # by label, so that a later run still knows of them

    def prepare(self, splits: Iterable[Split]) -> None:
        """Take up an earlier run's state.

        Raises:
            InputError: If the folder holds labels of another origin, or made with the other choice for difficult boxes.
        """
        state = _read_state(self.out / _STATE)
        if state is None:
            if any(visible_files(self.out / "labels" / split.name) for split in splits):
                raise InputError(f"{self.out}: holds labels that were not made here; name an empty folder")
        elif (state.get("format"), state.get("difficult")) != (_FORMAT, self.keep_difficult):
            raise InputError(
                f"{self.out}: its labels were made with difficult={state.get('difficult')}, format "
                f"{state.get('format')}, not difficult={self.keep_difficult}, format {_FORMAT}; name another folder"
            )
        else:
            self.skipped_objects = {str(name): list(reasons) for name, reasons in state["skipped_objects"].items()}
        self.save_state()

    def save_state(self) -> None:
        """Remember the options and the objects left out; written only when it changed."""
        state = {"format": _FORMAT, "difficult": self.keep_difficult, "skipped_objects": self.skipped_objects}
        _write_if_changed(self.out / _STATE, json.dumps(state, indent=1, sort_keys=True) + "\n")

    def convert(self, split: Split) -> None:
        """Convert what is missing of one split."""
        from rich.console import Console
        from rich.progress import track

        images, labels = self.out / "images" / split.name, self.out / "labels" / split.name
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        pictures, texts = visible_files(images), visible_files(labels)
        console = Console(stderr=True)
        for name in track(split.ids, split.name, console=console, disable=not console.is_terminal):
            xml, jpeg = split.source / "Annotations" / f"{name}.xml", split.source / "JPEGImages" / f"{name}.jpg"
            picture, text = pictures.get(jpeg.name), texts.get(f"{name}.txt")
            if picture and text and not (self.copy and picture.is_symlink()) and _up_to_date(picture, text, xml):
                self.unchanged += 1
                for reason in self.skipped_objects.get(f"{split.name}/{name}", ()):
                    self._problem(f"{xml}: {reason}")
                continue
            if self._convert_one(split.name, xml, jpeg):
                self.written += 1

    def _convert_one(self, split: str, xml: Path, jpeg: Path) -> bool:
        """Make one picture and its label; the label comes last, so it marks finished work."""
        if not jpeg.is_file():
            self._problem(f"{jpeg}: picture is missing")
            return False
        if not xml.is_file():
            self._problem(f"{xml}: annotation is missing")
            return False
        try:
            annotation = read_annotation(xml, keep_difficult=self.keep_difficult)
        except ValueError as error:
            self._problem(f"{xml}: {error}")
            return False
        key = f"{split}/{xml.stem}"
        self.skipped_objects.pop(key, None)
        for reason in annotation.skipped:
            self._problem(f"{xml}: {reason}")
            self.skipped_objects.setdefault(key, []).append(reason)
        _place_picture(jpeg, self.out / "images" / split / jpeg.name, copy=self.copy)
        text = "".join(f"{line}\n" for line in annotation.lines)
        _replace(self.out / "labels" / split / f"{xml.stem}.txt", lambda part: part.write_text(text, encoding="utf-8"))
        self.boxes += len(annotation.lines)
        self.difficult += annotation.difficult
        self.clipped += annotation.clipped
        return True

    def _problem(self, text: str) -> None:
        if self.strict:
            raise InputError(f"{text}; mend it, or convert without strict to skip it")
        self.problems.append(text)


def _up_to_date(picture: os.DirEntry[str], text: os.DirEntry[str], xml: Path) -> bool:
    """Whether the picture is there (a link may dangle) and the label is no older than its source."""
    try:
        return picture.is_file() and text.stat().st_mtime >= xml.stat().st_mtime
    except OSError:  # the XML is gone: let the conversion say so
        return False


def _place_picture(source: Path, target: Path, *, copy: bool) -> None:
    if not copy:
        try:
            _replace(target, lambda part: part.symlink_to(source.resolve()))
            return
        except (OSError, NotImplementedError):  # Windows without the privilege, FAT and some network drives
            LOG.debug("%s: no symbolic link possible, copied", target)
    _replace(target, lambda part: shutil.copyfile(source, part))


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    """Let `make` write a hidden file beside `path` and rename it: whole or absent.

    Not `write_atomic`: waiting for the disk 40,000 times would take minutes, and a rerun mends what a power cut left.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        make(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _read_state(path: Path) -> dict[str, Any] | None:
    """The earlier run's notes; None if there was none, an empty one if they cannot be read."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        state = None
    return state if isinstance(state, dict) and "skipped_objects" in state else {"format": None}


def _write_if_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, lambda file: file.write(text.encode()))


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
    content["names"] = dict(enumerate(CLASS_NAMES))
    header = "# Pascal VOC, converted by yolo_qreg.data.voc from a VOCdevkit folder.\n"
    _write_if_changed(out / "voc.yaml", header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return out / "voc.yaml"


def _report(problems: list[str]) -> None:
    for problem in problems[:_SHOWN_PROBLEMS]:
        LOG.warning("skipped: %s", problem)
    if len(problems) > _SHOWN_PROBLEMS:
        LOG.warning("skipped: %d more", len(problems) - _SHOWN_PROBLEMS)
