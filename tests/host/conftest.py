"""A data set of random rectangles, and short trainings on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from short_runs import IMAGES, LSQ, SETTINGS, SIDE_PX, TINY, Run
from ultralytics import YOLO

from yolo_qreg import QATTrainer, QuantConfig


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML file of a data set of two classes of rectangles, one to three a picture."""
    root = tmp_path_factory.mktemp("rectangles")
    rng = np.random.default_rng(0)
    for split, count in IMAGES.items():
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 60, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
            rows = []
            for _ in range(rng.integers(1, 4)):
                left, top = rng.integers(0, 32, 2)
                width, height = rng.integers(12, 32, 2)
                label = int(rng.integers(2))
                image[top : top + height, left : left + width] = (60, 60, 250) if label else (250, 90, 60)
                box = np.array([left + width / 2, top + height / 2, width, height]) / SIDE_PX
                rows.append(" ".join([str(label), *(f"{v:.6f}" for v in box)]))
            cv2.imwrite(str(root / "images" / split / f"{i}.png"), image)
            (root / "labels" / split / f"{i}.txt").write_text("\n".join(rows) + "\n")
    path = root / "rectangles.yaml"
    path.write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: {{0: blue, 1: red}}\n")
    return path


@pytest.fixture(scope="session")
def train(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return a function that trains through the host's own API, in a new folder each time."""

    def run(config: QuantConfig, callbacks: dict[str, Callable[[Any], None]] | None = None, **settings: Any) -> Run:
        model = YOLO(settings.pop("model", "yolov5n.yaml"))
        for event, callback in (callbacks or {}).items():
            model.add_callback(event, callback)
        project = tmp_path_factory.mktemp("runs")
        given = SETTINGS | {"data": str(data), "project": str(project), "name": "run", "epochs": 2} | settings
        model.train(trainer=QATTrainer, quant=config, **given)
        return Run(model.trainer, project / "run", config)

    return run


@pytest.fixture(scope="session")
def trained(train: Callable[..., Run]) -> Callable[[str], Run]:
    """Return two epochs of a configuration by name, trained on first use; nothing of it may be changed.

    One is YOLOv5n itself, the others are tiny.
    """
    configs = {
        "dorefa": (QuantConfig(bits=8), str(TINY)),
        "lsq": (LSQ, "yolov5n.yaml"),
        "twin": (QuantConfig(bits=32), str(TINY)),
    }
    made: dict[str, Run] = {}

    def get(name: str) -> Run:
        if name not in made:
            config, model = configs[name]
            made[name] = train(config, model=model)
        return made[name]

    return get


@pytest.fixture(scope="session")
def tiny_twin(trained: Callable[[str], Run]) -> Run:
    """Two epochs of a tiny model in float; nothing of it may be changed."""
    return trained("twin")
