"""`python -m corruptions SOURCE...`: the command without the rest of the distribution."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from corruptions.cli import command, reason


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 2 after one line on standard error, or 130 after Ctrl-C."""
    try:
        status = command.main(args=args, prog_name="python -m corruptions", standalone_mode=False)
    except click.UsageError as error:
        message = error.format_message()
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        message = f"{reason(error)}{place}; free space or choose another place"
    except (KeyboardInterrupt, click.Abort):  # click turns Ctrl-C into its Abort
        click.echo("interrupted", err=True)
        return 130
    else:
        return status if isinstance(status, int) else 0
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
