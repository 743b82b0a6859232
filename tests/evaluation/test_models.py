"""Which models an evaluation takes, and what it calls them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ultralytics.utils import SETTINGS

from yolo_qreg.data.identity import RECORD
from yolo_qreg.data.shapes_spec import CLASS_NAMES
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.models import (
    Subject,
    differences,
    find_baseline,
    newest_quantized,
    single_class,
    subjects,
    training_data,
    training_size,
)
from yolo_qreg.host.history import mark_finished, note_run, read_run
from yolo_qreg.host.origin import Training
from yolo_qreg.shipped import shipped


def run_folder(runs: Path, name: str, bits: int, data: str, age: int, weights: bool = True, **settings: object) -> Path:
    """Make what of a finished run of an earlier release is looked at: its settings and weights, `age` seconds old."""
    folder = runs / name
    (folder / "weights").mkdir(parents=True)
    file = folder / "args.yaml"
    quant = {"method": "lsq", "bits": bits}
    file.write_text(yaml.safe_dump({"data": data, "model": "yolov5n.yaml", "quant": quant, **settings}))
    os.utime(file, (1e9 - age, 1e9 - age))
    if weights:
        (folder / "weights" / "best.pt").touch()
    return folder


def subject_of(run: Path, names: tuple[str, ...] = ()) -> Subject:
    """Return the model of a run folder."""
    model = subjects([shipped("shapes-fp32")])[0].model
    past = read_run(run)
    assert past is not None
    data = str(past.training.settings["data"])
    return Subject(replace(model, run=str(run)), run / "weights" / "best.pt", None, data, names, past.training)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has no runs, in an empty folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setitem(SETTINGS, "runs_dir", str(tmp_path / "host"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize("where", ["host/detect", "work/runs/detect", "elsewhere"])
def test_the_newest_pair(where: str, home: Path) -> None:
    """The newest quantized run with weights, wherever it lies, and the newest FP32 run that was trained alike."""
    runs = home / where
    run_folder(runs, "old", 4, "/a.yaml", 5)
    wanted = run_folder(runs, "wanted", 8, "/a.yaml", 3)
    run_folder(runs, "unfinished", 2, "/a.yaml", 1, weights=False)
    run_folder(runs, "twin-old", 32, "/a.yaml", 4)
    twin = run_folder(runs, "twin", 32, "/a.yaml", 2)
    run_folder(runs, "longer", 32, "/a.yaml", 1, epochs=7)
    run_folder(runs, "other-data", 32, "/b.yaml", 1)
    (runs / "plain").mkdir()
    (runs / "plain" / "args.yaml").write_text("data: /a.yaml\n")
    if where == "elsewhere":
        for folder in runs.iterdir():
            note_run(folder, None)
        for folder in runs.iterdir():
            (folder / RECORD).unlink()
    assert newest_quantized() == wanted
    assert find_baseline(subject_of(wanted)) == twin


def test_an_unfinished_run_is_taken_only_if_there_is_no_other(home: Path) -> None:
    """Neither is it a twin: its schedule is not over."""
    runs = home / "runs"
    done, begun = run_folder(runs, "done", 8, "/a.yaml", 5), run_folder(runs, "begun", 4, "/a.yaml", 1)
    twin = run_folder(runs, "twin", 32, "/a.yaml", 1)
    for run in (done, begun, twin):
        note_run(run, None)
    mark_finished(done)
    assert newest_quantized() == done
    assert find_baseline(subject_of(done)) is None
    shutil.rmtree(done)
    assert newest_quantized() == begun


def test_what_is_gone_leaves_the_index(home: Path) -> None:
    """Noting a run forgets those that were removed."""
    runs = home / "runs"
    for name in ("a", "b"):
        note_run(run_folder(runs, name, 8, "/a.yaml", 1), None)
    shutil.rmtree(runs / "a")
    note_run(run_folder(runs, "c", 8, "/a.yaml", 1), None)
    entries = sorted(path.read_text() for path in (home / "state" / "yolo-qreg" / "runs").iterdir())
    assert entries == [str(runs / "b"), str(runs / "c")]


def test_a_run_on_a_disk_that_is_away_stays_known(home: Path) -> None:
    """Its folder is missing like one that was removed, but so is everything around it."""
    disk = home / "disk"
    away = run_folder(disk / "runs", "a", 8, "/a.yaml", 1)
    note_run(away, None)
    disk.rename(home / "unmounted")
    note_run(run_folder(home / "runs", "b", 8, "/a.yaml", 9), None)
    (home / "unmounted").rename(disk)
    assert newest_quantized() == away


def test_no_run_and_no_twin(home: Path) -> None:
    """Without quantized runs there is an error; without FP32 runs there is no baseline, but for models of shapes."""
    run_folder(home / "work/runs/detect", "twin", 32, "/a.yaml", 1)
    with pytest.raises(InputError, match="no quantized run"):
        newest_quantized()
    lone = run_folder(home / "work/runs/detect", "lone", 8, "/b.yaml", 1)
    assert find_baseline(subject_of(lone)) is None
    assert find_baseline(subject_of(lone, CLASS_NAMES)) == shipped("shapes-fp32")
    base, alone = subjects([shipped("shapes-fp32"), shipped("shapes-dorefa8")])
    assert find_baseline(alone) == shipped("shapes-fp32")
    assert differences(alone, base) == ()
    assert training_data([alone]) == ("shapes", ())


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
    here, other = tmp_path / "data.yaml", tmp_path / "other.yaml"
    here.touch()
    other.touch()
    a = Subject(model, Path("a.pt"), 320, str(here))
    b = Subject(model, Path("b.onnx"))
    c = Subject(model, Path("c.pt"), 640, "/absent/data.yaml")
    d = Subject(model, Path("d.pt"), 640, str(other))
    assert training_size([a, b]) == 320
    assert training_size([a, c]) is None
    assert training_size([b]) is None
    assert training_data([a, b, c]) == (str(here), ())
    with pytest.raises(InputError, match=r"c\.pt was trained on /absent/data\.yaml, which is not on this machine"):
        training_data([c])
    with pytest.raises(InputError, match=r"a\.pt was trained on .*, d\.pt on .*, which is not the same"):
        training_data([a, d])
    with pytest.raises(InputError, match="name no data set"):
        training_data([b])


def test_one_class_and_several_are_not_mixed() -> None:
    """Models that take all classes for one are evaluated apart."""
    model = subjects([shipped("shapes-fp32")])[0].model
    one, several = (Subject(model, Path("x.pt"), training=Training({"single_cls": on}, None)) for on in (True, False))
    assert single_class([one]) and not single_class([several])
    with pytest.raises(InputError, match="evaluate them apart"):
        single_class([one, several])
