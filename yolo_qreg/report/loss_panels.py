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


def loss_charts(
    runs: Mapping[str, Sequence[History]], titles: Mapping[str, str], kinds: Mapping[str, str]
) -> tuple[Chart, ...]:
    """Return losses over epochs, validation before training, each as far as some unit has two epochs of it.

    Args:
        runs: By unit, the baseline first, its trainings; means over them are drawn, and bands from lowest to highest.
        titles: Of the units.
        kinds: Of losses, with their titles.
    """
    charts = (
        _loss_chart(runs, titles, part, loss, f"{word}: {kinds[loss]}")
        for part, word in PARTS.items()
        for loss in kinds
    )
    return tuple(chart for chart in charts if chart)


def _loss_chart(
    runs: Mapping[str, Sequence[History]], titles: Mapping[str, str], part: str, loss: str, title: str
) -> Chart | None:
    curves = {label: mean_curve(histories, part, loss) for label, histories in runs.items()}
    lines = tuple(
        Line(titles[label], index, curve.epochs, curve.means, band=curve.band, low=curve.low if part == "val" else None)
        for index, (label, curve) in enumerate(curves.items())
        if curve
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
