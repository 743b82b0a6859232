from __future__ import annotations

from dataclasses import replace

import click
import pytest
from report_samples import sample

from yolo_qreg.evaluation.results import Delta, Results
from yolo_qreg.report.evaluation import document, print_summary
from yolo_qreg.report.text import BLIND


def told(results: Results) -> list[str]:
    """Return the summary line by line."""
    lines: list[str] = []
    print_summary(results, lines.append)
    return lines


def test_undecided_gains_are_in_parentheses() -> None:
    """Where the interval includes 0, in both tables; a dash where there is no delta."""
    deltas = (
        Delta(model="dorefa-8bit", corruption="all", severity=0, value=0.3, low=-0.2, high=0.8),
        Delta(model="dorefa-8bit", corruption="fog", severity=0, value=-0.4, low=-0.9, high=0.1),
        Delta(model="dorefa-4bit", corruption="fog", severity=0, value=-2.0, low=-2.9, high=-1.1),
    )
    lines = told(replace(sample(), deltas=deltas))
    row = next(line for line in lines if line.startswith("dorefa-8bit"))
    assert row.split()[3:6] == ["(+0.3)", "[-0.2,", "0.8]"]
    (fog,) = (line for line in lines if line.startswith("fog"))
    assert fog.split() == ["fog", "(-0.4)", "-2.0", "-"]


def test_models_that_find_nothing_are_not_compared() -> None:
    """After few epochs every mAP may be 0: the page and the terminal say what that means, not that it is undecided."""
    full = sample()
    scores = tuple(replace(score, map50_95=0.0) for score in full.scores if score.severity in (0, 3))
    nothing = replace(full, scores=scores, severities=(3,), class_scores=(), deltas=())
    assert told(nothing)[-1] == BLIND
    page = document(nothing, {}, (), "paper")
    assert f'<p class="said">{BLIND}.</p>' in page and "Against FP32" not in page


def test_the_table_of_corruptions_is_complete() -> None:
    """Clean, 19 by alphabet and both means, with the value of each delta."""
    results = sample()
    lines = told(results)
    rows = lines[lines.index("Gain in points:") + 3 : -2]
    names = ["clean", *sorted(results.corruptions), "mean of 19", "mPC"]
    assert [row.split("  ")[0].replace(" ", "_").lower() for row in rows[:20]] == names[:20]
    assert [row.split("  ")[0] for row in rows[20:]] == names[20:]
    assert len({len(row) for row in rows}) == 1
    for name, row in zip(names[:20], rows, strict=False):
        for model, cell in zip(results.models[1:], row.split()[-3:], strict=True):
            delta = results.delta(model.name, name)
            assert float(cell.strip("()")) == pytest.approx(delta.value, abs=0.051)
            assert cell.startswith("(") == (not delta.decided)


def test_the_summary_is_told_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    """In ASCII, both tables and the key; on the terminal unless something else takes the lines."""
    lines = told(sample())
    assert lines[-1] == "in parentheses: undecided, the 95% interval includes 0"
    assert all("\n" not in line and line.isascii() for line in lines) and capsys.readouterr().out == ""
    print_summary(sample())
    assert click.unstyle(capsys.readouterr().out).splitlines() == lines


def test_a_model_alone_has_no_table_of_gains() -> None:
    """One row, with dashes for what compares."""
    full = sample()
    alone = replace(full, models=full.models[:1], scores=tuple(s for s in full.scores if s.model == "fp32"), deltas=())
    lines = told(alone)
    assert len(lines) == 3
    assert lines[2].split()[:5] == ["fp32", "32", f"{100 * full.mean('fp32', full.corruptions):.2f}", "-", "-"]
