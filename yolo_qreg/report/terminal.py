"""The headline as plain text, for terminals: ASCII, columns aligned by spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from yolo_qreg.errors import printable
from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import ALL, BENCHMARK, Results
from yolo_qreg.findings.names import paper_order
from yolo_qreg.report.headline import Row, equation5_text, rows_of
from yolo_qreg.report.text import DASH, MINUS, PLUS_MINUS, compared, digits_of, find_delta, interval, number, signed

UNDECIDED = "~"
GAP = "  "


def print_summary(results: Results, echo: Callable[[str], object] = click.echo) -> None:
    """Tell the results line by line.

    Args:
        results: The evaluation.
        echo: What prints a line.
    """
    tables = [headline_table(results)]
    if compared(results):
        tables.append(corruption_table(results))
        tables.append(f"{UNDECIDED} undecided: the 95% interval includes 0")
    for line in "\n\n".join(tables).splitlines():
        echo(line)


def headline_table(results: Results) -> str:
    """Return the page's headline table: mAP@[.50:.95] in points, rPC in percent, size in MB."""
    head = ("model", "bits", "corrupted", "delta", "95% interval", "Eq. 5", "clean", "mPC", "rPC %", "MB")
    return aligned([head, *(_headline(row) for row in rows_of(results))])


def _headline(row: Row) -> tuple[str, ...]:
    found = row.summary
    means = [None if value is None else 100 * value for value in (found.clean, found.mpc)]
    return (
        row.model.name,
        row.bits,
        number(100 * found.corrupted, 2),
        _marked(row.gain, digits_of(row.gain)) if row.gain else DASH,
        interval(row.gain) if row.gain else DASH,
        equation5_text(row),
        *(number(mean, 2) for mean in means),
        number(None if found.rpc is None else 100 * found.rpc),
        number(row.model.size_mb, 2),
    )


def corruption_table(results: Results) -> str:
    """Return each model's gain over the baseline in points: clean, every corruption, and the means over them."""
    models = [model.name for model in compared(results)]
    labels = {name: name for name in paper_order(results.corruptions)} | {ALL: f"mean of {len(results.corruptions)}"}
    if BENCHMARK in {delta.corruption for delta in results.deltas}:
        labels[BENCHMARK] = "mPC"
    rows = [(label, *(_marked(find_delta(results, model, name)) for model in models)) for name, label in labels.items()]
    return aligned([("gain, points", *models), *rows])


def ascii_text(text: str) -> str:
    """Return a text with signs that any terminal has; control characters in names are escaped."""
    return printable(text.replace(MINUS, "-").replace(DASH, "-").replace(PLUS_MINUS, "+-"))


def _marked(gain: Estimate | None, digits: int = 1) -> str:
    if gain is None:
        return DASH
    return f"{'' if gain.decided else UNDECIDED}{signed(gain.value, digits)}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align the first column left and the others right, with a rule under the first row."""
    plain = [[ascii_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    lines = [
        GAP.join(cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in plain)
    ]
    return "\n".join([lines[0], GAP.join("-" * width for width in widths), *lines[1:]])
