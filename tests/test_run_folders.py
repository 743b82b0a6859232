"""Run folders whose training was killed at an early moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from yolo_qreg.config import TrainConfig
from yolo_qreg.host import run as runs
from yolo_qreg.host.history import read_run
from yolo_qreg.inputs import saved_nothing


@pytest.mark.parametrize(
    ("weights", "finished", "expected"),
    [
        ((), False, True),
        (("best.pt",), False, True),  # killed between the two files of its first save
        (("best.pt", "epoch0.pt"), False, True),
        (("best.pt", "last.pt"), False, False),
        (("best.pt",), True, False),  # somebody removed last.pt to save space
        (("best.pt",), None, False),  # of a release that did not note it
    ],
)
def test_a_folder_is_used_again_until_its_first_weights_are_whole(
    weights: tuple[str, ...], finished: bool | None, expected: bool, tmp_path: Path
) -> None:
    """last.pt comes last: without it, an unfinished training has nothing to go on from."""
    (tmp_path / "args.yaml").write_text("task: detect\nquant:\n  bits: 8\n")
    (tmp_path / "weights").mkdir()
    for name in weights:
        (tmp_path / "weights" / name).touch()
    if finished is not None:
        (tmp_path / "training.json").write_text(json.dumps({"finished": finished}))
    assert saved_nothing(tmp_path) is expected


@pytest.mark.parametrize(
    "text", ["quant: {bits: many}", "quant: {bits: [8]}", "quant: 8", "- quant", "when: 2026-99-99", ""]
)
def test_a_folder_with_damaged_settings_is_no_run(text: str, tmp_path: Path) -> None:
    """Who looks for the newest run passes it by."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "best.pt").touch()
    (tmp_path / "args.yaml").write_text("quant: {bits: 8}\n")
    assert read_run(tmp_path) is not None
    (tmp_path / "args.yaml").write_text(f"{text}\n")
    assert read_run(tmp_path) is None


def test_settings_of_another_run_do_not_lead_into_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its args.yaml as a recipe gives its schedule; quantization and place are those of the command."""
    asked: dict[str, object] = {}
    monkeypatch.setattr(runs, "_run", asked.update)
    recipe, data = tmp_path / "args.yaml", tmp_path / "data.yaml"
    held = {"lr0": 0.5, "name": "old", "save_dir": str(tmp_path), "quant": {"bits": 2}, "seed": 7, "data": "old.yaml"}
    recipe.write_text(yaml.safe_dump(held))
    data.write_text("train: x\n")
    runs.train(TrainConfig(data=data, settings={"cfg": str(recipe)}))
    assert (asked["lr0"], asked["name"], asked["seed"], asked["data"]) == (0.5, "dorefa-8bit", 0, str(data))
    assert "save_dir" not in asked
