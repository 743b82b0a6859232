"""How numbers and intervals are written, wherever they are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from yolo_qreg.evaluation.estimate import Estimate

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
MOST_DIGITS = 4
BLIND = "No model finds anything in these pictures, so nothing can be compared: train for longer"


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
    digits, ends = 1, found.interval or ()
    while found.decided and digits < MOST_DIGITS and any(float(f"{end:.{digits}f}") == 0 for end in ends):
        digits += 1
    return digits


def gain_text(found: Estimate | None, digits: int | None = None) -> str:
    """Return a difference, in parentheses where it is undecided; points take `digits_of` digits.

    Example:
        >>> gain_text(Estimate(value=1.2, low=0.8, high=1.6)), gain_text(Estimate(value=1.2, low=-0.1, high=1.6))
        ('+1.2', '(+1.2)')
    """
    if found is None:
        return DASH
    text = signed(found.value, digits_of(found) if digits is None else digits)
    return text if found.decided else f"({text})"


def interval(found: Estimate | None, digits: int | None = None) -> str:
    """Return a 95% interval; nothing where none is known.

    Example:
        >>> interval(Estimate(value=1.2, low=0.8, high=1.61))
        '[0.8, 1.6]'
    """
    if found is None or found.interval is None:
        return ""
    places = digits_of(found) if digits is None else digits
    return f"[{', '.join(number(end, places) for end in found.interval)}]"


def with_interval(found: Estimate | None, digits: int | None = None) -> str:
    """Return a difference and its interval, as far as there is one."""
    return " ".join(filter(None, (gain_text(found, digits), interval(found, digits))))


def seeds_text(seeds: int) -> str:
    """Return how many seeds there are.

    Example:
        >>> seeds_text(1), seeds_text(3)
        ('one seed', '3 seeds')
    """
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def duration(seconds: float) -> str:
    """Return a time in hours, minutes and seconds; a dash for none."""
    return str(timedelta(seconds=round(seconds))) if seconds else DASH


def file_names(names: Sequence[str]) -> dict[str, str]:
    """Return a file name without ending for each name, safe anywhere and unique whatever their case."""
    found: dict[str, str] = {}
    for name in names:
        stem = base = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "model"
        repeat = 1
        while stem.lower() in {taken.lower() for taken in found.values()}:
            repeat += 1
            stem = f"{base}-{repeat}"
        found[name] = stem
    return found
