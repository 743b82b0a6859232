"""How numbers, intervals, corruptions and models are written, on the page and in the figures."""

from __future__ import annotations

import re
from collections.abc import Sequence

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import Delta, Model, Results
from yolo_qreg.report.markup import Html, el

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
MOST_DIGITS = 4


def number(value: float | None, digits: int = 1) -> str:
    """Return a number with a true minus sign and no negative zero; a dash for none.

    Example:
        >>> number(1.25, 2), number(-0.01), number(None) == DASH
        ('1.25', '0.0', True)
    """
    if value is None:
        return DASH
    text = f"{value:.{digits}f}"
    return (text[1:] if float(text) == 0 and text.startswith("-") else text).replace("-", MINUS)


def signed(value: float | None, digits: int = 1) -> str:
    """Return a number as `number` does, with a plus sign where it is above 0."""
    text = number(value, digits)
    return text if value is None or text[0] == MINUS or float(text) == 0 else f"+{text}"


def digits_of(found: Estimate) -> int:
    """Return how many digits points take: one, or more where an interval that excludes 0 would seem to touch it."""
    digits = 1
    while (
        found.decided and digits < MOST_DIGITS and any(float(f"{end:.{digits}f}") == 0 for end in found.interval or ())
    ):
        digits += 1
    return digits


def interval(found: Estimate) -> str:
    """Return a 95% interval of points; a dash where none is known.

    Example:
        >>> interval(Estimate(value=1.2, low=0.8, high=1.61))
        '[0.8, 1.6]'
    """
    digits = digits_of(found)
    return DASH if found.interval is None else f"[{', '.join(number(end, digits) for end in found.interval)}]"


def data(value: float | None, text: str, **attributes: str) -> Html:
    """Return a printed number as an element that also holds the exact one; plain text where there is none."""
    return el("data", text, value=repr(float(value)), **attributes) if value is not None else el("span", text)


def file_names(names: Sequence[str]) -> dict[str, str]:
    """Return a file name without ending for each model name, safe anywhere and unique whatever their case."""
    found: dict[str, str] = {}
    for name in names:
        stem = base = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "model"
        repeat = 1
        while stem.lower() in {taken.lower() for taken in found.values()}:
            repeat += 1
            stem = f"{base}-{repeat}"
        found[name] = stem
    return found


def compared(results: Results) -> tuple[Model, ...]:
    """Return the models that are held against the baseline: all others."""
    return tuple(model for model in results.models if model.name != results.baseline)


def find_delta(results: Results, model: str, corruption: str, severity: int = 0) -> Delta | None:
    """Return a delta; None where the evaluation holds none."""
    try:
        return results.delta(model, corruption, severity)
    except KeyError:
        return None
