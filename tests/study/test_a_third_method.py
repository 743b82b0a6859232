"""A quantizer that is only registered is in every table, figure and page, by the title that its entry has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_parsing import parse
from report_samples import sample
from study_samples import EFFECT, sample_results, sample_study, write_sample

from yolo_qreg.findings.claims import judge
from yolo_qreg.findings.evaluation import Comparison
from yolo_qreg.findings.gather import Findings, gather
from yolo_qreg.quant.registry import METHODS, MethodSpec
from yolo_qreg.report import evaluation, evaluation_tables, study
from yolo_qreg.report.figures import Sheet
from yolo_qreg.report.render import to_csv, to_markdown, to_text
from yolo_qreg.report.study_tables import claims, gains_by_corruption, losses_by_unit

TITLE = "Throw-Away"


@pytest.fixture
def findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Findings:
    """A small study of that quantizer and one of the paper's."""
    known = {**METHODS, "throwaway": MethodSpec("yolo_qreg.quant.dorefa:DoReFaQuantizer", range(2, 9), title=TITLE)}
    monkeypatch.setattr(METHODS, "_known", known)
    for bits in (8, 4):
        monkeypatch.setitem(EFFECT, f"throwaway-{bits}bit", 1.0)
    plan = sample_study(seeds=(0,), severities=(3,))
    plan = replace(plan, methods=("dorefa", "throwaway"), bits=(8, 4))
    write_sample(tmp_path, plan)
    return gather(plan, tmp_path)


def panels_of(sheets: tuple[Sheet, ...]) -> dict[str, str]:
    """Return everything that figures say, by their name."""
    return {sheet.name: repr(sheet.panels) for sheet in sheets}


def test_a_study_shows_it_everywhere(findings: Findings) -> None:
    """In each CSV file, on the terminal, in Markdown, in each figure of more than one unit, in each section."""
    judged = judge(findings)
    assert findings.pool is not None
    for name, table in study.csv_files(findings, judged).items():
        assert "throwaway" in to_csv(table), name
    for table in (claims(judged), losses_by_unit(findings), gains_by_corruption(findings.pool)):
        assert TITLE in to_text(table) and TITLE in to_markdown(table)
    said = panels_of(study.sheets(findings))
    assert {"heatmap-throwaway-8bit", "heatmap-throwaway-4bit", "losses-throwaway"} <= said.keys()
    for name in ("heatmap-throwaway-8bit", "heatmaps", "gains", "losses-throwaway"):
        assert f"8-bit {TITLE}" in said[name]
    page = parse(study.document(findings, judged, "paper"))
    for section in ("headline", "table1", "claims", "maps", "losses", "gaps"):
        assert f"8-bit {TITLE}" in page.section(section).text, section
    lines: list[str] = []
    study.print_study_summary(findings.study, Path("nowhere"), {0: sample_results(findings.study, 0)}, lines.append)
    assert any(line.startswith(f"8-bit {TITLE}") for line in lines)
    assert any(f"8-bit {TITLE} gains on FP32" in line for line in lines)


@pytest.mark.usefixtures("findings")
def test_an_evaluation_shows_it_too() -> None:
    """In the sentence, the table and the map of the page."""
    full = sample()
    kinds = {(row.corruption, row.severity) for row in full.scores if row.severity in (0, 3)}
    models = tuple(replace(model, method="throwaway") if model.method else model for model in full.models)
    results = replace(
        full,
        models=models,
        severities=(3,),
        scores=tuple(row for row in full.scores if (row.corruption, row.severity) in kinds),
        class_scores=(),
    )
    assert TITLE in to_text(evaluation_tables.headline(Comparison(results)))
    page = parse(evaluation.document(results, {}, (), "paper"))
    for section in ("headline", "maps", "setup"):
        assert TITLE in page.section(section).text
    assert f"8-bit {TITLE}" in panels_of(evaluation.sheets(Comparison(results), {}))["heatmap-dorefa-8bit"]
