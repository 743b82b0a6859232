"""Finished checkpoints of every sort, made once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from quantized_detectors import CONFIGS, Trained, detector, write


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Return the finished checkpoint of a configuration of `CONFIGS`, made on first use; it must not be changed."""
    made: dict[str, Trained] = {}

    def get(name: str) -> Trained:
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "weights"
            made[name] = write(folder / "best.pt", detector(CONFIGS[name]), CONFIGS[name])
        return made[name]

    return get


@pytest.fixture(params=CONFIGS)
def each(request: pytest.FixtureRequest, trained: Callable[[str], Trained]) -> Trained:
    """Every configuration of `CONFIGS` in turn."""
    return trained(request.param)
