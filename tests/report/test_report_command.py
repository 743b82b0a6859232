from __future__ import annotations

import shutil
from pathlib import Path

import PIL.Image
import pytest

from yolo_qreg.cli import main

FIGURES = {
    *(f"heatmap-dorefa-{bits}bit" for bits in (8, 4, 2)),
    "gains",
    "severity",
    "severity-by-corruption",
    "classes",
    "losses",
}


def files(folder: Path) -> dict[str, bytes]:
    """Return what the report wrote: the page and the figures."""
    paths = [folder / "report.html", *sorted((folder / "figures").iterdir())]
    return {path.name: path.read_bytes() for path in paths}


def test_the_command_writes_the_same_bytes_again(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the data files alone, in another place, with other settings of matplotlib; it prints the page's path."""
    matplotlib = pytest.importorskip("matplotlib")
    before = files(report)
    assert {Path(name).stem for name in before} == FIGURES | {"report"} and len(before) == 1 + 2 * len(FIGURES)
    copy = tmp_path / "copy"
    shutil.copytree(report, copy, ignore=shutil.ignore_patterns("report.html", "figures"))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        assert main(["report", str(copy)]) == 0
        assert matplotlib.rcParams["font.size"] == 20
    assert capsys.readouterr().out.strip() == str(copy / "report.html")
    after = files(copy)
    assert {name for name in before if before[name] != after.get(name)} == set()


def test_figures_are_pictures(report: Path) -> None:
    """PNG of a size for print, PDF without a date or a program's name."""
    for path in sorted((report / "figures").iterdir()):
        if path.suffix == ".png":
            with PIL.Image.open(path) as image:
                image.load()
                assert image.width >= 700 and "Software" not in image.info
                assert len(image.convert("RGB").getcolors(1 << 24)) > 20  # not an empty sheet
        else:
            raw = path.read_bytes()
            assert raw.startswith(b"%PDF") and b"CreationDate" not in raw and b"Producer" not in raw


def test_the_other_palette_changes_the_maps_only(report: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Blue and orange in the page's style; the rest of the page stays."""
    copy = tmp_path / "copy"
    shutil.copytree(report, copy)
    monkeypatch.setattr("yolo_qreg.report.evaluation.write_figures", lambda *_: ())
    assert main(["report", str(copy), "--palette", "accessible"]) == 0
    old, new = ((folder / "report.html").read_text(encoding="utf-8") for folder in (report, copy))
    assert "--better:60 168 98;" in old and "--better:82 152 212;" in new
    assert old.partition("</style>")[2] == new.partition("</style>")[2]


@pytest.mark.parametrize("content", [None, "{", '{"baseline": "fp32"}'])
def test_bad_folders_get_one_line(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No results, or damaged ones: exit status 2, one line, nothing written."""
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and captured.out == ""
    assert "eval-corrupted" in captured.err
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "figures").exists()
