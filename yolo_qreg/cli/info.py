"""`yolo-qreg info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yolo_qreg.cli.options import DESCRIBED, trust
from yolo_qreg.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from yolo_qreg.export.describe import Description, Int8Info

MOST_NAMES = 20
FITNESS = ("metrics/mAP50-95(B)", "metrics/mAP50(B)")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=DESCRIBED)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@trust
def command(file: Path, as_json: bool) -> None:
    """Show what a weight file is: method, bits, levels used and size of every layer, and how it was trained.

    FILE is a run folder, a .pt of ours or of plain Ultralytics, a packed file, or an ONNX model or OpenVINO
    folder that we exported.

    \b
    yolo-qreg info runs/detect/lsq-4bit
    yolo-qreg info detector.safetensors --json
    """
    from yolo_qreg.api import describe

    found = describe(file)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if found.layers:
        console.print(_layers(found))
    for label, text in _facts(found).items():
        console.print(f"{label:>11}  {printable(text)}", markup=False)


def _layers(found: Description) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for column in ("shape", "bits", "levels used", "SQNR dB", "bytes"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found.layers:
        shape = "x".join(map(str, row.shape))
        sqnr = "-" if row.sqnr_db is None else f"{row.sqnr_db:.1f}"
        levels = f"{row.levels_used}/{2**row.bits}"
        table.add_row(printable(row.name), shape, str(row.bits), levels, sqnr, f"{row.size_bytes:,}")
    return table


def _facts(found: Description) -> dict[str, str]:
    """Return the lines under the table, by label."""
    totals, training = found.totals, found.training
    facts = {"file": f"{found.path}", "kind": found.kind + (", FP32 twin: nothing quantized" if found.twin else "")}
    if found.config:
        options = {k: v for k, v in found.config.to_dict().items() if k not in {"method", "bits", "widths"} and v}
        facts["quantized"] = " ".join([found.config.label, *(f"{key}={value}" for key, value in options.items())])
        if found.config.activations and found.path.suffix == ".pt":
            facts["activations"] = (
                f"{found.config.activations} bits in eval-corrupted and int8 exports; "
                "plain Ultralytics runs this file with float activations"
            )
    if found.container is not None:
        facts["stored"] = _stored(found)
    if found.int8 is not None:
        facts["int8"] = _int8(found.int8, len(found.layers))
    facts["size"] = f"{found.size_bytes / 1e6:.2f} MB, sha256 {found.sha256}"
    facts["tensors"] = (
        f"{totals.values:,} values, {100 * totals.quantized_share:.1f}% of them quantized; "
        f"{totals.float32_bytes / 1e6:.2f} MB in FP32, {totals.packed_bytes / 1e6:.2f} MB packed "
        f"({totals.ratio:.1f} times smaller)"
    )
    shown = ", ".join(found.names[:MOST_NAMES])
    facts["classes"] = f"{len(found.names)}: {shown}{', ...' if len(found.names) > MOST_NAMES else ''}"
    known = {
        "data": training.data,
        **_counts(found),
        "epochs": training.epochs,
        "imgsz": training.imgsz,
        "saved": training.date,
    }
    trained = ", ".join(f"{key} {value}" for key, value in known.items() if value is not None)
    facts["training"] = f"{trained or 'unknown'} (Ultralytics {training.host or 'unknown'})"
    scores = [f"{name} {100 * training.metrics[name]:.2f}" for name in FITNESS if name in training.metrics]
    if scores:
        facts["scores"] = ", ".join(scores) + ", validation during training"
    return facts


def _stored(found: Description) -> str:
    """Say in how many bits codes stand in the file."""
    widths = sorted({f"{layer.bits} bits in {layer.container or layer.bits}" for layer in found.layers})
    return f"{found.container}; codes of {', '.join(widths)}"


def _int8(found: Int8Info, layers: int) -> str:
    """Say what runs in int8."""
    text = f"laid out for {found.runtime}"
    if found.convolutions is not None:
        text += f"; {found.in_int8} of {found.convolutions} convolutions ran in int8 kernels where it was exported"
    if found.nearest:
        text += f"; {found.nearest} of {layers} layers at the nearest of 255 levels, the others as trained"
    return text


def _counts(found: Description) -> dict[str, int]:
    """Return the number of pictures in each split of the training's data set, where that was recorded."""
    splits = found.past.origin.data.splits if found.past.origin else {}
    return {f"{name} pictures": split.pictures for name, split in splits.items()}
