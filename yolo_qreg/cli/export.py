"""`yolo-qreg export`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from yolo_qreg.cli.options import CHECKPOINT, PATH, trust
from yolo_qreg.config import Calibration

if TYPE_CHECKING:
    from yolo_qreg.api import Kind
    from yolo_qreg.config import Runtime


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="RUN_OR_PT", type=CHECKPOINT)
@click.option("--to", type=click.Choice(["pt", "packed", "onnx", "openvino"]), required=True, help="What to write.")
@click.option("--fp32", is_flag=True, help="Store float32 instead of fp16 (pt, packed).")
@click.option(
    "--imgsz", type=click.IntRange(32, 8192), help="Sides in pixels (onnx, openvino).  [default: of training]"
)
@click.option("--dynamic", is_flag=True, help="Let batch and sides vary (onnx).")
@click.option("--activations", type=int, metavar="8", help="Compute in int8 (onnx; openvino always does).")
@click.option(
    "--runtime", metavar="[openvino|ort|tensorrt]", help="Whose kernels an int8 onnx is for.  [default: openvino]"
)
@click.option("--calibrate", metavar="DATA", help="Data for int8 ranges: its training split.  [default: of training]")
@click.option("--images", type=int, help="Pictures for int8 ranges.  [default: 128]")
@click.option("--ranges", metavar="[minmax|percentile|mse]", help="How int8 ranges are chosen.  [default: percentile]")
@click.option("--check-map", is_flag=True, help="Measure mAP on val, beside the weights and their FP32 twin.")
@click.option("--out", type=PATH, help="What to write; beside the weights by default.")
@trust
def command(
    source: Path,
    to: str,
    fp32: bool,
    imgsz: int | None,
    dynamic: bool,
    activations: int | None,
    runtime: str | None,
    calibrate: str | None,
    images: int | None,
    ranges: str | None,
    check_map: bool,
    out: Path | None,
) -> None:
    """Write a run's weights for others to use.

    pt: quantized values in a plain Ultralytics file, which loads without this package. packed: one safetensors file
    of integer codes at their own width, about 0.7 MB for YOLOv5n at 2 bits; `yolo-qreg unpack` turns it into the
    same .pt again. onnx: a model of the same integers that any ONNX runtime runs, with float activations; codes and
    outputs are checked before it is written (extra onnx). openvino: a folder that computes in int8, with the trained
    integers as weights and activations calibrated on training pictures (extra openvino).

    \b
    yolo-qreg export runs/detect/dorefa-8bit --to pt
    yolo-qreg export runs/detect/lsq-4bit --to onnx --imgsz 320
    yolo-qreg export runs/detect/lsq-4bit --to openvino --calibrate my.yaml
    yolo-qreg export runs/detect/lsq-4bit --to onnx --activations 8 --runtime ort --check-map
    yolo-qreg export runs/detect/lsq-2bit --to packed --out detector.safetensors
    """
    from yolo_qreg.api import describe, export_weights

    given = {"data": calibrate, "images": images, "ranges": ranges}
    calibration: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    written = export_weights(
        source,
        cast("Kind", to),
        out,
        fp32=fp32,
        imgsz=imgsz,
        dynamic=dynamic,
        activations=cast("Literal[8] | None", activations),
        runtime=cast("Runtime | None", runtime),
        calibration=Calibration(**calibration) if calibration else None,
        check_map=check_map,
        quiet=False,
    )
    files = [file for file in written.rglob("*") if file.is_file()] if written.is_dir() else [written]
    if to in ("onnx", "openvino"):
        for line in _findings(written):
            click.echo(line)
    if to != "openvino" and activations is None:
        config = describe(written).config
        if config is not None and config.activations:
            click.echo(
                f"activations were quantized to {config.activations} bits; this file runs with float ones, and int8 "
                "exports (--to openvino) with those"
            )
    click.echo(f"{written} ({sum(file.stat().st_size for file in files) / 1e6:.2f} MB)")


def _findings(written: Path) -> Iterator[str]:
    """Say what the note of an export holds, and how to run it."""
    from yolo_qreg.export.notes import read

    note = read(written)
    if nearest := note["codes"].get("layers at nearest levels"):
        yield f"{nearest} of {len(note['layers'])} layers at the nearest of 255 levels: 8-bit DoReFa does not fit int8"
    if (count := note.get("convolutions in int8 on this machine")) is not None:
        yield f"{count} of {note['convolutions']} convolutions run in int8 on this machine"
    if (found := note.get("mAP")) is not None:
        scores = ", ".join(f"{role} {100 * score:.2f}" for role, score in found["mAP50-95"].items())
        yield f"mAP50-95 on {found['pictures']} pictures of {found['data']}: {scores}"
        for what, points in found["points"].items():
            interval = "" if points["low"] is None else f" ({points['low']:+.2f} to {points['high']:+.2f})"
            yield f"{what}: {points['difference']:+.2f}{interval} points"
    if note.get("runtime") == "tensorrt":
        yield f"run it: trtexec --onnx={written} --int8 (made for TensorRT, checked in ONNX Runtime)"
    else:
        yield f"run it: yolo predict task=detect model={written} source=PICTURES imgsz={note['imgsz']}"
