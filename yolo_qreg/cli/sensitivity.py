"""`yolo-qreg sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yolo_qreg.analysis.sensitivity_config import SensitivityConfig
from yolo_qreg.cli.options import DATA, FOLDER, MEASURED, Variadic, listed, trust


@click.command(cls=Variadic, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("weights", metavar="RUN_OR_PT", type=MEASURED)
@click.option("--bits", multiple=True, callback=listed(int), metavar="LIST", help="Widths.  [default: 8,6,4,3,2]")
@click.option("--method", default="lsq", show_default=True, help="Quantizer: dorefa, lsq or fixed.")
@click.option("--per-channel", is_flag=True, help="One scale per output channel (lsq, dorefa).")
@click.option("--data", type=DATA, help="Data whose training pictures are looked at.  [default: of training]")
@click.option("--images", type=int, default=64, show_default=True, help="Number of training pictures.")
@click.option("--probes", type=int, default=8, show_default=True, help="Random vectors for the Hessian's traces.")
@click.option("--imgsz", type=int, help="Sides of the pictures in pixels.  [default: those of the training]")
@click.option("--device", default="", help="cpu, 0, mps, ...  [default: the host's choice]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random vectors.")
@click.option("--out", type=FOLDER, default=Path("runs/sensitivity"), show_default=True, help="Folder of the results.")
@trust
def command(weights: Path, bits: tuple[int, ...], **options: Any) -> None:
    """Measure what it costs to quantize one layer at a time: loss, mAP and a cheap estimate.

    Nothing is trained, and the pictures are training pictures. Finished layers are kept: the same command continues an
    interrupted one. What comes of it is what `yolo-qreg allocate` reads.

    \b
    yolo-qreg sensitivity runs/detect/fp32
    yolo-qreg sensitivity runs/detect/fp32 --method dorefa --bits 4,3,2 --images 32
    """
    if bits:
        options["bits"] = bits
    config = SensitivityConfig(weights=weights, **options)
    from yolo_qreg.api import sensitivity
    from yolo_qreg.report.sensitivity import CSV, PICTURE, summary

    for line in summary(sensitivity(config)):
        click.echo(line)
    click.echo(f"Numbers: {config.out / CSV}\nPicture: {config.out / PICTURE}.png")
