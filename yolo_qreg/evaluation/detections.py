"""Ground truth and detections of a set of images, as plain arrays.

Letters: n images, M ground truths, N detections. Boxes are [x1, y1, x2, y2] in pixels of the original picture.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_qreg.errors import InputError
from yolo_qreg.files import write_atomic
from yolo_qreg.sealed import read_whole

FORMAT = "yolo-qreg detections 1"
"""What the entry `format` of a file of detections says."""

LARGEST_AREA = 1e10
"""Square pixels; COCO's area range "all" ends here, and pycocotools ignores larger boxes."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The objects to be found. Arrays are copied, converted and read-only.

    Attributes:
        image_ids: Name of each image, n of them, all different.
        sizes: int32 [n, 2], width and height of each image in pixels, 1 or more.
        image: int32 [M], index into `image_ids`.
        label: int16 [M], index into `names`.
        boxes: float32 [M, 4].
        names: Name of each class, all different.

    Raises:
        InputError: A shape, an index or a box is not as above.
    """

    image_ids: tuple[str, ...]
    sizes: NDArray[np.int32]
    image: NDArray[np.int32]
    label: NDArray[np.int16]
    boxes: NDArray[np.float32]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for field in ("image_ids", "names"):
            texts = tuple(getattr(self, field))
            object.__setattr__(self, field, texts)
            if len(set(texts)) < len(texts):
                twice = next(text for text in texts if texts.count(text) > 1)
                raise InputError(f"{field} has {twice!r} more than once; give each its own name")
        images, objects = len(self.image_ids), len(self.image)
        _set(self, "sizes", np.int32, (images, 2), lowest=1)
        _set(self, "image", np.int32, (objects,), lowest=0, highest=images - 1)
        _set(self, "label", np.int16, (objects,), lowest=0, highest=len(self.names) - 1)
        _set_boxes(self, objects)

    @property
    def area(self) -> NDArray[np.float64]:
        """Area of each box, float64 [M], in square pixels of the original picture."""
        return areas(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector found, in any order. Arrays are copied, converted and read-only.

    Attributes:
        image: int32 [N], index of the image, 0 or more.
        label: int16 [N], index of the class, 0 or more.
        score: float32 [N], 0..1.
        boxes: float32 [N, 4].
        dropped: How many more there were whose boxes are none; see `is_box`.

    Raises:
        InputError: A shape, a range or a box is not as above.
    """

    image: NDArray[np.int32]
    label: NDArray[np.int16]
    score: NDArray[np.float32]
    boxes: NDArray[np.float32]
    dropped: int = 0

    def __post_init__(self) -> None:
        count = len(self.image)
        _set(self, "image", np.int32, (count,), lowest=0)
        _set(self, "label", np.int16, (count,), lowest=0)
        _set(self, "score", np.float32, (count,), lowest=0, highest=1)
        _set_boxes(self, count)

    def to_bytes(self) -> bytes:
        """Return the content of a compressed .npz; equal detections give equal bytes (with one zlib)."""
        stream = io.BytesIO()
        arrays = {"format": np.array(FORMAT), "image": self.image, "label": self.label}
        arrays |= {"score": self.score, "boxes": self.boxes}
        arrays |= {"dropped": np.array(self.dropped)} if self.dropped else {}
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Detections:
        """Read what `to_bytes` returned.

        Raises:
            InputError: It is something else, or damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in ("format", "image", "label", "score", "boxes")}
                dropped = int(archive["dropped"]) if "dropped" in archive.files else 0
            if str(arrays.pop("format")) != FORMAT:
                raise InputError(f"its format is not {FORMAT!r}")
            return cls(**arrays, dropped=dropped)
        except Exception as error:  # what parsers raise for damaged bytes is not to be listed
            raise InputError(f"no detections ({error}); save them again") from error

    def save(self, path: Path) -> None:
        """Write one .npz, whole or not at all.

        Raises:
            OSError: The file cannot be written.
        """
        content = self.to_bytes()
        write_atomic(path, lambda file: file.write(content))

    @classmethod
    def load(cls, path: Path) -> Detections:
        """Read a file that `save` wrote.

        Raises:
            InputError: There is no such file, or it is not one of detections, or it is damaged.
        """
        content = read_whole(path)
        if content is None:
            raise InputError(f"{path} is not a file; name one of saved detections (.npz)")
        try:
            return cls.from_bytes(content)
        except InputError as error:
            raise InputError(f"{path} holds {error}") from error


def is_box(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which boxes [N, 4] are some, bool [N]: of finite numbers, x1 <= x2 and y1 <= y2, no larger than COCO's."""
    with np.errstate(invalid="ignore", over="ignore"):
        right_way = (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)
        return np.asarray(np.isfinite(boxes).all(axis=1) & right_way & (areas(boxes) <= LARGEST_AREA))


def areas(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return width times height of each box, float64 [N]."""
    width, height = extents(boxes).T
    return np.asarray(width * height)


def extents(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return width and height of each box, float64 [N, 2]."""
    wide = boxes.astype(np.float64)
    return np.asarray(wide[:, 2:] - wide[:, :2])


def _set(
    owner: GroundTruth | Detections,
    field: str,
    dtype: type[np.int32] | type[np.int16] | type[np.float32],
    shape: tuple[int, ...],
    *,
    lowest: float,
    highest: float = np.inf,
) -> None:
    """Replace a field by a read-only array of `dtype` and `shape`, its values checked before they are converted."""
    given = np.array(getattr(owner, field))
    name = f"{type(owner).__name__}.{field}"
    if given.size == 0 and 0 in shape:  # an empty list has no second axis and the wrong type
        given = np.empty(shape, dtype)
    if given.shape != shape:
        raise InputError(f"{name} has shape {given.shape}; it must be {shape}, one row per entry of image")
    if issubclass(dtype, np.integer):
        highest = min(highest, np.iinfo(dtype).max)
    if given.dtype.kind not in ("iuf" if dtype is np.float32 else "iu"):
        raise InputError(f"{name} has type {given.dtype}; convert it to {np.dtype(dtype)}")
    wrong = ~((given >= lowest) & (given <= highest))  # NaN too
    if wrong.any():
        raise InputError(f"{name} has the value {given[wrong].tolist()[0]}; correct it to {lowest:g}..{highest:g}")
    _store(owner, field, given.astype(dtype))


def _set_boxes(owner: GroundTruth | Detections, count: int) -> None:
    """Replace the field `boxes` by float32 [count, 4], with x1 <= x2, y1 <= y2 and areas that COCO counts."""
    limit = float(np.finfo(np.float32).max)
    _set(owner, "boxes", np.float32, (count, 4), lowest=-limit, highest=limit)
    wrong = (extents(owner.boxes) < 0).any(axis=1) | (areas(owner.boxes) > LARGEST_AREA)
    if wrong.any():
        box = owner.boxes[wrong].tolist()[0]
        raise InputError(f"{type(owner).__name__}.boxes has {box}; give x1 <= x2 and y1 <= y2, clipped to the picture")


def _store(owner: Any, field: str, array: NDArray[Any]) -> None:
    array.flags.writeable = False
    object.__setattr__(owner, field, array)
