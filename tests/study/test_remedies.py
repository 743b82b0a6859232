"""benchmarks/remedies.py: which trainings it asks for, and what it makes of their numbers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from yolo_qreg import Results, TrainConfig
from yolo_qreg.evaluation.results import ALL, CLEAN, Delta, Model, Score

COMMAND = ["--data", "my.yaml", "--model", "first.pt", "--bits", "2", "--seeds", "0,1", "--tune", "2", "imgsz=64"]


@pytest.fixture
def remedies(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    file = Path(__file__).parents[2] / "benchmarks" / "remedies.py"
    spec = importlib.util.spec_from_file_location("remedies", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "remedies", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def asked(remedies: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The trainings asked for, which are finished at once; models gain as many points as their seed's number and 1."""
    found: list[TrainConfig] = []

    def train(config: TrainConfig) -> Path:
        found.append(config)
        folder = Path(config.settings["project"]) / config.settings["name"]
        folder.mkdir(parents=True)
        return folder

    def evaluate(config: Any) -> Results:
        gain = 1.0 + int(config.out.parent.name[-1])
        names = [config.baseline.name, *(weights.name for weights in config.weights)]
        models = [Model(name=n, file="", sha256="", method=None, bits=None, size_mb=1, run=f"x/{n}") for n in names]
        numbers = dict.fromkeys(("map50", "map75", "small", "medium", "large", "voc07_ap50", "voc_ap50"), 0.0)
        scores = [
            Score(model=n, corruption=CLEAN, severity=0, images=40, map50_95=0.3 + gain / 100, **numbers) for n in names
        ]
        deltas = [
            Delta(model=n, corruption=kind, severity=0, value=gain, low=gain - 0.5, high=gain + 0.5)
            for n in names[1:]
            for kind in (CLEAN, ALL)
        ]
        return Results(
            models=tuple(models),
            baseline=names[0],
            corruptions=("fog",),
            severities=(3,),
            scores=tuple(scores),
            deltas=tuple(deltas),
        )

    def read(folder: Path) -> Any:
        return SimpleNamespace(finished=True) if folder.is_dir() else None

    monkeypatch.setattr(remedies, "train", train)
    monkeypatch.setattr(remedies, "evaluate", evaluate)
    monkeypatch.setattr(remedies, "read_run", read)
    return found


def test_every_remedy_is_measured_against_the_plain_training(
    remedies: ModuleType, asked: list[TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the FP32 model of the seed, which teaches where it is to; widths in turn go on from one another."""
    done = CliRunner().invoke(remedies.main, [*COMMAND, "--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    runs = {(config.seed, config.settings["name"]): config for config in asked}
    assert len(runs) == len(asked) == 2 * (1 + 7 + 2 + 5 + 2)  # FP32; lsq and two widths above 2 bits; dorefa and two
    fp32 = tmp_path / "seed-1" / "fp32" / "weights" / "best.pt"
    assert runs[1, "fp32"].model == "first.pt" and runs[1, "fp32"].settings["epochs"] == 30
    assert runs[1, "lsq-2-plain"].model == fp32 and runs[1, "lsq-2-plain"].quant.init == "mse"
    assert "distill_model" not in runs[1, "lsq-2-bn-tune"].settings and runs[1, "lsq-2-bn-tune"].quant.bn_tune == 2
    both = runs[1, "dorefa-2-bn-tune+distill"]
    assert (both.settings["distill_model"], both.quant.bn_tune, both.settings["imgsz"]) == (str(fp32), 2, 64)
    assert runs[1, "lsq-2-freeze"].quant.options == {"oscillations": "freeze"}
    turn = [runs[1, f"dorefa-{bits}-progressive"].model for bits in (8, 4, 2)]
    assert turn == [fp32, *(fp32.parents[2] / f"dorefa-{b}-progressive" / "weights" / "best.pt" for b in (8, 4))]
    assert "| plain | 31.50 |  |  |" in done.output
    assert "| bn-tune+distill | 31.50 | +1.50 (" in done.output

    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- remedies:begin -->\nold\n<!-- remedies:end -->\nend\n")
    monkeypatch.setattr(remedies, "PAGE", page)
    again = CliRunner().invoke(remedies.main, [*COMMAND, "--out", str(tmp_path), "--write"], catch_exceptions=False)
    assert again.output == done.output and len(asked) == len(runs)
    first = "lsq, 2 bits, seeds 0,1; gains on plain in points of mAP@[.50:.95], 95% intervals"
    assert page.read_text().startswith(f"# Page\n<!-- remedies:begin -->\n{first}\n\n| remedy |")
    assert page.read_text().endswith(" |\n<!-- remedies:end -->\nend\n") and "old" not in page.read_text()
