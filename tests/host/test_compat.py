"""Releases of the host: which are supported, and what a training needs before it begins."""

from __future__ import annotations

import re
from pathlib import Path

import albumentations
import numpy as np
import pytest
import torch
from short_runs import overrides
from ultralytics.data.augment import Albumentations
from ultralytics.data.build import InfiniteDataLoader

from corruptions.transforms import Corrupt
from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host import compat

ROOT = Path(__file__).parents[2]


def start(data: Path, folder: Path, **settings: object) -> QATTrainer:
    """Return a trainer that has checked everything and trained nothing."""
    return QATTrainer(overrides=overrides(data, folder / "runs", QuantConfig(bits=8), **settings))


def test_the_oldest_release_is_the_one_that_is_declared() -> None:
    """What pip installs is what `check_host` lets pass."""
    declared = re.findall(r'"ultralytics>=([\d.]+),<\d+"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert declared == [compat.OLDEST]


def test_a_newer_release_is_said_once_and_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trainings in one process say one line; a tested release says nothing."""
    lines: list[str] = []
    monkeypatch.setattr(compat.LOGGER, "warning", lines.append)
    monkeypatch.setattr(compat, "release", compat.TESTED)
    start(data, tmp_path)
    assert not lines
    monkeypatch.setattr(compat, "release", "8.12.3")
    start(data, tmp_path)
    start(data, tmp_path)
    assert lines == [f"yolo-qreg: ultralytics 8.12.3 is newer than {compat.TESTED}, the newest that was tested"]


def test_an_older_release_is_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are compared, not letters: 8.4.99 is older than 8.4.100."""
    monkeypatch.setattr(compat, "release", "8.4.99")
    with pytest.raises(InputError, match=r"^ultralytics 8\.4\.99 is older than 8\.4\.100, .*; update ultralytics$"):
        start(data, tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_package_that_is_needed_at_the_first_save(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is missed before anything is written, not after an epoch; evaluations do without it."""
    monkeypatch.setattr(compat, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^polars is not installed, .*; pip install polars$"):
        start(data, tmp_path)
    assert not (tmp_path / "runs").exists()
    compat.check_host()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"augmentations": [Corrupt("fog")]},
            r"^augmentations=\.\.\. needs ultralytics 8\.4\.127 or newer, here is",
        ),
        (
            {"amp": "bf16"},
            r"^amp='bf16' needs ultralytics 8\.4\.129 or newer, here is 8\.4\.126; update it$",
        ),
    ],
)
def test_values_that_an_older_host_takes_for_something_else(
    settings: dict[str, object], said: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transforms would be pickled into the checkpoint, which nobody could load without us; bf16 would train as fp16."""
    monkeypatch.setattr(compat, "release", "8.4.126")
    with pytest.raises(InputError, match=said):
        start(data, tmp_path, **settings)
    assert not (tmp_path / "runs").exists()


def test_albumentations_draw_as_torch_was_seeded() -> None:
    """Whatever was drawn before: an epoch is repeated by a run that is resumed at it."""
    transform = Albumentations(p=1.0, transforms=[albumentations.GaussNoise(p=0.5)])
    picture = np.full((8, 8, 3), 128, np.uint8)
    torch.manual_seed(3)
    first, second = ([transform({"img": picture})["img"] for _ in range(8)] for _ in range(2))
    assert not np.array_equal(first, second)
    torch.manual_seed(4)
    transform({"img": picture})
    torch.manual_seed(3)
    assert np.array_equal([transform({"img": picture})["img"] for _ in range(8)], first)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_order_does_not_depend_on_how_often_a_loader_is_reset(workers: int) -> None:
    """Where mosaic closes the host resets it once more, and in a run resumed after that as well."""
    numbers = torch.arange(40)
    loader = InfiniteDataLoader(numbers, batch_size=40, shuffle=True, num_workers=workers, generator=torch.Generator())
    orders = []
    for times in (1, 2):
        compat.restart(loader, 5)
        for _ in range(times - 1):
            loader.reset()
        orders.append(next(iter(loader)))
    assert torch.equal(*orders)
    assert not torch.equal(orders[0], numbers)
    loader.close()
