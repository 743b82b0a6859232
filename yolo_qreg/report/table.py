"""Tables as data: what each holds is said once, whatever it is rendered to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.spread import SeedMean
from yolo_qreg.report.palette import ink_of
from yolo_qreg.report.text import DASH, PLUS_MINUS, gain_text, interval, number, signed

T = TypeVar("T")
Value = str | float | int | bool | None
GAIN = "gain [95% interval]"


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place of a table.

    Attributes:
        text: As it is printed.
        fields: The exact values behind it, by what follows the column's key in a CSV file; "" for the key itself.
        after: What is printed behind the text, such as an interval; left out where there is no room.
        value: The number that the text rounds.
        ink: `better`, `worse`, `zero` or `undecided` for a difference; nothing for other text.
        code: Whether the text is a name of a file or the like.
        note: For readers who point at it.
    """

    text: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    after: str = ""
    value: float | None = None
    ink: str = ""
    code: bool = False
    note: str = ""


def text_cell(text: str | None, code: bool = False, note: str = "") -> Cell:
    """Return a cell of text; a dash for none."""
    return Cell(DASH if text is None else text, {"": text}, code=code, note=note)


def count_cell(value: int | None) -> Cell:
    """Return a cell of a whole number; a dash for none."""
    return Cell(DASH if value is None else str(value), {"": value}, value=value)


def number_cell(value: float | None, digits: int = 2, *, sign: bool = False, of: Estimate | None = None) -> Cell:
    """Return a cell of a number; a dash for none, in parentheses where the estimate that it is `of` is undecided."""
    text = (signed if sign else number)(value, digits)
    return Cell(f"({text})" if of and not of.decided and value is not None else text, {"": value}, value=value)


def gain_cell(found: Estimate | None, digits: int | None = None, *, less_is_better: bool = False) -> Cell:
    """Return a cell of a difference with its interval, in parentheses where it is undecided; a dash for none."""
    low, high = (found.interval if found else None) or (None, None)
    fields: dict[str, Value] = {
        "mean": found.value if found else None,
        "sd": found.sd if isinstance(found, SeedMean) else None,
        "low": low,
        "high": high,
        "decided": found.decided if found else None,
        "seeds": found.seeds if isinstance(found, SeedMean) else 0,
    }
    if found is None:
        return Cell(DASH, fields)
    ink = ink_of(-found.value if less_is_better else found.value) if found.decided else "undecided"
    return Cell(gain_text(found, digits), fields, after=interval(found, digits), value=found.value, ink=ink)


def mean_cell(found: SeedMean, digits: int = 2) -> Cell:
    """Return a cell of a mean and its standard deviation over seeds, where there is one."""
    after = "" if found.sd is None else f"{PLUS_MINUS} {number(found.sd, digits)}"
    return Cell(number(found.value, digits), {"mean": found.value, "sd": found.sd}, after=after, value=found.value)


def kind_cell(method: str | None, bits: int | None) -> Cell:
    """Return a cell of what a model is, such as "8-bit DoReFa"."""
    return Cell(kind_of(method, bits), {"method": method, "bits": bits})


@dataclass(frozen=True, slots=True)
class Column:
    """What the cells of a column have in common.

    Attributes:
        key: Of its fields in a CSV file.
        title: Its heading.
        group: The heading that it shares with its neighbours.
        words: Whether it holds text, which stands on the left.
        paper: Whether it holds what the paper printed.
    """

    key: str
    title: str = ""
    group: str = ""
    words: bool = False
    paper: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row.

    Attributes:
        cells: One for each column.
        kind: `base` for the baseline, `total` for a mean over others, `second` for one that belongs to that above.
    """

    cells: tuple[Cell, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names its rows."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def only(self, *keys: str) -> Table:
        """Return some of the columns, in the order of the keys; a key that there is no column of is left out."""
        places = {column.key: index for index, column in enumerate(self.columns)}
        chosen = [places[key] for key in keys if key in places]
        return Table(
            tuple(self.columns[index] for index in chosen),
            tuple(replace(row, cells=tuple(row.cells[index] for index in chosen)) for row in self.rows),
        )

    def without(self, *keys: str) -> Table:
        """Return all columns but some."""
        return self.only(*(column.key for column in self.columns if column.key not in keys))

    @property
    def groups(self) -> tuple[tuple[Column, int], ...]:
        """The headings over several columns: the first column of each and how many it spans; none without groups."""
        found: list[tuple[Column, int]] = []
        for column in self.columns:
            if found and found[-1][0].group == column.group:
                found[-1] = found[-1][0], found[-1][1] + 1
            else:
                found.append((column, 1))
        return tuple(found) if any(column.group for column in self.columns) else ()


def table(columns: Iterable[Column], rows: Iterable[Row | Iterable[Cell]]) -> Table:
    """Return a table from its columns and rows."""
    return Table(tuple(columns), tuple(row if isinstance(row, Row) else Row(tuple(row)) for row in rows))


Columns = Mapping[Column, Callable[[T], Cell]]
"""Columns, and what each holds of a thing that a row is about."""


def table_of(things: Iterable[T], columns: Columns[T], base: T | None = None) -> Table:
    """Return a table with a row for each thing; that of the baseline, where there is one, is marked."""
    rows = (Row(tuple(cell(thing) for cell in columns.values()), "base" * (thing == base)) for thing in things)
    return table(columns, rows)
