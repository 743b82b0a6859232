"""A corrupted copy of a data set, for tools that read pictures from a folder: YOLO layout, one YAML file per damage."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import yaml

from corruptions.frost import frost_textures
from corruptions.registry import SMALLEST_SIDE
from yolo_qreg import __version__
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.damage import Damage, Workshop
from yolo_qreg.evaluation.sweep import Watch
from yolo_qreg.files import sweep, write_atomic
from yolo_qreg.host.datasets import LabelledPicture, validation_pictures

Format = Literal["png", "jpeg"]
SUFFIX: dict[Format, str] = {"png": ".png", "jpeg": ".jpg"}
JPEG_QUALITY = 85
"""Of the JPEG files that ImageNet-C was published as."""
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


def write_copy(settings: CopySettings, watch: Callable[[int], Watch]) -> list[Path]:
    """Write what is missing of OUT/NAME-SEVERITY.yaml, OUT/images/NAME-SEVERITY and OUT/labels/NAME-SEVERITY.

    Args:
        settings: What to write.
        watch: Called with the number of pictures to write; returns what is told of progress.

    Returns:
        The YAML files, one for each corruption and severity. A file is written when its pictures are complete.

    Raises:
        InputError: The data set cannot be used, or the folder holds a copy made with other settings.
    """
    found = validation_pictures(settings.data, strict=settings.strict, smallest=SMALLEST_SIDE)
    pictures = found.pictures
    _check_stems(pictures)
    _claim(settings)
    sweep(settings.out)
    kinds = list(product(settings.corruptions, settings.severities))
    todo = {kind: [p for p in pictures if not _image(settings, *kind, p).is_file()] for kind in kinds}
    told = watch(sum(map(len, todo.values())))
    files = []
    with Workshop(settings.workers if any(todo.values()) else 0) as workshop:
        for (corruption, severity), missing in todo.items():
            damage = Damage(corruption=corruption, severity=severity, seed=settings.seed, textures=settings.textures)
            targets = [(picture.path, _image(settings, corruption, severity, picture)) for picture in missing]
            for _ in workshop.map(partial(_write_image, damage, settings.format), targets):
                told(f"{corruption} {severity}", 1)
            for picture in pictures:
                write_labels(settings, corruption, severity, picture)
            files.append(write_yaml(settings, corruption, severity, found.names))
    return files


def _check_stems(pictures: Sequence[LabelledPicture]) -> None:
    first: dict[str, Path] = {}
    for picture in pictures:
        other = first.setdefault(picture.path.stem, picture.path)
        if other != picture.path:
            raise InputError(f"{other} and {picture.path} would have one name in the copy; rename one")


def _claim(settings: CopySettings) -> None:
    """Note what the pictures in a folder are made with, or check that it is the same as before."""
    key: dict[str, Any] = {"data": str(settings.data.resolve()), "seed": settings.seed, "format": settings.format}
    key |= {"yolo-qreg": __version__}
    if "frost" in settings.corruptions:
        key["frost textures"] = frost_textures(settings.textures).source
    path = settings.out / SETTINGS
    if path.is_file():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
        shared = known.keys() & key.keys()
        if not shared or {name: known[name] for name in shared} != {name: key[name] for name in shared}:
            raise InputError(f"{settings.out} holds a copy made with other settings ({SETTINGS}); choose another --out")
        key = known | key
    elif settings.out.is_dir() and any(settings.out.iterdir()):
        raise InputError(f"{settings.out} is not empty and not a copy of ours; choose another --out")
    write_atomic(path, lambda file: file.write((json.dumps(key, indent=1) + "\n").encode()))


def _image(settings: CopySettings, corruption: str, severity: int, picture: LabelledPicture) -> Path:
    folder = settings.out / "images" / f"{corruption}-{severity}"
    return folder / f"{picture.path.stem}{SUFFIX[settings.format]}"


def _write_image(damage: Damage, form: Format, place: tuple[Path, Path]) -> None:
    source, target = place
    picture = PIL.Image.fromarray(np.ascontiguousarray(damage.picture(source)[..., ::-1]))
    stream = BytesIO()
    picture.save(stream, form, **({"quality": JPEG_QUALITY} if form == "jpeg" else {"compress_level": 1}))
    write_atomic(target, lambda file: file.write(stream.getvalue()))


def write_labels(settings: CopySettings, corruption: str, severity: int, picture: LabelledPicture) -> None:
    """Write the label file of one picture unless it is there."""
    path = settings.out / "labels" / f"{corruption}-{severity}" / f"{picture.path.stem}.txt"
    if path.is_file():
        return
    width, height = picture.size
    boxes = picture.boxes.astype(np.float64) / [width, height, width, height]
    rows = zip(picture.labels.tolist(), boxes.tolist(), strict=True)
    lines = [
        f"{k} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n" for k, (x1, y1, x2, y2) in rows
    ]
    write_atomic(path, lambda file: file.write("".join(lines).encode()))


def write_yaml(settings: CopySettings, corruption: str, severity: int, names: Sequence[str]) -> Path:
    """Write the YAML file of one corruption and severity, and return it."""
    path = settings.out / f"{corruption}-{severity}.yaml"
    images = f"images/{corruption}-{severity}"
    found = {"path": str(settings.out.resolve()), "train": images, "val": images, "names": dict(enumerate(names))}
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True)
    write_atomic(path, lambda file: file.write(text.encode()))
    return path
