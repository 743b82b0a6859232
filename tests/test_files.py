"""What kills leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yolo_qreg.files import scratch_folder, sweep, write_atomic

KILLED = """
import os, signal, sys
from pathlib import Path
from yolo_qreg.files import scratch_folder, write_atomic
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
folder = Path(sys.argv[2])
if sys.argv[1] == "file":
    write_atomic(folder / "best.pt", die)
with scratch_folder(sys.argv[1], folder) as scratch:
    (scratch / "last.pt").touch()
    die()
"""


def age(folder: Path) -> None:
    """Make everything in a folder two minutes old."""
    then = time.time() - 120
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


@pytest.mark.parametrize("kind", ["file", ".saving-", ".finishing-", ".yolo-qreg-"])
def test_what_a_killed_process_was_writing_is_removed(kind: str, tmp_path: Path) -> None:
    """By its next run, and nothing else is."""
    (tmp_path / "cells").mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, kind, str(tmp_path / "cells")], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "cells").iterdir()
    others = [tmp_path / name for name in ("cells/a.part", ".hidden.part", ".saving-money", "scores.csv")]
    for path in others:
        path.touch()
    sweep(tmp_path)
    assert left.exists()  # it is young: somebody may be about to lock it
    age(tmp_path)
    sweep(tmp_path, deep=False)
    assert left.exists()
    sweep(tmp_path)
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    """However old it is."""

    def sweep_meanwhile(file: object) -> None:
        age(tmp_path)
        sweep(tmp_path)
        sweep(tmp_path, age=0)

    with scratch_folder(".saving-", tmp_path) as folder:
        (folder / "last.pt").touch()
        write_atomic(tmp_path / "best.pt", sweep_meanwhile)
        assert (folder / "last.pt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]
