"""The losses of trainings as charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolo_qreg.findings.losses import PARTS, SUM, History, mean_curve
from yolo_qreg.report.panels import Chart, Line

FAR_ABOVE = 3
"""How many times as high as all later losses those of the first epochs are, where they are not to set the scale."""
FIG1_BITS = (8, 4)
"""The widths of Fig. 1."""
SUMS = {SUM: "sum of all"}


def loss_charts(runs: Mapping[str, Sequence[History]], kinds: Mapping[str, str]) -> tuple[Chart, ...]:
    """Return losses over epochs, validation before training, each as far as some unit has two epochs of it.

    Args:
        runs: By title of a unit, the baseline first, its trainings; means over them are drawn, and bands from lowest
            to highest.
        kinds: Of losses, with their titles.
    """
    charts = (
        _loss_chart(runs, part, loss, f"{word}: {title}")
        for part, word in PARTS.items()
        for loss, title in kinds.items()
    )
    return tuple(chart for chart in charts if chart)


def _loss_chart(runs: Mapping[str, Sequence[History]], part: str, loss: str, title: str) -> Chart | None:
    lines = tuple(
        Line(name, index, curve.epochs, curve.means, band=curve.band, low=curve.low if part == "val" else None)
        for index, (name, histories) in enumerate(runs.items())
        if (curve := mean_curve(histories, part, loss))
    )
    if not any(len(line.x) > 1 for line in lines):
        return None
    return Chart(title, lines, "epoch", y_range=_later_range(lines), marked=False)


def _later_range(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Return the range of what comes after the first quarter of epochs, where that quarter is far above it."""
    points = [
        (x, end) for line in lines for x, ends in zip(line.x, line.band or zip(line.y), strict=True) for end in ends
    ]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    later = max(end for x, end in points if x > first + (last - first) / 4)
    values = [end for _, end in points]
    low = min(values)
    return (low - 0.04 * (later - low), later) if max(values) > FAR_ABOVE * later > FAR_ABOVE * low else None
