"""`yolo-qreg export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from yolo_qreg.cli.options import CHECKPOINT, PATH

if TYPE_CHECKING:
    from yolo_qreg.api import Kind


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="RUN_OR_PT", type=CHECKPOINT)
@click.option("--to", type=click.Choice(["pt", "packed", "onnx"]), required=True, help="What to write.")
@click.option("--fp32", is_flag=True, help="Store float32 instead of fp16 (pt, packed).")
@click.option("--imgsz", type=click.IntRange(32, 8192), help="Sides in pixels (onnx).  [default: of the training]")
@click.option("--dynamic", is_flag=True, help="Let batch and sides vary (onnx).")
@click.option("--out", type=PATH, help="File to write; beside the weights by default.")
def command(source: Path, to: str, fp32: bool, imgsz: int | None, dynamic: bool, out: Path | None) -> None:
    """Write a run's weights for others to use.

    pt: quantized values in a plain Ultralytics file, which loads without this package. packed: one safetensors file
    of integer codes at their own width, about 0.7 MB for YOLOv5n at 2 bits; `yolo-qreg unpack` turns it into the
    same .pt again. onnx: a model of the same integers that any ONNX runtime runs, with float activations; codes and
    outputs are checked before it is written (extra onnx).

    \b
    yolo-qreg export runs/detect/dorefa-8bit --to pt
    yolo-qreg export runs/detect/lsq-4bit --to onnx --imgsz 320
    yolo-qreg export runs/detect/lsq-2bit --to packed --out detector.safetensors
    """
    from yolo_qreg.api import export_weights

    written = export_weights(source, cast("Kind", to), out, fp32=fp32, imgsz=imgsz, dynamic=dynamic)
    click.echo(f"{written} ({written.stat().st_size / 1e6:.2f} MB)")
