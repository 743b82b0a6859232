"""Trainings that a float model teaches."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import SETTINGS, TINY, Run, assert_same, images
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence

from yolo_qreg import QATTrainer, QuantConfig, TrainConfig, api
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.distilling import disagreement
from yolo_qreg.shipped import shipped

CONFIG = QuantConfig(method="lsq", bits=4, options={"oscillations": "dampen"}, bn_images=0)
SHORT: dict[str, Any] = {"model": str(TINY), "save_period": 1, "val": False, "lr0": 0.05}


@pytest.fixture(scope="module")
def teacher(train: Callable[..., Run]) -> Path:
    """The FP32 twin."""
    return train(QuantConfig(bits=32), **SHORT | {"epochs": 6}).best


@pytest.fixture(scope="module")
def taught(train: Callable[..., Run], teacher: Path) -> Run:
    """Two epochs with a loud teacher."""
    return train(CONFIG, **SHORT, distill_model=str(teacher), dis=100)


@pytest.fixture(scope="module")
def alone(train: Callable[..., Run]) -> Run:
    """The same without one."""
    return train(CONFIG, **SHORT)


def test_the_term_is_the_divergence_of_what_the_head_says() -> None:
    """As torch's own distributions have it; of one number a side, it is the distance. The same answers give 0."""
    numbers = torch.Generator().manual_seed(0)
    sizes = {"scores": (2, 3, 5), "boxes": (2, 16, 5)}
    student, known = ({key: torch.randn(size, generator=numbers) for key, size in sizes.items()} for _ in range(2))
    sure = known["scores"].sigmoid().amax(1)
    classes = kl_divergence(*(Bernoulli(logits=each["scores"]) for each in (known, student))).sum()
    bins = [Categorical(logits=each["boxes"].view(2, 4, 4, 5).transpose(2, 3)) for each in (known, student)]
    sides = (kl_divergence(*bins).mean(1) * sure).sum()
    torch.testing.assert_close(disagreement(student, known), (classes + sides) / sure.sum())
    plain = {key: {**value, "boxes": value["boxes"][:, :4]} for key, value in (("s", student), ("t", known))}
    sides = ((plain["s"]["boxes"] - plain["t"]["boxes"]).abs().mean(1) * sure).sum()
    torch.testing.assert_close(disagreement(plain["s"], plain["t"]), (classes + sides) / sure.sum())
    assert disagreement(known, known).abs() < 1e-6


def test_a_student_comes_to_answer_as_its_teacher(taught: Run, alone: Run, teacher: Path) -> None:
    """More than one that was not taught."""
    known = _answers(teacher)
    far, near = (float(disagreement(_answers(run.best), known)) for run in (alone, taught))
    assert near < 0.9 * far


def _answers(file: Path) -> dict[str, Tensor]:
    model: Any = checkpoint.load(file)[0].eval()
    with torch.no_grad():
        found: dict[str, Tensor] = model(images())[1]
    return found


def test_files_hold_the_student_alone(taught: Run, train: Callable[..., Run]) -> None:
    """A plain module without the teacher, in files of runs that go on and of finished ones."""
    for name in ("epoch0.pt", "best.pt"):
        with zipfile.ZipFile(taught.folder / "weights" / name) as held:
            (member,) = (entry for entry in held.namelist() if entry.endswith("data.pkl"))
            found = [str(arg) for op, arg, _ in pickletools.genops(held.read(member)) if op.name in ("GLOBAL",)]
        assert not [entry for entry in found if "istill" in entry or "yolo_qreg" in entry]
    parameters = sum(p.numel() for p in taught.trainer.model.parameters())
    saved, ckpt = checkpoint.load(taught.best)
    steps = sum(v.numel() for k, v in checkpoint.state_of(ckpt, "").tensors.items() if k.endswith("quantizer.step"))
    assert sum(p.numel() for p in saved.parameters()) == parameters - steps


def _interrupted(run: Run, folder: Path) -> Path:
    """Put the file of the first of two epochs where a killed training leaves it."""
    last = folder / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes((run.folder / "weights" / "epoch0.pt").read_bytes())
    return last


def test_a_resumed_run_is_the_same_and_has_the_same_teacher(taught: Run, teacher: Path, tmp_path: Path) -> None:
    """Bit for bit, also where the teacher's file was moved; another file is refused, and so is none."""
    last = _interrupted(taught, tmp_path)
    moved = tmp_path / "moved.pt"
    moved.write_bytes(teacher.read_bytes())
    with pytest.raises(InputError, match=r"last.pt is not what taught this run so far; name where that file is now"):
        api.resume(last, {"distill_model": str(taught.best.with_name("last.pt"))})
    with pytest.raises(InputError, match=r"no.pt is not a .pt file; name the trained model"):
        api.resume(last, {"distill_model": "no.pt"})
    with pytest.raises(InputError, match=r"distill_model=None: this run has a teacher; drop the setting, or name its"):
        api.resume(last, {"distill_model": None})
    gone = QATTrainer(overrides={"resume": str(last), "distill_model": str(tmp_path / "gone.pt")})
    with pytest.raises(InputError, match=r"gone.pt is no file; name the model that teaches, where it is now"):
        gone.train()
    resumed = QATTrainer(overrides={"resume": str(last), "distill_model": str(moved)})
    resumed.train()
    assert resumed.args.distill_model == str(moved)
    assert_same(resumed.model.state_dict(), taught.trainer.model.state_dict())
    assert_same(resumed.ema.ema.state_dict(), taught.trainer.ema.ema.state_dict())


def test_a_resumed_run_gets_no_teacher(alone: Run, teacher: Path, tmp_path: Path) -> None:
    """One that began without would be taught by halves, and nothing would say so."""
    last = _interrupted(alone, tmp_path)
    with pytest.raises(InputError, match=r"best.pt: nobody taught this run so far; drop it, or start anew"):
        api.resume(last, {"distill_model": str(teacher)})


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("no.pt", "no.pt is not a .pt file; name the trained model that is to teach"),
        ("shapes-fp32.pt", "shapes-fp32.pt has other classes than the data set; name one trained on the same data"),
        ("best.pt", "best.pt has levels 3, the model 2; name one of the same kind"),
    ],
)
def test_a_teacher_with_other_answers_is_refused(
    file: str, says: str, data: Path, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """In one line, and no run folder is left."""
    places = {"shapes-fp32.pt": shipped("shapes-fp32"), "best.pt": trained("lsq").best}
    settings = SETTINGS | {"distill_model": str(places.get(file, file)), "project": str(tmp_path)}
    with pytest.raises(InputError, match=says):
        api.train(TrainConfig(quant=CONFIG, data=data, model=str(TINY), settings=settings))
    assert not list(tmp_path.iterdir())
