"""Tables as ASCII for terminals, as Markdown and as CSV; as HTML they are a macro of the templates."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from yolo_qreg.errors import printable
from yolo_qreg.report.table import Cell, Column, Table
from yolo_qreg.report.text import DASH, MINUS, PLUS_MINUS

GAP = "  "


def to_text(table: Table, *, brief: bool = False) -> str:
    """Return a table in ASCII: words on the left, numbers on the right, a rule below the headings.

    Args:
        table: The table.
        brief: Whether intervals are left out.
    """
    return aligned([_headings(table), *_texts(table, brief)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align the first column left and the others right, with a rule under the first row."""
    plain = [[ascii_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    lines = [
        GAP.join(cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in plain)
    ]
    return "\n".join([lines[0], GAP.join("-" * width for width in widths), *lines[1:]])


def ascii_text(text: str) -> str:
    """Return a text with signs that any terminal has; control characters in names are escaped."""
    return printable(text.replace(MINUS, "-").replace(DASH, "-").replace(PLUS_MINUS, "+-"))


def to_markdown(table: Table) -> str:
    """Return a table in Markdown."""
    lines = [_headings(table), ["---"] * len(table.columns), *_texts(table)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def to_csv(table: Table) -> str:
    """Return every exact value of a table, unknown ones empty; a column may stand for several, such as an interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if table.rows:
        writer.writerow(
            _name(column, name)
            for column, cell in zip(table.columns, table.rows[0].cells, strict=True)
            for name in cell.fields
        )
    for row in table.rows:
        values = (value for cell in row.cells for value in cell.fields.values())
        writer.writerow("" if v is None else repr(float(v)) if isinstance(v, float) else v for v in values)
    return text.getvalue()


def _name(column: Column, name: str) -> str:
    return "_".join(filter(None, (column.key, name)))


def _headings(table: Table) -> list[str]:
    """Return one line of headings: a group alone where one column of it is left, before its columns elsewhere."""
    groups = [column.group for column in table.columns]
    return [
        column.title
        if not column.group
        else column.group
        if groups.count(column.group) == 1
        else f"{column.group}: {column.title}"
        for column in table.columns
    ]


def _texts(table: Table, brief: bool = False) -> list[list[str]]:
    return [[_text(cell, brief) for cell in row.cells] for row in table.rows]


def _text(cell: Cell, brief: bool) -> str:
    return cell.text if brief or not cell.after else f"{cell.text} {cell.after}"
