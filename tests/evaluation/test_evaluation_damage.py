"""Evaluations whose files, data, models or users do unexpected things."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from small_evaluations import SMALL_PX, contents, run, settings
from ultralytics import RTDETR, YOLO

import corruptions
from yolo_qreg import __version__
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation import cells
from yolo_qreg.evaluation.cells import SCORES, Cell, make_cells, release_of
from yolo_qreg.evaluation.detections import Detections
from yolo_qreg.evaluation.material import digest_of
from yolo_qreg.evaluation.models import subjects
from yolo_qreg.host import predict
from yolo_qreg.host.datasets import validation_pictures
from yolo_qreg.host.predict import Detector
from yolo_qreg.shipped import shipped

FP32 = [shipped("shapes-fp32")]


@pytest.fixture(scope="module")
def intact(shapes: Path, untrained: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evaluation of one model; nothing of it may be changed."""
    out = tmp_path_factory.mktemp("intact")
    run(shapes, out, untrained[:1], imgsz=SMALL_PX, corruptions=("fog",))
    return out


def cut(path: Path, other: Path) -> None:
    """End it early."""
    path.write_bytes(path.read_bytes()[:100])


def change(path: Path, other: Path) -> None:
    """Set a number to another: the file stays one that parsers take."""
    data = path.read_bytes()
    if path.suffix == ".json":
        path.write_bytes(re.sub(rb'"map50_95": [0-9.]+', b'"map50_95": 0.999', data))
    elif path.suffix == ".npy":
        path.write_bytes(data[:128] + np.ones(50).tobytes() + data[528:])
    else:
        found = Detections.load(path)
        Detections(found.image, found.label, np.zeros_like(found.score), found.boxes).save(path)
    assert path.read_bytes() != data


def swap(path: Path, other: Path) -> None:
    """Put another cell's file there, whole as it is."""
    path.write_bytes(other.read_bytes())


def flag(path: Path, other: Path) -> None:
    """Set the flags of the zip directory, or of what is there in other files, that say encrypted and patched."""
    data = bytearray(path.read_bytes())
    data[max(data.find(b"PK\x01\x02"), 0) + 8] |= 0x21
    path.write_bytes(data)


def nest(path: Path, other: Path) -> None:
    """Nest it deeper than a parser can follow."""
    path.write_bytes(b"[" * 100_000)


def empty_folder(path: Path, other: Path) -> None:
    """Put a folder there."""
    path.unlink()
    path.mkdir()


def pipe(path: Path, other: Path) -> None:
    """A file that would be read for ever."""
    path.unlink()
    os.mkfifo(path)


def loop(path: Path, other: Path) -> None:
    """Put a link to itself there."""
    path.unlink()
    path.symlink_to(path.name)


def test_damaged_files_are_made_again(intact: Path, shapes: Path, untrained: list[Path], tmp_path: Path) -> None:
    """Whatever was done to detections, scores and resamples, the same command makes the same files and results."""
    before = contents(intact)
    damages = (cut, change, swap, flag, nest, empty_folder, pipe, loop)
    for number, damage in enumerate(damages):
        out = tmp_path / damage.__name__
        shutil.copytree(intact, out)
        for place, ending in enumerate((".npz", ".json", ".npy"), start=number):  # one file of each cell
            files = sorted((out / "cells").rglob(f"*{ending}"))
            damage(files[place % len(files)], files[place % len(files) - 1])
        run(shapes, out, untrained[:1], imgsz=SMALL_PX, corruptions=("fog",))
        assert contents(out) == before, damage.__name__


def test_a_folder_in_place_of_a_file_is_one_line(
    intact: Path, shapes: Path, untrained: list[Path], tmp_path: Path
) -> None:
    """One with something in it is nobody's to remove."""
    shutil.copytree(intact, tmp_path / "out")
    detections = min((tmp_path / "out/cells").rglob("*.npz"))
    detections.unlink()
    (detections / "notes").mkdir(parents=True)
    with pytest.raises(InputError, match=r"\.npz is a folder, where a file belongs; move it away"):
        run(shapes, tmp_path / "out", untrained[:1], imgsz=SMALL_PX, corruptions=("fog",))


def test_other_detections_have_other_resamples(tmp_path: Path) -> None:
    """What is detected again, on a device that rounds otherwise perhaps, is scored and resampled again."""
    cell = Cell(tmp_path, {"corruption": "fog", "severity": 1})
    found = Detections([0], [0], [0.5], [[0, 0, 9, 9]])  # type: ignore[arg-type]
    for score in (0.5, 0.25):
        cell.keep(replace(found, score=np.float32([score])))
        assert cell.detected() and not cell.scored()
        cell.keep_scores(dict.fromkeys(SCORES))
        assert cell.scored() and not cell.finished(3, 0)
        cell.keep_resampled(np.array([score, np.nan, 1 / 3]), 0)
        np.testing.assert_array_equal(cell.resampled(3, 0), [score, np.nan, 1 / 3])


def test_a_cell_of_another_key_is_not_finished(tmp_path: Path) -> None:
    """Not even under the right name."""
    cell = Cell(tmp_path, {"corruption": "fog", "severity": 1, "seed": 0})
    cell.keep(Detections([], [], [], []))  # type: ignore[arg-type]
    cell.keep_scores(dict.fromkeys(SCORES))
    assert cell.scored()
    found = json.loads(cell.scores_file.read_text())
    cell.scores_file.write_text(json.dumps({**found, "key": {**found["key"], "seed": 1}}))
    assert not cell.scored()


def test_the_name_of_a_cell_holds_all_it_depends_on(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Releases, device, frost textures and class names, beside what users choose."""
    textures = []
    for level in (60, 200):
        folder = tmp_path / str(level)
        folder.mkdir()
        for number in range(5):
            cv2.imwrite(str(folder / f"frost{number}.png"), np.full((300, 300, 3), level, np.uint8))
        textures.append(str(folder))
    found = validation_pictures(shapes)

    def name(textures: str = textures[0], names: tuple[str, ...] = found.names, kind: str | None = None) -> str:
        given = settings(shapes, tmp_path, corruptions=("frost",), severities=(1,), textures=textures, device_kind=kind)
        *_, by_model = make_cells(subjects(FP32), given, digest_of(found.pictures, names)).values()
        (cell,) = by_model.values()
        return cell.name

    first = name()
    assert name() == first
    assert name(textures[1]) != first
    assert name(names=found.names[::-1]) != first
    with monkeypatch.context() as patch:
        patch.setattr(predict, "device_type", lambda _: "cuda")
        elsewhere = name()
    assert elsewhere != first
    assert name(kind="cuda") == elsewhere  # filled by a machine of another kind than this one
    monkeypatch.setattr(cells, "release_of", lambda package: f"{package} of tomorrow")
    assert name() != first


def test_releases_are_those_that_run(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell names the cv2 and the package that are imported, whichever distribution brought them, if any did."""

    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    release_of.cache_clear()
    (by_model,) = make_cells(subjects(FP32), settings(shapes, tmp_path, corruptions=()), "digest").values()
    (cell,) = by_model.values()
    found = cell.key["versions"]
    assert (found["cv2"], found["yolo_qreg"], found["PIL"]) == (cv2.__version__, __version__, PIL.__version__)
    assert found["corruptions"] == corruptions.__version__
    assert "none" not in found.values()


def test_an_export_is_run_again_on_another_runtime(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells depend on the runtime's release, those of a .pt beside it do not."""
    pytest.importorskip("onnxruntime")
    (given,) = subjects(FP32)
    both = [given, replace(given, model=replace(given.model, name="export"), path=tmp_path / "model.onnx")]

    def names() -> list[str]:
        (by_model,) = make_cells(both, settings(shapes, tmp_path, corruptions=()), "digest").values()
        return [cell.name for cell in by_model.values()]

    before = names()
    known = cells.release_of
    monkeypatch.setattr(cells, "release_of", lambda name: "99" if name == "onnxruntime" else known(name))
    after = names()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_pictures_of_one_name_are_kept_apart(own: Path, tmp_path: Path) -> None:
    """Two folders may have the same file names; with a cache the scores are those without."""
    for kind in ("images", "labels"):
        shutil.copytree(own.parent / kind / "val", own.parent / kind / "more")
    for path in (own.parent / "images" / "more").iterdir():
        cv2.imwrite(str(path), np.ascontiguousarray(cv2.imread(str(path))[:, ::-1]))
    own.write_text(own.read_text().replace("val: images/val", "val: [images/val, images/more]"))
    plain = run(own, tmp_path / "plain", FP32, corruptions=("fog",), severities=(1,))
    assert plain.scores[0].images == 24
    assert run(own, tmp_path / "kept", FP32, corruptions=("fog",), severities=(1,), cache=tmp_path / "c") == plain
    assert len(list((tmp_path / "c").rglob("*.png"))) == 24


def test_damaged_kept_pictures_are_made_again(shapes: Path, tmp_path: Path) -> None:
    """A cut file in the cache does no harm."""
    plain = run(shapes, tmp_path / "a", FP32, corruptions=("fog",), severities=(1,), cache=tmp_path / "c")
    first = min((tmp_path / "c").rglob("*.png"))
    data = first.read_bytes()
    first.write_bytes(data[:80])
    assert run(shapes, tmp_path / "b", FP32, corruptions=("fog",), severities=(1,), cache=tmp_path / "c") == plain
    assert first.read_bytes() == data


def test_only_current_pictures_are_in_the_gallery(shapes: Path, untrained: list[Path], tmp_path: Path) -> None:
    """Another evaluation in the same folder replaces them."""
    for name in ("fog", "contrast"):
        run(shapes, tmp_path, untrained[:1], imgsz=SMALL_PX, corruptions=(name,), severities=(1,))
    assert {path.stem for path in (tmp_path / "gallery").iterdir()} == {"clean", "contrast"}


def test_data_without_boxes_cannot_be_measured(own: Path, tmp_path: Path) -> None:
    """Empty label files are no ground truth."""
    for path in (own.parent / "labels" / "val").iterdir():
        path.write_text("")
    with pytest.raises(InputError, match="has no box in its 12 pictures"):
        run(own, tmp_path / "out", FP32, corruptions=())
    assert not (tmp_path / "out").exists()


def test_small_pictures_are_left_out(own: Path, untrained: list[Path], tmp_path: Path) -> None:
    """Corruptions need 32 px; one smaller picture does not stop an evaluation."""
    first = min((own.parent / "images" / "val").iterdir())
    cv2.imwrite(str(first), cv2.resize(cv2.imread(str(first)), (31, 40)))
    results = run(own, tmp_path / "out", untrained[:1], imgsz=SMALL_PX, corruptions=("fog",), severities=(1,))
    assert results.scores[0].images == 11
    assert results.setup["pictures left out"] == [str(first)]


@pytest.mark.parametrize("option", ["out", "cache"])
def test_folders_are_tried_before_the_work(option: str, shapes: Path, tmp_path: Path) -> None:
    """A file in the place of a folder is noticed at once."""
    (tmp_path / "file").touch()
    given = {"out": tmp_path / "out", "cache": None, option: tmp_path / "file"}
    with pytest.raises(InputError, match="file cannot be written to"):
        run(shapes, given.pop("out"), FP32, corruptions=("fog",), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["cls", "seg"])
def test_models_of_other_tasks_are_refused(task: str, tmp_path: Path) -> None:
    """They have no boxes, or other ones."""
    YOLO(f"yolov8n-{task}.yaml").save(tmp_path / "other.pt")
    with pytest.raises(InputError, match="name a detection model"):
        Detector(tmp_path / "other.pt", imgsz=64, device="cpu")


def test_models_of_another_family_are_refused(tmp_path: Path) -> None:
    """What an RT-DETR puts out is not to be read as a YOLO's boxes."""
    RTDETR("yolov8n-rtdetr.yaml").save(tmp_path / "rtdetr.pt")
    with pytest.raises(InputError, match=r"rtdetr.pt is of RT-DETR, whose outputs are not a YOLO's"):
        Detector(tmp_path / "rtdetr.pt", imgsz=64, device="cpu")


def test_scores_reach_as_low_as_those_of_the_host(shapes: Path) -> None:
    """MAP needs the uncertain boxes too: from .001 on."""
    detector = Detector(FP32[0], imgsz=160, device="cpu")
    picture = cv2.imread(str(validation_pictures(shapes).pictures[0].path))
    ((_, scores, _),) = detector.detect([picture])
    assert 0.001 < scores.min() < 0.002


@pytest.mark.parametrize("imgsz", [33, 16, 0])
def test_image_sizes_are_multiples_of_32(imgsz: int, shapes: Path, tmp_path: Path) -> None:
    """The host would round them without a word."""
    with pytest.raises(InputError, match="is no multiple of 32; use 32"):
        settings(shapes, tmp_path, imgsz=imgsz)


def test_ctrl_c_ends_it_and_says_how_to_continue(shapes: Path, tmp_path: Path) -> None:
    """Status 130, and what was finished is kept."""
    command = [sys.executable, "-m", "yolo_qreg", "eval-corrupted", str(FP32[0]), "--data", str(shapes)]
    command += ["--out", str(tmp_path / "out"), "--imgsz", "160", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 90
    while not list((tmp_path / "out").rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "repeat the command to continue" in error
    assert "Traceback" not in error


CTRL_C_AS_WORKERS_START = """
import os, signal, time
from yolo_qreg.evaluation.workers import Workshop
signal.signal(signal.SIGINT, lambda *_: None)
with Workshop(4) as workshop:
    done = workshop.aside(abs, -1)
    for _ in range(30):
        os.killpg(0, signal.SIGINT)
        time.sleep(0.05)
    print(done.result(60), *workshop.map(abs, [-2]))
"""


def test_ctrl_c_does_not_reach_workers() -> None:
    """A terminal sends it to all processes; those that are just being started say nothing and go on."""
    line = [sys.executable, "-c", CTRL_C_AS_WORKERS_START]
    done = subprocess.run(line, capture_output=True, text=True, start_new_session=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("1 2\n", "", 0)


TORN = """
import os, signal
from multiprocessing.connection import Connection
from yolo_qreg.evaluation.workers import Workshop

def send_and_die(connection, message):
    os.write(connection.fileno(), bytes(message)[:100])
    os.kill(os.getpid(), signal.SIGKILL)

def half_a_result(_):
    Connection._send = send_and_die
    return bytes(1000)
"""


def test_a_worker_that_dies_while_it_sends_is_noticed(tmp_path: Path) -> None:
    """As on a machine that is out of memory: nobody waits for the rest of its result, and the process ends."""
    (tmp_path / "torn.py").write_text(TORN)
    line = [sys.executable, "-c", "from torn import *; list(Workshop(1).map(half_a_result, [0, 0]))"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "a worker process died" in done.stderr
