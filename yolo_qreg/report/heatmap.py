"""The paper's heat maps: 4 x 5 cells, clean first, then the 19 corruptions by alphabet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import Results
from yolo_qreg.findings.names import paper_order, title_of
from yolo_qreg.report import palette
from yolo_qreg.report.markup import Html, el
from yolo_qreg.report.text import DASH, compared, data, digits_of, find_delta, interval, signed

COLUMNS = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        corruption: `clean` or one of the 19.
        points: Model minus baseline; None where there is no number.
        decided: Whether the data support a colour.
        note: What else is known, for readers who point at it.
    """

    corruption: str
    points: float | None
    decided: bool
    note: str = ""

    @property
    def text(self) -> str:
        """The number as printed: in parentheses where it is undecided, a dash where there is none."""
        if self.points is None:
            return DASH
        return signed(self.points) if self.decided else f"({signed(self.points)})"

    @property
    def side(self) -> str:
        """`better`, `worse` or `zero`; `undecided` or `blank` where there is no colour to give."""
        if self.points is None:
            return "blank"
        return palette.side(self.points) if self.decided else "undecided"


def cells_of(results: Results, model: str) -> tuple[Cell, ...]:
    """Return a model's 20 cells in the paper's order; those that were not evaluated are blank."""
    return tuple(_cell(name, find_delta(results, model, name)) for name in paper_order(CORRUPTIONS))


def cells_from(points: Mapping[str, float | None]) -> tuple[Cell, ...]:
    """Return the 20 cells of a map without intervals, such as the paper's."""
    return tuple(Cell(name, points.get(name), decided=True) for name in paper_order(CORRUPTIONS))


def _cell(corruption: str, gain: Estimate | None) -> Cell:
    if gain is None:
        return Cell(corruption, None, decided=False, note="not evaluated")
    note = f"{signed(gain.value, digits_of(gain))} points {interval(gain)}"
    return Cell(corruption, gain.value, gain.decided, note + ("" if gain.decided else ", undecided"))


def limit_of(maps: Iterable[Sequence[Cell]]) -> float:
    """Return the end of the one symmetric scale that these maps share, from their coloured cells."""
    return palette.limit_of(cell.points for cells in maps for cell in cells if cell.decided and cell.points is not None)


def report_limit(results: Results) -> float:
    """Return the scale that all models of a report share."""
    return limit_of(cells_of(results, model.name) for model in compared(results))


def grid(cells: Sequence[Cell], limit: float) -> Html:
    """Return the cells as a list that CSS lays out in rows of five."""
    return el("ol", (_item(cell, limit) for cell in cells), class_="cells")


def _item(cell: Cell, limit: float) -> Html:
    coloured = cell.side in {"better", "worse"} and cell.points is not None
    return el(
        "li",
        el("span", title_of(cell.corruption), class_="name"),
        data(cell.points, cell.text),
        class_=f"cell {cell.side}",
        style=f"--a:{palette.strength(cell.points or 0, limit):.3f}" if coloured else None,
        title=f"{title_of(cell.corruption)}: {cell.note}" if cell.note else None,
    )


def legend(limit: float, blank: str | None = None) -> Html:
    """Return the key to the colours: the scale, and what an uncoloured cell means.

    Args:
        limit: End of the scale, in points of mAP.
        blank: What a cell without a number means, where there are such cells.
    """
    half = limit / 2
    steps = [(value, palette.side(value)) for value in (-limit, -half, 0.0, half, limit)]
    scale = el(
        "span",
        (
            el("i", signed(value), class_=f"cell {side}", style=f"--a:{palette.strength(value, limit):.3f}")
            for value, side in steps
        ),
        class_="scale",
    )
    return el(
        "p",
        el("span", "worse ", scale, " better"),
        el("span", el("i", f"({signed(0.3)})", class_="cell undecided"), " undecided: the 95% interval includes 0"),
        el("span", "of twenty cells without any true difference, about one is decided by chance"),
        el("span", el("i", DASH, class_="cell blank"), f" {blank}") if blank else None,
        class_="legend",
    )
