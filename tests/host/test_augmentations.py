"""Training on damaged pictures: the corruptions as the host's `augmentations=`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import pytest
import yaml
from albumentations.core.serialization import SERIALIZABLE_REGISTRY
from short_runs import Run, overrides
from torch.utils.data import get_worker_info

from corruptions.transforms import Corrupt
from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.host.compat import is_before

pytestmark = pytest.mark.skipif(is_before("8.4.127"), reason="augmentations are refused")


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


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_seed_of_the_training_decides_the_damage(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """The same seed draws the same, another something else, and no two pictures have a draw in common."""
    apply = Corrupt.apply
    log = tmp_path

    def logged(self: Corrupt, img: Any, name: str, severity: int, seed: int, **params: Any) -> Any:
        worker = get_worker_info()
        with (log / f"{worker.id if worker else 'main'}.txt").open("a") as file:
            file.write(f"{name} {severity} {seed}\n")
        return apply(self, img, name, severity, seed, **params)

    def two_epochs(seed: int) -> dict[str, list[str]]:
        """Return what each process draws for its first eight pictures; workers read ahead."""
        nonlocal log
        log = Path(tempfile.mkdtemp(dir=tmp_path))
        damage = [Corrupt("benchmark", bgr=True, p=1)]
        trainer = QATTrainer(overrides=overrides(data, log, QuantConfig(bits=8), augmentations=damage, seed=seed))
        trainer.args.workers = workers  # on a CPU the host takes none
        trainer._setup_train()
        for trainer.epoch in range(2):
            trainer._model_train()
            for _ in trainer.train_loader:
                pass
        trainer.train_loader.close()
        return {file.stem: file.read_text().splitlines()[:8] for file in sorted(log.glob("*.txt"))}

    monkeypatch.setattr(Corrupt, "apply", logged)
    first, again, other = (two_epochs(seed) for seed in (0, 0, 1))
    assert list(first) == (["0", "1"] if workers else ["main"])
    assert again == first
    draws = [draw for run in (first, other) for process in run.values() for draw in process]
    assert len(set(draws)) == len(draws) == 16 * max(workers, 1)


def test_a_process_that_never_imported_them_knows_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed runs and workers of several GPUs get the transform as a dictionary; the host would drop it in silence."""
    written = A.to_dict(Corrupt("fog", p=1))
    monkeypatch.delitem(SERIALIZABLE_REGISTRY, "corruptions.transforms.Corrupt")
    monkeypatch.delitem(sys.modules, "corruptions.transforms")
    QATTrainer(overrides=overrides(data, tmp_path, QuantConfig(bits=8), augmentations=[written]))
    assert A.from_dict(written).names == ["fog"]
