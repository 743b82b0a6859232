"""The pictures of an evaluation and their boxes, and whether a model and corruptions fit them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corruptions.registry import CHANNELS, SMALLEST_SIDE, for_channels
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.detections import GroundTruth
from yolo_qreg.host.datasets import LabelledPicture, spread, validation_pictures
from yolo_qreg.pictures import COLOUR


@dataclass(frozen=True, slots=True)
class Material:
    """What models are shown.

    Attributes:
        names: Class names.
        pictures: In the order in which models see them.
        truth: Their boxes.
        digest: Hash of all of it.
        unusable: Pictures left out.
        channels: Of each picture: 3 for colour, 1 for grey.
    """

    names: tuple[str, ...]
    pictures: tuple[LabelledPicture, ...]
    truth: GroundTruth
    digest: str
    unusable: tuple[Path, ...]
    channels: int


def load_material(data: Path, limit: int | None = None, strict: bool = False, single_class: bool = False) -> Material:
    """Read a data set's `val` split.

    Args:
        data: Its YAML file.
        limit: Number of pictures, spread evenly; None for all.
        strict: Whether a picture that cannot be used is an error.
        single_class: Whether all classes are taken for one, as in a training with single_cls=True.

    Raises:
        InputError: It cannot be used, or holds no box.
    """
    found = validation_pictures(
        data, strict=strict, smallest=SMALLEST_SIDE, channels=CHANNELS, single_class=single_class
    )
    pictures = sorted(spread(found.pictures, limit), key=_aspect)
    truth = _truth(pictures, found.names)
    if not len(truth.label):
        raise InputError(f"data={data} has no box in its {len(pictures)} pictures; label them, or name other data")
    return Material(
        names=found.names,
        pictures=tuple(pictures),
        truth=truth,
        digest=digest_of(pictures, found.names, found.channels),
        unusable=found.unusable,
        channels=found.channels,
    )


def digest_of(pictures: Sequence[LabelledPicture], names: Sequence[str], channels: int = COLOUR) -> str:
    """Hash class names, channels, and names, bytes and boxes of the pictures: what a data set is, wherever it lies."""
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    digest.update(b"" if channels == COLOUR else f"channels {channels}".encode())
    for picture in pictures:
        digest.update(picture.path.name.encode("utf-8", "surrogatepass"))
        digest.update(hashlib.sha256(picture.path.read_bytes()).digest())
        digest.update(picture.labels.tobytes() + picture.boxes.tobytes())
    return digest.hexdigest()


def possible(corruptions: tuple[str, ...], channels: int, data: Path) -> tuple[str, ...]:
    """Return the corruptions that pictures of so many channels can have.

    Raises:
        InputError: There were some, and none is left.
    """
    left = for_channels(corruptions, channels)
    if corruptions and not left:
        raise InputError(f"{', '.join(corruptions)} needs colour, and the pictures of {data} are grey; name others")
    return left


def check_names(own: Sequence[str], names: Sequence[str], weights: Path, data: Path) -> None:
    """Check that weights know the classes of a data set.

    Raises:
        InputError: They do not.
    """
    if tuple(own) != tuple(names):
        raise InputError(
            f"{weights} knows {len(own)} classes ({', '.join(own[:3])}, ...), {data} has {len(names)} "
            f"({', '.join(names[:3])}, ...), in this order; name the data set that it was trained on"
        )


def _aspect(picture: LabelledPicture) -> float:
    """Height by width; batches of similar shapes are padded least, and are those of the host's `val`."""
    width, height = picture.size
    return height / width


def _truth(pictures: Sequence[LabelledPicture], names: tuple[str, ...]) -> GroundTruth:
    counts = [len(picture.labels) for picture in pictures]
    return GroundTruth(
        image_ids=tuple(str(picture.path) for picture in pictures),
        sizes=np.array([picture.size for picture in pictures], np.int32),
        image=np.repeat(np.arange(len(pictures), dtype=np.int32), counts),
        label=np.concatenate([picture.labels for picture in pictures]),
        boxes=np.concatenate([picture.boxes for picture in pictures]),
        names=names,
    )
