"""Processes that divide work: what they tell, and how they end."""

from __future__ import annotations

import multiprocessing

import pytest
from side_by_side_work import do

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.side_by_side import DIED, side_by_side


def test_all_is_done_and_told() -> None:
    """By one process for each share."""
    told: list[tuple[str, int]] = []
    side_by_side(do, ["a", "b"], lambda *word: told.append(word))
    assert sorted(told) == [("a", 1), ("b", 1)]


@pytest.mark.parametrize(("fault", "said"), [("refuse", "share='refuse' cannot be used"), ("die", DIED)])
def test_a_fault_of_one_ends_all(fault: str, said: str) -> None:
    """One line says what it was, and nobody is left waiting."""
    with pytest.raises(InputError, match=said):
        side_by_side(do, ["wait", fault], lambda *_: None)
    assert not multiprocessing.active_children()


def test_interrupted_work_leaves_no_process() -> None:
    """Ctrl-C comes to the process that waits."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(do, ["wait", "wait"], interrupted)
    assert not multiprocessing.active_children()
