"""A few pictures of the embedded data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_qreg.data.shapes import ensure_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML file of 12 validation pictures."""
    return ensure_shapes(tmp_path_factory.mktemp("data"), train=1, val=12)
