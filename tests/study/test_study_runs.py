"""The trainings of a study: what is done, what is left, and doing it."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
import yaml

from yolo_qreg import api
from yolo_qreg.cli import main
from yolo_qreg.config import QuantConfig, TrainConfig
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.errors import InputError
from yolo_qreg.host.history import note_run
from yolo_qreg.host.origin import ModelIdentity, Origin, identify_data
from yolo_qreg.sealed import write_sealed
from yolo_qreg.study.plan import Study, note_plan
from yolo_qreg.study.run import check, known_places
from yolo_qreg.study.runs import Place, Progress, check_same, command, places, time_left
from yolo_qreg.study.training import Machine, Trainer
from yolo_qreg.study.transfer import FORMAT, MANIFEST, take_over, write_manifest

TINY = Path(__file__).parents[1] / "host" / "tiny.yaml"
STUDY = Study(data="shapes", methods=("lsq",), bits=(4,), quant={"lsq": {"per_channel": True}}, train={"epochs": 4})


def fill(place: Place, epochs: int, status: int | None, weights: bool = True) -> None:
    """Make what a training leaves: rows, a mark where it ended, and weights."""
    (place.folder / "weights").mkdir(parents=True)
    rows = "".join(f"{epoch},{10.0 * epoch},0.5\n" for epoch in range(1, epochs + 1))
    (place.folder / "results.csv").write_text("epoch,time,loss\n" + rows)
    if weights:
        place.weights.touch()
    if status is not None:
        (place.folder / "run.json").write_text(json.dumps({"status": status, "reason": "no disk" if status else ""}))


def test_progress_is_read_from_the_files(tmp_path: Path) -> None:
    """Finished only with a mark and weights; a failed one has its reason."""
    study = Study(methods=("lsq",), bits=(8, 4, 3, 2))
    finished, begun, failed, lost, missing = places(study, tmp_path)
    fill(finished, 4, 0)
    fill(begun, 2, None)
    fill(failed, 1, 2)
    fill(lost, 4, 0, weights=False)
    assert finished.progress() == Progress("finished", 4, 40.0)
    assert begun.progress() == Progress("begun", 2, 20.0)
    assert failed.progress() == Progress("failed", 1, 10.0, "no disk")
    assert lost.progress().state == "failed"
    assert missing.progress() == Progress("missing")
    everything = [place.progress() for place in (finished, begun, failed, missing)]
    assert time_left(everything, epochs=4, jobs=2) == pytest.approx(10.0 * (2 + 4) / 2)
    assert time_left([Progress("missing")], epochs=4, jobs=1) is None


def test_torn_files_are_no_progress(tmp_path: Path) -> None:
    """A killed training may leave half a row, and a full disk half a mark: neither stops a study."""
    (place, _) = places(STUDY, tmp_path)
    fill(place, 2, None)
    for row in ("3", "3,", "x,y,z"):
        (place.folder / "results.csv").write_text(f"epoch,time,loss\n1,10.0,0.5\n2,20.0,0.5\n{row}")
        for mark in ("", "null", "{}", "["):
            (place.folder / "run.json").write_text(mark)
            assert place.progress() == Progress("begun", 2, 20.0)


def test_time_of_a_training_that_was_continued(tmp_path: Path) -> None:
    """The host's clock begins anew with each start; all of it counts."""
    (place, _) = places(STUDY, tmp_path)
    fill(place, 2, None)
    with (place.folder / "results.csv").open("a") as file:
        file.write("3,7.0,0.5\n4,15.0,0.5\n")
    assert place.progress() == Progress("begun", 4, 35.0)


def test_the_command_is_one_that_people_can_run(tmp_path: Path) -> None:
    """Everything that matters is on the line; a training that has a checkpoint is continued."""
    twin, ours = places(STUDY, tmp_path)
    line = " ".join(command(STUDY, ours))
    said = "--option oscillations=free --per-channel --init paper"
    assert line.startswith(f"train --bits 4 --bn-images 256 --method lsq {said} --data shapes")
    assert f"project={tmp_path / 'runs'} name=lsq-4bit-seed0" in line
    assert "epochs=4" in line
    assert " ".join(command(STUDY, twin)).startswith("train --bits 32 --bn-images 256 --data shapes")
    fill(ours, 1, None)
    (ours.folder / "weights" / "last.pt").touch()
    assert command(STUDY, ours) == ["train", "--resume", str(ours.folder), "--data", STUDY.data]
    assert command(replace(STUDY, train={"device": "cpu"}), ours)[-1] == "device=cpu"
    assert " ".join(command(STUDY, ours, anew=True)) == line


def test_the_command_says_all_of_a_quantization(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever differs from the defaults reaches the training."""
    weights = {"init": "mse", "per_channel": True, "skip": ["model.1.*"], "first_bits": 8, "last_bits": 8}
    more = {"bn_images": 9, "bn_tune": 1, "options": {"oscillations": "track"}}
    activations = {"activations": 8, "activation_method": "observer", "activation_grid": "affine"}
    study = replace(STUDY, quant={"lsq": weights | more | activations})
    (_, place) = places(study, tmp_path)
    default = QuantConfig(method="lsq", bits=4).to_dict()
    same = [key for key, value in place.run.quant.to_dict().items() if value == default[key]]
    assert same == ["method", "bits", "widths", "grad_l1"]  # the last two are of single trainings
    asked: list[TrainConfig] = []
    monkeypatch.setattr(api, "train", lambda config: asked.append(config) or tmp_path)
    assert main(command(study, place)) == 0
    assert asked[0].quant == place.run.quant


def test_a_study_may_grow_but_not_change(tmp_path: Path) -> None:
    """More seeds are welcome, another schedule is another study."""
    check_same(Study(seeds=(0, 1)), Study(seeds=(0,)), tmp_path)
    with pytest.raises(InputError, match="name another --out"):
        check_same(Study(train={"epochs": 9}), Study(), tmp_path)
    with pytest.raises(InputError, match=r"holds a study with bn_images 256, not 0; name another --out"):
        check_same(Study(bn_images=0), Study(), tmp_path)


def test_a_study_goes_on_where_its_data_are_now(tmp_path: Path) -> None:
    """A data set in another place is accepted by its content, which trainings that saved something noted."""
    data = ensure_shapes(tmp_path / "old", train=2, val=2)
    known = replace(STUDY, data=str(data))
    todo = places(known, tmp_path)
    model = ModelIdentity(name="yolov5n.yaml", architecture="", weights=None)
    note_run(todo[0].folder, Origin(data=identify_data(data), model=model))
    moved = shutil.copytree(data.parent, tmp_path / "new") / data.name
    moved.write_text(data.read_text().replace(str(data.parent), str(moved.parent)))
    data.unlink()
    study = replace(STUDY, data=str(moved))
    check_same(study, known, tmp_path)
    check(study, todo)
    (moved.parent / "labels" / "train" / "00000.txt").unlink()
    check(study, todo)
    (todo[0].folder / "weights").mkdir()
    (todo[0].folder / "weights" / "last.pt").touch()
    with pytest.raises(InputError, match=r"is not what this study was trained on \(train: other labels, now"):
        check(study, todo)


def test_what_the_evaluation_refuses_is_refused_before_training(tmp_path: Path) -> None:
    """Validation pictures without a box train well, but nothing can be measured on them."""
    data = ensure_shapes(tmp_path, train=2, val=2)
    for label in (data.parent / "labels" / "val").glob("*.txt"):
        label.write_text("")
    with pytest.raises(InputError, match="has no box in its 2 pictures"):
        check(replace(STUDY, data=str(data)))


def test_a_training_under_way_elsewhere_is_waited_for(tmp_path: Path) -> None:
    """While another process holds its lock nothing is started; what it finishes is taken."""
    place = Place(STUDY.runs()[0], tmp_path)
    fill(place, 4, None)
    told: list[Progress] = []
    with (place.folder / "training.log").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def finish() -> None:
            assert not told
            (place.folder / "run.json").write_text(json.dumps({"status": 0, "reason": ""}))
            fcntl.flock(held, fcntl.LOCK_UN)

        threading.Timer(1.5, finish).start()
        Trainer(STUDY, Machine()).run([place], lambda _, progress: told.append(progress))
    assert told == [Progress("finished", 4, 40.0)]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of figures take seconds; pages have theirs all the same."""
    for report in ("evaluation", "study"):
        monkeypatch.setattr(f"yolo_qreg.report.{report}.write_figures", lambda *_: ())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures to train on."""
    return ensure_shapes(tmp_path_factory.mktemp("data"), train=4, val=4)


def words(data: Path, out: Path) -> list[str]:
    """Return the command of a small study."""
    line = ["study", "--data", str(data), "--methods", "dorefa", "--seeds", "0", "--out", str(out), "--device", "cpu"]
    line += ["--model", str(TINY)]
    return [*line, "imgsz=64", "epochs=1", "batch=4", "workers=0", "plots=False", "val=False"]


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A twin and an 8-bit model that were trained and not evaluated, as a file beside their folder."""
    file = tmp_path_factory.mktemp("far") / "far.tar"
    line = words(data, file.with_name("study"))
    assert main([*line, "--bits", "8", "--train-only", "--export", str(file)]) == 0
    return file


PLAN = "evaluation: {corruptions: fog, severities: 3, resamples: 20}\n"


def test_trained_there_and_evaluated_here(
    data: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are those of the machine that trained; only what is finished is evaluated, and nothing is trained."""
    far = exported.with_name("study")
    assert not (far / "report.html").exists()
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    assert (
        main([*words(data, tmp_path / "near"), str(plan), "--import", str(exported), "--bits", "8,4", "--status"]) == 0
    )
    shown = capsys.readouterr()
    assert "taken over from" in shown.err
    assert [line.split()[:2] for line in shown.out.splitlines()[:3]] == [
        ["fp32-seed0", "finished"],
        ["dorefa-8bit-seed0", "finished"],
        ["dorefa-4bit-seed0", "missing"],
    ]
    assert main(["study", "--out", str(tmp_path / "near"), "--evaluate-only", "--device", "cpu"]) == 0
    assert "not finished, so not evaluated: dorefa-4bit-seed0" in capsys.readouterr().err
    assert not (tmp_path / "near/runs/dorefa-4bit-seed0").exists()
    copy = tmp_path / "copy"  # the whole folder travelled instead
    shutil.copytree(far, copy)
    assert (
        main([*words(data, tmp_path / "third"), str(plan), "--import", str(copy), "--bits", "8", "--evaluate-only"])
        == 0
    )
    for name in ("scores.csv", "deltas.csv"):
        assert (tmp_path / "near/seed-0" / name).read_text() == (tmp_path / "third/seed-0" / name).read_text()
    label = next((data.parent / "labels" / "train").glob("*.txt"))
    rows = label.read_text()
    label.write_text("")
    assert main(["study", "--out", str(tmp_path / "near"), "--evaluate-only", "--device", "cpu"]) == 0
    assert f"trained on other data than {data}: train: other labels" in capsys.readouterr().err
    label.write_text(rows)
    settings = yaml.safe_load((tmp_path / "near/runs/fp32-seed0/args.yaml").read_text())
    assert settings["save_dir"] == str(tmp_path / "near/runs/fp32-seed0")
    assert (tmp_path / "near/runs/fp32-seed0/results.csv").read_bytes() == (
        far / "runs/fp32-seed0/results.csv"
    ).read_bytes()


def test_only_what_arrived_whole_is_taken_over(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file is held by its hash; what was trained by another schedule is another study."""
    copy, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(exported.with_name("study"), copy)
    damaged = copy / "runs/fp32-seed0/results.csv"
    whole = damaged.read_text()
    damaged.write_text(whole.replace(",", ";", 1))
    torn = tmp_path / "torn.tar"
    torn.write_bytes(exported.read_bytes()[:-1000])
    made = tmp_path / "made"
    write_sealed(made / MANIFEST, {"format": FORMAT, "runs": {"fp32-seed0": []}})
    for source, message in (
        (made, "has a trained.json without study or runs"),
        (copy, "fp32-seed0/results.csv is missing or not what was exported"),
        (torn, "is no whole tar file"),
        (tmp_path, "has no whole trained.json"),
        (tmp_path / "nowhere", "does not exist"),
    ):
        assert main(["study", "--import", str(source), "--out", str(out), "--status"]) == 2
        assert message in capsys.readouterr().err
    assert not (out / "study.yaml").exists()
    assert not list(out.glob("runs/*"))
    damaged.write_text(whole)
    assert main(["study", "--import", str(copy), "--out", str(out), "--status"]) == 0
    assert main(["study", "demo", "--import", str(copy), "--out", str(tmp_path / "other"), "--status"]) == 2
    assert "holds a study with train" in capsys.readouterr().err
    assert main(["study", "demo", "--evaluate-only", "--out", str(tmp_path / "other")]) == 2
    assert "has no finished training to evaluate" in capsys.readouterr().err


def test_a_study_from_the_command_line(
    data: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A twin and one model are compared; a wider grid trains what is missing, and a failure stops none."""
    out = tmp_path / "study"
    line = words(data, out)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    assert main([*line, "--bits", "8", "--status", str(plan)]) == 0
    assert capsys.readouterr().out.split()[:2] == ["fp32-seed0", "missing"]
    assert not out.exists()
    shutil.copytree(exported.with_name("study"), out)
    assert main([*line, "--bits", "8", str(plan)]) == 0
    shown = capsys.readouterr().out
    assert "8-bit DoReFa" in shown
    assert (out / "seed-0" / "report.html").is_file()
    page = (out / "report.html").read_text()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == page
    capsys.readouterr()
    trained = Place(Study().runs()[0], out / "runs").weights
    before = trained.stat().st_mtime_ns
    (trained.parents[1] / "run.json").unlink()  # as if the study had been killed while this training went on
    (out / "runs" / "dorefa-2bit-seed0").write_text("in the way")  # so that this training cannot even begin
    assert main([*line, "--bits", "8", "4", "2", str(plan)]) == 1
    shown = capsys.readouterr()
    assert "dorefa-4bit-seed0" in shown.out
    assert trained.stat().st_mtime_ns == before
    assert "dorefa-2bit-seed0: failed" in shown.err
    assert main([*(w for w in line if w != "epochs=1"), "--bits", "8", str(plan), "epochs=2"]) == 2
    assert "name another --out" in capsys.readouterr().err


def test_a_failure_of_any_kind_stops_no_other(tmp_path: Path) -> None:
    """Even one that nobody thought of."""

    class Broken(Machine):
        def train(self, study: Study, place: Place, log: object) -> int:
            if place.run.quant.bits == 32:
                raise ZeroDivisionError("nobody thought of it")
            fill(place, 4, None)
            return 0

    told = {}
    Trainer(STUDY, Broken()).run(places(STUDY, tmp_path), lambda place, progress: told.update({place: progress}))
    twin, ours = told.values()
    assert (twin.state, twin.reason) == ("failed", "ZeroDivisionError: nobody thought of it")
    assert ours.state == "finished"


def test_an_interrupted_study_goes_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its trainings end with it, whether it is killed or terminated, and keep their epochs."""
    out = tmp_path / "study"
    line = ["study", "--data", str(data), "--methods", "dorefa", "--bits", "8", "--out", str(out), "--device", "cpu"]
    line += ["imgsz=64", "epochs=9999", "batch=4", "workers=0", "plots=False", "val=False", "--model", str(TINY)]
    runs = places(Study(methods=("dorefa",), bits=(8,)), out)

    def begin(jobs: int) -> subprocess.Popen[bytes]:
        epochs = max(place.progress().epochs for place in runs)
        command = [sys.executable, "-m", "yolo_qreg", *line, "--jobs", str(jobs)]
        with (tmp_path / "said").open("wb") as said:
            study = subprocess.Popen(command, stdout=said, stderr=said)
        while not all(place.progress().epochs > epochs and _saved(place) for place in runs[:jobs]):
            assert study.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.2)
        return study

    study = begin(1)
    study.kill()
    study.wait()
    with (runs[0].folder / "training.log").open("ab") as log:
        end = time.monotonic() + 20
        while not _free(log):
            assert time.monotonic() < end  # its training ends by itself
            time.sleep(0.1)
    study = begin(2)
    study.send_signal(signal.SIGTERM)
    assert study.wait(60) == 128 + signal.SIGTERM
    assert "repeat the command to continue the study" in (tmp_path / "said").read_text()
    for place in runs:
        with (place.folder / "training.log").open("ab") as log:
            assert _free(log)  # nobody trains it any more
        assert "interrupted; continue with" in (place.folder / "training.log").read_text()
        assert place.progress().state == "begun"
        assert command(STUDY, place)[1] == "--resume"
    assert main([*line, "--status"]) == 0
    assert "begun" in capsys.readouterr().out


def _saved(place: Place) -> bool:
    return (place.folder / "weights" / "last.pt").is_file()


def _free(log: BinaryIO) -> bool:
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_nothing_is_begun_with_wrong_input(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A typo leaves no folder that would hold the corrected command up."""
    line = ["study", "--out", str(tmp_path / "study"), "--bits", "8", "--methods", "lsq"]
    for words, message in (
        (["--data", "nowhere/x.yaml"], "does not exist"),
        (["--data", str(data), "--model", "no/such.pt"], "is not a file"),
        (["--data", str(data), "epohcs=2"], "did you mean 'epochs'"),
        (["--data", str(data), "lr0=nan"], "lr0=nan"),
        (["--data", str(data), "--device", "banana"], "banana"),
        (["--data", str(data), "project=/x"], "project is set by the study"),
        (["--data", str(data), "name=x"], "name is set by the study"),
        (["--data", str(data), "--seeds"], "requires an argument"),
        (["--seeds", "--data", str(data)], "--seeds has no value"),
        (["--data", str(data), "--seeds", "0,x"], "--seeds '0,x' is no list of whole numbers"),
    ):
        assert main([*line, *words]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_study_of_which_nothing_was_trained_may_change(tmp_path: Path) -> None:
    """What was mistyped leaves its plan, and failed runs; the mended command is not held up by them."""
    note_plan(replace(STUDY, train={"epochs": 4, "lr0": 7}), tmp_path / "study.yaml")
    (place, _) = places(STUDY, tmp_path)
    fill(place, 0, 1, weights=False)
    (place.folder / "training.log").touch()
    assert known_places(STUDY, tmp_path)[0] == place
    with (place.folder / "training.log").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # somebody trains
        with pytest.raises(InputError, match="holds a study with train"):
            known_places(STUDY, tmp_path)
    place.weights.touch()
    with pytest.raises(InputError, match="holds a study with train"):
        known_places(STUDY, tmp_path)
    known_places(replace(STUDY, train={"epochs": 4, "lr0": 7, "device": "cpu", "workers": 3}), tmp_path)


@pytest.mark.parametrize("given", [["8", "4"], ["8,4"], ["8", "--bits", "4"], ["8,", "4"]])
def test_lists_have_one_spelling_and_others_work(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commas; repeated options and words one after the other mean the same, and a hanging comma is refused."""
    status = main(["study", "demo", "--bits", *given, "--methods", "lsq", "--out", str(tmp_path / "x"), "--status"])
    assert status == (2 if "8," in given else 0)
    if status == 0:
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
            "fp32-seed0",
            "lsq-8bit-seed0",
            "lsq-4bit-seed0",
        ]


def test_names_of_runs() -> None:
    """They tell method, width and seed apart."""
    assert Place(Study(methods=("lsq",), bits=(3,), seeds=(7,)).runs()[1], Path()).folder == Path("lsq-3bit-seed7")
    assert QuantConfig(bits=32).label == "fp32"


def test_trainings_that_an_earlier_release_began_are_taken_over(tmp_path: Path) -> None:
    """They did not record what they began from."""
    for place in places(STUDY, tmp_path / "far"):
        fill(place, 4, 0)
        (place.folder / "args.yaml").write_text("data: x\n")
        (place.folder / "training.json").write_text('{"origin": null, "finished": true}')
    write_manifest(STUDY, tmp_path / "far")
    taken, _ = take_over(tmp_path / "far", STUDY, tmp_path / "near")
    assert taken == places(STUDY, tmp_path / "near")
    assert {place.progress().state for place in taken} == {"finished"}
