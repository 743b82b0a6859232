"""Batches that a feeder makes: the very ones that a training would have loaded itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from short_runs import overrides
from torch import Tensor

from yolo_qreg import QATTrainer
from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host.feeder import Source
from yolo_qreg.host.sharing import SharedLoader, draw_anew, restart_if_due
from yolo_qreg.study import sharing
from yolo_qreg.study.plan import Study
from yolo_qreg.study.runs import Place, places
from yolo_qreg.study.sharing import feeding, waves

EPOCHS, CLOSED_FROM = 4, 2


def digest(batch: dict[str, Any]) -> str:
    """Return a hash of all that a batch holds."""
    found = hashlib.sha256()
    for key in sorted(batch):
        value = batch[key]
        found.update(key.encode() + (value.numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode()))
    return found.hexdigest()


class Training:
    """The pictures of one training, loaded as the host's loop has them loaded, by itself or from a feeder."""

    def __init__(self, joined: dict[str, Any], feeder: Connection | None = None) -> None:
        args = joined["settings"]
        self.source = Source(
            joined if feeder is None else {**joined, "settings": {**args, "workers": 0, "cache": False}}
        )
        self.loader = self.source.train_loader
        self.first = joined["epoch"]
        if feeder is not None:
            told = SimpleNamespace(**args)
            facts = {"data": joined["data"], "stride": joined["stride"], "args": told, "epoch": 0}
            self.trainer = SimpleNamespace(device=torch.device("cpu"), **facts)
            self.loader.dataset.buffer = joined["buffer"]
            self.loader = SharedLoader(self.loader, self.trainer, feeder)

    def epoch(self, number: int) -> list[str]:
        """Return what the batches of an epoch hold."""
        restart_if_due(self.loader, draw_anew(self.source.args.seed, number), first=number == self.first)
        shared = isinstance(self.loader, SharedLoader)
        if shared:
            self.trainer.epoch = number
        if number == CLOSED_FROM:
            self.source._close_dataloader_mosaic()
            if shared:
                self.loader.closed = True
            self.loader.reset()
        return [digest(batch) for batch in self.loader]


@pytest.fixture(scope="module")
def told(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Return what a training tells of itself, for some settings."""
    trainer = QATTrainer(overrides=overrides(data, tmp_path_factory.mktemp("runs"), QuantConfig(bits=8)))

    def told(epoch: int = 0, buffer: Sequence[int] = (), **settings: Any) -> dict[str, Any]:
        args = {**vars(trainer.args), **settings}
        facts = {"stride": 32, "batch": 3, "epoch": epoch, "buffer": list(buffer)}
        return {"settings": args, "data": trainer.data, **facts}

    return told


@pytest.fixture
def wave(tmp_path: Path) -> list[Place]:
    """Return two trainings of a seed."""
    return places(Study(methods=("lsq",), bits=(8,)), tmp_path)


@pytest.mark.parametrize("settings", [{}, {"cache": "ram"}, {"workers": 1}], ids=["plain", "in memory", "a worker"])
def test_every_batch_is_the_one_that_a_training_loads_itself(
    settings: dict[str, Any], told: Callable[..., dict[str, Any]], wave: list[Place]
) -> None:
    """Mosaic, its closing and the pictures that it draws from included; one that leaves does not stop the other."""
    alone = Training(told(**settings))
    expected = [alone.epoch(number) for number in range(EPOCHS)]
    assert len({batch for epoch in expected for batch in epoch}) == 3 * EPOCHS
    with feeding(wave) as shared, ThreadPoolExecutor(2) as threads:
        one, two = (Training(told(**settings), shared.connections.pop(place.run.name)) for place in wave)
        for number in range(2):
            assert [*threads.map(lambda t, n=number: t.epoch(n), (one, two))] == [expected[number]] * 2  # type: ignore[misc]
        two.loader.close()
        assert [one.epoch(number) for number in (2, 3)] == expected[2:]
        one.loader.close()


def test_trainings_that_were_interrupted_at_different_epochs_go_on(
    told: Callable[..., dict[str, Any]], wave: list[Place]
) -> None:
    """The one that is ahead waits; mosaic draws from the pictures that it drew from then."""
    alone = Training(told())
    expected = [alone.epoch(0)]
    kept = list(alone.loader.dataset.buffer)
    assert kept
    expected += [alone.epoch(number) for number in range(1, EPOCHS)]
    with feeding(wave) as shared, ThreadPoolExecutor(2) as threads:
        behind, ahead = (
            Training(told(epoch, kept), shared.connections.pop(place.run.name))
            for epoch, place in enumerate(wave, start=1)
        )
        later = threads.submit(lambda: [ahead.epoch(number) for number in (2, 3)])
        assert [behind.epoch(number) for number in (1, 2, 3)] == expected[1:]
        assert later.result() == expected[2:]
        behind.loader.close()
        ahead.loader.close()


def test_an_epoch_that_is_done_again_is_loaded_by_the_training_itself(
    told: Callable[..., dict[str, Any]], wave: list[Place]
) -> None:
    """The host does one again, with other draws, where a loss became infinite."""
    with feeding(wave) as shared:
        shared.release(wave[1])
        training = Training(told(), shared.connections.pop(wave[0].run.name))
        first = training.epoch(0)
        again = training.epoch(0)
        assert len(again) == len(first) == 3


def test_what_cannot_be_shared_is_said(told: Callable[..., dict[str, Any]], wave: list[Place]) -> None:
    """Trainings with other settings of pictures, and a feeder that is gone."""
    with feeding(wave) as shared, ThreadPoolExecutor(2) as threads:
        one, two = (
            Training(told(fliplr=rate), shared.connections.pop(place.run.name))
            for rate, place in zip((0.5, 0.4), wave, strict=True)
        )
        done = [threads.submit(training.epoch, 0) for training in (one, two)]
        errors = [str(future.exception()) for future in done if future.exception()]
        assert errors == ["trainings with other fliplr cannot share batches; leave --share-batches out"]
    (left,) = (t for t, future in zip((one, two), done, strict=True) if not future.exception())
    with pytest.raises(InputError, match="has ended; its log lies beside the runs"):
        left.epoch(1)


def test_little_memory_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container's /dev/shm would be full after a batch or two, and all trainings of the seed would fail."""
    monkeypatch.setattr(sharing, "MEMORY", tmp_path)
    for size, found in ((0, tmp_path), (2**60, None)):
        monkeypatch.setattr(sharing, "ENOUGH", size)
        assert sharing.memory_folder() == found
    monkeypatch.setattr(sharing, "MEMORY", tmp_path / "none")
    assert sharing.memory_folder() is None


def test_waves_are_of_one_seed_and_equally_large(tmp_path: Path) -> None:
    """Seven models with four at a time are four and three, not four, three of which one is of another seed."""
    todo = places(Study(methods=("lsq", "dorefa"), bits=(8, 4, 2), seeds=(0, 1)), tmp_path)
    found = waves(todo, 4)
    assert [len(wave) for wave in found] == [3, 4, 3, 4]
    assert [{place.run.seed for place in wave} for wave in found] == [{0}, {0}, {1}, {1}]
    assert [place for wave in found for place in wave] == todo
