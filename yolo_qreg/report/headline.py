"""The headline: a sentence for each model, and a table in the form of the paper's Table 1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import ALL, CLEAN, Model, Results
from yolo_qreg.evaluation.summary import Summary, summarize
from yolo_qreg.findings.names import method_title, short_names
from yolo_qreg.report import markup, palette
from yolo_qreg.report.markup import Html, el, join
from yolo_qreg.report.text import DASH, compared, data, digits_of, find_delta, interval, number, signed


@dataclass(frozen=True, slots=True)
class Row:
    """A model's row; `gain` is its delta on corrupted pictures, None for the baseline and where there is none."""

    model: Model
    summary: Summary
    gain: Estimate | None

    @property
    def method(self) -> str:
        """The quantizer's name; a dash where there is none."""
        return method_title(self.model.method) if self.model.method else DASH

    @property
    def bits(self) -> str:
        """Bits of weights; a dash where the file does not say."""
        return DASH if self.model.bits is None else str(self.model.bits)


def rows_of(results: Results) -> tuple[Row, ...]:
    """Return a row for every model, in their order."""
    pairs = zip(results.models, summarize(results), strict=True)
    return tuple(Row(model, summary, find_delta(results, model.name, ALL)) for model, summary in pairs)


def sentences(results: Results) -> tuple[Html, ...]:
    """Return what happened to each quantized model; what there is to say where only a baseline was evaluated."""
    names = short_names(results.models)
    if not compared(results):
        (summary,) = summarize(results)
        return (
            join(
                el("strong", names[results.baseline]),
                f": mAP {number(100 * summary.corrupted)} on corrupted pictures, {number(100 * summary.clean)} on "
                "clean ones. No other model was evaluated, so there is nothing to compare.",
            ),
        )
    return tuple(_sentence(results, model.name, names[model.name]) for model in compared(results))


def _sentence(results: Results, model: str, name: str) -> Html:
    kinds = ((ALL, " points ", " on corrupted pictures"), (CLEAN, " ", " on clean ones"))
    parts = []
    for corruption, unit, where in kinds:
        delta = find_delta(results, model, corruption)
        if delta is None:
            parts.append(join(f"no difference known{where}"))
            continue
        points = data(delta.value, signed(delta.value, digits_of(delta)), class_=side(delta))
        note = "" if delta.decided else " (undecided)"
        parts.append(join(points, unit, el("span", interval(delta), class_="nb"), where, note))
    return join(el("strong", name), ": ", parts[0], ", ", parts[1])


def side(gain: Estimate) -> str:
    """Return the class of a gain's ink: `better`, `worse`, `zero` or `undecided`."""
    return f"ink {palette.side(gain.value) if gain.decided else 'undecided'}"


def gain_cell(gain: Estimate | None) -> tuple[Html, Html]:
    """Return two table cells: the points, in parentheses where undecided, and their interval."""
    if gain is None:
        return el("td", DASH, class_="num"), el("td", class_="num interval")
    text = signed(gain.value, digits_of(gain))
    points = data(gain.value, text if gain.decided else f"({text})", class_=side(gain))
    return el("td", points, class_="num"), el("td", interval(gain), class_="num interval")


def table(results: Results) -> Html:
    """Return the headline table; mAP@[.50:.95] in points."""
    rows = rows_of(results)
    head = el(
        "tr",
        el("th", "model", scope="col"),
        el("th", "quantizer", scope="col"),
        _heads(("bits", "mAP, corrupted")),
        el("th", "gain [95% interval]", scope="colgroup", colspan="2", class_="pair"),
        _heads(("Eq. 5", "mAP, clean", "mPC", "rPC, %", "MB")),
    )
    return markup.table(head, (_row(row, results) for row in rows))


def _heads(names: Iterable[str]) -> Iterable[Html]:
    return (el("th", name, scope="col", class_="num") for name in names)


def equation5_text(row: Row) -> str:
    """Return Equation 5 as it is printed: in parentheses where the gain is undecided."""
    text = number(row.summary.equation5, 2)
    return f"({text})" if row.gain and not row.gain.decided else text


def _row(row: Row, results: Results) -> Html:
    found = row.summary
    ink = side(row.gain) if row.gain else None
    return el(
        "tr",
        el("th", row.model.name, el("small", " baseline") if row.model.name == results.baseline else None, scope="row"),
        el("td", row.method),
        el("td", row.bits, class_="num"),
        _points(found.corrupted),
        gain_cell(row.gain),
        el("td", data(found.equation5, equation5_text(row), class_=ink or "ink"), class_="num"),
        _points(found.clean),
        _points(found.mpc),
        el("td", number(None if found.rpc is None else 100 * found.rpc), class_="num"),
        el("td", number(row.model.size_mb, 2), class_="num"),
        class_="base" if row.model.name == results.baseline else None,
    )


def _points(value: float | None) -> Html:
    points = None if value is None else 100 * value
    return el("td", data(points, number(points, 2)), class_="num")
