"""Every difference between the supported releases of the host, each with the release that needs it.

The oldest is among the first that can load weights of unknown origin without running code. How older ones read pictures
otherwise than the newest is told in docs/data.md, and tested as far as they agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, wraps
from importlib.util import find_spec
from typing import Any

import torch
from ultralytics import __version__ as release
from ultralytics.data import augment, build
from ultralytics.utils import LOGGER

from yolo_qreg.errors import InputError

try:
    from ultralytics.data.utils import get_split_fraction
except ImportError:  # before 8.4.130: one number, which is the training split's

    def get_split_fraction(fraction: float, split: str) -> float:
        """Return the share of a split that is used."""
        return fraction if split == "train" else 1.0


__all__ = [
    "OLDEST",
    "TESTED",
    "check_host",
    "check_settings",
    "closes_mosaic",
    "get_split_fraction",
    "is_before",
    "release",
    "restart",
    "restore_stopper",
    "stopper_state",
]

OLDEST = "8.4.100"
TESTED = "8.4.190"
"""Newest release that the tests have passed on."""
_NEEDS = {
    "augmentations": "8.4.127",  # older ones pickle the transforms, objects of this package, into checkpoints
    "amp": "8.4.129",  # older ones take any word, "bf16" and "fp32" too, for True
}


def check_host(*, training: bool = False) -> None:
    """Check the installed release before anything is begun; one that is newer than tested is said once, and runs.

    Args:
        training: Whether packages that the host imports only after an epoch have to be there.

    Raises:
        InputError: The release is too old, or such a package is missing.
    """
    if is_before(OLDEST):
        raise InputError(f"ultralytics {release} is older than {OLDEST}, the oldest supported; update ultralytics")
    if training and find_spec("polars") is None:
        raise InputError("polars is not installed, which Ultralytics needs to save a training; pip install polars")
    if _numbers(release) > _numbers(TESTED):
        _say_once(f"yolo-qreg: ultralytics {release} is newer than {TESTED}, the newest that was tested")


@cache
def _say_once(line: str) -> None:
    LOGGER.warning(line)


def is_before(other: str) -> bool:
    """Tell whether the installed host is older than another release."""
    return _numbers(release) < _numbers(other)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse values that an older host accepts and takes for something else.

    Raises:
        InputError: The installed host is too old for one.
    """
    for key, needed in _NEEDS.items():
        value = settings.get(key)
        if value and not isinstance(value, bool) and is_before(needed):
            shown = repr(value) if isinstance(value, str) else "..."
            raise InputError(f"{key}={shown} needs ultralytics {needed} or newer, here is {release}; update it")


def restart(loader: Any, seed: int) -> None:
    """Start a training loader's order and workers anew, drawn from `seed`."""
    loader.generator.manual_seed(seed)
    loader.reset()


def closes_mosaic(epochs: int, close_mosaic: int) -> bool:
    """Tell whether a training without interruption closes mosaic.

    Before 8.4.157 one that has fewer epochs than it closes mosaic for keeps it to the end, unless it is resumed.
    """
    return close_mosaic <= epochs or not is_before("8.4.157")


def stopper_state(stopper: Any) -> dict[str, Any]:
    """Return what early stopping has seen, for a checkpoint; the host keeps it itself from 8.4.172 on."""
    return {"best_fitness": stopper.best_fitness, "best_epoch": stopper.best_epoch}


def restore_stopper(stopper: Any, ckpt: Mapping[str, Any]) -> None:
    """Restore what `stopper_state` returned, where a checkpoint has it."""
    vars(stopper).update(ckpt.get("stopper") or {})


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", name)[:3])


def _seed_albumentations() -> None:
    """Seed albumentations, which draws for itself, from torch's seed of the process, as the host does from 8.4.176 on.

    Older ones seed it as the data set is made: an epoch would depend on those before it, and workers would draw alike.
    """
    call = augment.Albumentations.__call__

    @wraps(call)
    def seeded(self: Any, labels: dict[str, Any]) -> dict[str, Any]:
        seed = torch.initial_seed()
        if self.transform is not None and self.transform.seed != seed:
            self.transform.set_random_seed(seed)
        found: dict[str, Any] = call(self, labels)
        return found

    augment.Albumentations.__call__ = seeded


def _begin_loaders_late() -> None:
    """Let a loader that was reset draw when an epoch begins, as the host does from 8.4.158 on.

    Older ones draw in `reset`, which the host calls once more where mosaic is closed, or a run resumed after that: the
    order of pictures would depend on where a run was interrupted.
    """
    iterate = build.InfiniteDataLoader.__iter__

    def reset(self: Any) -> None:
        self.close()
        self.iterator = None

    def begin(self: Any) -> Iterator[Any]:
        if self.iterator is None:
            self.iterator = self._get_iterator()
        yield from iterate(self)

    build.InfiniteDataLoader.reset = reset
    build.InfiniteDataLoader.__iter__ = begin


if is_before("8.4.158"):
    _begin_loaders_late()
if is_before("8.4.176"):
    _seed_albumentations()
