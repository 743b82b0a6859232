"""How worker processes start: freshly, and without the user's script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - multiprocessing's hook
        with _script_hidden():
            return SpawnProcess._Popen(process_obj)


class FreshProcesses(SpawnContext):
    """Spawns processes that do not import the main module again.

    `multiprocessing` has every spawned process run the script that it came from. What workers of ours do lies in
    modules, and a script without `if __name__ == "__main__"` would begin its training anew in each of them.
    """

    Process = _Process


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Take from the main module what tells a spawned process where to find it, for the moment of its start."""
    main = vars(sys.modules["__main__"])
    known: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(known)
