from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.detections import Detections, GroundTruth

BOX = [10.0, 20.0, 30.0, 60.0]
TRUTH: dict[str, Any] = {
    "image_ids": ("a.jpg", "b.jpg"),
    "sizes": [[640, 480], [320, 240]],
    "image": [0, 1],
    "label": [0, 0],
    "boxes": [BOX, BOX],
    "names": ("cat",),
}
FOUND: dict[str, Any] = {"image": [0, 1], "label": [0, 3], "score": [0.25, 1.0], "boxes": [BOX, BOX]}
EMPTY: dict[str, Any] = {"image": [], "label": [], "score": [], "boxes": []}


def test_lists_become_arrays_of_the_stated_types() -> None:
    """What is given as lists or wider types is stored as documented, and areas are width times height."""
    truth, found = GroundTruth(**TRUTH), Detections(**FOUND)
    assert (truth.sizes.dtype, truth.image.dtype, truth.label.dtype) == (np.int32, np.int32, np.int16)
    assert (found.image.dtype, found.label.dtype) == (np.int32, np.int16)
    assert truth.boxes.dtype == found.boxes.dtype == found.score.dtype == np.float32
    assert truth.area.tolist() == [800.0, 800.0]


def test_there_may_be_no_objects_and_no_detections() -> None:
    """Empty lists make empty arrays with the right second axis."""
    truth = GroundTruth(**{**TRUTH, "image": [], "label": [], "boxes": []})
    assert truth.boxes.shape == Detections(**EMPTY).boxes.shape == (0, 4)
    assert truth.area.shape == (0,)


def test_arrays_are_copies_and_cannot_be_written_to() -> None:
    """Neither the caller's array nor the stored one can change the other."""
    score = np.array([0.25, 1.0], np.float32)
    found = Detections(**{**FOUND, "score": score})
    score[0] = 0.5
    assert found.score[0] == 0.25
    with pytest.raises(ValueError, match="read-only"):
        found.score[0] = 0.5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": [0]}, r"label has shape \(1,\); it must be \(2,\)"),
        ({"boxes": [BOX]}, r"boxes has shape \(1, 4\); it must be \(2, 4\)"),
        ({"image": [0, -1]}, r"image has the value -1; correct it to 0\.\."),
        ({"label": [0, 40000]}, r"label has the value 40000; correct it to 0\.\.32767"),
        ({"label": [0.0, 1.5]}, "label has type float64; convert it to int16"),
        ({"score": [0.5, 1.5]}, r"score has the value 1.5; correct it to 0\.\.1"),
        ({"score": [0.5, np.nan]}, "score has the value nan"),
        ({"boxes": [BOX, [0, 0, np.inf, 1]]}, "boxes has the value inf"),
        ({"boxes": [BOX, [5, 0, 4, 1]]}, r"boxes has \[5.0, 0.0, 4.0, 1.0\]; give x1 <= x2"),
        ({"boxes": [BOX, [0, 0, 2e5, 1e5]]}, "clipped to the picture"),
    ],
)
def test_wrong_detections_are_refused(changed: dict[str, Any], message: str) -> None:
    """Shapes, types, ranges and boxes are checked, and the message has the value."""
    with pytest.raises(InputError, match=message):
        Detections(**{**FOUND, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image": [0, 2]}, r"image has the value 2; correct it to 0\.\.1"),
        ({"label": [0, 1]}, r"label has the value 1; correct it to 0\.\.0"),
        ({"sizes": [[640, 480]]}, r"sizes has shape \(1, 2\); it must be \(2, 2\)"),
        ({"sizes": [[640, 480], [0, 480]]}, "sizes has the value 0"),
        ({"image_ids": ("a.jpg", "a.jpg")}, "image_ids has 'a.jpg' more than once"),
        ({"names": ("cat", "cat")}, "names has 'cat' more than once"),
    ],
)
def test_wrong_ground_truth_is_refused(changed: dict[str, Any], message: str) -> None:
    """Indices must lie within the images and classes, and names are unique."""
    with pytest.raises(InputError, match=message):
        GroundTruth(**{**TRUTH, **changed})


@pytest.mark.parametrize("fields", [FOUND, EMPTY], ids=["two", "none"])
def test_saved_detections_come_back(fields: dict[str, Any], tmp_path: Path) -> None:
    """Every array has its values and type after a round trip."""
    found = Detections(**fields)
    found.save(tmp_path / "found.npz")
    again = Detections.load(tmp_path / "found.npz")
    for field in fields:
        np.testing.assert_array_equal(getattr(again, field), getattr(found, field))
        assert getattr(again, field).dtype == getattr(found, field).dtype


def test_equal_detections_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file depends on its content alone: not on the time, its own name or how the arrays were given."""
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    Detections(**FOUND).save(first)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e8)
    Detections(**{name: np.asarray(values) for name, values in FOUND.items()}).save(second)
    assert first.read_bytes() == second.read_bytes()
    Detections(**{**FOUND, "score": [0.25, 0.5]}).save(second)
    assert first.read_bytes() != second.read_bytes()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not detections" * 40)


def _half(path: Path) -> None:
    Detections(**FOUND).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def _flipped(path: Path) -> None:
    Detections(**FOUND).save(path)
    content = bytearray(path.read_bytes())
    for position in range(60, 140):
        content[position] ^= 0xFF
    path.write_bytes(content)


def _one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _other_arrays(path: Path) -> None:
    np.savez(path, image=np.zeros(3, int))


def _other_format(path: Path) -> None:
    np.savez(path, format=np.array("another"), **{name: np.asarray(values) for name, values in FOUND.items()})


def _pickles(path: Path) -> None:
    np.savez(path, format=np.array([{}], dtype=object))


@pytest.mark.parametrize(
    "write", [_garbage, _half, _flipped, _one_array, _other_arrays, _other_format, _pickles], ids=lambda f: f.__name__
)
def test_other_files_are_refused(write: Any, tmp_path: Path) -> None:
    """Whatever the file holds, the answer is one line that names it and says what to do."""
    path = tmp_path / "found.npz"
    write(path)
    with pytest.raises(InputError, match=r"found\.npz .*save them again") as caught:
        Detections.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(InputError, match=r"absent\.npz is not a file"):
        Detections.load(tmp_path / "absent.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If writing stops half-way, the earlier detections are still there and nothing else is."""

    def stops(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "found.npz"
    Detections(**FOUND).save(path)
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez_compressed", stops)
    with pytest.raises(OSError, match="disk full"):
        Detections(**EMPTY).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
