"""A few pictures of the embedded data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from yolo_qreg.data.shapes import ensure_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML file of 12 validation pictures."""
    return ensure_shapes(tmp_path_factory.mktemp("data"), train=1, val=12)


@pytest.fixture
def own(shapes: Path, tmp_path: Path) -> Path:
    """The YAML file of a copy of the pictures, which may be changed."""
    shutil.copytree(shapes.parent, tmp_path / "data", ignore=shutil.ignore_patterns("*.cache"))
    data = tmp_path / "data" / shapes.name
    data.write_text(shapes.read_text().replace(str(shapes.parent), str(data.parent)))
    return data
