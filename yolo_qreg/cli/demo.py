"""`yolo-qreg demo`: the main job on the embedded data set."""

from __future__ import annotations

from pathlib import Path

import click

from yolo_qreg.cli.options import FOLDER

PICTURES, SEVERITY = 60, 3
"""Enough for a page worth looking at in a minute; a real evaluation takes all pictures and severities."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=FOLDER, default=Path("runs/demo"), show_default=True, help="Run folder.")
def command(out: Path) -> None:
    """Train an 8-bit DoReFa YOLOv5n on `shapes` from the shipped FP32 weights, and compare the two.

    They are compared on clean pictures and under the 19 corruptions, and the end is a page to look at. Takes minutes on
    two CPU cores; nothing is downloaded.
    """
    from corruptions import CORRUPTIONS
    from yolo_qreg.api import evaluate, train
    from yolo_qreg.cli.eval_corrupted import show
    from yolo_qreg.config import QuantConfig, TrainConfig
    from yolo_qreg.evaluation.config import EvalConfig
    from yolo_qreg.shipped import read_card, shipped

    float_weights, recipe = shipped("shapes-fp32"), read_card("shapes-dorefa8")["recipe"]
    place = {"project": str(out.parent.resolve()), "name": out.name, "exist_ok": True}
    folder = train(
        TrainConfig(
            quant=QuantConfig(method="dorefa", bits=8),
            data="shapes",
            model=float_weights,
            settings={**recipe, "plots": True, **place},
        )
    )
    best = folder / "weights" / "best.pt"
    config = EvalConfig(
        weights=[best],
        baseline=float_weights,
        data="shapes",
        out=folder / "corrupted",
        imgsz=recipe["imgsz"],
        severities=[SEVERITY],
        batch=recipe["batch"],
        device="cpu",
        limit=PICTURES,
    )
    click.echo(f"Evaluating on {PICTURES} pictures, clean and under {len(CORRUPTIONS)} corruptions.")
    show(evaluate(config), folder / "corrupted")
    click.echo(f"Results: {folder} (results.csv and .png, quantization.csv and .png, weights/)")
    click.echo(f"Try: yolo-qreg info {best}")
