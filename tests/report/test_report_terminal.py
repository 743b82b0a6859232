from __future__ import annotations

from dataclasses import replace

import click
import pytest
from report_samples import sample

from yolo_qreg.evaluation.results import Delta
from yolo_qreg.report import print_summary, terminal


def test_undecided_gains_are_marked() -> None:
    """A tilde where the interval includes 0, in both tables; a dash where there is no delta."""
    deltas = (
        Delta(model="dorefa-8bit", corruption="all", severity=0, value=0.3, low=-0.2, high=0.8),
        Delta(model="dorefa-8bit", corruption="fog", severity=0, value=-0.4, low=-0.9, high=0.1),
        Delta(model="dorefa-4bit", corruption="fog", severity=0, value=-2.0, low=-2.9, high=-1.1),
    )
    results = replace(sample(), deltas=deltas)
    row = terminal.headline_table(results).splitlines()[3]
    assert row.startswith("dorefa-8bit") and row.split()[3:6] == ["~+0.3", "[-0.2,", "0.8]"]
    (fog,) = (line for line in terminal.corruption_table(results).splitlines() if line.startswith("fog"))
    assert fog.split() == ["fog", "~-0.4", "-2.0", "-"]


def test_the_table_of_corruptions_is_complete() -> None:
    """Clean, 19 by alphabet and both means, with the value of each delta."""
    results = sample()
    lines = terminal.corruption_table(results).splitlines()
    assert [line.split("  ")[0].strip() for line in lines[2:]] == [
        "clean",
        *sorted(results.corruptions),
        "mean of 19",
        "mPC",
    ]
    assert len({len(line) for line in lines}) == 1
    shown = [line.split()[-3:] for line in lines[2:22]]
    for name, cells in zip(("clean", *sorted(results.corruptions)), shown, strict=True):
        for model, cell in zip(results.models[1:], cells, strict=True):
            delta = results.delta(model.name, name)
            assert float(cell.lstrip("~")) == pytest.approx(delta.points, abs=0.051)
            assert cell.startswith("~") == (not delta.decided)


def test_the_summary_is_told_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Both tables and the key; on the terminal unless something else takes the lines."""
    lines: list[str] = []
    print_summary(sample(), lines.append)
    text = "\n".join(lines)
    assert terminal.headline_table(sample()) in text and terminal.corruption_table(sample()) in text
    assert lines[-1] == "~ undecided: the 95% interval includes 0"
    assert all("\n" not in line for line in lines) and capsys.readouterr().out == ""
    print_summary(sample())
    assert click.unstyle(capsys.readouterr().out) == text + "\n"


def test_a_model_alone_has_no_table_of_gains() -> None:
    """One row, with dashes for what compares."""
    full = sample()
    alone = replace(full, models=full.models[:1], scores=tuple(s for s in full.scores if s.model == "fp32"), deltas=())
    lines: list[str] = []
    print_summary(alone, lines.append)
    assert len(lines) == 3
    assert lines[2].split()[:6] == ["fp32", "32", f"{100 * full.mean('fp32', full.corruptions):.2f}", "-", "-", "-"]
