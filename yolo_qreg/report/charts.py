"""Line charts as data, and as inline SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yolo_qreg.report.markup import Html, el
from yolo_qreg.report.palette import LINES

COLOURS = len(LINES["light"])
"""Lines of different colours before they repeat; the first is the baseline's."""


WIDEST = 1.25
"""How far a chart may grow beyond its frame, so that the text of all charts stays of about one size."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `slot` 0 is the baseline, others are the models in order.

    Attributes:
        name: For the key.
        slot: Its colour.
        x: Where its points lie.
        y: Their values.
        bars: Intervals around its points.
        band: From lowest to highest around each of its points, as an area.
    """

    name: str
    slot: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    bars: tuple[tuple[float, float], ...] = ()
    band: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart; `y_range` is that of its lines unless charts are to be compared with each other."""

    title: str
    lines: tuple[Line, ...]
    x_label: str = ""
    y_label: str = ""
    x_ticks: tuple[tuple[float, str], ...] = ()
    y_range: tuple[float, float] | None = None
    marked: bool = True

    def spans(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the ranges of both axes; neither is empty."""
        xs = [x for line in self.lines for x in line.x] or [0.0]
        ends = [end for line in self.lines for pair in (*line.bars, *line.band) for end in pair]
        ys = [*(y for line in self.lines for y in line.y), *ends] or [0.0]
        return _wide(min(xs), max(xs)), _wide(*(self.y_range or (min(ys), max(ys))))

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return the marks of the x axis."""
        (low, high), _ = self.spans()
        return self.x_ticks or tuple((value, f"{value:g}") for value in steps(low, high, 4))


def _wide(low: float, high: float) -> tuple[float, float]:
    """Return a range that is not empty; around a number so large that half a unit is none, a wider one."""
    room = max(0.5, abs(low) / 1000)
    return (low, high) if high - low > room / 1e9 else (low - room, low + room)


def steps(low: float, high: float, most: int) -> tuple[float, ...]:
    """Return round numbers within a range, about as many as `most`.

    Example:
        >>> steps(0, 47, 5)
        (0.0, 10.0, 20.0, 30.0, 40.0)
    """
    if high <= low:
        return (low,)
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(index * step, 10) for index in range(first, last + 1))


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a chart lies in its SVG, in units of about one pixel."""

    width: int
    height: int
    left: int = 34
    bottom: int = 34
    top: int = 8
    right: int = 10


LARGE, SMALL = Frame(440, 290, left=40, bottom=42), Frame(190, 118, left=26, bottom=20, top=6, right=6)
MEDIUM = Frame(330, 210, left=40, bottom=38)


def svg(chart: Chart, frame: Frame) -> Html:
    """Draw a chart."""
    (x0, x1), (y0, y1) = chart.spans()

    def at(x: float, y: float) -> tuple[float, float]:
        across = frame.left + (x - x0) / (x1 - x0) * (frame.width - frame.left - frame.right)
        down = frame.height - frame.bottom - (y - y0) / (y1 - y0) * (frame.height - frame.bottom - frame.top)
        return round(across, 1), round(down, 1)

    small = frame is SMALL
    parts: list[Html] = []
    for value in steps(y0, y1, 3 if small else 5):
        _, y = at(x0, value)
        parts += [
            el(
                "line",
                x1=frame.left,
                x2=frame.width - frame.right,
                y1=y,
                y2=y,
                class_="rule zero" if value == 0 else "rule",
            ),
            el("text", tick(value), x=frame.left - 6, y=y, dy="0.35em", text_anchor="end"),
        ]
    for value, text in chart.ticks():
        x, y = at(value, y0)
        parts.append(el("text", text, x=x, y=y + (14 if small else 18), text_anchor="middle"))
    if chart.x_label and not small:
        middle = (frame.left + frame.width - frame.right) / 2
        parts.append(el("text", chart.x_label, x=middle, y=frame.height - 4, text_anchor="middle", class_="axis"))
    for line in chart.lines:
        points = [at(x, y) for x, y in zip(line.x, line.y, strict=True)]
        ends = [(at(x, low), at(x, high)) for x, (low, high) in zip(line.x, line.bars, strict=False)]
        if line.band:
            pairs = list(zip(line.x, line.band, strict=True))
            below, above = [at(x, low) for x, (low, _) in pairs], [at(x, high) for x, (_, high) in reversed(pairs)]
            parts.append(_area(line, (*below, *above)))
        parts += _bars(line, ends)
        parts += _line(line, points, 1.6 if small else 3.2, chart.marked)
    return el(
        "svg",
        parts,
        viewBox=f"0 0 {frame.width} {frame.height}",
        style=f"max-width:{WIDEST * frame.width:.0f}px",
        class_=f"chart{' small' if small else ''}",
        role="img",
        aria_label=f"{chart.title}: {chart.y_label} against {chart.x_label}",
    )


def _line(line: Line, points: Sequence[tuple[float, float]], radius: float, marked: bool) -> Iterable[Html]:
    name = el("title", line.name)
    yield el("g", name, el("polyline", points=_path(points)), class_=f"line s{line.slot % COLOURS}")
    if marked or len(points) == 1:
        yield el("g", (el("circle", cx=x, cy=y, r=radius) for x, y in points), class_=f"dot s{line.slot % COLOURS}")


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _area(line: Line, corners: Iterable[tuple[float, float]]) -> Html:
    return el("polygon", points=_path(corners), class_=f"band s{line.slot % COLOURS}")


def _bars(line: Line, ends: Iterable[tuple[tuple[float, float], tuple[float, float]]]) -> Iterable[Html]:
    for (x, low), (_, high) in ends:
        yield el("line", x1=x, x2=x, y1=low, y2=high, class_=f"bar s{line.slot % COLOURS}")


def tick(value: float) -> str:
    """Return the text of a mark of an axis, with a true minus sign."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def key(lines: Iterable[tuple[str, int]]) -> Html:
    """Return the names of lines beside their colours."""
    return el(
        "p",
        (el("span", el("i", class_=f"swatch s{slot % COLOURS}"), name) for name, slot in lines),
        class_="legend key",
    )
