"""From `--data voc|shapes|file.yaml` to the YAML file that the host reads, and to the pictures it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import DATASETS_DIR, DEFAULT_CFG, ONLINE

from yolo_qreg.data.registry import named_data
from yolo_qreg.errors import InputError
from yolo_qreg.inputs import check_data


def resolve_data(data: str | Path) -> Path:
    """Return the YAML file of a data set; `shapes` is generated on first use.

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
    return named_data(str(data)) or Path(data)


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
        pictures: In file-name order.
        names: Class names, in class order.
        unusable: Pictures that are left out: files that are no whole pictures, have wrong labels or are too small.
    """

    pictures: list[LabelledPicture]
    names: tuple[str, ...]
    unusable: tuple[Path, ...]


def validation_pictures(data: Path, *, strict: bool = False, smallest: int = 0, split: str = "val") -> PictureSet:
    """Return the pictures of a split with their labels.

    The host reads and checks them, so these are the boxes that its `val` measures against.

    Args:
        data: YAML file of the data set.
        strict: Whether unusable pictures are an error.
        smallest: Pictures with a shorter side are unusable.
        split: Which split.

    Raises:
        InputError: The data set is missing, or has no such split, picture or label.
    """
    try:
        found = check_det_dataset(str(data))
        if not found.get(split):
            raise InputError(f"data={data} has no {split} split; name one in the YAML file")
        dataset = YOLODataset(
            img_path=found[split], data=found, task="detect", augment=False, rect=False, hyp=DEFAULT_CFG, prefix=""
        )
    except InputError:
        raise
    except (OSError, RuntimeError, AssertionError, SyntaxError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"data={data}: {' '.join(str(error).split())[:300]}") from error
    pictures = [_labelled(label) for label in sorted(dataset.labels, key=lambda label: str(label["im_file"]))]
    pictures = [picture for picture in pictures if min(picture.size) >= smallest]
    usable = {picture.path for picture in pictures}
    unusable = tuple(path for path in map(Path, sorted(dataset.get_img_files(found[split]))) if path not in usable)
    if strict and unusable:
        raise InputError(
            f"{unusable[0]} is not a whole picture with right labels, or too small ({len(unusable)} in {data}); "
            "mend or remove it"
        )
    if not pictures:
        raise InputError(f"data={data} has no picture that can be used in its {split} split; name other data")
    return PictureSet(pictures, tuple(str(found["names"][i]) for i in range(len(found["names"]))), unusable)


def _labelled(label: dict[str, Any]) -> LabelledPicture:
    height, width = label["shape"]
    centre, size = label["bboxes"][:, :2], label["bboxes"][:, 2:]
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1) * np.array([width, height] * 2)
    return LabelledPicture(
        path=Path(label["im_file"]),
        size=(int(width), int(height)),
        labels=label["cls"].reshape(-1).astype(np.int16),
        boxes=corners.astype(np.float32),
    )
