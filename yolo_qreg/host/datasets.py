"""From `--data voc|shapes|file.yaml` to the YAML file that the host reads, and to the pictures it names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError

import numpy as np
import yaml
from numpy.typing import NDArray
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import DATASETS_DIR, ONLINE, YAML

from yolo_qreg.data.registry import named_data
from yolo_qreg.data.voc_classes import voc_yaml
from yolo_qreg.errors import InputError
from yolo_qreg.files import absolute
from yolo_qreg.host.scan import (
    Found,
    Label,
    as_single_class,
    channels_of,
    left_out_by_the_host,
    scan,
    scan_as_the_host,
)
from yolo_qreg.inputs import check_data
from yolo_qreg.settings import host_folder
from yolo_qreg.trust import REMEDY, trusted


def resolve_data(data: str | Path) -> Path:
    """Return the YAML file of a data set, by its absolute path; `shapes` is generated on first use.

    A bare name that the host ships, like coco8.yaml, is left to it.

    Raises:
        InputError: If the file is missing, or `voc` is neither on this machine nor to be downloaded.
    """
    if str(data) == "voc":
        places = (Path("VOC"), DATASETS_DIR / "VOC")  # where the host looks for a relative `path:`
        if not ONLINE and not any(place.exists() for place in places):
            raise InputError(
                f"data=voc: there is no {places[1]} and no network to download it; build it from a VOCdevkit folder "
                f"with `yolo-qreg data voc --devkit DIR --out {places[1]}`, or use --data shapes"
            )
    check_data(data)
    found = named_data(str(data)) or Path(data)
    refuse_code(found)
    return absolute(found) if found.is_file() else found


def refuse_code(data: str | Path, split: str = "val") -> None:
    """Refuse a data set without the pictures of a split whose file would fetch them by code that it holds.

    The host runs what stands under `download:`, unless that is an address. Files of ours and of the host may do it.

    Raises:
        InputError: It would, and files are not trusted.
    """
    path = Path(data)
    if trusted() or (not path.is_file() and "://" not in str(data)):  # a bare name is a file of the host
        return
    if path.resolve() == voc_yaml().resolve() or host_folder().resolve() in path.resolve().parents:
        return
    try:
        code = YAML.load(path).get("download") if path.is_file() else f"what {data} holds"
        if not code or re.fullmatch(r"https?://\S+", str(code)):  # which is no Python either
            return
        check_det_dataset(str(data), autodownload=False, split=split)
    except FileNotFoundError as error:
        raise InputError(
            f"data={data}: its pictures are missing, and its `download:` would run code from the file; fetch them "
            f"yourself, or {REMEDY}"
        ) from error
    except Exception:  # of a file that the host cannot read: it will say so
        return


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One picture of a data set, as the host reads it.

    Attributes:
        path: Of its file.
        size: Width and height in pixels.
        labels: Class numbers [N].
        boxes: xyxy in pixels, float32 [N, 4].
    """

    path: Path
    size: tuple[int, int]
    labels: NDArray[np.int16]
    boxes: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PictureSet:
    """One split of a data set.

    Attributes:
        pictures: In file-name order, each once.
        names: Class names, in class order.
        unusable: Pictures that are left out: files that are no whole pictures, have wrong labels or are too small.
        channels: Of each picture: 1 for grey, 3 for colour.
    """

    pictures: list[LabelledPicture]
    names: tuple[str, ...]
    unusable: tuple[Path, ...]
    channels: int


def validation_pictures(
    data: Path,
    *,
    strict: bool = False,
    smallest: int = 0,
    split: str = "val",
    channels: Collection[int] = (),
    single_class: bool = False,
) -> PictureSet:
    """Return the pictures of a split with their labels; nothing is written beside them.

    The host checks them and every one is decoded, so these are the boxes that its `val` measures against.

    Args:
        data: YAML file of the data set.
        strict: Whether unusable pictures are an error.
        smallest: Pictures with a shorter side are unusable.
        split: Which split.
        channels: Numbers of channels that will do; any by default.
        single_class: Whether all classes are taken for one, as the host does where single_cls=True.

    Raises:
        InputError: The data set is missing, or has no such split, picture or label, or other channels.
    """
    found = _found(data, split, single_class)
    own = channels_of(found)
    if channels and own not in channels:
        raise InputError(
            f"data={data} has channels: {own}; corruptions take {' or '.join(map(str, channels))}, name other data"
        )
    labels, unusable = _scan(found, split, data)
    pictures = [_labelled(label) for label in sorted(labels, key=lambda label: str(label["im_file"]))]
    unusable += [picture.path for picture in pictures if min(picture.size) < smallest]
    pictures = [picture for picture in pictures if min(picture.size) >= smallest]
    if strict and unusable:
        raise InputError(
            f"{min(unusable)} is not a whole picture with right labels, or too small ({len(unusable)} in {data}); "
            "mend or remove it"
        )
    if not pictures:
        raise InputError(f"data={data} has no picture that can be used in its {split} split; name other data")
    return PictureSet(pictures, _names(found), tuple(sorted(unusable)), own)


def check_classes(wanted: int | Sequence[int], names: Mapping[int, str]) -> None:
    """Check that the classes that a training is limited to are some of its data set's.

    Raises:
        InputError: One is not.
    """
    numbers = [wanted] if isinstance(wanted, int) else wanted
    if beyond := [number for number in numbers if number not in names]:
        raise InputError(f"classes={beyond[0]} is none of the data set's {len(names)}; name some of 0 to {max(names)}")


def spread(pictures: list[LabelledPicture], limit: int | None) -> list[LabelledPicture]:
    """Return some of the pictures, evenly spread over all; all without a limit."""
    if limit is None or limit >= len(pictures):
        return pictures
    return [pictures[i * len(pictures) // limit] for i in range(limit)]


def prepare_for_trainings(data: Path, *, single_class: bool = False) -> None:
    """Check that the host can train on a data set to the end, and have it scan the pictures before trainings do.

    A picture that the host's scan passes has to be decodable.

    Args:
        data: YAML file of the data set.
        single_class: Whether the trainings take all classes for one.

    Raises:
        InputError: The data set is missing, has no picture in a split, or one that would end a training.
    """
    found = _found(data, "train", single_class)
    for split in ("train", "val"):
        labels, unusable = _scan(found, split, data)
        fatal = [path for path in unusable if not left_out_by_the_host(path, found)]
        if fatal:
            raise InputError(f"{fatal[0]} is not a whole picture and would end a training; replace it or remove it")
        if not labels:
            raise InputError(f"data={data} has no picture that can be used in its {split} split; name other data")
    try:
        scan_as_the_host(found, ("train", "val"))
    except _HOST_ERRORS as error:
        raise _refused(data, error) from error


def _found(data: Path, split: str, single_class: bool = False) -> Found:
    """Return a data set as the host knows it."""
    try:
        found: Found = check_det_dataset(str(data))
    except Exception as error:  # the host's, and whatever the code under `download:` raises
        raise _refused(data, error) from error
    if not found.get(split):
        raise InputError(f"data={data} has no {split} split; name one in the YAML file")
    return as_single_class(found) if single_class else found


def _scan(found: Found, split: str, data: Path) -> tuple[list[Label], list[Path]]:
    try:
        return scan(found, split, data)
    except _HOST_ERRORS as error:
        raise _refused(data, error) from error


_HOST_ERRORS = (
    OSError,
    RuntimeError,
    AssertionError,
    SyntaxError,
    KeyError,
    TypeError,
    ValueError,
    CalledProcessError,  # of a `download:` that is a script
    yaml.YAMLError,
)


def _refused(data: Path, error: Exception) -> InputError:
    return InputError(f"data={data}: {' '.join(str(error).split())[:300]}")


def _names(found: Found) -> tuple[str, ...]:
    return tuple(str(found["names"][i]) for i in range(len(found["names"])))


def _labelled(label: Label) -> LabelledPicture:
    height, width = label["shape"]
    centre, size = label["bboxes"][:, :2], label["bboxes"][:, 2:]
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1) * np.array([width, height] * 2)
    return LabelledPicture(
        path=Path(label["im_file"]),
        size=(int(width), int(height)),
        labels=label["cls"].reshape(-1).astype(np.int16),
        boxes=corners.astype(np.float32),
    )
