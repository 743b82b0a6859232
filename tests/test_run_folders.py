"""Run folders whose training was killed at an early moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
