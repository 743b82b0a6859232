"""`yolo-qreg unpack`."""

from __future__ import annotations

from pathlib import Path

import click

from yolo_qreg.cli.options import PACKED, PATH


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("packed", metavar="FILE", type=PACKED)
@click.option("--out", type=PATH, help="File to write; beside the packed one by default.")
def command(packed: Path, out: Path | None) -> None:
    """Turn packed weights into a .pt that plain Ultralytics loads, equal in every bit to `export --to pt`.

    \b
    yolo-qreg unpack detector.safetensors
    yolo-qreg unpack detector.safetensors --out detector.pt
    """
    from yolo_qreg.api import unpack

    written = unpack(packed, out)
    click.echo(f"{written} ({written.stat().st_size / 1e6:.2f} MB)")
