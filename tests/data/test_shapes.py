"""The generated data set: the same pixels everywhere, tight boxes, and whole or absent on disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from yolo_qreg.data import shapes, shapes_render
from yolo_qreg.data.registry import named_data
from yolo_qreg.data.shapes import ensure_shapes, shapes_digest
from yolo_qreg.data.shapes_forms import OUTLINES, UNIT, Placement, rasterise
from yolo_qreg.data.shapes_random import Words
from yolo_qreg.data.shapes_render import SIZE, compose, render
from yolo_qreg.data.shapes_spec import CLASS_NAMES
from yolo_qreg.errors import InputError

ROOT = Path(__file__).parents[2]
DIGESTS = {
    "train": "3db3abd86671dc89a20db7afdd16f08e5ff76acbda38c4b780954e67415f48b1",
    "val": "3a7993da75fa6f0086cd001fd92d01eb0e3b8e9df3008d16ff758a0139063393",
}
PINNED = 12


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    """A fresh interpreter that runs `code` with the project importable."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen([sys.executable, "-c", code], env=settings, stdout=subprocess.PIPE, text=True)


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Digest and time of every file below a folder."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 6 + 2 pictures."""
    return ensure_shapes(tmp_path_factory.mktemp("shapes"), train=6, val=2).parent


# --- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
def test_pictures_never_change(split: str) -> None:
    """Pixels and labels of the first pictures are pinned; a change needs a new VERSION and new digests."""
    assert shapes_digest(split, PINNED) == DIGESTS[split]


def test_words_are_pcg64() -> None:
    """The stream is PCG64's documented one: integers are the upper halves, bytes the little-endian words."""
    raw = np.random.PCG64([1, 2]).random_raw(3)
    words = Words(1, 2)
    assert words.below(1000) == (int(raw[0]) >> 32) * 1000 >> 32
    assert words.octets(2, 5).tobytes() == b"".join(int(word).to_bytes(8, "little") for word in raw[1:])[:10]


def test_same_pixels_in_any_order_thread_or_process() -> None:
    """Neither the order, nor threads beside it, nor a fresh process change a picture."""
    process = python("from yolo_qreg.data.shapes import *; print(shapes_digest('train', 4))", OMP_NUM_THREADS="1")
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda index: render("train", index), reversed(range(4))))
    for index, picture in zip(reversed(range(4)), drawn, strict=True):
        again = render("train", index)
        assert np.array_equal(picture.pixels, again.pixels) and picture.boxes == again.boxes
    assert process.communicate()[0].strip() == shapes_digest("train", 4)


def test_pictures_differ_between_splits() -> None:
    """No validation picture is a training picture."""
    keys = {render(split, index).pixels.tobytes() for split in ("train", "val") for index in range(4)}
    assert len(keys) == 8


@pytest.mark.parametrize(("split", "index"), [("test", 0), ("train", -1)])
def test_render_rejects_unknown_pictures(split: str, index: int) -> None:
    """Only the two splits exist, numbered from 0."""
    with pytest.raises(ValueError, match=r"the splits are \('train', 'val'\), numbered from 0"):
        render(split, index)


# --- boxes ------------------------------------------------------------------------------------------------------------


def corners(name: str, radius: float) -> np.ndarray:
    """Points of an outline that span its convex hull, from geometry in float: [points, 2]."""
    turn = np.linspace(0, 2 * np.pi, 7201)
    rim = radius * np.stack([np.cos(turn), np.sin(turn)], 1)
    regular = {"triangle": 3, "hexagon": 6, "star": 5}
    if name in regular:
        angles = 2 * np.pi * np.arange(regular[name]) / regular[name]
        return radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    if name == "square":
        return 0.8 * radius * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    if name == "cross":
        arm = np.array([[a, b] for a in (-1, 1) for b in (-0.32, 0.32)])
        return radius * np.concatenate([arm, arm[:, ::-1]])
    if name == "crescent":
        return rim[np.hypot(rim[:, 0] - 0.45 * radius, rim[:, 1]) > 0.82 * radius]
    return rim


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_boxes_are_tight_by_geometry(name: str) -> None:
    """A box agrees with the outline's corners in exact geometry, to a third of a pixel (a whole one at sharp tips)."""
    rng = np.random.default_rng(0)
    sharp = 1.0 if name in {"star", "triangle", "crescent"} else 0.34
    for _ in range(25):
        size, angle, stretch = int(rng.integers(10, 111)), int(rng.integers(1024)), int(rng.integers(216, 305))
        x, y = (int(value) for value in rng.integers(0, SIZE * UNIT, 2))
        box = np.array(rasterise(Placement(OUTLINES[name], x, y, size * UNIT // 2, angle, stretch)).box) / 4
        u, v = corners(name, size / 2).T * [[256 / stretch], [1]]
        turn = 2 * math.pi * angle / 1024
        px = x / UNIT + u * math.cos(turn) - v * math.sin(turn)
        py = y / UNIT + u * math.sin(turn) + v * math.cos(turn)
        exact = np.array([px.min(), py.min(), px.max(), py.max()])
        assert np.abs(box - exact).max() < sharp
        assert (box[:2] - exact[:2]).min() > -0.34 and (exact[2:] - box[2:]).min() > -0.34  # never too wide


def test_boxes_hold_what_is_painted() -> None:
    """In whole scenes, every label is the extent of its own coverage, cut at the picture's edge."""
    for index in range(40):
        scene = compose("train", index)
        for raster, box in zip(scene.rasters, scene.boxes, strict=True):
            rows, columns = np.nonzero(raster.coverage)
            extent = [raster.left + columns.min(), raster.top + rows.min()]
            extent += [raster.left + columns.max() + 1, raster.top + rows.max() + 1]
            x0, y0, x1, y1 = np.clip(extent, 0, SIZE)
            assert (box.x0 // 4, box.y0 // 4, -(-box.x1 // 4), -(-box.y1 // 4)) == (x0, y0, x1, y1)


def test_labelled_objects_can_be_seen() -> None:
    """At least a third of every labelled object lies inside the picture and uncovered by those in front."""
    for index in range(40):
        scene = compose("train", index)
        owner = np.full((3 * SIZE, 3 * SIZE), -1)
        for number, raster in enumerate(scene.rasters):  # back to front, on a canvas with room on every side
            rows, columns = np.nonzero(raster.coverage >= 8)
            owner[rows + raster.top + SIZE, columns + raster.left + SIZE] = number
        seen = np.bincount(owner[SIZE : 2 * SIZE, SIZE : 2 * SIZE].ravel() + 1, minlength=len(scene.rasters) + 1)[1:]
        whole = np.array([raster.coverage.sum() / 16 for raster in scene.rasters])
        assert (seen > 0.30 * whole).all()  # 0.35 less the rim pixels that this count gives to one owner


def test_an_object_changes_pixels_inside_its_box_only() -> None:
    """Painting an object leaves every pixel outside its box as it was."""
    raster = compose("train", 1).rasters[0]
    canvas = np.full((SIZE, SIZE, 3), 100, np.int32)
    shapes_render._paint(canvas, raster, Words(0))
    rows, columns = np.nonzero((canvas != 100).any(axis=2))
    x0, y0, x1, y1 = np.clip(raster.box, 0, 4 * SIZE)
    assert columns.min() == x0 // 4 and columns.max() == -(-x1 // 4) - 1
    assert rows.min() == y0 // 4 and rows.max() == -(-y1 // 4) - 1


def test_classes_sizes_and_counts_are_spread() -> None:
    """Each of the eight classes holds 9 to 16% of the boxes; 1 to 9 a picture; a fifth or more are small (COCO)."""
    scenes = [compose("train", index) for index in range(250)]
    boxes = [box for scene in scenes for box in scene.boxes]
    shares = np.bincount([box.label for box in boxes], minlength=8) / len(boxes)
    assert tuple(OUTLINES) == CLASS_NAMES and shares.min() > 0.09 and shares.max() < 0.16
    counts = {len(scene.boxes) for scene in scenes}
    assert min(counts) == 1 and 7 <= max(counts) <= 9
    areas = np.array([(box.x1 - box.x0) * (box.y1 - box.y0) / 16 for box in boxes])
    assert (areas < 32**2).mean() > 0.2 and (areas > 64**2).mean() > 0.1


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_hold_the_rendered_pictures(small: Path) -> None:
    """PNG pixels, label lines and data.yaml say what `render` says."""
    data = yaml.safe_load((small / "data.yaml").read_text())
    assert data == {
        "path": str(small),
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(CLASS_NAMES)),
    }
    for split, count in (("train", 6), ("val", 2)):
        assert (
            len(list((small / "images" / split).iterdir())) == len(list((small / "labels" / split).iterdir())) == count
        )
        for index in range(count):
            picture = render(split, index)
            with Image.open(small / "images" / split / f"{index:05d}.png") as file:
                assert file.mode == "RGB" and np.array_equal(np.asarray(file), picture.pixels)
            rows = np.loadtxt(small / "labels" / split / f"{index:05d}.txt", ndmin=2)
            assert rows[:, 0].tolist() == [box.label for box in picture.boxes]
            x, y, w, h = rows[:, 1:].T
            edges = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
            assert np.allclose(edges * 1280, [box[1:] for box in picture.boxes], atol=0.01)
            assert edges.min() > -1e-6 and edges.max() < 1 + 1e-6


def test_a_smaller_set_is_a_prefix(small: Path, tmp_path: Path) -> None:
    """Picture i does not depend on how many there are."""
    smaller = ensure_shapes(tmp_path, train=2, val=1).parent
    for kind in ("images", "labels"):
        for path in (smaller / kind).rglob("0*"):
            assert path.read_bytes() == (small / path.relative_to(smaller)).read_bytes()


def test_a_finished_set_is_used_again(small: Path) -> None:
    """The second call changes no file."""
    before = snapshot(small)
    assert ensure_shapes(small.parent, train=6, val=2) == small / "data.yaml"
    assert snapshot(small) == before


@pytest.mark.parametrize("damage", ["picture", "label", "manifest", "version"])
def test_a_damaged_set_is_made_again(small: Path, tmp_path: Path, damage: str) -> None:
    """A missing file, a broken manifest or another version: generated anew, with nothing left beside it."""
    home = tmp_path / small.name
    shutil.copytree(small, home)
    if damage == "picture":
        (home / "images/train/00003.png").unlink()
    elif damage == "label":
        (home / "labels/val/00001.txt").unlink()
    else:
        text = "{" if damage == "manifest" else json.dumps({"version": 0, "counts": {"train": 6, "val": 2}})
        (home / "manifest.json").write_text(text)
    ensure_shapes(tmp_path, train=6, val=2)
    made, wanted = snapshot(home), snapshot(small)
    assert {name: made[name][0] for name in made if name != "data.yaml"} == {
        name: wanted[name][0] for name in wanted if name != "data.yaml"
    }
    assert [path.name for path in tmp_path.iterdir()] == [home.name]


def test_a_moved_set_points_to_its_new_place(small: Path, tmp_path: Path) -> None:
    """data.yaml follows the folder; the pictures stay."""
    shutil.copytree(small, tmp_path / small.name)
    data = ensure_shapes(tmp_path, train=6, val=2)
    assert yaml.safe_load(data.read_text())["path"] == str(tmp_path / small.name)


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the third picture removes the first two."""

    def interrupted(split: str, index: int) -> shapes_render.Picture:
        if index == 2:
            raise KeyboardInterrupt
        return render(split, index)

    monkeypatch.setattr(shapes_render, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensure_shapes(tmp_path, train=3, val=1)
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_break_each_other(tmp_path: Path) -> None:
    """Both get the whole set, and one copy remains."""
    code = "from yolo_qreg.data.shapes import *; ensure_shapes(train=5, val=1)"
    runs = [python(code, YOLO_QREG_CACHE=str(tmp_path)) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    for run in runs:
        run.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["shapes-v1-5-1"]
    assert len(list((tmp_path / "shapes-v1-5-1/images/train").iterdir())) == 5


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YOLO_QREG_CACHE first, XDG_CACHE_HOME next, and `shapes` by name lands there."""
    monkeypatch.delenv("YOLO_QREG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert shapes.cache_folder() == tmp_path / "xdg/yolo-qreg"
    monkeypatch.setenv("YOLO_QREG_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(shapes, "_generate", lambda home, counts: home.mkdir())
    assert named_data("shapes") == (tmp_path / "own/shapes-v1/data.yaml").resolve()
    assert named_data("coco8.yaml") is None


def test_counts_below_one_are_refused(tmp_path: Path) -> None:
    """Neither split may be empty."""
    with pytest.raises(InputError, match="val=0: shapes needs at least 1 picture"):
        ensure_shapes(tmp_path, val=0)


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    """A file in the way gives one line with the folder and the remedy."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.shapes-v1: cannot write .* set YOLO_QREG_CACHE"):
        ensure_shapes(tmp_path / "file")


def test_importing_is_free() -> None:
    """Looking up a data set's name loads no torch, ultralytics, OpenCV or numpy."""
    code = (
        "import sys, yolo_qreg.data.registry, yolo_qreg.data.voc; "
        "print(sorted({'torch', 'ultralytics', 'cv2', 'numpy', 'PIL', 'rich'} & set(sys.modules)))"
    )
    assert python(code).communicate()[0].strip() == "[]"
