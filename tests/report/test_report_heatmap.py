from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from report_parsing import Node, parse
from report_samples import sample

from yolo_qreg.evaluation.results import Delta, Results
from yolo_qreg.report import heatmap, palette
from yolo_qreg.report.figures import fill_of, heatmap_figure


def _delta(corruption: str, points: float, half: float) -> Delta:
    return Delta(
        model="dorefa-8bit", corruption=corruption, severity=0, value=points, low=points - half, high=points + half
    )


@pytest.fixture(scope="module")
def results() -> Results:
    """Better, worse, undecided, touching 0, and nothing for the other cells."""
    deltas = (_delta("clean", 2.0, 1), _delta("fog", -4.0, 1), _delta("snow", 9.0, 9.5), _delta("frost", 1.0, 1.0))
    return replace(sample(), deltas=deltas)


def test_only_decided_cells_are_coloured(results: Results) -> None:
    """An interval that includes or touches 0 gives parentheses and a ring, however large the number."""
    cells = {next(cell.all("span", "name")).text: cell for cell in _cells(results)}
    assert {name: cells[name].classes - {"cell"} for name in ("clean", "fog", "snow", "frost", "spatter")} == {
        "clean": {"better"},
        "fog": {"worse"},
        "snow": {"undecided"},
        "frost": {"undecided"},
        "spatter": {"blank"},
    }
    assert {name for name, cell in cells.items() if "style" in cell.attributes} == {"clean", "fog"}
    assert next(cells["snow"].all("data")).text == "(+9.0)" and next(cells["clean"].all("data")).text == "+2.0"
    assert "undecided" in cells["snow"].attributes["title"] and "undecided" not in cells["fog"].attributes["title"]
    assert cells["spatter"].text == "spatter\N{EN DASH}"
    assert cells["spatter"].attributes["title"] == "spatter: not evaluated"


def test_cells_that_were_not_evaluated_keep_their_place(results: Results) -> None:
    """There are 20 cells whatever was evaluated."""
    assert Counter(cell.side for cell in heatmap.cells_of(results, "dorefa-8bit")) == {
        "better": 1,
        "worse": 1,
        "undecided": 2,
        "blank": 16,
    }


def test_undecided_numbers_do_not_stretch_the_scale(results: Results) -> None:
    """The scale is symmetric and ends at the largest coloured number, over all models."""
    assert heatmap.report_limit(results) == 4.0
    other = Delta(model="dorefa-2bit", corruption="fog", severity=0, value=-6.0, low=-7.0, high=-5.0)
    assert heatmap.report_limit(replace(results, deltas=(*results.deltas, other))) == 6.0
    key = [node.text for node in parse(heatmap.legend(4.0)).all("i")]
    assert key == ["\N{MINUS SIGN}4.0", "\N{MINUS SIGN}2.0", "0.0", "+2.0", "+4.0", "(+0.3)"]


@pytest.mark.parametrize("name", palette.PALETTES)
def test_zero_and_undecided_are_white_in_figures(results: Results, name: palette.Name) -> None:
    """Figures colour the same cells as the page: the better colour at full strength at the limit."""
    cells = {cell.corruption: cell for cell in heatmap.cells_of(results, "dorefa-8bit")}
    white = (1.0, 1.0, 1.0)
    assert fill_of(cells["snow"], 4.0, name) == fill_of(cells["spatter"], 4.0, name) == white
    assert fill_of(heatmap.Cell("fog", 0.0, decided=True), 4.0, name) == white
    full = tuple(value / 255 for value in palette.PALETTES[name]["light"].worse)
    assert fill_of(cells["fog"], 4.0, name) == full != fill_of(cells["clean"], 4.0, name)


def test_figures_print_every_number(results: Results) -> None:
    """A dashed edge where undecided, and the cell's text in each cell."""
    cells = heatmap.cells_of(results, "dorefa-8bit")
    axes = heatmap_figure(cells, 4.0, "title", "paper").axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[1:40:2] == [cell.text for cell in cells]
    dashed = [cell.corruption for cell, box in zip(cells, axes.patches, strict=True) if box.get_linestyle() != "-"]
    assert dashed == ["frost", "snow"]


@pytest.mark.parametrize("name", palette.PALETTES)
@pytest.mark.parametrize("theme", palette.TEXT)
def test_numbers_can_be_read_on_every_colour(name: palette.Name, theme: str) -> None:
    """Text on cells, coloured ink and lines on the surface: contrast by WCAG of 4.5 for text and 3 for lines."""
    text, surface = palette.TEXT[theme], palette.SURFACE[theme]
    colours = palette.PALETTES[name][theme]
    for fill in (colours.better, colours.worse):
        for opacity in (palette.FAINTEST, 0.5, 1.0):
            assert _contrast(text, palette.mix(fill, opacity, surface)) >= 4.5
    assert min(_contrast(ink, surface) for ink in (colours.better_ink, colours.worse_ink)) >= 4.5
    assert min(_contrast(line, surface) for line in palette.LINES[theme]) >= 3
    assert _contrast(palette.mix(text, 0.66, surface), surface) >= 4.5


def _contrast(one: palette.Rgb, other: palette.Rgb) -> float:
    def luminance(rgb: palette.Rgb) -> float:
        linear = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _cells(results: Results) -> list[Node]:
    return list(parse(heatmap.grid(heatmap.cells_of(results, "dorefa-8bit"), 4.0)).all("li"))
