"""A few pictures of the embedded data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.data.shapes_spec import CLASS_NAMES

TINY = Path(__file__).parents[1] / "host" / "tiny.yaml"


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML file of 12 validation pictures."""
    return ensure_shapes(tmp_path_factory.mktemp("data"), train=1, val=12)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tiny detectors, where it does not matter what a model finds: at 32 px each of 16 places has a box."""
    folder = tmp_path_factory.mktemp("untrained")
    for name in ("a", "b"):
        yolo = YOLO(TINY)
        yolo.model = DetectionModel(str(TINY), nc=len(CLASS_NAMES), verbose=False)
        yolo.model.names = dict(enumerate(CLASS_NAMES))
        yolo.model.model[-1].cv3[-1][-1].bias.data[0] = 0
        yolo.save(folder / f"{name}.pt")
    return sorted(folder.iterdir())


@pytest.fixture
def own(shapes: Path, tmp_path: Path) -> Path:
    """The YAML file of a copy of the pictures, which may be changed."""
    shutil.copytree(shapes.parent, tmp_path / "data", ignore=shutil.ignore_patterns("*.cache"))
    data = tmp_path / "data" / shapes.name
    data.write_text(shapes.read_text().replace(str(shapes.parent), str(data.parent)))
    return data
