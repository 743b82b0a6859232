"""Which trainings of a study an analysis looks at."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from yolo_qreg import api
from yolo_qreg.analysis.config import AnalysisConfig
from yolo_qreg.errors import InputError
from yolo_qreg.study.plan import Study
from yolo_qreg.study.runs import Place, places

SEVERAL = "binaryconnect-1bit-stochastic-ensemble-seed0"


def write_study(folder: Path, finished: tuple[str, ...]) -> list[Place]:
    """Write a study with quantized activations and with several networks, of which some trainings are finished."""
    quant = {
        "lsq": {"activations": 8},
        "binaryconnect": {"options": {"draws": "stochastic", "test": "ensemble"}},
    }
    methods = ("lsq", "dorefa", "binaryconnect")
    study = Study(data="shapes", methods=methods, bits=(8, 1), bn_images=0, quant=quant)
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(study.to_dict()))
    every = places(study, folder)
    for place in every:
        if place.run.name in finished:
            place.weights.parent.mkdir(parents=True)
            place.weights.touch()
            (place.folder / "run.json").write_text('{"status": 0, "reason": ""}')
    return every


def test_what_cannot_be_analyzed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unfinished trainings, and those whose answers have no derivative or no one loss, each with a line."""
    every = write_study(tmp_path / "one", ("fp32-seed0", "lsq-8bit-a8-seed0", SEVERAL))
    seen: list[Path] = []

    def stop(config: AnalysisConfig, *_: object) -> None:
        seen.extend(config.sources)
        raise InputError("enough")

    monkeypatch.setattr("yolo_qreg.analysis.run.analyze", stop)
    with pytest.raises(InputError, match="enough"):
        api.analyze(AnalysisConfig(sources=[tmp_path / "one"], out=tmp_path / "out"))
    assert seen == [place.weights for place in every if place.run.name == "fp32-seed0"]
    said = capsys.readouterr()
    assert "with quantized activations, and left out: lsq-8bit-a8-seed0" in said.out + said.err
    assert f"of several networks, and left out: {SEVERAL}" in said.out + said.err
    assert "not finished, and left out: dorefa-8bit-seed0, dorefa-1bit-seed0" in said.out + said.err


def test_a_study_of_nothing_else_is_refused(tmp_path: Path) -> None:
    """It says what an analysis needs."""
    write_study(tmp_path / "one", ("lsq-8bit-a8-seed0",))
    with pytest.raises(InputError, match="holds no finished training that can be analyzed; finish the study first"):
        api.analyze(AnalysisConfig(sources=[tmp_path / "one"], out=tmp_path / "out"), quiet=True)
