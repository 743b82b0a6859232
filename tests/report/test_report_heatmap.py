from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from report_parsing import parse
from report_samples import sample

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.results import Delta, Results
from yolo_qreg.findings.evaluation import Comparison
from yolo_qreg.report import palette
from yolo_qreg.report.drawing import draw, one_style
from yolo_qreg.report.evaluation import _maps
from yolo_qreg.report.panels import HeatMap, MapCell
from yolo_qreg.report.svg import svg


def _delta(corruption: str, points: float, half: float) -> Delta:
    return Delta(
        model="dorefa-8bit", corruption=corruption, severity=0, value=points, low=points - half, high=points + half
    )


@pytest.fixture(scope="module")
def results() -> Results:
    """Better, worse, undecided, touching 0, and nothing for the other cells."""
    deltas = (_delta("clean", 2.0, 1), _delta("fog", -4.0, 1), _delta("snow", 9.0, 9.5), _delta("frost", 1.0, 1.0))
    return replace(sample(), deltas=deltas)


@pytest.fixture(scope="module")
def panel(results: Results) -> HeatMap:
    """The map of 8 bits."""
    return _maps(Comparison(results))[0]


def _drawn(panel: HeatMap, colours: palette.Name = "paper") -> Axes:
    axes = Figure().add_subplot()
    draw(axes, panel, colours, [])
    return axes


def test_only_decided_cells_are_coloured(panel: HeatMap) -> None:
    """An interval that includes or touches 0 gives parentheses, however large the number; what is blank says why."""
    cells = {cell.corruption: cell for cell in panel.cells}
    sides = {name: cells[name].side for name in ("clean", "fog", "snow", "frost", "spatter")}
    assert list(sides.values()) == ["better", "worse", "undecided", "undecided", "blank"]
    assert (cells["snow"].text, cells["clean"].text, cells["spatter"].text) == ("(+9.0)", "+2.0", "\N{EN DASH}")
    assert "undecided" in cells["snow"].note and "undecided" not in cells["fog"].note
    assert cells["spatter"].note == "not evaluated"
    assert Counter(cell.side for cell in panel.cells) == {"better": 1, "worse": 1, "undecided": 2, "blank": 16}


def test_cells_of_a_map_are_judged_together(results: Results) -> None:
    """One that barely excludes 0 beside 19 that do not is chance, and is coloured beside 19 that are far from it."""
    others = [name for name in CORRUPTIONS if name != "fog"]
    for points, side in ((0.1, "undecided"), (5.0, "better")):
        deltas = (_delta("fog", 1.0, 0.9), *(_delta(name, points, 1.0) for name in others))
        assert all(delta.decided for delta in deltas if delta.corruption == "fog")
        (panel, *_) = _maps(Comparison(replace(results, deltas=deltas)))
        fog = next(cell for cell in panel.cells if cell.corruption == "fog")
        assert (fog.side, "undecided among so many" in fog.note) == (side, side == "undecided")


def test_undecided_numbers_do_not_stretch_the_scale(results: Results, panel: HeatMap) -> None:
    """The scale is symmetric and ends at the largest coloured number, over all models."""
    assert panel.limit == 4.0
    other = Delta(model="dorefa-2bit", corruption="fog", severity=0, value=-6.0, low=-7.0, high=-5.0)
    maps = _maps(Comparison(replace(results, deltas=(*results.deltas, other))))
    assert [entry.limit for entry in maps] == [6.0, 6.0, 6.0]


@pytest.mark.parametrize("name", palette.PALETTES)
def test_a_drawn_cell_has_its_number_and_colour(panel: HeatMap, name: palette.Name) -> None:
    """The worse colour in full at the limit, a dashed ring where undecided and none of the two colours elsewhere."""
    axes = _drawn(panel, name)
    boxes = dict(zip((cell.corruption for cell in panel.cells), axes.patches, strict=True))
    assert [text.get_text() for text in axes.texts][1::2] == [cell.text for cell in panel.cells]
    assert [kind for kind, box in boxes.items() if box.get_linestyle() not in {"-", "solid"}] == ["frost", "snow"]
    worse = palette.PALETTES[name]["light"].worse
    assert boxes["fog"].get_facecolor() == to_rgba([value / 255 for value in worse])
    assert boxes["snow"].get_facecolor()[3] == 0
    zero = _drawn(HeatMap("m", (MapCell("fog", 0.0),), limit=4.0), name)
    assert zero.patches[0].get_facecolor()[3] == 0


def test_a_map_of_a_page_can_be_read_by_all(panel: HeatMap) -> None:
    """Its text is text, its colours are those of the page, and it and each cell say what they are."""
    with one_style():
        text = str(svg(replace(panel, title="a < b"), "f1", "paper"))
    (tree,) = parse(text).all("svg")
    assert "#" not in text.replace("url(#", "") and "font-family" not in text and " id=" not in text
    assert tree.attributes["role"] == "img" and next(tree.all("title")).text == "a < b"
    titles = {title.text for title in tree.all("title")}
    assert {"clean: +2.0 [1.0, 3.0] points", "spatter: not evaluated"} <= titles
    words = [node.text for node in tree.all("text")]
    assert {"(+9.0)", "gaussian", "noise", "JPEG", "compression"} <= set(words)
    fills = {style for node in tree.all("path") if "fill: rgb(var(--" in (style := node.attributes["style"])}
    assert any("--better" in style for style in fills) and any("--worse" in style for style in fills)


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
    assert _contrast(palette.mix(text, palette.WEAK["muted"], surface), surface) >= 4.5


@pytest.mark.parametrize("name", palette.PALETTES)
def test_colours_of_figures_are_told_apart(name: palette.Name) -> None:
    """Each stands for one variable of the page."""
    assert len(palette.variables(name)) == len(palette.WEAK) + 6 + len(palette.LINES["light"])


def _contrast(one: palette.Rgb, other: palette.Rgb) -> float:
    def luminance(rgb: palette.Rgb) -> float:
        linear = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
