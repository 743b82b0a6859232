"""Trainings side by side on one data set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from short_runs import overrides
from ultralytics.data import dataset as host_dataset

from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.host import scan
from yolo_qreg.host.batchnorm import training_images
from yolo_qreg.host.datasets import prepare_for_trainings


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

    def count(fraction: float) -> int:
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
        assert list(pool.map(count, trainers)) == [4, 6]
    assert most == 1 or not lockable


def test_a_study_scans_while_no_training_does(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has the host keep lies in the same place as theirs."""
    held: list[str] = []
    written: list[list[str]] = []

    @contextmanager
    def scanning(split: object) -> Iterator[None]:
        held.append(Path(str(split)).name)
        yield
        held.pop()

    class Kept(scan.YOLODataset):  # type: ignore[misc]
        def get_labels(self) -> list[dict[str, Any]]:
            written.append(list(held))
            return []

    monkeypatch.setattr(scan, "scanning", scanning)
    monkeypatch.setattr(scan, "YOLODataset", Kept)
    prepare_for_trainings(data)
    assert written == [["train"], ["val"]]
