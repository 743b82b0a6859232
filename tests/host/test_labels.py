"""Trainings side by side on one data set."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from short_runs import overrides
from ultralytics.data import dataset as host_dataset

from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.host.batchnorm import training_images


@pytest.mark.parametrize("lockable", [True, False])
def test_label_caches_are_written_one_at_a_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lockable: bool
) -> None:
    """Each share of the data needs another cache in the same place; where no lock can be had, both are scanned too."""
    writers, most = [], 0

    def save(prefix: str, path: Path, found: dict[str, Any], version: str) -> None:
        nonlocal most
        found["version"] = version
        writers.append(1)
        most = max(most, len(writers))
        time.sleep(0.3)
        writers.pop()

    def scan(fraction: float) -> int:
        args = trainers[fraction].args
        if fraction == 0.5:
            return len(training_images(args, trainers[fraction].data, count=8, stride=32).dataset)
        return len(trainers[fraction].build_dataset(trainers[fraction].data["train"], batch=4))

    cache = tmp_path / "cache"
    if not lockable:
        cache.write_text("not a folder")
    monkeypatch.setenv("YOLO_QREG_CACHE", str(cache))
    monkeypatch.setattr(host_dataset, "save_dataset_cache_file", save)
    trainers = {
        share: QATTrainer(overrides=overrides(data, tmp_path / str(share), QuantConfig(bits=8), fraction=share))
        for share in (0.5, 0.75)
    }
    trainers[0.75].setup_model()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(scan, trainers)) == [4, 6]
    assert most == 1 or not lockable
