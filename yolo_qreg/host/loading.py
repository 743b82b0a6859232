"""Reading checkpoints of unknown origin: pickles name what to call, and the host calls whatever they name.

The host has a mode that rebuilds classes of its own and of torch only, and builds models without `eval`. It is off
unless an environment variable was set before the host was imported; here it is on for the time of a load or a training.
"""

from __future__ import annotations

import codecs
import os
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PosixPath
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from ultralytics.nn import modules as host_modules
from ultralytics.nn import tasks
from ultralytics.utils import IterableSimpleNamespace, loss, tal

from yolo_qreg.errors import InputError, first_line
from yolo_qreg.trust import REMEDY, trusted

_VARIABLE = "ULTRALYTICS_SAFE_LOAD"
_NAMED = re.compile(r"(?:GLOBAL|unsupported class) ([\w.]+)")
"""What torch's messages call a class or function that no weights need."""
_HAS_MODE = bool(tasks._SafeLoad.SUPPORTED)
"""Not before torch 2.6."""

_lock = threading.RLock()
_nested: dict[str, Any] = {"depth": 0, "undo": None}


@contextmanager
def safe_loading() -> Iterator[None]:
    """Keep the host from running code in checkpoints, here and in processes that it starts meanwhile.

    Several threads may be inside at a time; the mode ends with the last. Nothing changes where files are trusted.
    """
    if trusted():
        yield
        return
    with _lock:
        if not _nested["depth"]:
            _nested["undo"] = _switched_on()
        _nested["depth"] += 1
    try:
        yield
    finally:
        with _lock:
            _nested["depth"] -= 1
            if not _nested["depth"]:
                _nested.pop("undo").close()


def refusal(path: str | Path, error: BaseException) -> InputError:
    """Return what to say about a file that could not be loaded: a stranger's class is named, the rest is damage."""
    causes: list[BaseException | None] = [error]
    while (cause := causes[-1]) is not None:
        causes.append(cause.__cause__ or cause.__context__)
    found = _NAMED.search(" ".join(map(str, causes)))
    if found and not trusted():
        return InputError(
            f"{path} names {found.group(1)}, which weights do not need, so that reading it may run code; {REMEDY}"
        )
    reason = first_line(error) if zipfile.is_zipfile(path) else "torch.save did not write it, or not to the end"
    return InputError(f"{path} is not a checkpoint that Ultralytics can load ({reason}); name another")


def _switched_on() -> ExitStack:
    stack = ExitStack()
    stack.enter_context(patch.dict(os.environ, {_VARIABLE: "1"}))
    if _HAS_MODE:
        stack.enter_context(patch.object(tasks, "SAFE_LOAD", True))
    else:
        stack.enter_context(patch.object(tasks, "torch_load", _load_weights_only))
    return stack


def _load_weights_only(file: Any, **options: Any) -> Any:
    """Load for a torch before 2.6, with the classes of today's checkpoints; names that the host gave up are missing."""
    with _lock, patch.object(tasks, "parse_model", _build_nothing):
        known = {*map(id, torch.serialization.get_safe_globals())}
        torch.serialization.add_safe_globals([one for one in _classes() if id(one) not in known])  # torch keeps a list
        return torch.load(file, **{**options, "weights_only": True})


def _build_nothing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a model is built from a description while it is loaded, which no weights need")


def _classes() -> list[Any]:
    """Return the layers of torch and the host, its losses, and the plain data that checkpoints hold.

    Of plain data torch 2.4 knows neither sets, which each layer has, nor the bytes of random states.
    """
    packages = (torch.nn.modules, host_modules)
    inner = [home for package in packages for home in vars(package).values() if isinstance(home, ModuleType)]
    homes = [*packages, *inner, tasks, loss, tal]
    names = {value for home in homes for value in vars(home).values() if isinstance(value, type)}
    layers = [kind for kind in names if issubclass(kind, nn.Module) or kind.__module__ in {loss.__name__, tal.__name__}]
    scalar = np.float64(0).__reduce__()[0]
    plain = [set, bytearray, complex, codecs.encode]
    return [*layers, *plain, IterableSimpleNamespace, PosixPath, np.dtype, type(np.dtype(np.float64)), scalar]
