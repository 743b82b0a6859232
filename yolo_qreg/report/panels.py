"""Figures as data: heat maps, lines, dots and points; `drawing` draws them."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.report.palette import ink_of
from yolo_qreg.report.text import DASH, signed


@dataclass(frozen=True, slots=True)
class MapCell:
    """One cell of a heat map.

    Attributes:
        corruption: `clean` or one of the 19.
        points: Model minus baseline; None where there is no number.
        decided: Whether the data support a colour, all cells of the map judged together.
        note: What else is known, for readers who point at it.
    """

    corruption: str
    points: float | None
    decided: bool = True
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
        return ink_of(self.points) if self.decided else "undecided"


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The paper's heat map: 4 x 5 cells, clean first, then the 19 corruptions by alphabet.

    Attributes:
        limit: The end of the scale, which maps that are looked at together share.
        about: What else the title says.
        paper: Where the paper printed it; nothing for our own.
    """

    title: str
    cells: tuple[MapCell, ...]
    limit: float = 1.0
    about: str = ""
    paper: str = ""

    @property
    def blank(self) -> bool:
        """Whether some cell has no number."""
        return any(cell.side == "blank" for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        name: For the key.
        index: 0 for the baseline, others in order: its colour.
        bars: Intervals around its points.
        band: From lowest to highest around each of its points, as an area.
        low: Its lowest point, where that is marked.
    """

    name: str
    index: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    bars: tuple[tuple[float, float], ...] = ()
    band: tuple[tuple[float, float], ...] = ()
    low: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines, at least one.

    Attributes:
        x_ticks: Marks of the axis; whole numbers in its range where none are given.
        unit: What the y axis counts.
        y_range: That of its lines unless charts are to be compared with each other.
        marked: Whether each point is.
        small: Whether it is one of many.
    """

    title: str
    lines: tuple[Line, ...]
    x_label: str
    x_ticks: tuple[tuple[float, str], ...] = ()
    unit: str = ""
    y_range: tuple[float, float] | None = None
    marked: bool = True
    small: bool = False

    @property
    def key(self) -> tuple[tuple[str, int], ...]:
        """What the colours mean: names and indices."""
        return tuple((line.name, line.index) for line in self.lines)


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of dots: what is gained on corrupted pictures (full) and on clean ones (hollow)."""

    name: str
    index: int
    corrupted: Estimate | None
    clean: Estimate | None


@dataclass(frozen=True, slots=True)
class Dots:
    """Rows of dots around 0; `span` is their common range where plots are looked at together."""

    title: str
    rows: tuple[Dot, ...]
    span: tuple[float, float]
    x_label: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """One point of a scatter plot: its index is its colour, as of lines, its note for readers who point at it."""

    x: float
    y: float
    index: int
    note: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points, at least one.

    Attributes:
        key: What the colours mean: names and indices.
        log: Whether both axes are logarithmic, with the line of equal values.
        small: Whether it is one of many.
    """

    title: str
    marks: tuple[Mark, ...]
    x_label: str
    y_label: str
    key: tuple[tuple[str, int], ...] = ()
    log: bool = False
    small: bool = False


Panel = HeatMap | Chart | Dots | Scatter
