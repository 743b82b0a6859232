"""`yolo-qreg export`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="RUN_OR_PT", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(["pt", "packed"]), required=True, help="A plain .pt, or integer codes.")
@click.option("--fp32", is_flag=True, help="Store float32 instead of fp16.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; beside the weights by default.")
def command(source: Path, to: str, fp32: bool, out: Path | None) -> None:
    """Write a run's weights for others to use.

    pt: quantized values in a plain Ultralytics file, which loads without this package. packed: one safetensors file
    of integer codes at their own width, about 0.7 MB for YOLOv5n at 2 bits; `yolo-qreg unpack` turns it into the
    same .pt again.

    \b
    yolo-qreg export runs/detect/dorefa-8bit --to pt
    yolo-qreg export runs/detect/lsq-2bit --to packed --out detector.safetensors
    """
    from yolo_qreg.api import export_weights

    written = export_weights(source, "pt" if to == "pt" else "packed", out, fp32=fp32)
    click.echo(f"{written} ({written.stat().st_size / 1e6:.2f} MB)")
