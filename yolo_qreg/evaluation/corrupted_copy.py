"""A corrupted copy of a data set, for tools that read pictures from a folder: YOLO layout, one YAML file per damage.

A copy follows its data set by content, not by dates: each picture holds the hash of the file that it was made from,
labels are compared, and what is no longer in the data set is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from corruptions.frost import frost_textures
from corruptions.registry import CHANNELS, SMALLEST_SIDE
from yolo_qreg import __version__
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.cells import release_of
from yolo_qreg.evaluation.copied_picture import Format, hash_of, is_of, write_image
from yolo_qreg.evaluation.damage import Damage
from yolo_qreg.evaluation.material import digest_of, possible
from yolo_qreg.evaluation.results import Kind
from yolo_qreg.evaluation.workers import Workshop
from yolo_qreg.files import sweep, write_text
from yolo_qreg.host.datasets import LabelledPicture, PictureSet, validation_pictures
from yolo_qreg.pictures import COLOUR
from yolo_qreg.progress import Watch
from yolo_qreg.sealed import read_sealed, write_sealed

SUFFIX: dict[Format, str] = {"png": ".png", "jpeg": ".jpg"}
SETTINGS = "corrupted.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySettings:
    """What to write.

    Attributes:
        data: YAML file of the data set; its `val` split is copied.
        out: Folder to write to.
        corruptions: In published order.
        severities: Each 1 to 5.
        seed: Of the random numbers.
        textures: Folder of frost textures; None for the default.
        format: "png" is lossless; "jpeg" has the quality of ImageNet-C's files.
        workers: Processes; 0 for none.
        strict: Whether a picture that cannot be used is an error; else it is left out.
    """

    data: Path
    out: Path
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    seed: int = 0
    textures: str | None = None
    format: Format = "png"
    workers: int = 0
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """What was written.

    Attributes:
        files: The YAML files, one for each corruption and severity.
        unusable: Pictures of the data set that were left out.
        corruptions: Those that were left out, as the pictures have no colour.
        outdated: YAML files that were removed: their pictures are of the data set as it was before.
    """

    files: tuple[Path, ...]
    unusable: tuple[Path, ...] = ()
    corruptions: tuple[str, ...] = ()
    outdated: tuple[Path, ...] = ()


def write_copy(settings: CopySettings, watch: Callable[[int], Watch]) -> Copy:
    """Write what is missing of OUT/NAME-SEVERITY.yaml, OUT/images/NAME-SEVERITY and OUT/labels/NAME-SEVERITY.

    A YAML file is there when its pictures are complete and those of the data set as it is.

    Args:
        settings: What to write.
        watch: Called with the number of pictures to write; returns what is told of progress.

    Raises:
        InputError: The data set cannot be used, or the folder holds a copy made with other settings.
    """
    found = validation_pictures(settings.data, strict=settings.strict, smallest=SMALLEST_SIDE, channels=CHANNELS)
    corruptions = possible(settings.corruptions, found.channels, settings.data)
    _check_stems(found.pictures)
    outdated = _claim(settings, digest_of(found.pictures, found.names, found.channels))
    sweep(settings.out)
    sources = {picture.path: hash_of(picture.path) for picture in found.pictures}
    kinds = list(product(corruptions, settings.severities))
    todo = {
        kind: [p for p in found.pictures if not is_of(_image(settings, kind, p), sources[p.path])] for kind in kinds
    }
    told = watch(sum(map(len, todo.values())))
    files = []
    with Workshop(settings.workers if any(todo.values()) else 0) as workshop:
        for kind, missing in todo.items():
            damage = Damage(
                corruption=kind[0],
                severity=kind[1],
                channels=found.channels,
                seed=settings.seed,
                textures=settings.textures,
            )
            places = [(picture.path, _image(settings, kind, picture), sources[picture.path]) for picture in missing]
            for _ in workshop.map(partial(write_image, damage, settings.format), places):
                told(f"{kind[0]} {kind[1]}", 1)
            for picture in found.pictures:
                _write_labels(_label(settings, kind, picture), picture)
            _remove_others(settings, kind, found.pictures)
            files.append(_write_yaml(settings, kind, found))
    return Copy(
        files=tuple(files),
        unusable=found.unusable,
        corruptions=tuple(name for name in settings.corruptions if name not in corruptions),
        outdated=tuple(path for path in outdated if path not in files),
    )


def _check_stems(pictures: Sequence[LabelledPicture]) -> None:
    first: dict[str, Path] = {}
    for picture in pictures:
        other = first.setdefault(picture.path.stem, picture.path)
        if other != picture.path:
            raise InputError(f"{other} and {picture.path} would have one name in the copy; rename one")


def _claim(settings: CopySettings, digest: str) -> list[Path]:
    """Note what the pictures in a folder are made with, or check that it is the same as before.

    Returns:
        The YAML files of another state of the data set, which are removed: each comes back when its pictures are right.
    """
    key: dict[str, Any] = {"data": str(settings.data.resolve()), "seed": settings.seed, "format": settings.format}
    key |= {"yolo-qreg": __version__, "corruptions": release_of("corruptions")}
    if "frost" in settings.corruptions:
        key["frost textures"] = frost_textures(settings.textures).source
    path = settings.out / SETTINGS
    known: dict[str, Any] = {}
    if path.is_file():
        known = read_sealed(path) or {}
        shared = known.keys() & key.keys()
        if not shared or {name: known[name] for name in shared} != {name: key[name] for name in shared}:
            raise InputError(f"{settings.out} holds a copy made with other settings ({SETTINGS}); choose another --out")
    elif settings.out.is_dir() and any(settings.out.iterdir()):
        raise InputError(f"{settings.out} is not empty and not a copy of ours; choose another --out")
    outdated = sorted(settings.out.glob("*.yaml")) if known and known.get("content") != digest else []
    for file in outdated:
        file.unlink()
    write_sealed(path, known | key | {"content": digest})
    return outdated


def _image(settings: CopySettings, kind: Kind, picture: LabelledPicture) -> Path:
    return settings.out / "images" / f"{kind[0]}-{kind[1]}" / f"{picture.path.stem}{SUFFIX[settings.format]}"


def _label(settings: CopySettings, kind: Kind, picture: LabelledPicture) -> Path:
    return settings.out / "labels" / f"{kind[0]}-{kind[1]}" / f"{picture.path.stem}.txt"


def _write_labels(path: Path, picture: LabelledPicture) -> None:
    """Write the label file of one picture unless it is right."""
    width, height = picture.size
    boxes = picture.boxes.astype(np.float64) / [width, height, width, height]
    rows = zip(picture.labels.tolist(), boxes.tolist(), strict=True)
    text = "".join(
        f"{k} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n" for k, (x1, y1, x2, y2) in rows
    )
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def _remove_others(settings: CopySettings, kind: Kind, pictures: Sequence[LabelledPicture]) -> None:
    """Remove pictures and labels of what is no longer in the data set."""
    for of in (_image, _label):
        wanted = {of(settings, kind, picture) for picture in pictures}
        first = of(settings, kind, pictures[0])
        for path in first.parent.iterdir():
            if path.suffix == first.suffix and path not in wanted:
                path.unlink()


def _write_yaml(settings: CopySettings, kind: Kind, found: PictureSet) -> Path:
    """Write the YAML file of one corruption and severity, and return it."""
    path = settings.out / f"{kind[0]}-{kind[1]}.yaml"
    root, images = str(settings.out.resolve()), f"images/{kind[0]}-{kind[1]}"
    whole: dict[str, Any] = {"path": root} if root.isprintable() else {}  # else what lies beside the file is found
    whole |= {"train": images, "val": images, "names": dict(enumerate(found.names))}
    whole |= {"channels": found.channels} if found.channels != COLOUR else {}
    write_text(path, yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))
    return path
