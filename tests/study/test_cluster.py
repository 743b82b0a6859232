"""A study on a Ray cluster: what tasks take of machines, what comes back, and machines that are lost."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from yolo_qreg.cli import main
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.config import Settings
from yolo_qreg.evaluation.evaluate import fill, prepare
from yolo_qreg.evaluation.models import subjects
from yolo_qreg.shipped import shipped
from yolo_qreg.study.plan import Study
from yolo_qreg.study.ray import node
from yolo_qreg.study.ray.cluster import Cluster, Share, _portable, share_of
from yolo_qreg.study.ray.keeper import store
from yolo_qreg.trust import trusted

MINUTES = 60
ONE_CORE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}


@pytest.mark.parametrize(
    ("machines", "jobs", "gpus", "share"),
    [
        ([{"CPU": 8}], 2, False, Share(4)),
        ([{"CPU": 8}, {"CPU": 4}], 1, False, Share(4)),
        ([{"CPU": 2}], 4, False, Share(1)),
        ([{"CPU": 16, "GPU": 1}], 4, True, Share(4, 0.25)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 2}], 2, True, Share(2, 0.5)),
        ([{"CPU": 64}, {"CPU": 0, "GPU": 1}, {"CPU": 6, "GPU": 1}], 1, True, Share(6, 1.0)),
    ],
)
def test_what_a_task_takes(machines: list[dict[str, float]], jobs: int, gpus: bool, share: Share) -> None:
    """The smallest machine decides, so that as many run on each as were asked for; others are left out."""
    assert share_of(machines, jobs, gpus) == share


@pytest.mark.parametrize(("gpus", "kind"), [(False, "CPU"), (True, "GPU")])
def test_a_cluster_without_a_machine_for_it(gpus: bool, kind: str) -> None:
    """It is said which kind is missing."""
    with pytest.raises(InputError, match=f"no machine with a {kind}"):
        share_of([{"CPU": 0.0}], 1, gpus)


def test_files_go_there_and_back(tmp_path: Path) -> None:
    """All of a run folder but the log, which both sides write, and what is being written; the checkpoint comes last."""
    run = tmp_path / "run"
    (run / "weights").mkdir(parents=True)
    (run / ".saving-1").mkdir()
    for name in ("args.yaml", "training.log", "weights/last.pt", "weights/best.pt", ".saving-1/last.pt", ".x.part"):
        (run / name).write_text(name)
    files = node.read_files(run)
    assert files == {name: name.encode() for name in ("args.yaml", "weights/last.pt", "weights/best.pt")}
    store({"weights/last.pt": b"2", "weights/best.pt": b"1", "z.csv": b"0"}, tmp_path / "out")
    written = sorted((tmp_path / "out").rglob("*.*"), key=lambda path: path.stat().st_mtime_ns)
    assert written[-1].name == "last.pt"
    assert (tmp_path / "out/weights/best.pt").read_bytes() == b"1"


def test_no_log_ends_before_the_epoch_that_is_continued(tmp_path: Path) -> None:
    """A training goes on while its files are read: what has arrived whenever a machine is lost fits together."""
    (tmp_path / "weights").mkdir()
    stop = threading.Event()

    def train() -> None:
        """Write the row of an epoch and then its checkpoint, as the host does, faster than anything is read."""
        for epoch in range(1, 100_000):
            if stop.is_set():
                break
            with (tmp_path / "results.csv").open("a") as file:
                file.write(f"{epoch}\n")
            (tmp_path / "weights" / ".new.pt").write_text(str(epoch))
            (tmp_path / "weights" / ".new.pt").replace(tmp_path / node.LAST)

    training = threading.Thread(target=train)
    training.start()
    arrived: dict[str, bytes] = {}
    known: node.State = {}
    try:
        for _ in range(300):
            files, known = node._changed(tmp_path, known)
            arrived |= files
            if node.LAST in arrived:
                assert int(arrived[node.LAST]) <= arrived["results.csv"].count(b"\n")
    finally:
        stop.set()
        training.join()
    arrived |= node._changed(tmp_path, known)[0]
    assert int(arrived[node.LAST]) == arrived["results.csv"].count(b"\n")


def test_cells_are_filled_on_a_node_as_here(tmp_path: Path) -> None:
    """From weights and settings to the very files; a node with other pictures says so."""
    data = ensure_shapes(tmp_path / "data", train=2, val=4)
    weights = shipped("shapes-fp32")
    settings = Settings(
        data=data, out=tmp_path / "out", imgsz=64, corruptions=("fog",), severities=(3,), device="cpu", resamples=5
    )
    ready = prepare(subjects([weights]), settings)
    _, (damage, by_model) = ready.cells.items()
    job = node.CellsJob(
        subjects=tuple(ready.subjects),
        settings=settings,
        data=str(data),
        corruption="fog",
        severity=3,
        names={name: cell.name for name, cell in by_model.items()},
    )
    store(node.fill(job, weights.read_bytes()), tmp_path / "far")
    fill(replace(ready, cells={damage: by_model}), lambda *_: None)
    (cell,) = by_model.values()
    ours = {path.name: path.read_bytes() for path in (tmp_path / "far" / cell.folder.name).iterdir()}
    assert ours == {path.name: path.read_bytes() for path in cell.folder.iterdir()}
    assert len(ours) == 3
    other = ensure_shapes(tmp_path / "other", train=2, val=3)
    with pytest.raises(InputError, match="would not get the same numbers: its pictures of"):
        node.fill(replace(job, data=str(other)), weights.read_bytes())


def test_a_node_with_other_boxes_does_not_train(tmp_path: Path) -> None:
    """One label of one training picture is enough to be refused."""
    data = ensure_shapes(tmp_path / "data", train=2, val=2)
    study = Study(data=str(data))
    job = node.TrainingJob(study, study.runs()[0], None, node.fingerprint(study))
    node._fingerprint.cache_clear()
    label = next((data.parent / "labels" / "train").glob("*.txt"))
    label.write_text(label.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"would not train the same: its pictures or labels"):
        next(node.train(job, {}))
    node._fingerprint.cache_clear()


def test_a_node_trusts_what_the_study_was_told_to_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a node is not that of the command; afterwards it is as it was."""
    monkeypatch.delenv("YOLO_QREG_TRUST", raising=False)
    data = ensure_shapes(tmp_path / "data", train=2, val=2)
    seen: list[bool] = []

    def look(*_: object) -> Iterator[node.Delivery]:
        seen.append(trusted())
        yield node.Delivery({}, b"", 0)

    monkeypatch.setattr(node, "_watch", look)
    study = Study(data=str(data))
    for trust in (False, True):
        job = node.TrainingJob(study, study.runs()[0], None, node.fingerprint(study), trust)
        assert [delivery.status for delivery in node.train(job, {})] == [0]
    assert seen == [False, True] and not trusted()


def test_a_training_that_ended_as_its_machine_was_lost_is_finished(tmp_path: Path) -> None:
    """All of its files had come back, and only the word that it had ended was lost: there is nothing left to train."""
    study = Study(data=str(ensure_shapes(tmp_path / "data", train=2, val=2)))
    job = node.TrainingJob(study, study.runs()[0], None, node.fingerprint(study))
    files = dict.fromkeys(("weights/best.pt", "weights/last.pt"), shipped("shapes-fp32").read_bytes())
    assert list(node.train(job, files)) == [node.Delivery({}, node.ENDED, 0)]


def test_a_study_of_one_class_trains_on_nodes_too(tmp_path: Path) -> None:
    """Labels of classes that the data set does not name are right there, as they are for the host."""
    data = ensure_shapes(tmp_path / "data", train=2, val=2)
    found = yaml.safe_load(data.read_text())
    data.write_text(yaml.safe_dump({**found, "names": ["thing"], **({"nc": 1} if "nc" in found else {})}))
    labels = [*(data.parent / "labels").rglob("*.txt")]
    assert any(not line.startswith("0 ") for label in labels for line in label.read_text().splitlines())
    one = Study(data=str(data), train={"single_cls": True})
    assert node.fingerprint(one) == node.fingerprint(one)


class FakeRay:
    """Raises what it is given instead of returning a result."""

    class exceptions:  # noqa: N801
        """As Ray's."""

        class RayError(Exception):
            """A machine was lost."""

        class RayTaskError(RayError):
            """The task raised something."""

            def __init__(self, cause: Exception) -> None:
                self.cause = cause

        class TaskCancelledError(RayError):
            """It was interrupted."""

    def get(self, ref: Exception) -> None:
        """Fail."""
        raise ref


def test_what_a_task_raises_is_one_line_here() -> None:
    """Bad input as itself, another failure and a loss as bad input that says so; an interruption is none."""
    ray = FakeRay()
    cluster = Cluster(ray, Share(1), None)
    errors = ray.exceptions
    with pytest.raises(InputError, match=r"^no such data$"):
        cluster._get(errors.RayTaskError(InputError("no such data")))
    with pytest.raises(InputError, match=r"^a node failed: out of memory$"):
        cluster._get(errors.RayTaskError(RuntimeError("out of\nmemory")))
    with pytest.raises(InputError, match="lost 5 times with its machine: node died"):
        cluster._get(errors.RayError("node died"))
    with pytest.raises(errors.TaskCancelledError):
        cluster._get(errors.TaskCancelledError())


def test_weights_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .pt file is sent, other models are known everywhere; data are named by their place."""
    monkeypatch.chdir(tmp_path)
    Path("mine.pt").write_bytes(b"weights")
    Path("mine.yaml").touch()
    study, content = _portable(Study(model="mine.pt", data="mine.yaml"))
    assert (study.data, content) == (str(tmp_path / "mine.yaml"), b"weights")
    assert _portable(Study(model="yolov5n.yaml", data="shapes")) == (Study(model="yolov5n.yaml", data="shapes"), None)


def test_a_training_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Its parent is killed with no chance to say anything; what the training started goes with it."""
    sleeper = "import subprocess; from yolo_qreg.processes import end_with_parent; end_with_parent(); "
    sleeper += (
        f"child = subprocess.Popen(['sleep', '60']); open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))"
    )
    code = (
        "import sys; from yolo_qreg.study import training; sys.executable = sys.argv[1]\n"
        "training.start([], open(sys.argv[2], 'wb'), {}); print(flush=True); sys.stdin.read()"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{sleeper}; child.wait()"\n')
    python.chmod(0o755)
    line = [sys.executable, "-c", code, str(python), str(tmp_path / "log")]
    parent = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None and parent.stdout is not None
    with parent.stdin, parent.stdout:
        parent.stdout.readline()
        until(lambda: (tmp_path / "child").is_file() and bool((tmp_path / "child").read_text()))
        child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
        assert child.read_text().split()[2] in "SR"
        parent.kill()
        parent.wait()
    until(lambda: not child.exists() or child.read_text().split()[2] == "Z")


def until(what: Callable[[], bool]) -> None:
    """Wait for something that takes a second or two."""
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_nobody_can_lock_or_plant_what_readers_of_a_data_set_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lock lies in a private folder; a link is not followed, a file not emptied, and waiting is said."""
    data = ensure_shapes(tmp_path / "data", train=2, val=2)
    monkeypatch.setenv("YOLO_QREG_CACHE", str(tmp_path / "cache"))
    node._fingerprint.cache_clear()
    study = Study(data=str(data))
    found = node.fingerprint(study)
    (lock,) = (tmp_path / "cache" / "locks").glob("scan-*")
    assert (lock.parent.stat().st_mode & 0o777, lock.stat().st_mode & 0o777) == (0o700, 0o600)
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.5, lambda: fcntl.flock(held, fcntl.LOCK_UN)).start()
        node._fingerprint.cache_clear()
        assert node.fingerprint(study) == found
    assert "waiting for another process" in caplog.text
    victim = tmp_path / "notes.txt"
    victim.write_text("notes")
    lock.unlink()
    lock.symlink_to(victim)
    node._fingerprint.cache_clear()
    with pytest.raises(InputError, match="cannot be locked"):
        node.fingerprint(study)
    assert victim.read_text() == "notes"


def test_another_release_is_refused() -> None:
    """Before anything is done."""
    job = node.TrainingJob(Study(), Study().runs()[0], None, "", release="0.0.0")
    with pytest.raises(InputError, match=r"the study 0\.0\.0; install the same everywhere"):
        next(node.train(job, {}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ray", "local", "--share-batches"], "--share-batches works on one machine"),
        (["--share-batches"], "--share-batches with --jobs 1: there is nobody to share with"),
        (["--share-batches", "--jobs", "2", "multi_scale=0.2"], "sizes are drawn between batches"),
        (["--share-batches", "--jobs", "2", "time=1"], "each training has its own last epoch"),
        (["--share-batches", "--jobs", "2", "--device", "0,1"], "name one device"),
        (["--ray", "local", "--device", "0"], "Ray chooses the GPU"),
        (["--ray", "ray://somewhere:10001"], "run the study on a machine of the cluster"),
        (["--ray", "127.0.0.1:1"], "--ray 127.0.0.1:1: nobody answers there"),
        (["--ray", "127.0.0.1:123456"], "nobody answers there"),
        (["--ray", "somewhere"], "--ray somewhere is no address; write local, auto or HOST:PORT"),
    ],
)
def test_wrong_places(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are named before Ray is started."""
    assert main(["study", "demo", "--out", str(tmp_path / "study"), *options]) == 2
    assert message in capsys.readouterr().err


def test_an_old_ray_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clusters run code for whoever connects."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__version__="2.59.1"))
    with pytest.raises(InputError, match=r"needs Ray 2\.60 or later, not 2\.59\.1"):
        Cluster.connect("local", 1, "cpu")


def wait_for(what: Callable[[], bool], study: subprocess.Popen[bytes], said: Path) -> None:
    """Wait until something has happened, as long as the study runs."""
    end = time.monotonic() + 5 * MINUTES
    while not what():
        assert study.poll() is None, said.read_text()
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.2)


def test_two_machines_of_which_some_are_lost(tmp_path: Path) -> None:
    """A machine is killed during its training and another one during the evaluation: the same numbers come out.

    They are those of trainings on one machine that read the same batches.
    """
    cluster_utils: Any = pytest.importorskip("ray.cluster_utils")
    data = ensure_shapes(tmp_path / "data", train=8, val=6)
    plan = tmp_path / "plan.yaml"
    corruptions = ["fog", "contrast", "snow"]
    plan.write_text(f"evaluation: {{corruptions: {corruptions}, severities: 3, resamples: 20, batch: 2}}\n")
    words = ["study", str(plan), "--data", str(data), "--methods", "dorefa", "--bits", "8", "--device", "cpu"]
    words += ["imgsz=64", "epochs=8", "batch=4", "nbs=4", "workers=0", "plots=False", "val=False"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}

    def rows(run: str) -> int:
        path = tmp_path / "far" / "runs" / run / "results.csv"
        return len(path.read_text().splitlines()) - 1 if path.is_file() else 0

    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=ONE_CORE)
    try:
        second = cluster.add_node(**ONE_CORE)
        line = [sys.executable, "-m", "yolo_qreg", *words, "--out", str(tmp_path / "far"), "--ray", cluster.address]
        said = tmp_path / "far.log"
        with said.open("wb") as log:
            study = subprocess.Popen(line, stdout=log, stderr=log, env=environment)
        wait_for(lambda: min(rows("fp32-seed0"), rows("dorefa-8bit-seed0")) >= 1, study, said)
        cluster.remove_node(second, allow_graceful=False)
        third = cluster.add_node(**ONE_CORE)
        wait_for(lambda: any((tmp_path / "far" / "cells").glob("*/*.json")), study, said)
        cluster.remove_node(third, allow_graceful=False)
        assert study.wait(5 * MINUTES) == 0, said.read_text()
    finally:
        cluster.shutdown()
    near = [*line[:3], *words, "--out", str(tmp_path / "near"), "--jobs", "2", "--share-batches"]
    subprocess.run(near, env=environment, check=True, capture_output=True)  # here, it would spoil forking for others
    for name in ("scores.csv", "class_scores.csv", "deltas.csv"):
        ours, theirs = (tmp_path / place / "seed-0" / name for place in ("far", "near"))
        assert ours.read_bytes() == theirs.read_bytes()
    logs = {path.parent: path.read_text() for path in (tmp_path / "far" / "runs").glob("*/training.log")}
    (lost,) = (run for run, log in logs.items() if "lost with its machine" in log)
    settings = yaml.safe_load((lost / "args.yaml").read_text())
    assert settings["resume"] or node.ENDED.decode() in logs[lost]  # continued, not begun anew
    assert rows("fp32-seed0") == rows("dorefa-8bit-seed0") == 8
