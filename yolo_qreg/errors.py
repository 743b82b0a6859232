"""The one exception that means "the input is wrong, and this is how to mend it"."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input, told in one line: the value, the rule it breaks and the remedy.

    The command line prints the message alone and exits with status 2; a traceback is shown for every other
    exception, because those are defects.
    """


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return the remedy for a word that is none of those known: a question that names the nearest.

    Example:
        >>> did_you_mean("epoch", ["batch", "epochs"])
        "did you mean 'epochs'?"
    """
    return f"did you mean {get_close_matches(str(word), list(known), n=1, cutoff=0)[0]!r}?"


def first_line(error: BaseException, longest: int = 200) -> str:
    """Return the kind of an error of another package and the beginning of what it says, on one line."""
    said = " ".join(str(error).replace("\u274c", "").replace("\ufe0f", "").split())  # the host's crosses
    return f"{type(error).__name__}: {said[:longest]}" if said else type(error).__name__


def printable(text: str, longest: int = 2000) -> str:
    """Return a text for a terminal: control characters of names and paths as escapes, which a terminal would obey."""
    shown = "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text[:longest])
    return shown + ("..." if len(text) > longest else "")
