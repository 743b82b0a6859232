"""The folder of a run: one trainer at a time, and one that holds no weights is used again."""

from __future__ import annotations

import fcntl
import os
import weakref
from copy import copy
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_save_dir

from yolo_qreg.errors import InputError
from yolo_qreg.inputs import saved_nothing

LOCK = ".lock"


class RunLock:
    """Held by the one process that trains in a run folder; the system frees it however that process ends.

    It is a record lock: processes forked for loading data do not hold it, and network file systems know it.
    """

    def __init__(self, handle: int) -> None:
        self._close = weakref.finalize(self, os.close, handle)

    @classmethod
    def take(cls, folder: Path) -> RunLock | None:
        """Return the lock of a run folder, which is made; None if another process has it."""
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(handle)
            return None
        except OSError:  # a file system without locks
            pass
        return cls(handle)

    def release(self) -> None:
        """Let others train in the folder."""
        self._close()


def take_run(folder: Path) -> RunLock:
    """Return the lock of a run folder.

    Raises:
        InputError: Another process trains there.
    """
    lock = RunLock.take(folder)
    if lock is None:
        raise InputError(f"{folder} is being trained by another process; wait for it, or end it first")
    return lock


def take_folder(args: Any) -> tuple[Path, RunLock]:
    """Return the folder of a new training and its lock.

    It is the one that the host would choose, but the one before it where nothing was saved there: a training that was
    killed in its first epoch is begun again in place.

    Args:
        args: The host's training arguments.

    Raises:
        InputError: The folder was named (exist_ok, save_dir), and another process trains there.
    """
    if args.exist_ok or getattr(args, "save_dir", None):
        folder = get_save_dir(args)
        return folder, take_run(folder)
    before = _before(args)
    if before is not None and saved_nothing(before) and (lock := RunLock.take(before)):
        if saved_nothing(before):  # nobody saved anything there meanwhile
            return before, lock
        lock.release()
    while (lock := RunLock.take(folder := get_save_dir(args))) is None:
        pass  # another process began the same training this very moment: there is a next number now
    return folder, lock


def _before(args: Any) -> Path | None:
    """Return the folder with the highest number that was used for this name; None if there is none."""
    plain = copy(args)
    plain.exist_ok = True
    first, free = get_save_dir(plain), get_save_dir(args)
    if free == first:
        return None
    number = int(free.name.removeprefix(f"{first.name}-"))
    return first if number == 2 else first.with_name(f"{first.name}-{number - 1}")
