"""The host's check of a split's pictures and labels without what it writes: no picture mended, no cache left behind.

The host replaces JPEG files whose last bytes are not their end by new ones and puts its findings beside the labels.
Here it gets private copies of such files, and findings are kept in this package's own folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from logging import WARNING
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import cv2
import PIL
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import img2label_paths, verify_image_label
from ultralytics.utils import DEFAULT_CFG, NUM_THREADS

from yolo_qreg.data.shapes import cache_folder
from yolo_qreg.files import scratch_folder
from yolo_qreg.host.labels import scanning
from yolo_qreg.host.quiet import quiet
from yolo_qreg.pictures import COLOUR, decode
from yolo_qreg.sealed import read_sealed, write_sealed

Found = Mapping[str, Any]
"""A data set as the host's `check_det_dataset` returns it."""
Label = dict[str, Any]
"""One picture as the host describes it: im_file, shape (height, width), cls [N, 1], bboxes (normalized xywh) [N, 4]."""

KEPT_FROM = 500
"""Pictures of a split from which on it is kept which files could be decoded: with fewer, looking again is quick."""
OLD_SECONDS = 90 * 24 * 3600
"""What is kept of a split goes when nobody asked for it for so long: its folder may be gone."""
_SINGLE = "single_cls"
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def scan(found: Found, split: str, data: Path) -> tuple[list[Label], list[Path]]:
    """Return the pictures of a split that can be used, and the files that cannot, each once and in order.

    Raises:
        Exception: Whatever the host raises for folders and lists that it cannot read.
    """
    with quiet(WARNING):
        names = _Split(img_path=found[split], data=dict(found), augment=False, rect=False, hyp=DEFAULT_CFG).im_files
    files = list({os.path.normpath(name): name for name in reversed(names)}.values())[::-1]
    shapes = _Shapes(data, split, channels_of(found))
    with ThreadPool(NUM_THREADS) as pool:
        sizes = pool.map(shapes.of, files)
        usable = [file for file, size in zip(files, sizes, strict=True) if size is not None]
        labels = pool.starmap(
            _verify, ((file, label, found) for file, label in zip(usable, _texts(usable), strict=True))
        )
    if len(files) >= KEPT_FROM:
        shapes.keep()
    size_of = dict(zip(files, sizes, strict=True))
    good = [{**label, "shape": size_of[label["im_file"]]} for label in labels if label is not None]
    known = {label["im_file"] for label in good}
    return good, [Path(file) for file in files if file not in known]


def channels_of(found: Found) -> int:
    """Return how many channels the pictures of a data set have."""
    return int(found.get("channels") or COLOUR)


def as_single_class(found: Found) -> Found:
    """Return a data set with all classes taken for one, by the name that the host gives it."""
    return {**found, "names": {0: "item"}, "nc": 1, _SINGLE: True}


def left_out_by_the_host(path: Path, found: Found) -> bool:
    """Whether the host's own scan leaves a picture out, so that a training does not stumble over it."""
    return _verify(str(path), _texts([str(path)])[0], found) is None


def _texts(files: list[str]) -> list[str]:
    texts: list[str] = img2label_paths(files)
    return texts


def scan_as_the_host(found: Found, splits: Iterable[str]) -> None:
    """Have the host scan splits as its trainings do, and keep its findings beside the labels.

    Trainings side by side that find no such file would all write it, and trip over each other.
    """
    for split in splits:
        with scanning(found[split]):  # another study may be training on them
            YOLODataset(
                img_path=found[split],
                data=dict(found),
                augment=False,
                rect=False,
                hyp=DEFAULT_CFG,
                single_cls=_SINGLE in found,
            )


class _Split(YOLODataset):
    """Finds the files of a split; what is in them is looked at elsewhere."""

    def get_labels(self) -> list[Label]:
        """Return nothing."""
        return []


def _verify(file: str, text: str, found: Found) -> Label | None:
    """Return what the host says of one picture and its labels, None where it would leave it out."""
    keypoints, dimensions = found.get("kpt_shape") or (0, 0)

    def verified(place: str) -> Label | None:
        given = (place, text, "", False, len(found["names"]), keypoints, dimensions, _SINGLE in found)
        kept, label, shape, *_ = verify_image_label(given)
        if kept is None:
            return None
        classes = label[:, :1] * (_SINGLE not in found)
        return {"im_file": file, "shape": shape, "cls": classes, "bboxes": label[:, 1:]}

    data = Path(file).read_bytes()
    if not data.startswith(_JPEG) or data.endswith(_JPEG_END):
        return verified(file)
    with scratch_folder(".yolo-qreg-") as folder:
        copy = folder / f"picture{Path(file).suffix}"
        copy.write_bytes(data)
        return verified(str(copy))


class _Shapes:
    """Heights and widths of decoded pictures; None for what cannot be decoded.

    Those of whole files are kept by path, size and date, so that a large data set is decoded once.
    """

    def __init__(self, data: Path, split: str, channels: int) -> None:
        self._channels = channels
        text = json.dumps([os.fspath(data.absolute()), split, channels, cv2.__version__, PIL.__version__])
        self._file = cache_folder() / "scans" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        self._known: dict[str, list[int]] = read_sealed(self._file) or {}
        self._seen: dict[str, list[int]] = {}

    def of(self, file: str) -> tuple[int, int] | None:
        """Return the height and width of a picture."""
        try:
            facts = Path(file).stat()
            entry = self._known.get(file)
            if entry is None or entry[:2] != [facts.st_size, facts.st_mtime_ns]:
                picture = decode(Path(file).read_bytes(), Path(file), self._channels)
                if picture is None:
                    return None
                entry = [facts.st_size, facts.st_mtime_ns, *picture.shape[:2]]
            self._seen[file] = entry
            return entry[2], entry[3]
        except OSError:
            return None

    def keep(self) -> None:
        """Write what was found, where that is possible."""
        with suppress(OSError):
            if self._seen == self._known:
                self._file.touch()
            else:
                write_sealed(self._file, self._seen)
            for old in self._file.parent.glob("*.json"):
                if old.stat().st_mtime < time.time() - OLD_SECONDS:
                    old.unlink()
