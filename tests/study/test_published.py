"""The results in the documentation are those that the published numbers give."""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from study_samples import sample_study, write_sample

from yolo_qreg.cli import main
from yolo_qreg.findings.losses import LOSSES, History, write_histories
from yolo_qreg.report.render import to_markdown
from yolo_qreg.report.text import DASH, MINUS
from yolo_qreg.study.plan import note_plan

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
MOST_BYTES = 9e6


def load_tool(name: str, folder: str = "tools") -> ModuleType:
    """Return a module that is no part of the package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool that publishes."""
    return load_tool("publish_study")


def test_tables_are_those_of_the_numbers(tool: ModuleType) -> None:
    """Every block between marks, on all pages, is what the tools compute; nobody typed a number."""
    found = set()
    for folder, pages in tool.PAGES.items():
        texts = tool.blocks(folder)
        if folder in (tables := load_tool("publish_controls")).PAGES:
            texts["controls"] = to_markdown(tables.controls(folder))
        if (folder / "controls").is_dir():
            statistics = load_tool("batchnorm", "benchmarks")
            texts["batchnorm"] = to_markdown(statistics.summary(statistics.read_kept()))
        for page in pages:
            text = page.read_text(encoding="utf-8")
            for name in re.findall(r"<!-- (\w+):begin -->", text):
                if name in texts:
                    block = text.split(f"<!-- {name}:begin -->\n")[1].split(f"\n<!-- {name}:end -->")[0]
                    assert block == texts[name], f"{name} of {page.name}"
                    found.add((page.relative_to(ROOT).as_posix(), name))
    everything = {"table1", "claims", "losses", "gaps", "controls", "batchnorm"}
    assert found == {
        ("README.md", "table1"),
        *(("docs/results/README.md", name) for name in everything - {"batchnorm"}),
        *(("docs/results/overfitting.md", name) for name in everything),
        *(("docs/results/widths.md", name) for name in everything - {"losses", "controls", "batchnorm"}),
    }


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


def assert_same(path: Path, text: str) -> None:
    """Compare a table with the text of another; other releases of numpy and scipy round in other places."""

    def cells(of: str) -> list[Any]:
        return [number(cell) for row in csv.reader(of.splitlines()) for cell in row]

    assert cells(path.read_text()) == [
        pytest.approx(cell, rel=1e-6, abs=1e-9) if isinstance(cell, float) else cell for cell in cells(text)
    ], path.name


def number(cell: str) -> float | str:
    """Return the value of a cell that is a number; other cells as they are."""
    try:
        return float(cell)
    except ValueError:
        return cell


@pytest.mark.parametrize("name", ["regularization", "overfitting", "voc-lite"])
def test_the_report_can_be_written_from_what_is_published(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables come out as published, and there is a page."""
    monkeypatch.setattr("yolo_qreg.report.study.write_figures", lambda *_: ())
    shutil.copytree(RESULTS / name, tmp_path / "study")
    tables = {path.name: path.read_text() for path in (tmp_path / "study").glob("*.csv")}
    assert len(tables) == 5
    assert main(["report", str(tmp_path / "study")]) == 0
    for table, text in tables.items():
        assert_same(tmp_path / "study" / table, text)
    assert (tmp_path / "study" / "report.html").is_file()


def test_what_is_published_is_small_and_names_no_machine() -> None:
    """No path but those of the documentation itself."""
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    absolute = re.compile(r"(?<![\w.<])/\w+/")
    texts = [path for path in files if path.suffix in (".yaml", ".csv", ".json", ".txt")]
    assert len(texts) > 20 and not any(absolute.search(path.read_text()) for path in texts)


def test_controls_are_held_against_the_twins_of_their_epochs(tmp_path: Path) -> None:
    """Means over their two epochs against the same two of three; seeds change alike, so intervals have no width."""
    study = replace(sample_study(seeds=(0, 1)), train={"epochs": 3})
    note_plan(study, tmp_path / "study.yaml")

    def history(*validation: float) -> History:
        values = {"train": [2.0, 1.5, 1.0][: len(validation)], "val": list(validation)}
        return History({f"{k}/{loss}_loss": tuple(enumerate(v, 1)) for k, v in values.items() for loss in LOSSES})

    write_histories({"fp32-seed0": history(3, 2.5, 9), "fp32-seed1": history(3, 2.6, 9)}, tmp_path)
    (tmp_path / "controls" / "decay-0.5").mkdir(parents=True)
    kept = {"fp32-seed0": history(3, 2.4), "fp32-seed1": history(3, 2.5)}
    write_histories(kept, tmp_path / "controls" / "decay-0.5")
    rows = to_markdown(load_tool("publish_controls").controls(tmp_path)).splitlines()[2:]
    less = "-0.150 [-0.150, -0.150]".replace("-", MINUS)
    assert rows == [
        f"| FP32, weight decay 0.0005 (the study's) | 1 to 3 | 4.500 | 14.550 | 10.050 | {DASH} | {DASH} | {DASH} |",
        f"| FP32, weight decay 0.5 | 1 to 2 | 5.250 | 8.175 | 2.925 | (0.000) [0.000, 0.000] | {less} | {less} |",
    ]


def test_losses_are_compared_with_statistics_of_both_kinds() -> None:
    """By hand: FP32 falls by 1 with new statistics, 4 bits by nothing; what was a gain is a loss."""
    losses = {("dorefa", "32"): ((6.0, 5.0), (6.2, 5.2)), ("lsq", "4"): ((5.5, 5.5), (5.7, 5.7))}
    rows = [
        {"weights": method, "bits": bits, "seed": str(seed), "as saved": str(saved), "estimated anew": str(anew)}
        for (method, bits), found in losses.items()
        for seed, (saved, anew) in enumerate(found)
    ]
    lines = to_markdown(load_tool("batchnorm", "benchmarks").summary(rows)).splitlines()[2:]
    less = "-0.500 [-0.500, -0.500]".replace("-", MINUS)
    assert lines == [
        f"| FP32 | 6.100 | 5.100 | {DASH} | {DASH} |",
        f"| 4-bit LSQ | 5.600 | 5.600 | {less} | +0.500 [0.500, 0.500] |",
    ]
