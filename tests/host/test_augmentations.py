"""Training on damaged pictures: the corruptions as the host's `augmentations=`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import pytest
import yaml
from albumentations.core.serialization import SERIALIZABLE_REGISTRY
from short_runs import Run, overrides

from corruptions.transforms import Corrupt
from yolo_qreg import QATTrainer, QuantConfig


def transforms_of(trainer: QATTrainer) -> list[Any]:
    """Return the albumentations transforms in the training pictures' pipeline."""
    found = [step for step in trainer.train_loader.dataset.transforms.transforms if hasattr(step, "contains_spatial")]
    assert len(found) == 1
    return list(found[0].transform.transforms)


def test_a_run_trains_on_damaged_pictures(train: Callable[..., Run]) -> None:
    """The host's loader damages pictures as it was told, in its own order of colours, and the run folder says so."""
    run = train(QuantConfig(bits=8), epochs=1, augmentations=[Corrupt("noise", severity=(1, 2), bgr=True, p=1)])
    (transform,) = transforms_of(run.trainer)
    assert isinstance(transform, Corrupt)
    assert (transform.names[0], transform.severity, transform.bgr) == ("gaussian_noise", (1, 2), True)
    saved = yaml.safe_load((run.folder / "args.yaml").read_text())
    assert A.from_dict(saved["augmentations"][0]).severity == (1, 2)
    assert run.best.is_file()


def test_a_process_that_never_imported_them_knows_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed runs and workers of several GPUs get the transform as a dictionary; the host would drop it in silence."""
    written = A.to_dict(Corrupt("fog", p=1))
    monkeypatch.delitem(SERIALIZABLE_REGISTRY, "corruptions.transforms.Corrupt")
    monkeypatch.delitem(sys.modules, "corruptions.transforms")
    QATTrainer(overrides=overrides(data, tmp_path, QuantConfig(bits=8), augmentations=[written]))
    assert A.from_dict(written).names == ["fog"]
