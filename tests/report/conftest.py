"""One full report, written once: what it takes to look at it from many sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_samples import sample, write_gallery, write_runs

from yolo_qreg.evaluation.result_files import save
from yolo_qreg.report.evaluation import write_report


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with everything beside them: runs, gallery, page and figures. Not to be changed."""
    folder = tmp_path_factory.mktemp("report")
    write_runs(folder / "runs")
    write_gallery(folder / "gallery")
    save(sample(Path("runs")), folder)
    assert write_report(folder) == folder / "report.html"
    return folder
