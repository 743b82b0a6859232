"""Writing a file so that it is whole or absent; what kills leave behind; locks between processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from yolo_qreg.errors import InputError
from yolo_qreg.processes import undisturbed

SCRATCH = (".*.????????.part", ".saving-????????", ".finishing-????????", ".yolo-qreg-????????")
"""Names of what is being written, as `tempfile` makes them."""
DEAD_SECONDS = 60
"""What is being written and was not locked for so long will never be finished."""
_SHORT = 50
"""Characters: at most 200 of the 255 bytes that a file's name may have."""


def short_name(name: str) -> str:
    """Return the beginning of a name, so that something may be put before or behind it."""
    return name[:_SHORT]


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file beside `path`, then rename it; a failure leaves `path` as it was.

    Signals wait until that is done.

    Raises:
        InputError: There is a folder with files in it in place of `path`; an empty one is removed.
        OSError: Whatever opening, writing or renaming raises, a full disk among them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        try:
            path.rmdir()
        except OSError as error:
            raise InputError(f"{path} is a folder, where a file belongs; move it away") from error
    with undisturbed():
        handle, name = tempfile.mkstemp(prefix=f".{short_name(path.name)}.", suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _hold(handle)
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(0o666 & ~_umask())  # mkstemp makes private files; results are as readable as any other
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all; bytes of file names that are no UTF-8 are escaped as in JSON."""
    data = text.encode("utf-8", "backslashreplace")
    write_atomic(path, lambda file: file.write(data))


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a folder that is removed at the end; one that a killed process leaves is taken by the next `sweep`.

    Args:
        prefix: Of its name; `SCRATCH` has to know it.
        parent: Where it is made; None for the system's folder of temporary files.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            _hold(handle)
            yield Path(name)
        finally:
            os.close(handle)


def sweep(folder: Path | None, deep: bool = True, age: float = DEAD_SECONDS) -> None:
    """Remove what killed processes of this user left of what they were writing.

    Who writes holds a lock, which the system takes back when the process ends.

    Args:
        folder: Where to look; it need not exist, and None is nowhere.
        deep: Whether to look into its folders too.
        age: Seconds since the last change; the writer of what is younger may be about to lock it.
    """
    for place, folders, files in os.walk(folder) if folder else ():
        for name in (*folders, *files):
            if name.startswith(".") and any(fnmatch(name, pattern) for pattern in SCRATCH):
                with suppress(OSError):  # in use, gone by now, or not ours to remove
                    _remove_dead(Path(place, name), age)
        if not deep:
            return


def _remove_dead(path: Path, age: float) -> None:
    facts = path.lstat()
    if facts.st_uid != os.getuid() or facts.st_mtime > time.time() - age:
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(facts.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        os.close(handle)


def _hold(handle: int) -> None:
    """Lock what is being written until it is closed, where the file system knows locks."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of a file in a folder that nobody else can write to.

    Args:
        path: The file; it is made, never followed elsewhere and never emptied. Its folder becomes private.
        waiting: Called once if another process has the lock.

    Raises:
        InputError: The folder belongs to somebody else, or the file cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)  # fails where the folder is somebody else's
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{path} cannot be locked ({error.strerror}); set YOLO_QREG_CACHE to a folder") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def absolute(path: str | Path) -> Path:
    """Return a path that means the same from any folder; a link keeps its own name, beside which its targets lie."""
    path = Path(path)
    return path.parent.resolve() / path.name if ".." in path.parts else path.absolute()


def check_writable(folder: Path | None, remedy: str = "name another folder") -> None:
    """Make a folder and check that files can be made in it, before any work is done for it; None is no folder.

    Raises:
        InputError: They cannot.
    """
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}); {remedy}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def fill_block(page: Path, name: str, text: str) -> None:
    """Put text between the marks `<!-- NAME:begin -->` and `<!-- NAME:end -->` of a page that has them."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    if mark:
        filled = f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}"
        write_atomic(page, lambda file: file.write(filled.encode()))
