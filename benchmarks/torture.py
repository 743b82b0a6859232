"""Kills commands at random moments, continues them, and compares what they leave with an uninterrupted run's.

`python benchmarks/torture.py --kills 50 --seed 0` trains, evaluates, copies and studies a tiny generated data set. Each
trial kills a command once to four times, most often with SIGKILL, at a random time or right after a random change in
its folder, and continues it by the same command or by --resume. Exit status 1 if anything is

- different: weights by tensor, results.csv without its times, quantization.csv, scores, differences, cells, pictures;
- lost: an epoch or cell that was finished before a kill and had to be done again;
- left: files of killed processes that the next run does not sweep, processes that outlive the one they belong to;
- not said: another exit status than that of the signal, or a traceback.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.files import sweep
from yolo_qreg.host import checkpoint
from yolo_qreg.shipped import shipped

MARK = "YOLO_QREG_TORTURE"
"""Environment variable by which a command's processes are known."""
TRAINING = ["imgsz=64", "epochs=3", "batch=8", "nbs=8", "workers=0", "device=cpu", "plots=False"]
PATIENCE = 900
POLL = 0.002
MOST_KILLS = 4
"""Of one trial."""
TERMINATIONS = 0.25
"""Share of SIGTERM among the kills."""

KNOWN = {".lock"}
"""Hidden files that belong into folders."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A command to be killed.

    Attributes:
        name: As in the table.
        begin: Returns its arguments for a folder.
        go_on: Returns those that continue it there, out of several ways; none if it had finished.
        facts: Returns all that has to be equal in the end.
        done: Returns what must not be done again, as it is now.
    """

    name: str
    begin: Callable[[Path], list[str]]
    go_on: Callable[[Path], list[list[str]]]
    facts: Callable[[Path], Facts]
    done: Callable[[Path], Facts]


@dataclass
class Row:
    """What became of a job."""

    trials: int = 0
    killed: int = 0
    terminated: int = 0
    first_epoch: int = 0
    different: int = 0
    lost: int = 0
    left: int = 0
    unsaid: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Of both kinds."""
        return self.killed + self.terminated

    @property
    def faults(self) -> int:
        """Of all kinds."""
        return self.different + self.lost + self.left + self.unsaid


def jobs(data: Path, root: Path) -> list[Job]:
    """Return the commands."""
    train = ["train", "--data", str(data), "--bits", "4", "--method", "lsq", *TRAINING, "name=run"]
    evaluate = ["eval-corrupted", str(shipped("shapes-dorefa8")), "--baseline", str(shipped("shapes-fp32"))]
    evaluate += ["--data", str(data), "--corruptions", "fog,shot_noise,contrast", "--severity", "1,5"]
    evaluate += ["--imgsz", "64", "--device", "cpu", "--workers", "1", "--resamples", "200", "--out"]
    copy = ["corrupt", "--data", str(data), "--corruptions", "fog,snow", "--severity", "1,3", "--workers", "1", "--out"]
    plan = root / "plan.yaml"
    plan.write_text("evaluation: {corruptions: [fog, contrast], severities: 3, resamples: 20}\n")
    study = ["study", str(plan), "--data", str(data), "--methods", "dorefa", "--bits", "8", "--jobs", "2"]
    study += ["--device", "cpu", *(word for word in TRAINING if word != "device=cpu"), "--out"]

    def begin_training(out: Path) -> list[str]:
        return [*train, f"project={out}"]

    def go_on_training(out: Path) -> list[list[str]]:
        resume = ["train", "--resume", str(out / "run")]
        last = out / "run/weights/last.pt"
        if last.is_file() and not checkpoint.can_resume(last):
            return []  # it had finished
        return [resume] if last.is_file() else [begin_training(out), *[resume] * settled(out)]

    def settled(out: Path) -> bool:
        return (out / "run/training.json").is_file()

    def same(words: list[str]) -> tuple[Callable[[Path], list[str]], Callable[[Path], list[list[str]]]]:
        return (lambda out: [*words, str(out)]), (lambda out: [[*words, str(out)]])

    return [
        Job("train", begin_training, go_on_training, runs, epochs),
        Job("eval-corrupted", *same(evaluate), scores_and_cells, cells),
        Job("corrupt --data", *same(copy), pictures, dates),
        Job("study", *same(study), lambda out: {**runs(out), **scores(out)}, lambda out: {**epochs(out), **cells(out)}),
    ]


def runs(out: Path) -> Facts:
    """Return weights by tensor and logs without times of all run folders."""
    found: Facts = {}
    for folder in _run_folders(out):
        for name in ("best.pt", "last.pt"):
            if not (folder / "weights" / name).is_file():
                continue
            model, ckpt = checkpoint.load(folder / "weights" / name)
            state = checkpoint.state_of(ckpt, name)
            tensors = {**model.state_dict(), **{f"latent {key}": value for key, value in state.tensors.items()}}
            found |= {f"{folder.name}/{name}/{key}": _hash(_bytes(value)) for key, value in tensors.items()}
        found[f"{folder.name}/results.csv"] = [{k: v for k, v in row.items() if k != "time"} for row in _rows(folder)]
        health = folder / "quantization.csv"
        found[f"{folder.name}/quantization.csv"] = health.read_bytes() if health.is_file() else b""
    return found


def epochs(out: Path) -> Facts:
    """Return the rows, times included, of the epochs that checkpoints of unfinished trainings hold."""
    found: Facts = {}
    for folder in _run_folders(out):
        last = folder / "weights" / "last.pt"
        if last.is_file():
            epoch = int(checkpoint.load(last)[1]["epoch"])
            rows = _rows(folder)
            for number, row in enumerate(rows if epoch < 0 else rows[: epoch + 1]):
                found[f"{folder.name} epoch {number + 1}"] = tuple(row.values())
    return found


def scores(out: Path) -> Facts:
    """Return the bytes of scores and differences."""
    files = [file for name in ("scores.csv", "class_scores.csv", "deltas.csv") for file in out.rglob(name)]
    return {str(file.relative_to(out)): _hash(file.read_bytes()) for file in files}


def scores_and_cells(out: Path) -> Facts:
    """Return the bytes of cells too, whose names depend on the bytes of the weights, dates included."""
    return {**scores(out), **{str(file.relative_to(out)): _hash(file.read_bytes()) for file in out.glob("cells/*/*")}}


def cells(out: Path) -> Facts:
    """Return when finished cells were written."""
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.glob("cells/*/[!.]*.json")}


def pictures(out: Path) -> Facts:
    """Return the bytes of all files of a copy, which name its place."""
    found = {}
    for file in out.rglob("*"):
        if file.is_file():
            found[str(file.relative_to(out))] = _hash(file.read_bytes().replace(str(out).encode(), b"OUT"))
    return found


def dates(out: Path) -> Facts:
    """Return when pictures of a copy were written."""
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.glob("images/*/[!.]*")}


def _run_folders(out: Path) -> list[Path]:
    return sorted(file.parent for file in out.rglob("results.csv"))


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


def _bytes(value: torch.Tensor) -> bytes:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Command:
    """A command under way, and all of its processes."""

    def __init__(self, words: list[str], log: Path) -> None:
        self.mark, self.log = uuid4().hex, log
        environment = {**os.environ, "OMP_NUM_THREADS": "1", MARK: self.mark}
        line = [sys.executable, "-m", "yolo_qreg", *words]
        with log.open("wb") as said:
            self.process = subprocess.Popen(line, stdout=said, stderr=said, env=environment, start_new_session=True)

    def survivors(self) -> list[int]:
        """Return the processes of the command that still run."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is somebody else's
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def end_of_all(self, seconds: float = 20) -> int:
        """Wait until all processes have ended; kill and count those that do not."""
        end = time.monotonic() + seconds
        while (left := self.survivors()) and time.monotonic() < end:
            time.sleep(0.1)
        for number in left:
            os.kill(number, signal.SIGKILL)
        return len(left)


def moments(rng: random.Random, out: Path, seconds: float, changes: int) -> Iterator[bool]:
    """Yield False until it is time to kill: after a random time, or right after a random change in the folder."""
    if rng.random() < 0.4:
        end = time.monotonic() + rng.uniform(0.2, seconds)
        while time.monotonic() < end:
            yield False
    else:
        left, known = rng.randint(1, changes), snapshot(out)
        while left:
            now = snapshot(out)
            left -= len(now.items() - known.items()) > 0
            known = now
            yield False
        pause = time.monotonic() + rng.choice((0, 0, 0.01, 0.1))
        while time.monotonic() < pause:
            yield False
    yield True


def snapshot(out: Path) -> dict[str, tuple[int, int]]:
    """Return sizes and dates of all files, those being written among them."""
    found = {}
    for place, _, files in os.walk(out):
        for name in files:
            with suppress(OSError):
                facts = os.lstat(f"{place}/{name}")
                found[f"{place}/{name}"] = facts.st_mtime_ns, facts.st_size
    return found


def trial(job: Job, reference: Facts, out: Path, rng: random.Random, row: Row, seconds: float, changes: int) -> None:
    """Begin a job in a folder of its own, kill it a few times, let it end, and compare."""
    row.trials += 1
    words, done = job.begin(out), {}
    for kill in range(rng.randint(1, MOST_KILLS)):
        command = Command(words, out.with_suffix(f".{kill}.log"))
        if not _kill(command, job, out, rng, row, seconds, changes):
            break  # it had ended before its moment came
        row.left += command.end_of_all()
        sweep(out, age=0)
        done |= job.done(out)
        if not (ways := job.go_on(out)):
            break
        words = rng.choice(ways)
    else:
        command = Command(words, out.with_suffix(".end.log"))
        command.process.wait(PATIENCE)
    if command.process.returncode != 0 and job.go_on(out):
        row.unsaid += 1
        row.notes.append(f"{out.name}: status {command.process.returncode}: {command.log.read_text()[-500:]}")
        return
    row.left += command.end_of_all()
    _compare(job, reference, out, row, done)


def _kill(command: Command, job: Job, out: Path, rng: random.Random, row: Row, seconds: float, changes: int) -> bool:
    """Kill a command when its moment has come; False if it ended before."""
    process = command.process
    for now in moments(rng, out, seconds, changes):
        if process.poll() is not None:
            return False
        if now:
            break
        time.sleep(POLL)
    number = signal.SIGTERM if rng.random() < TERMINATIONS else signal.SIGKILL
    process.send_signal(number)
    status = process.wait(PATIENCE)
    if status == 0:
        return False
    row.killed += number == signal.SIGKILL
    row.terminated += number == signal.SIGTERM
    row.first_epoch += job.name == "train" and not (out / "run/weights/last.pt").is_file()
    said = command.log.read_text(errors="replace")
    if status not in (-number, 128 + number) or "Traceback" in said or (status > 0 and "interrupted" not in said):
        row.unsaid += 1
        row.notes.append(f"{out.name}: status {status} after {number.name}: {said[-500:]}")
    return True


def _compare(job: Job, reference: Facts, out: Path, row: Row, done: Facts) -> None:
    found = job.facts(out)
    other = sorted(key for key in found.keys() | reference.keys() if found.get(key) != reference.get(key))
    now = job.done(out)
    again = sorted(key for key, value in done.items() if now.get(key) != value)
    left = [path for path in out.rglob(".*") if path.name not in KNOWN]
    row.different += bool(other)
    row.lost += bool(again)
    row.left += len(left)
    for what, names in (("different", other), ("done again", again), ("left", left)):
        if names:
            row.notes.append(f"{out.name}: {what}: {', '.join(map(str, names[:5]))} ({len(names)})")


def main() -> int:
    """Run all trials and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of jobs")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        root = Path(name).resolve()
        data = ensure_shapes(root / "data", train=16, val=8)
        todo = [job for job in jobs(data, root) if not given.only or job.name in given.only]
        plain = {job.name: uninterrupted(job, root / f"{_short(job)}-reference") for job in todo}
        table = {job.name: Row() for job in todo}
        with suppress(KeyboardInterrupt):  # what is known by then is shown
            while sum(row.kills for row in table.values()) < given.kills:
                job = min(todo, key=lambda job: table[job.name].kills)
                row, (reference, seconds, changes) = table[job.name], plain[job.name]
                trial(job, reference, root / f"{_short(job)}-{row.trials}", rng, row, seconds, changes)
                print(f"{job.name}: {row.kills} kills, {row.faults} faults", file=sys.stderr, flush=True)
    show(table)
    return int(any(row.faults for row in table.values()))


def _short(job: Job) -> str:
    return job.name.split()[0]


def uninterrupted(job: Job, out: Path) -> tuple[Facts, float, int]:
    """Return what a job leaves that nobody kills, the seconds it takes, and how often its folder changes."""
    command, began, changes, known = Command(job.begin(out), out.with_suffix(".log")), time.monotonic(), 0, {}
    while command.process.poll() is None:
        now = snapshot(out)
        changes, known = changes + (now != known), now
        time.sleep(POLL)
    if command.process.returncode:
        raise SystemExit(f"{job.name} fails without being killed: {command.log.read_text()[-1000:]}")
    return job.facts(out), time.monotonic() - began, max(1, changes)


def show(table: dict[str, Row]) -> None:
    """Print a line for each job, and what was wrong."""
    head = ("command", "trials", "SIGKILL", "SIGTERM", "1st epoch", "different", "lost", "left", "not said")
    rows = [
        (name, r.trials, r.killed, r.terminated, r.first_epoch, r.different, r.lost, r.left, r.unsaid)
        for name, r in table.items()
    ]
    total = ("all", *(sum(row[column] for row in rows) for column in range(1, len(head))))
    for line in (head, *rows, total):
        print("  ".join(f"{entry!s:>{max(9, len(title))}}" for entry, title in zip(line, head, strict=True)))
    for note in (note for row in table.values() for note in row.notes):
        print(note)


if __name__ == "__main__":
    sys.exit(main())
