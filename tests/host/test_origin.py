"""What a data set is: the same wherever it lies, another where its content changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_qreg.data.identity import DataIdentity
from yolo_qreg.errors import InputError
from yolo_qreg.host.origin import Training, confirm_data, identify_data


@pytest.fixture
def moved(data: Path, tmp_path: Path) -> Path:
    """A copy of the data set elsewhere, by a YAML file of another name."""
    root = tmp_path / "moved"
    shutil.copytree(data.parent, root, ignore=shutil.ignore_patterns("*.cache"))
    (root / data.name).rename(root / "data.yaml")
    return _point(root / "data.yaml", "train: images/train\nval: images/val\n")


def _point(path: Path, splits: str, names: str = "[blue, red]") -> Path:
    path.write_text(f"path: {path.parent}\n{splits}names: {names}\n")
    return path


def test_a_data_set_is_the_same_in_another_place(data: Path, moved: Path) -> None:
    """Nor do line ends, empty label files and caches of the host matter; what is recorded goes through plain data."""
    label = moved.parent / "labels" / "train" / "0.txt"
    label.write_bytes(label.read_bytes().replace(b"\n", b"\r\n") + b"\n")
    (moved.parent / "labels" / "train.cache").write_bytes(b"x")
    here, there = identify_data(data), identify_data(moved)
    assert there.differences(here) == ()
    assert there.path == str(moved)
    assert there.splits["train"].pictures == 8
    assert DataIdentity.from_dict(there.to_dict()) == there


def test_lists_and_folders_of_the_same_pictures_are_the_same(moved: Path) -> None:
    """A split is its pictures, however the YAML file names them."""
    as_folder = identify_data(moved)
    root = moved.parent
    pictures = sorted((root / "images" / "train").iterdir())
    (root / "train.txt").write_text("".join(f"./images/train/{picture.name}\n" for picture in reversed(pictures)))
    as_list = identify_data(_point(root / "list.yaml", "train: train.txt\nval: [images/val]\n"))
    assert as_list.differences(as_folder) == ()


def _append(path: Path, content: bytes) -> None:
    path.write_bytes(path.read_bytes() + content)


CHANGES: dict[str, Callable[[Path], object]] = {
    "train: 7 pictures against 8": lambda root: (root / "images/train/0.png").unlink(),
    "val: pictures of other names": lambda root: (root / "images/val/0.png").rename(root / "images/val/9.png"),
    "train: pictures of other file sizes": lambda root: _append(root / "images/train/0.png", b"x"),
    "val: other labels": lambda root: (root / "labels/val/0.txt").write_text("1 0.5 0.5 0.25 0.25\n"),
    "train: other labels": lambda root: (root / "labels/train/0.txt").unlink(),
    "2 classes (red, blue) against 2 classes (blue, red)": lambda root: _point(
        root / "data.yaml", "train: images/train\nval: images/val\n", "[red, blue]"
    ),
    "1 channels against 3": lambda root: _append(root / "data.yaml", b"channels: 1\n"),
}


@pytest.mark.parametrize("difference", CHANGES)
def test_changed_content_is_told(difference: str, moved: Path) -> None:
    """Each kind of change is named, with the split."""
    before = identify_data(moved)
    CHANGES[difference](moved.parent)
    assert identify_data(moved).differences(before) == (difference,)
    with pytest.raises(InputError, match="is not what run was trained on") as error:
        confirm_data(None, before, "run")
    assert difference in str(error.value)


def test_lost_data_are_told(data: Path, moved: Path, tmp_path: Path) -> None:
    """Where the data set was, and that --data names where it is now; there it is accepted."""
    recorded = identify_data(moved)
    moved.parent.rename(tmp_path / "again")
    with pytest.raises(InputError, match=r"run was trained on .*data\.yaml, which is not there; .* --data$"):
        confirm_data(None, recorded, "run")
    assert confirm_data(data, recorded, "run") == data


def test_trainings_without_a_record_are_not_taken_for_the_same() -> None:
    """Runs of earlier releases and exports: an absolute path and a model by name are all that can be compared."""
    known = Training({"data": "/a/data.yaml", "model": "yolov5n.yaml", "epochs": 3}, None)
    assert known.differences(known) == ()
    relative = Training({**known.settings, "data": "data.yaml"}, None)
    assert relative.differences(relative) == ("data: not recorded",)
    other = Training({"data": "/a/data.yaml", "epochs": 4, "device": "0", "name": "x"}, None)
    assert known.differences(other) == ("model: not recorded", "epochs 3 against 4")
