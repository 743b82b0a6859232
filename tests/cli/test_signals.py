"""Signals that ask a command to end."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys

import pytest

COMMAND = """
import signal, sys, time, click
import yolo_qreg.cli as command_line

def work(**_):
    try:
        print("ready", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        time.sleep(1)
        raise click.Abort from KeyboardInterrupt("continue with: x")  # as click does

signal.signal(signal.SIGHUP, signal.SIG_IGN if "nohup" in sys.argv else signal.SIG_DFL)
command_line.cli.main = work
command_line.run()
"""


def ended_by(*numbers: signal.Signals, nohup: bool = False) -> tuple[int, str]:
    """Send signals to a command at work; return its status and what it said."""
    line = [sys.executable, "-c", COMMAND, *(["nohup"] if nohup else [])]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for number in numbers:
            process.send_signal(number)
        _, said = process.communicate(timeout=30)
        return process.returncode, said


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_each_ends_a_command_like_ctrl_c(number: signal.Signals, status: int) -> None:
    """With the line that says how to go on, and the status that shells expect."""
    assert ended_by(number) == (status, "continue with: x\n")


def test_a_bunch_of_signals_is_one() -> None:
    """Service managers send several; what is being put in order is not disturbed."""
    status, said = ended_by(signal.SIGTERM, signal.SIGTERM, signal.SIGHUP)
    assert status in {128 + signal.SIGTERM, 128 + signal.SIGHUP}
    assert said == "continue with: x\n"


def test_nohup_is_respected() -> None:
    """A command that was started to survive its terminal does."""
    assert ended_by(signal.SIGHUP, signal.SIGTERM, nohup=True) == (143, "continue with: x\n")


UNREAD = """
import click
import yolo_qreg.cli as command_line

def work():
    while True:
        print("a line of output", flush=True)

command_line.LazyGroup.get_command = lambda *_: click.Command("env", callback=work)
command_line.run()
"""


@pytest.mark.parametrize("both", [False, True])
def test_a_command_whose_output_is_closed_ends_without_a_traceback(both: bool) -> None:
    """With the status that shells know, and one line where standard error is read."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT if both else subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", UNREAD, "env"], **streams, text=True) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read() if process.stderr else ""
        assert process.wait(30) == 128 + signal.SIGPIPE
    assert said == ("" if both else "nobody reads the output any more; repeat or resume, with the output into a file\n")


FORKED = """
import multiprocessing, time
from yolo_qreg.cli.signals import as_ctrl_c

def work():
    there.send("at work")
    time.sleep(60)

here, there = multiprocessing.Pipe()
child = multiprocessing.get_context("fork").Process(target=work)
with as_ctrl_c():
    child.start()
    here.recv()
    child.terminate()
    child.join()
print(child.exitcode)
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs POSIX processes")
def test_a_process_that_a_library_forks_and_terminates_says_nothing() -> None:
    """It ends by the signal, as without us, and prints no trace; OpenVINO's does so where there is no network.

    In a process of its own: one that other tests loaded libraries with threads into may not survive forking.
    """
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")
