"""The results in the documentation are those that the published numbers give."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from study_samples import sample_study, write_sample

from yolo_qreg.cli import main

ROOT = Path(__file__).parents[2]
SHOWN = ROOT / "docs" / "results" / "voc-lite"
MOST_BYTES = 5e6


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool that publishes."""
    spec = importlib.util.spec_from_file_location("publish_study", ROOT / "tools" / "publish_study.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_numbers(tool: ModuleType) -> None:
    """Every block between marks, on both pages, is what the tool computes; nobody typed a number."""
    texts = tool.blocks(SHOWN)
    found = set()
    for page in (ROOT / "README.md", ROOT / "docs" / "results" / "README.md"):
        text = page.read_text(encoding="utf-8")
        for name, block in texts.items():
            if f"<!-- {name}:begin -->" in text:
                assert text.split(f"<!-- {name}:begin -->\n")[1].split(f"\n<!-- {name}:end -->")[0] == block
                found.add((page.parent.name, name))
    assert found == {(ROOT.name, "table1"), ("results", "table1"), ("results", "claims"), ("results", "gaps")}


def test_what_is_published(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the report is computed from, no weights, no pictures of the data set, no folder of a machine."""
    monkeypatch.setattr("yolo_qreg.report.figures.DPI", 40)
    study = sample_study(seeds=(0, 1))
    write_sample(tmp_path / "study", study)
    (tmp_path / "study" / "seed-0" / "gallery").mkdir()
    (tmp_path / "study" / "seed-0" / "gallery" / "clean.jpg").write_bytes(b"picture")
    tool.publish(tmp_path / "study", tmp_path / "docs")
    files = {path.relative_to(tmp_path / "docs").as_posix() for path in (tmp_path / "docs").rglob("*.*")}
    seeds = {
        f"seed-{seed}/{name}"
        for seed in (0, 1)
        for name in ("scores.csv", "class_scores.csv", "deltas.csv", "run.json")
    }
    tables = {f"{name}.csv" for name in ("table1", "maps", "gaps", "claims", "losses")}
    assert files == seeds | tables | {"study.yaml"} | {f"figures/{name}" for name in tool.PICTURES}
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "docs").rglob("*.[cyj]*"))
    assert tool.blocks(tmp_path / "docs") == tool.blocks(tmp_path / "study")


def test_the_report_can_be_written_from_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables come out as published, and there is a page."""
    monkeypatch.setattr("yolo_qreg.report.study.write_figures", lambda *_: ())
    shutil.copytree(SHOWN, tmp_path / "study")
    tables = {path.name: path.read_text() for path in (tmp_path / "study").glob("*.csv")}
    assert len(tables) == 5
    assert main(["report", str(tmp_path / "study")]) == 0
    assert {path.name: path.read_text() for path in (tmp_path / "study").glob("*.csv")} == tables
    assert (tmp_path / "study" / "report.html").is_file()
    files = [path for path in SHOWN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    absolute = re.compile(r"(?<![\w.<])/\w+/")
    assert not any(absolute.search(path.read_text()) for path in files if path.suffix != ".png")
