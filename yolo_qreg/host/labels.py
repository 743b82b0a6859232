"""One scan of labels at a time: the host keeps what it found beside them, where trainings side by side share it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ultralytics.utils import LOGGER

from yolo_qreg.data.shapes import cache_folder
from yolo_qreg.errors import InputError
from yolo_qreg.files import locked


@contextmanager
def scanning(split: object) -> Iterator[None]:
    """Keep other trainings of this user on this machine from scanning a split meanwhile.

    The host replaces what an earlier scan left wherever it is of another `fraction`, by removing the file first: two
    processes that do so at once end in an error. Where no lock can be had, they are left to it.

    Args:
        split: Folder or list of the split's pictures, as the data set names it.
    """
    name = hashlib.sha256(str(split).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    with ExitStack() as held:
        with suppress(InputError):
            waiting = f"yolo-qreg: waiting for another training that scans {split}"
            held.enter_context(locked(cache_folder() / "locks" / f"labels-{name}", lambda: LOGGER.info(waiting)))
        yield
