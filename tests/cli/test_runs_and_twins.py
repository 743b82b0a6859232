"""A run knows its data, its place and its twin: commands in one folder, on what a command in another one trained."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from yolo_qreg.cli import main
from yolo_qreg.evaluation.material import load_material
from yolo_qreg.host.trainer import QATTrainer

TINY = Path(__file__).parents[1] / "host" / "tiny.yaml"
SETTINGS = (
    "imgsz=64 batch=4 nbs=4 workers=0 plots=False device=cpu warmup_epochs=0 amp=False".split()  # noqa: SIM905
)
EVALUATION = "--corruptions fog --severity 3 --workers 0 --resamples 200".split()  # noqa: SIM905


def make_set(root: Path, seed: int) -> Path:
    """Write eight pictures of two classes; the YAML file names them relative to itself."""
    rng = np.random.default_rng(seed)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(4):
            picture = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            picture[8:40, 8:40, i % 2] = 250
            cv2.imwrite(str(root / "images" / split / f"{i}.png"), picture)
            (root / "labels" / split / f"{i}.txt").write_text(f"{i % 2} 0.375 0.375 0.5 0.5\n")
    path = root / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [blue, green]\n")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `here` and `there`, each with its own data set at set/data.yaml."""
    root = tmp_path_factory.mktemp("place")
    make_set(root / "here" / "set", 0)
    make_set(root / "there" / "set", 1)
    return root


@pytest.fixture(scope="module")
def chdir(place: Path) -> Iterator[Callable[[Path], None]]:
    """Change the folder for fixtures of the module; runs of other tests are out of sight, and pages have no figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolo_qreg.report.evaluation.write_figures", lambda *_: ())
        patch.setenv("XDG_STATE_HOME", str(place / "state"))
        yield patch.chdir


def train(*words: str, status: int = 0) -> None:
    """Train by the command on set/data.yaml of the current folder."""
    assert main(["train", "--data", "set/data.yaml", "--model", str(TINY), *SETTINGS, *words]) == status


def interrupted(*, after: int) -> pytest.MonkeyPatch:
    """Let Ctrl-C come when an epoch is saved: before the first (0) or after so many."""
    patch, save, saved = pytest.MonkeyPatch(), QATTrainer.save_model, []

    def stop(trainer: QATTrainer) -> bool:
        if len(saved) < after:
            saved.append(save(trainer))
        if len(saved) == after:
            raise KeyboardInterrupt
        return True

    patch.setattr(QATTrainer, "save_model", stop)
    return patch


@pytest.fixture(scope="module")
def runs(place: Path, chdir: Callable[[Path], None]) -> Path:
    """An FP32 twin, an 8-bit run that was begun three times, and a newer FP32 run with another learning rate."""
    folder = place / "runs"
    chdir(place / "here")
    project = f"project={folder}"
    train("--bits", "32", "epochs=1", project)
    patch = interrupted(after=0)
    train("--bits", "8", "epochs=1", project, status=130)
    assert not list((folder / "dorefa-8bit" / "weights").iterdir())
    chdir(place / "there")
    assert main(["train", "--resume", str(folder / "dorefa-8bit")]) == 130
    patch.undo()
    chdir(place / "here")
    train("--bits", "8", "epochs=1", project)
    train("--bits", "32", "epochs=1", "weight_decay=0.001", "name=loose", project)
    chdir(place / "there")
    return folder


def test_a_run_killed_in_its_first_epoch_is_begun_again_in_place(runs: Path, place: Path) -> None:
    """By --resume, on its own data set, as by the same command: there is no second folder, and nothing of the first."""
    assert sorted(path.name for path in runs.iterdir()) == ["dorefa-8bit", "fp32", "loose"]
    run = runs / "dorefa-8bit"
    assert len((run / "results.csv").read_text().splitlines()) == 2
    assert yaml.safe_load((run / "args.yaml").read_text())["data"] == str(place / "here" / "set" / "data.yaml")


BEGUN = {
    ("device=99", ""): "Invalid CUDA 'device=99' requested",
    ("workers=0", "model: gone/x.pt"): "model=gone/x.pt is not a file",
    ("workers=0", "pretrained: gone/x.pt"): "gone/x.pt is not a file",
    ("workers=0", "- model"): "args.yaml holds no settings (",
}


@pytest.mark.parametrize(("word", "line"), BEGUN)
def test_a_run_that_cannot_be_begun_again_stays(
    word: str, line: str, runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its settings are in no other place: what is given now is wrong, or its file was changed."""
    source = runs / "dorefa-8bit"
    record = json.loads((source / "training.json").read_text())
    (tmp_path / "training.json").write_text(json.dumps({"origin": record["origin"], "finished": False}))
    (tmp_path / "args.yaml").write_text((source / "args.yaml").read_text() + line + "\n")
    (tmp_path / "weights").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(["train", "--resume", str(tmp_path), word]) == 2
    lines = [row for row in capsys.readouterr().err.splitlines() if row.startswith("error: ")]
    assert len(lines) == 1 and BEGUN[word, line] in lines[0]
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path.name != ".lock"} == before


def test_the_newest_run_is_evaluated_from_any_folder(
    runs: Path, place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On its data set, although one of the same relative name is nearer; its twin is not the newest FP32 run."""
    assert main(["eval-corrupted", *EVALUATION, "--out", str(tmp_path)]) == 0
    assert f"{runs}/dorefa-8bit/weights/best.pt; FP32 twin: {runs}/fp32/weights/best.pt" in capsys.readouterr().err
    setup = json.loads((tmp_path / "run.json").read_text())["setup"]
    here, there = (load_material(place / name / "set" / "data.yaml").digest for name in ("here", "there"))
    assert setup["data_sha256"] == here != there
    assert setup["baseline is FP32 twin of"] == ["dorefa-8bit"]


def test_a_copied_checkpoint_knows_its_data_and_its_twin(
    runs: Path, place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Away from its run folder it tells the same."""
    copy = shutil.copy(runs / "dorefa-8bit" / "weights" / "best.pt", tmp_path / "mine.pt")
    assert main(["info", str(copy)]) == 0
    told = capsys.readouterr().out
    assert f"data {place}/here/set/data.yaml, train pictures 4, val pictures 4, epochs 1" in told.replace("\n", "")
    assert main(["eval-corrupted", str(copy), *EVALUATION, "--out", str(tmp_path / "out")]) == 0
    assert f"FP32 twin: {runs}/fp32/weights/best.pt" in capsys.readouterr().err


def test_an_export_tells_no_place(runs: Path, place: Path, tmp_path: Path) -> None:
    """Weights for others hold no path of the machine that trained them."""
    run = str(runs / "dorefa-8bit")
    for name in ("x.pt", "x.safetensors"):
        form = "pt" if name.endswith("pt") else "packed"
        assert main(["export", run, "--to", form, "--out", str(tmp_path / name)]) == 0
        assert str(place).encode() not in (tmp_path / name).read_bytes()


def test_what_is_no_twin_is_called_the_baseline(runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What differs is said on the terminal, in run.json and on the page."""
    given = [str(runs / "dorefa-8bit"), "--baseline", str(runs / "loose"), *EVALUATION]
    assert main(["eval-corrupted", *given, "--out", str(tmp_path)]) == 0
    assert "loose is not the FP32 twin of dorefa-8bit: weight_decay 0.0005 against 0.001" in capsys.readouterr().err
    setup = json.loads((tmp_path / "run.json").read_text())["setup"]
    assert "baseline is FP32 twin of" not in setup
    assert setup["baseline is no twin of (model against baseline)"] == {
        "dorefa-8bit": ["weight_decay 0.0005 against 0.001"]
    }
    assert "weight_decay 0.0005 against 0.001" in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def stopped(runs: Path, place: Path, chdir: Callable[[Path], None]) -> Path:
    """A run that was interrupted after the first of two epochs, with its data set at here/gone."""
    chdir(place / "here")
    shutil.copytree(place / "here" / "set", place / "here" / "gone")
    patch = interrupted(after=1)
    words = ["--data", "gone/data.yaml", "--bits", "8", *SETTINGS, "epochs=2", "name=stopped", f"project={runs}"]
    assert main(["train", "--model", str(TINY), *words]) == 130
    patch.undo()
    chdir(place / "there")
    shutil.copytree(place / "here" / "gone", place / "moved")
    return runs / "stopped"


REFUSED = {
    "epochs=9": "epochs=9 cannot change on resuming, the run has 2; drop it, or start anew",
    "momentum=0.5": "momentum=0.5 cannot change on resuming, the run has 0.9",
    "--bits 8": "--resume takes these from the run: --bits",
    "--data set/data.yaml": "is not what stopped was trained on (train: pictures of other file sizes",
    "--data nowhere/data.yaml": "data=nowhere/data.yaml does not exist",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_may_not_change_is_refused(words: str, stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and the run is as it was."""
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    assert main(["train", "--resume", str(stopped), *words.split()]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and REFUSED[words] in lines[0]
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


HOLD = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"


def test_a_run_has_one_trainer(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While another process trains it, neither resuming nor finishing it begins."""
    command = [sys.executable, "-c", HOLD, str(stopped / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert main(["train", "--resume", str(stopped)]) == 2
        other.communicate(b"\n")
    assert "is being trained by another process; wait for it, or end it first" in capsys.readouterr().err


def test_moved_data_are_named_and_recorded(
    stopped: Path, place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Where they are gone a line says so; --data names them, device and workers may change, and the run goes on.

    Its weights are evaluated on the moved data also where the best ones are of an epoch before.
    """
    best = stopped / "weights" / "best.pt"
    early = best.read_bytes()
    shutil.rmtree(place / "here" / "gone")
    assert main(["train", "--resume", str(stopped)]) == 2
    lost = f"stopped was trained on {place}/here/gone/data.yaml, which is not there; name where"
    assert lost in capsys.readouterr().err
    assert main(["train", "--resume", str(stopped), "--data", "../moved/data.yaml", "device=cpu", "workers=0"]) == 0
    assert len((stopped / "results.csv").read_text().splitlines()) == 3
    capsys.readouterr()
    assert main(["eval-corrupted", str(stopped), *EVALUATION, "--out", str(tmp_path / "out")]) == 0
    error = capsys.readouterr().err
    assert "is not the FP32 twin of stopped: epochs 2 against 1 (stopped against the baseline)" in error
    assert f"baseline: {stopped.parent}/fp32/weights/best.pt" in error
    best.write_bytes(early)
    alone = ["eval-corrupted", str(stopped), "--baseline", str(stopped), *EVALUATION, "--out", str(tmp_path)]
    assert main(alone) == 0
    shutil.move(place / "moved", place / "here" / "gone")
    assert main(alone) == 0
    shutil.rmtree(place / "here" / "gone")
    assert main(alone) == 2
    lost = f"was trained on {place}/moved/data.yaml, which is not on this machine; name one with --data"
    assert lost in capsys.readouterr().err


def test_all_classes_as_one_are_evaluated_as_one(runs: Path, place: Path, tmp_path: Path) -> None:
    """A model of single_cls=True is measured as it was trained."""
    data = str(place / "here" / "set" / "data.yaml")
    words = ["--data", data, *SETTINGS, "epochs=1", "single_cls=True", "name=one", f"project={place / 'apart'}"]
    assert main(["train", "--bits", "8", "--model", str(TINY), *words]) == 0
    run = str(place / "apart" / "one")
    assert main(["eval-corrupted", run, "--baseline", run, *EVALUATION, "--out", str(tmp_path)]) == 0
    assert "item" in (tmp_path / "class_scores.csv").read_text()
