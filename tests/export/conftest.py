"""Finished checkpoints of every sort, made once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session", autouse=True)
def _one_float_model_each(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the host export a file once for all tests: it takes seconds, and gives the same model each time."""
    from yolo_qreg.host import exporting

    made: dict[str, Path] = {}
    kept, export = tmp_path_factory.mktemp("float"), exporting.float_onnx

    def once(weights: Path, **settings: Any) -> Path:
        key = hashlib.sha256(weights.read_bytes() + str(sorted(settings.items())).encode()).hexdigest()
        if key not in made:
            made[key] = Path(shutil.copy(export(weights, **settings), kept / f"{key}.onnx"))
        return Path(shutil.copy(made[key], weights.with_suffix(".onnx")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "float_onnx", once)
        yield


@pytest.fixture(params=CONFIGS)
def each(request: pytest.FixtureRequest, trained: Callable[[str], Trained]) -> Trained:
    """Every configuration of `CONFIGS` in turn."""
    return trained(request.param)
