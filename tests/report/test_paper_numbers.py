"""The paper's own numbers, through the functions that make our tables, give the paper's tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_parsing import parse
from report_samples import models, sample, score

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.results import ALL, CLEAN, Delta, Results
from yolo_qreg.findings import paper
from yolo_qreg.report import comparison, headline, heatmap, terminal
from yolo_qreg.report.palette import FAINTEST

MEANS = {"fp32": 28.78, "dorefa-8bit": 30.34, "dorefa-4bit": 24.90, "dorefa-2bit": 14.66}
EQUATION5 = {"dorefa-8bit": "0.96", "dorefa-4bit": "-2.30", "dorefa-2bit": "-7.86"}
FIG6_8BIT = """
    clean +3.3              brightness +3.2       contrast -1.0     defocus blur +1.0    elastic transform +0.7
    fog -0.4                frost +2.7            gaussian blur +2.1  gaussian noise +2.0  glass blur +2.3
    impulse noise +1.3      JPEG compression +2.9 motion blur +1.4  pixelate -0.2        saturate +2.1
    shot noise +2.1         snow +3.1             spatter +3.2      speckle noise +1.6   zoom blur -0.5
"""


@pytest.fixture(scope="module")
def printed() -> Results:
    """Results whose means are Table 1's and whose deltas are Fig. 6's, all decided."""
    scores = [
        score(name, corruption, severity, (points + 10 * (corruption == CLEAN)) / 100)
        for name, points in MEANS.items()
        for corruption, severity in ((CLEAN, 0), *((c, 3) for c in CORRUPTIONS))
    ]
    deltas = [
        Delta(model=f"dorefa-{entry.bits}bit", corruption=name, severity=0, value=p, low=p - 0.01, high=p + 0.01)
        for entry in paper.maps()
        if entry.method == "dorefa"
        for name, p in {**entry.points, ALL: MEANS[f"dorefa-{entry.bits}bit"] - MEANS["fp32"]}.items()
        if p is not None
    ]
    full = sample()
    return Results(
        models=models(),
        baseline="fp32",
        corruptions=tuple(CORRUPTIONS),
        severities=(3,),
        scores=tuple(scores),
        class_scores=full.class_scores,
        deltas=tuple(deltas),
    )


def test_the_headline_is_table_1(printed: Results) -> None:
    """Mean mAP, gain and Equation 5 of each row; the paper rounds 4-bit Eq. 5 up to -2.31."""
    rows = list(parse(headline.table(printed)).all("tr"))[1:]
    found = {}
    for row in rows:
        name, *cells = [cell.text.replace("\N{MINUS SIGN}", "-") for cell in row.children]
        found[name.removesuffix(" baseline")] = (cells[2], cells[3], cells[5])
        assert cells[6:8] == [f"{float(cells[2]) + 10:.2f}", cells[2]]  # clean, and mPC like the mean over 19
    assert found == {
        "fp32": ("28.78", "\N{EN DASH}", "\N{EN DASH}"),
        "dorefa-8bit": ("30.34", "+1.6", EQUATION5["dorefa-8bit"]),
        "dorefa-4bit": ("24.90", "-3.9", EQUATION5["dorefa-4bit"]),
        "dorefa-2bit": ("14.66", "-14.1", EQUATION5["dorefa-2bit"]),
    }


def test_the_terminal_shows_table_1(printed: Results) -> None:
    """The same numbers in ASCII."""
    text = terminal.headline_table(printed)
    assert text.isascii()
    for line, (name, points) in zip(text.splitlines()[2:], MEANS.items(), strict=True):
        assert line.split()[:3] == [name, "32" if name == "fp32" else name[7], f"{points:.2f}"]
        assert EQUATION5.get(name, "-") in line.split()


def test_cells_stand_where_fig_6_has_them(printed: Results) -> None:
    """Clean first, then the alphabet, five in a row."""
    cells = list(parse(heatmap.grid(heatmap.cells_of(printed, "dorefa-8bit"), 20)).all("li"))
    shown = [" ".join(child.text.replace("\N{MINUS SIGN}", "-") for child in cell.children) for cell in cells]
    assert " ".join(shown).split() == FIG6_8BIT.split()
    assert heatmap.COLUMNS == 5 and len(shown) == 20


def test_cells_are_coloured_by_their_number(printed: Results) -> None:
    """Better and worse by sign; the opacity is linear in the number, from faintest at 0 to 1 at the limit."""
    for cell in parse(heatmap.grid(heatmap.cells_of(printed, "dorefa-2bit"), 17.8)).all("li"):
        (number,) = cell.all("data")
        points = float(number.attributes["value"])
        assert cell.classes == {"cell", "better" if points > 0 else "worse"}
        expected = FAINTEST + (1 - FAINTEST) * abs(points) / 17.8
        assert float(cell.attributes["style"].removeprefix("--a:")) == pytest.approx(expected, abs=6e-4)
    assert heatmap.report_limit(printed) == 17.8


def test_our_tables_stand_beside_the_papers(printed: Results) -> None:
    """Both halves of the comparison hold the same means; the paper's cells are marked as such."""
    rows = list(parse(comparison.table(printed)).all("tr"))[2:]
    for row, points in zip(rows, MEANS.values(), strict=True):
        theirs = [cell.text for cell in row.all("td", "from-paper")]
        assert row.children[2].text == theirs[0] == f"{points:.2f}"
        assert len(theirs) == 3
    figures = list(parse(comparison.map_pairs(printed)).all("figure"))
    assert ["from-paper" in figure.classes for figure in figures] == [False, True] * 3
    assert all("Fig. 6 right" in figure.text for figure in figures[1::2])


def test_the_paper_is_shown_only_where_it_applies(printed: Results) -> None:
    """Not for other classes, other bits or other quantizers; Table 1 is DoReFa's and needs all 19 corruptions."""
    assert [model.name for model, _ in comparison.matches(printed)] == ["dorefa-8bit", "dorefa-4bit", "dorefa-2bit"]
    assert comparison.has_table(printed)
    shapes = tuple(replace(s, name=s.name + "s") for s in printed.class_scores)
    assert not comparison.matches(replace(printed, class_scores=shapes))
    assert not comparison.matches(replace(printed, class_scores=()))
    five = tuple(replace(m, bits=5) if m.method else m for m in printed.models)
    assert not comparison.matches(replace(printed, models=five))
    lsq = replace(printed, models=tuple(replace(m, method="lsq") if m.method else m for m in printed.models))
    assert comparison.matches(lsq) and not comparison.has_table(lsq)
    assert not comparison.has_table(replace(printed, corruptions=printed.corruptions[:18]))
    assert "number lost in our copy" in comparison.map_pairs(lsq)  # three of 2 bits
    assert "number lost in our copy" not in comparison.map_pairs(printed)
