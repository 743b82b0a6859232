"""Progress of long work: a bar on a terminal, a line for each step elsewhere, always on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Watch = Callable[[str, int], None]
"""Told what is under way and how much of it was done since the last call."""
Tell = Callable[[str], object]
"""Given a line that is worth knowing while work goes on."""


def teller(quiet: bool = False) -> Tell:
    """Return what prints a line on standard error, or drops it."""
    return (lambda _: None) if quiet else lambda line: click.echo(line, err=True)


@contextmanager
def watched(quiet: bool = False) -> Iterator[Callable[[int], Watch]]:
    """Yield a function that is given the amount of work and returns what is told of progress; nothing if `quiet`."""
    if quiet:
        yield lambda total: lambda label, done: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines
        return
    columns = (TextColumn("{task.description:<24}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:

        def begin(total: int) -> Watch:
            task = bar.add_task("", total=total, visible=total > 0)
            return lambda label, done: bar.update(task, description=label, advance=done)

        yield begin


class _Lines:
    """Prints a line when another step begins."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._label = total, 0, ""
        self._start = time.monotonic()

    def __call__(self, label: str, done: int) -> None:
        if label != self._label:
            self._label = label
            click.echo(f"{label}{self._note()}", err=True)
        self._done += done

    def _note(self) -> str:
        if not self._total:
            return ""
        share = f"{100 * self._done // self._total}%"
        if not self._done:
            return f" ({share})"
        seconds = (time.monotonic() - self._start) / self._done * (self._total - self._done)
        return f" ({share}, about {timedelta(seconds=round(seconds))} left)"
