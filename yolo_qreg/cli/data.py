"""`yolo-qreg data`."""

from __future__ import annotations

from pathlib import Path

import click

from yolo_qreg.cli.options import FOLDER


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def command(ctx: click.Context) -> None:
    """Build a data set that `yolo-qreg train --data` takes.

    \b
    yolo-qreg data voc --devkit VOCdevkit --out datasets/VOC
    yolo-qreg data shapes
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command()
@click.option("--devkit", type=FOLDER, required=True, help="Folder with VOC2007 and perhaps VOC2012.")
@click.option("--out", type=FOLDER, required=True, help="Folder to write images and labels to.")
@click.option("--difficult", is_flag=True, help="Keep boxes marked difficult, which Ultralytics drops.")
@click.option("--copy", is_flag=True, help="Copy pictures instead of linking to them.")
@click.option("--strict", is_flag=True, help="Stop at the first unreadable picture or annotation.")
def voc(devkit: Path, out: Path, difficult: bool, copy: bool, strict: bool) -> None:
    """Convert an official VOCdevkit folder to YOLO labels, without a download.

    Run it again after lists, annotations or pictures changed: OUT then holds what they say now. What is right already
    is kept, and files of yours are left alone.

    \b
    yolo-qreg data voc --devkit VOCdevkit --out datasets/VOC
    yolo-qreg train --data datasets/VOC/voc.yaml
    """
    from yolo_qreg.data.voc import convert_devkit

    done = convert_devkit(devkit, out, difficult=difficult, copy=copy, strict=strict)
    click.echo(
        f"{', '.join(done.splits)}: {done.written} pictures converted, {done.unchanged} up to date, "
        f"{done.removed} removed; "
        f"{done.boxes} boxes, {done.difficult} difficult {'kept' if difficult else 'dropped'}, "
        f"{done.clipped} clipped to their picture"
    )
    click.echo(f"{done.yaml}")


@command.command()
@click.option("--out", type=FOLDER, help="Folder to hold the set; the cache folder by default.")
def shapes(out: Path | None) -> None:
    """Generate the small data set of coloured shapes, on which everything runs without a download.

    \b
    yolo-qreg data shapes --out datasets
    yolo-qreg train --data shapes epochs=20 imgsz=320
    """
    from yolo_qreg.data.shapes import ensure_shapes

    click.echo(f"{ensure_shapes(out)}")
