"""Releases of the host: which are supported, and what a training needs before it begins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from short_runs import overrides

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
    """Numbers are compared, not letters: 8.4.99 is older than 8.4.174."""
    monkeypatch.setattr(compat, "release", "8.4.99")
    with pytest.raises(InputError, match=r"^ultralytics 8\.4\.99 is older than 8\.4\.174, .*; update ultralytics$"):
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
