"""`yolo-qreg report`."""

from __future__ import annotations

from pathlib import Path

import click

from yolo_qreg.cli.options import FOLDER
from yolo_qreg.evaluation.config import PALETTES


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "--palette",
    type=click.Choice(PALETTES),
    default="paper",
    show_default=True,
    help="Green and red as in the paper, or blue and orange.",
)
def command(folder: Path, palette: str) -> None:
    """Write the page and the figures of an evaluation, a study or an analysis again, from its numbers.

    DIR is a folder that eval-corrupted, study or analyze wrote. Pictures in DIR/gallery become part of the page.

    \b
    yolo-qreg report runs/voc
    yolo-qreg report runs/voc --palette accessible
    """
    from yolo_qreg.api import write_report

    click.echo(f"{write_report(folder, palette)}")
