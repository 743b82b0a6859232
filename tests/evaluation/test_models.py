"""Which models an evaluation takes, and what it calls them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from yolo_qreg.data.shapes import CLASS_NAMES
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.models import (
    Subject,
    find_twin,
    newest_quantized,
    subjects,
    training_data,
    training_size,
)
from yolo_qreg.shipped import shipped


def run_folder(runs: Path, name: str, bits: int, data: str, age: int, weights: bool = True) -> Path:
    """Make what of a finished run is looked at: its settings and its weights, `age` seconds old."""
    folder = runs / name
    (folder / "weights").mkdir(parents=True)
    settings = folder / "args.yaml"
    settings.write_text(yaml.safe_dump({"data": data, "quant": {"method": "lsq", "bits": bits}}))
    os.utime(settings, (1e9 - age, 1e9 - age))
    if weights:
        (folder / "weights" / "best.pt").touch()
    return folder


def subject_of(run: Path, names: tuple[str, ...] = ()) -> Subject:
    """Return the model of a run folder."""
    model = subjects([shipped("shapes-fp32")])[0].model
    return Subject(replace(model, run=str(run)), run / "weights" / "best.pt", names=names)


def test_the_newest_pair(tmp_path: Path) -> None:
    """The newest finished quantized run, and the newest FP32 run on the same data."""
    run_folder(tmp_path, "old", 4, "a.yaml", 5)
    wanted = run_folder(tmp_path, "wanted", 8, "a.yaml", 3)
    run_folder(tmp_path, "unfinished", 2, "a.yaml", 1, weights=False)
    run_folder(tmp_path, "twin-old", 32, "a.yaml", 4)
    twin = run_folder(tmp_path, "twin", 32, "a.yaml", 2)
    run_folder(tmp_path, "twin-other", 32, "b.yaml", 1)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "args.yaml").write_text("data: a.yaml\n")
    assert newest_quantized(tmp_path) == wanted
    assert find_twin(subject_of(wanted)) == twin


def test_no_run_and_no_twin(tmp_path: Path) -> None:
    """Without quantized runs there is an error; without a twin there is none, but for models of shapes."""
    run_folder(tmp_path, "twin", 32, "a.yaml", 1)
    with pytest.raises(InputError, match="no quantized run"):
        newest_quantized(tmp_path)
    lone = run_folder(tmp_path, "lone", 8, "b.yaml", 1)
    assert find_twin(subject_of(lone)) is None
    assert find_twin(subject_of(lone, CLASS_NAMES)) == shipped("shapes-fp32")
    (alone,) = subjects([shipped("shapes-dorefa8")])
    assert find_twin(alone) == shipped("shapes-fp32")
    assert training_data([alone]) == "shapes"


def test_models_are_described(tmp_path: Path) -> None:
    """Shipped weights say their bits, method and packed size; a copy of the same bytes is the same model."""
    copy = tmp_path / "copy.pt"
    shutil.copy(shipped("shapes-dorefa8"), copy)
    found = subjects([shipped("shapes-fp32"), shipped("shapes-dorefa8"), copy])
    assert [subject.model.name for subject in found] == ["shapes-fp32", "shapes-dorefa8"]
    base, ours = (subject.model for subject in found)
    assert (base.bits, base.method, ours.bits, ours.method) == (32, None, 8, "dorefa")
    assert base.size_mb == pytest.approx(10.1, abs=0.2)
    assert ours.size_mb == pytest.approx(2.6, abs=0.1)
    assert base.run is None


def test_runs_are_called_by_their_folder(tmp_path: Path) -> None:
    """A run folder and its best.pt are the same; equal names get numbers."""
    for parent in ("a", "b"):
        folder = run_folder(tmp_path / parent, "run", 8, "a.yaml", 1)
        weights = "shapes-fp32" if parent == "a" else "shapes-dorefa8"
        shutil.copy(shipped(weights), folder / "weights" / "best.pt")
    given = [tmp_path / "a" / "run", tmp_path / "a" / "run" / "weights" / "best.pt", tmp_path / "b" / "run"]
    found = subjects(given)
    assert [subject.model.name for subject in found] == ["run", "run-2"]
    assert found[0].model.run == str((tmp_path / "a" / "run").resolve())


def test_exports_have_the_size_of_their_files(tmp_path: Path) -> None:
    """Nothing is known of them but their bytes; every file of a folder counts for the hash."""
    folder = tmp_path / "detector_openvino_model"
    folder.mkdir()
    (folder / "detector.xml").write_bytes(b"x" * 1000)
    (folder / "metadata.yaml").write_bytes(b"y" * 500)
    (first,) = subjects([folder])
    assert (first.model.bits, first.model.method, first.model.size_mb) == (None, None, 0.0015)
    (folder / "metadata.yaml").write_bytes(b"z" * 500)
    assert subjects([folder])[0].model.sha256 != first.model.sha256


@pytest.mark.parametrize("name", ["absent.pt", "empty"])
def test_what_is_no_model(name: str, tmp_path: Path) -> None:
    """Missing files and other folders are named."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        subjects([tmp_path / name])


def test_what_models_agree_on(tmp_path: Path) -> None:
    """Size and data of the training are taken where all that say one say the same, and the data are here."""
    model = subjects([shipped("shapes-fp32")])[0].model
    here = tmp_path / "data.yaml"
    here.touch()
    a = Subject(model, Path("a.pt"), 320, str(here))
    b = Subject(model, Path("b.onnx"))
    c = Subject(model, Path("c.pt"), 640, "/absent/data.yaml")
    assert training_size([a, b]) == 320
    assert training_size([a, c]) is None
    assert training_size([b]) is None
    assert training_data([a, b, c]) == str(here)
    assert training_data([c]) is None
