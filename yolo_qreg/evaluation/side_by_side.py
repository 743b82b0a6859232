"""Work that is divided among processes which run models: one process does not keep a GPU busy."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.workers import FreshProcesses, begin_worker
from yolo_qreg.processes import unhurt_by_ctrl_c
from yolo_qreg.progress import Watch

Share = TypeVar("Share")
DIED = "a process of the evaluation died, for want of memory perhaps; repeat with fewer --jobs: what is done is kept"


def side_by_side(work: Callable[[Share, Watch], None], shares: Sequence[Share], told: Watch) -> None:
    """Have each share done by a process of its own, and wait for all.

    Args:
        work: A function of a module, given a share and what is told of progress.
        shares: One for each process.
        told: Told of the progress of all.

    Raises:
        InputError: One of them raised it, or died; the others are ended.
    """
    context = FreshProcesses()
    running: dict[Connection, BaseProcess] = {}
    try:
        for share in shares:
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_do, args=(work, share, theirs))
            with unhurt_by_ctrl_c():
                process.start()
            theirs.close()
            running[ours] = process
        while running:
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                try:
                    said = connection.recv()
                except EOFError:
                    _check_ended(running.pop(connection))
                    continue
                if isinstance(said, InputError):
                    raise said
                told(*said)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _check_ended(process: BaseProcess) -> None:
    process.join()
    if process.exitcode:
        raise InputError(DIED)


def _do(work: Callable[[Share, Watch], None], share: Share, connection: Connection) -> None:
    """Do a share in a process that ends with its parent, and takes its own workers along."""
    begin_worker()
    status = 0
    try:
        work(share, lambda label, done: connection.send((label, done)))
    except InputError as error:
        connection.send(error)
    except Exception:
        traceback.print_exc()
        status = 1
    os._exit(status)  # else `multiprocessing` waits for workers here that nobody tells to end
