"""The command line: one small module per sub-command, loaded when it is called, so that help is instant."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from yolo_qreg import __version__
from yolo_qreg.cli.signals import as_ctrl_c
from yolo_qreg.errors import InputError, printable
from yolo_qreg.processes import end_with_parent

COMMANDS = {
    "train": "Train with quantized weights, or resume a run.",
    "quantize": "Quantize float weights without training, as a baseline.",
    "eval-corrupted": "Compare models with their FP32 twin on corrupted pictures.",
    "sensitivity": "Measure what it costs to quantize one layer at a time.",
    "allocate": "Choose a width for each layer under a budget.",
    "study": "Train and evaluate a whole grid of models: the paper's experiment.",
    "analyze": "Measure noise, the theorem's terms and sharpness of trained models.",
    "report": "Write the page and figures of an evaluation again.",
    "export": "Write a run's weights as a plain .pt, packed codes, ONNX or int8.",
    "unpack": "Turn packed weights back into a .pt that plain Ultralytics loads.",
    "info": "Show what a weight file is, layer by layer.",
    "data": "Build a data set: voc from a VOCdevkit folder, or shapes.",
    "corrupt": "Look at pictures under the 19 corruptions.",
    "demo": "Train and compare on the embedded data set, in minutes on a CPU.",
    "env": "Print versions and hardware for a bug report.",
}

PAGES = {
    "train": "train",
    "quantize": "activations",
    "eval-corrupted": "evaluate",
    "sensitivity": "mixed-widths",
    "allocate": "mixed-widths",
    "study": "study",
    "analyze": "analysis",
    "report": "evaluate",
    "export": "deploy",
    "unpack": "weights",
    "info": "weights",
    "data": "data",
    "corrupt": "corruptions",
    "demo": "weights",
    "env": "troubleshooting",
}
"""The page of docs on which a command is described."""


_REMEDIES = {
    errno.EMFILE: "let this shell open more files (ulimit -n 4096)",
    errno.ENFILE: "close programs that hold files open",
    errno.ENOMEM: "free memory, or use smaller batches and fewer workers",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that you may write to",
}
"""What to do about errors of the operating system; about others, a full disk the first of them, free space."""
UNREAD = 128 + signal.SIGPIPE
"""Status of a command whose output nobody reads any more, as of any other in a pipe."""


class Unread(Exception):  # noqa: N818
    """Nobody reads the output any more; of a `BrokenPipeError`, click would make status 1 without a word."""


class LazyGroup(click.Group):
    """Knows its commands by name and one-line help; imports a command's module only to run it or show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `yolo_qreg.cli.<name>` and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"yolo_qreg.cli.{cmd_name.replace('-', '_')}").command
        command.epilog = f"More, with the project's sources: docs/{PAGES[cmd_name]}.md"
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise Unread from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog="More, with the project's sources: README.md",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="yolo-qreg")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Quantization-aware training for YOLOv5n and other Ultralytics detectors, with plain .pt files out."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        args: Arguments without the program's name; those of the process by default.

    Returns:
        0 on success, 2 on bad input (one line on standard error), 130 after Ctrl-C, 141 where the output was closed.
    """
    given = list(sys.argv[1:] if args is None else args)
    try:
        status = cli.main(args=given, prog_name="yolo-qreg", standalone_mode=False, obj=given)
    except InputError as error:
        return _fail(str(error))
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message() + hint)
    except Unread:
        with suppress(OSError):  # standard error may be closed as well
            click.echo("nobody reads the output any more; repeat or resume, with the output into a file", err=True)
        return UNREAD
    except OSError as error:
        if error.errno is None:
            raise
        place = f" ({error.filename})" if error.filename else ""
        remedy = _REMEDIES.get(error.errno, "free space or choose another place")
        return _fail(f"{error.strerror}{place}; {remedy}, then repeat or resume")
    except (KeyboardInterrupt, click.Abort) as stop:  # click turns Ctrl-C into its Abort
        click.echo(str(stop.__cause__ or stop) or "interrupted", err=True)
        return 130
    return status if isinstance(status, int) else 0


def run() -> None:
    """Entry point of the installed command; SIGTERM and SIGHUP end it as Ctrl-C does, with status 143 and 129."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what a terminal cannot show
    end_with_parent()
    with as_ctrl_c() as ended:
        status = main()
    if status == UNREAD:
        for stream in (sys.stdout, sys.stderr):  # what is left in their buffers has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(ended.status(status))


def _fail(message: str) -> int:
    click.echo(f"error: {printable(' '.join(message.split()))}", err=True)
    return 2
