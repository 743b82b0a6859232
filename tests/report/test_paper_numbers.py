"""The paper's own numbers, through the functions that make our tables, give the paper's evaluation_tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from report_samples import models, sample, score

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.results import ALL, CLEAN, Delta, Results
from yolo_qreg.findings import paper
from yolo_qreg.findings.evaluation import Comparison
from yolo_qreg.findings.names import title_of
from yolo_qreg.report import evaluation_tables
from yolo_qreg.report.drawing import COLUMNS, draw
from yolo_qreg.report.evaluation import _maps, _pairs
from yolo_qreg.report.palette import FAINTEST, PALETTES
from yolo_qreg.report.render import ascii_text, to_text
from yolo_qreg.report.table import Table

MEANS = {"fp32": 28.78, "dorefa-8bit": 30.34, "dorefa-4bit": 24.90, "dorefa-2bit": 14.66}
EQUATION5 = {"dorefa-8bit": "0.96", "dorefa-4bit": "-2.30", "dorefa-2bit": "-7.86"}
FIG6_8BIT = """
    clean +3.3              brightness +3.2       contrast -1.0     defocus blur +1.0    elastic transform +0.7
    fog -0.4                frost +2.7            gaussian blur +2.1  gaussian noise +2.0  glass blur +2.3
    impulse noise +1.3      JPEG compression +2.9 motion blur +1.4  pixelate -0.2        saturate +2.1
    shot noise +2.1         snow +3.1             spatter +3.2      speckle noise +1.6   zoom blur -0.5
"""


@pytest.fixture(scope="module")
def printed() -> Comparison:
    """Results whose means are Table 1's and whose deltas are Fig. 6's, all decided."""
    scores = [
        score(name, corruption, severity, (points + 10 * (corruption == CLEAN)) / 100)
        for name, points in MEANS.items()
        for corruption, severity in ((CLEAN, 0), *((c, 3) for c in CORRUPTIONS))
    ]
    deltas = [
        Delta(model=f"dorefa-{bits}bit", corruption=name, severity=0, value=p, low=p - 0.01, high=p + 0.01)
        for bits in (8, 4, 2)
        for name, p in {**paper.printed("dorefa", bits).cells, ALL: MEANS[f"dorefa-{bits}bit"] - MEANS["fp32"]}.items()
        if p is not None
    ]
    full = sample()
    results = Results(
        models=models(),
        baseline="fp32",
        corruptions=tuple(CORRUPTIONS),
        severities=(3,),
        scores=tuple(scores),
        class_scores=full.class_scores,
        deltas=tuple(deltas),
    )
    return Comparison(results)


def texts(table: Table) -> dict[str, tuple[str, ...]]:
    """Return the cells of a table as they are printed, by the name of their row."""
    return {row.cells[0].text: tuple(ascii_text(cell.text) for cell in row.cells[1:]) for row in table.rows}


def test_the_headline_is_table_1(printed: Comparison) -> None:
    """Mean mAP, gain and Equation 5 of each row; the paper rounds 4-bit Eq. 5 up to -2.31."""
    table = evaluation_tables.headline(printed)
    assert texts(table.only("model", "corrupted", "gain", "equation5")) == {
        "fp32": ("28.78", "-", "-"),
        "dorefa-8bit": ("30.34", "+1.6", EQUATION5["dorefa-8bit"]),
        "dorefa-4bit": ("24.90", "-3.9", EQUATION5["dorefa-4bit"]),
        "dorefa-2bit": ("14.66", "-14.1", EQUATION5["dorefa-2bit"]),
    }
    for corrupted, clean, mpc in texts(table.only("model", "corrupted", "clean", "mpc")).values():
        assert (float(clean), mpc) == (pytest.approx(float(corrupted) + 10), corrupted)


def test_the_terminal_shows_table_1(printed: Comparison) -> None:
    """The same numbers in ASCII."""
    text = to_text(evaluation_tables.headline(printed).without("quantizer"))
    assert text.isascii()
    for line, (name, points) in zip(text.splitlines()[2:], MEANS.items(), strict=True):
        assert line.split()[:3] == [name, "32" if name == "fp32" else name[7], f"{points:.2f}"]
        assert EQUATION5.get(name, "-") in line.split()


def test_cells_stand_where_fig_6_has_them(printed: Comparison) -> None:
    """Clean first, then the alphabet, five in a row."""
    shown = [f"{title_of(cell.corruption)} {ascii_text(cell.text)}" for cell in _maps(printed)[0].cells]
    assert " ".join(shown).split() == FIG6_8BIT.split()
    assert COLUMNS == 5 and len(shown) == 20


def test_cells_are_coloured_by_their_number(printed: Comparison) -> None:
    """Better and worse by sign; the opacity is linear in the number, from faintest at 0 to 1 at the limit."""
    panel = _maps(printed)[2]
    axes = Figure().add_subplot()
    draw(axes, panel, "paper", [])
    assert panel.limit == 17.8
    colours = PALETTES["paper"]["light"]
    for cell, box in zip(panel.cells, axes.patches, strict=True):
        points = cell.points or 0.0
        rgb = colours.better if points > 0 else colours.worse
        *shade, opacity = box.get_facecolor()
        assert shade == pytest.approx([value / 255 for value in rgb])
        assert opacity == pytest.approx(FAINTEST + (1 - FAINTEST) * abs(points) / 17.8)


def test_our_tables_stand_beside_the_papers(printed: Comparison) -> None:
    """Both halves of the comparison hold the same means; the paper's cells are marked as such."""
    table = evaluation_tables.beside_the_paper(printed)
    assert table is not None
    assert [column.paper for column in table.columns] == [False] * 4 + [True] * 3
    for (name, points), row in zip(MEANS.items(), table.rows, strict=True):
        assert row.cells[0].text == name and row.cells[1].text == row.cells[4].text == f"{points:.2f}"
    pairs = _pairs(printed)
    assert [bool(panel.paper) for panel in pairs] == [False, True] * 3 and len({panel.limit for panel in pairs}) == 1
    assert all(panel.paper == "Fig. 6 right" for panel in pairs[1::2])


def test_the_paper_is_shown_only_where_it_applies(printed: Comparison) -> None:
    """Not for other classes, bits, quantizers or baselines; Table 1 is DoReFa's and needs all 19 corruptions."""
    results = printed.results
    assert [panel.title for panel in _pairs(printed)[::2]] == ["dorefa-8bit", "dorefa-4bit", "dorefa-2bit"]
    shapes = tuple(replace(s, name=s.name + "s") for s in results.class_scores)
    five = tuple(replace(m, bits=5) if m.method else m for m in results.models)
    others = ({"class_scores": shapes}, {"class_scores": ()}, {"models": five}, {"baseline": "dorefa-8bit"})
    for other in others:
        changed = Comparison(replace(results, **other))
        assert not _pairs(changed) and evaluation_tables.beside_the_paper(changed) is None
    lsq = Comparison(
        replace(results, models=tuple(replace(m, method="lsq") if m.method else m for m in results.models))
    )
    assert _pairs(lsq) and evaluation_tables.beside_the_paper(lsq) is None
    assert (
        evaluation_tables.beside_the_paper(Comparison(replace(results, corruptions=results.corruptions[:18]))) is None
    )
    assert sum(cell.side == "blank" for panel in _pairs(lsq)[1::2] for cell in panel.cells) == 3  # lost in our copy
    assert not any(cell.side == "blank" for panel in _pairs(printed)[1::2] for cell in panel.cells)
