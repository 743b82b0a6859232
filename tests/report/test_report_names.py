"""Pages and figures of what strangers call their models and classes, and of trainings that went wrong."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from report_samples import VOC, sample, write_runs

from yolo_qreg import fonts
from yolo_qreg.evaluation.gallery import TRUTH, _page
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, Results
from yolo_qreg.report import figures
from yolo_qreg.report.drawing import one_style
from yolo_qreg.report.evaluation import write_report
from yolo_qreg.report.panels import Chart, Line
from yolo_qreg.report.svg import svg


def small(runs: Path | None = None) -> Results:
    """Return the results of FP32 and 8 bits at two corruptions of one severity."""
    results = sample(runs)
    models, kinds = results.models[:2], (CLEAN, ALL, BENCHMARK, *results.corruptions[:2])
    kept = {
        field: tuple(
            row
            for row in getattr(results, field)
            if row.model in {model.name for model in models} and row.corruption in kinds and row.severity < 2
        )
        for field in ("scores", "class_scores", "deltas")
    }
    return replace(results, models=models, corruptions=results.corruptions[:2], severities=(1,), **kept)


@pytest.fixture
def no_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures as PNG alone; a PDF takes twice as long, for its fonts."""
    monkeypatch.setattr(figures, "NO_DATES", {"png": figures.NO_DATES["png"]})


@pytest.mark.usefixtures("no_pdf")
def test_a_flat_loss_of_any_size_is_a_chart(tmp_path: Path) -> None:
    """A run that exploded to one huge number has its page, and one whose epochs are noted twice."""
    write_runs(tmp_path / "runs", epochs=2)
    for name in ("fp32", "dorefa-8bit"):
        head = (tmp_path / "runs" / name / "results.csv").read_text().splitlines()[0]
        rows = [f"{epoch},60,1,1,1,3.91534e+28,3.91534e+28,1" for epoch in (1, 1, 2)]
        (tmp_path / "runs" / name / "results.csv").write_text("\n".join([head, *rows]) + "\n")
    page = write_report(tmp_path, small(Path("runs")))
    assert "validation: box" in page.read_text(encoding="utf-8")
    for value in (0.0, 0.5, -3.9e28, 3.9e28):
        with one_style():
            drawn = svg(Chart("t", (Line("m", 0, (1.0, 2.0), (value, value)),), "epoch"), "f1", "paper")
        assert "nan" not in drawn and "inf" not in drawn


def edges_are_white(path: Path) -> bool:
    """Tell whether nothing reaches the border of a picture, as what is cut off does."""
    with PIL.Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB"))
    return all((edge == 255).all() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


@pytest.mark.usefixtures("no_pdf")
@pytest.mark.parametrize("name", ["dorefa-8bit", "a-model-whose-name-says-everything-about-its-training-" * 2])
def test_nothing_in_figures_is_cut_off(name: str, tmp_path: Path) -> None:
    """With one compared model the text below the classes is wider than their chart; names may be long."""
    results = small()

    def renamed(rows: tuple[object, ...], field: str) -> tuple[object, ...]:
        return tuple(
            replace(row, **{field: name}) if getattr(row, field) == "dorefa-8bit" else row  # type: ignore[type-var]
            for row in rows
        )

    fields = {field: renamed(getattr(results, field), "model") for field in ("scores", "class_scores", "deltas")}
    write_report(tmp_path, replace(results, models=renamed(results.models, "name"), **fields))
    pictures = sorted((tmp_path / "figures").glob("*.png"))
    assert "classes" in {path.stem for path in pictures}
    assert [path.name for path in pictures if not edges_are_white(path)] == []


def write_font(path: Path, letters: str) -> Path:
    """Write a font whose glyph of each letter is a filled square of one em."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    names = [".notdef", *(f"u{ord(letter):X}" for letter in letters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), **dict.fromkeys(names[1:], square)})
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


def drawn(name: str) -> PIL.Image.Image:
    """Return a gallery's page whose only box is of a class of this name."""
    box = ((100.0, 100.0, 300.0, 300.0), 0, None)
    return PIL.Image.open(io.BytesIO(_page(np.zeros((400, 400, 3), np.uint8), [(TRUTH, [box])], [name])))


def test_names_in_other_scripts_are_drawn_with_an_installed_font(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Figures and gallery show the glyphs of a font that has them; without one, one line names the characters."""
    font_manager = pytest.importorskip("matplotlib.font_manager")
    known = font_manager.fontManager
    fonts._font_for.cache_clear()
    monkeypatch.setattr(known, "ttflist", [entry for entry in known.ttflist if "DejaVu" in entry.name])
    results = small()
    names = dict(zip(VOC, ["\u732b\u72ac", *VOC[1:]], strict=True))
    results = replace(results, class_scores=tuple(replace(row, name=names[row.name]) for row in results.class_scores))
    fonts._say_once.cache_clear()
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(figures, "NO_DATES", {"png": figures.NO_DATES["png"]})
        write_report(tmp_path / "without", results)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("no installed font has all characters of the names")
    fonts._font_for.cache_clear()
    known.addfont(write_font(tmp_path / "squares.ttf", "\u732b\u72ac "))
    write_report(tmp_path / "with", results)
    without, found = (
        np.array(PIL.Image.open(tmp_path / kind / "figures" / "classes.png").convert("L"))
        for kind in ("without", "with")
    )
    assert (found < 40).sum() > (without < 40).sum() + 300  # two filled squares of 7 points at 200 dpi
    white = np.array(drawn("\u732b\u72ac"))[90:120, 100:140].min(axis=2) > 200
    assert white.sum() > 200  # two squares of 13 px
    fonts._font_for.cache_clear()
