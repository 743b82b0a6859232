"""What kills leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_file_is_written(number: signal.Signals, tmp_path: Path) -> None:
    """Torch swallows what a signal's handler raises while it saves, and leaves half a checkpoint."""
    code = (
        "import os, signal, sys, torch; from pathlib import Path; from yolo_qreg.files import write_atomic\n"
        "from yolo_qreg.cli.signals import as_ctrl_c\n"
        "class Last:\n"
        "    def __reduce__(self): os.kill(os.getpid(), int(sys.argv[2])); return list, ([1],)\n"
        "with as_ctrl_c():\n"
        "    try:\n"
        "        write_atomic(Path(sys.argv[1]), lambda file: torch.save([Last(), torch.ones(1000)], file))\n"
        "        print('not interrupted')\n"
        "    except KeyboardInterrupt: print('interrupted')\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "last.pt"), str(int(number))]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
    assert torch.equal(torch.load(tmp_path / "last.pt", weights_only=False)[1], torch.ones(1000))
