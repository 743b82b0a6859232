"""Types of options that are checked while the command line is read, before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from yolo_qreg import inputs
from yolo_qreg.bits_plan import read_plan
from yolo_qreg.errors import InputError
from yolo_qreg.quant.registry import METHODS
from yolo_qreg.trust import trusting

MOST_SEED = 2**32 - 1
"""The largest seed that numpy's global generator takes, from which the host draws."""


class NamedPath(click.Path):
    """A path that is not empty, as `corruptions.cli` has it, which takes numpy and OpenCV to import."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("an empty path names nothing; write . for the current folder", param, ctx)
        return super().convert(value, param, ctx)


class _Existing(NamedPath):
    """A path that a function of `inputs` accepts."""

    def __init__(self, check: Callable[[Path], object]) -> None:
        super().__init__(path_type=Path)
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        self._check(path)
        return path


class _Named(click.types.StringParamType):
    """A text that a function of `inputs` accepts, such as a data set's name."""

    def __init__(self, check: Callable[[str], object]) -> None:
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        self._check(value)
        return value


class _BitsPlan(NamedPath):
    """A plan of widths, read."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return read_plan(super().convert(value, param, ctx))


PATH = NamedPath(path_type=Path)
BITS_PLAN = _BitsPlan(path_type=Path)
FOLDER = NamedPath(path_type=Path, file_okay=False)
CHECKPOINT = _Existing(inputs.checkpoint_of)
DESCRIBED = _Existing(inputs.described_file)
ANALYZED = _Existing(inputs.analyzed)
MEASURED = _Existing(inputs.measured)
PACKED = _Existing(inputs.packed_file)
WEIGHTS = _Existing(inputs.weights_to_run)
RUN = _Existing(inputs.last_checkpoint)
DATA = _Named(inputs.check_data)
MODEL = _Named(inputs.check_model_file)


def _trust(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.with_resource(trusting(value))


trust = click.option(
    "--trust",
    is_flag=True,
    is_eager=True,  # other options are checked by what this one says
    expose_value=False,
    callback=_trust,
    help="Let files run code of their own: pickles, model YAMLs, `download:`. Only where you know who wrote them.",
)
WORKERS = click.IntRange(0, 256)
SEED = click.IntRange(0, MOST_SEED)


def listed(kind: Callable[[str], Any] = str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], Any]:
    """Return the callback of an option with `multiple=True` that splits its values at commas.

    Args:
        kind: What a value is, such as `int`.
    """

    def split(_: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Any, ...]:
        parts = [part.strip() for value in values for part in value.split(",")]
        try:
            if "" in parts:
                raise ValueError
            return tuple(map(kind, parts))
        except ValueError as error:
            given = ",".join(values)
            rule = "whole numbers" if kind is int else "values"
            raise InputError(f"{param.opts[0]} {given!r} is no list of {rule}; write them as 8,4,2") from error

    return split


def pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Take the values of an option with `multiple=True` as KEY=VALUE, several joined by commas."""
    found = {}
    for word in listed()(ctx, param, values):
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise InputError(f"{param.opts[0]} {word!r} is not KEY=VALUE; write it as like=lsq")
        if key in found:
            raise InputError(f"{param.opts[0]} {key} is given twice; give it once")
        found[key] = value
    return found


SEVERAL: dict[str, Callable[[str], bool]] = {
    "--methods": METHODS.__contains__,
    "--bits": str.isdigit,
    "--seeds": str.isdigit,
}
"""Options that also take their values with spaces between them, and what such a value looks like."""


class Variadic(click.Command):
    """Lets options of `SEVERAL` take more than one value: --bits 8 4 2 is --bits 8,4,2."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its values."""
        spread: list[str] = []
        option = ""
        for before, word in zip(("", *args), args, strict=False):
            if before in SEVERAL and word.startswith("-"):
                raise click.BadOptionUsage(before, f"{before} has no value; write some, such as 8,4,2 for --bits", ctx)
            if option and before not in SEVERAL and all(map(SEVERAL[option], word.split(","))):
                spread.append(option)
            elif before not in SEVERAL:
                option = word if word in SEVERAL else ""
            spread.append(word)
        return super().parse_args(ctx, spread)
