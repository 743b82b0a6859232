"""One VOC annotation: XML in, YOLO label lines out.

The box formula is that of Ultralytics' VOC.yaml, quirk included, so that labels made here equal the host's number for
number. VOC counts pixels from 1 and includes both ends: the true extent in pixels is xmin - 1 .. xmax. The formula
yields xmin - 1 .. xmax - 1, so a box is one pixel too narrow and too low, and its centre half a pixel too far left
and up.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from yolo_qreg.data.voc_classes import class_numbers

_ORIENTATION, _TURNED = 274, (5, 6, 7, 8)
"""The EXIF tag, and its values that swap width and height."""
_EASY = frozenset({"", "0", "false", "no", "n", "f", "unspecified"})
_HARD = frozenset({"1", "true", "yes", "y", "t"})


class Annotation(NamedTuple):
    """What one XML file says.

    Attributes:
        lines: Label lines "class x_center y_center width height", fractions of the picture's size, 0..1.
        difficult: Objects marked difficult, kept or not.
        clipped: Boxes that reached outside the picture.
        skipped: For each object left out as wrong, the reason.
    """

    lines: tuple[str, ...]
    difficult: int
    clipped: int
    skipped: tuple[str, ...]


def read_annotation(path: Path, size: tuple[int, int], *, keep_difficult: bool) -> Annotation:
    """Read a VOC XML file.

    Args:
        path: The file.
        size: Width and height of its picture as it is shown. A file that says otherwise was made for another picture,
            one since rescaled or one turned by its EXIF orientation, and nothing tells where its boxes lie in this one.
        keep_difficult: Whether boxes marked difficult are kept.

    Raises:
        ValueError: If it cannot be read, is no XML, or is of another picture size.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    except Exception as error:  # what a parser raises for bytes that nobody foresaw is not to be listed
        raise ValueError(f"broken XML ({error})") from error
    width, height = _number(root, "size/width"), _number(root, "size/height")
    if width != size[0] or height != size[1]:
        raise ValueError(f"picture size {width:g} x {height:g}, but the picture is {size[0]} x {size[1]}")
    lines: list[str] = []
    skipped: list[str] = []
    difficult = clipped = 0
    for number, item in enumerate(root.iter("object"), start=1):
        try:
            hard = _is_difficult(item)
            difficult += hard
            if hard and not keep_difficult:
                continue
            line, was_clipped = _label(item, width, height)
        except ValueError as error:
            skipped.append(f"object {number}: {error}")
            continue
        lines.append(line)
        clipped += was_clipped
    return Annotation(tuple(lines), difficult, clipped, tuple(skipped))


def shown_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as the host shows it, turned as its EXIF orientation says; reads the header alone.

    Raises:
        ValueError: If it is no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION) in _TURNED
    except Exception as error:  # as for a parser
        raise ValueError("is no picture, or damaged") from error
    return (height, width) if turned else (width, height)


def _number(element: ElementTree.Element, path: str) -> float:
    text = element.findtext(path)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path} is {text!r}, not a number")
    return value


def _is_difficult(item: ElementTree.Element) -> bool:
    text = (item.findtext("difficult") or "").strip().lower()
    if text in _EASY | _HARD:
        return text in _HARD
    return _number(item, "difficult") != 0


def _label(item: ElementTree.Element, width: float, height: float) -> tuple[str, bool]:
    """The label line of an object, and whether its box had to be clipped.

    Raises:
        ValueError: For an unknown class, or a box without area inside the picture.
    """
    name = (item.findtext("name") or "").strip()
    if name not in class_numbers():
        raise ValueError(f"unknown class {name!r}")
    xmin, xmax, ymin, ymax = (_number(item, f"bndbox/{edge}") for edge in ("xmin", "xmax", "ymin", "ymax"))
    x, w = _span(xmin, xmax, width)
    y, h = _span(ymin, ymax, height)
    if w <= 0 or h <= 0:
        raise ValueError(f"box {xmin:g} {ymin:g} {xmax:g} {ymax:g} has no area in {width:g} x {height:g}")
    clipped = xmin < 1 or ymin < 1 or xmax - 1 > width or ymax - 1 > height
    # Times the inverse, not divided: the host's order of operations, equal to the last digit.
    inverse_x, inverse_y = 1.0 / width, 1.0 / height
    return f"{class_numbers()[name]} {x * inverse_x} {y * inverse_y} {w * inverse_x} {h * inverse_y}", clipped


def _span(first: float, last: float, size: float) -> tuple[float, float]:
    """Centre and length in pixels along one axis, clipped to 0..size."""
    low, high = first - 1, last - 1
    if low >= 0 and high <= size:
        return (first + last) / 2.0 - 1, last - first
    low, high = max(low, 0.0), min(high, size)
    return (low + high) / 2.0, high - low
