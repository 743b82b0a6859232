"""`yolo-qreg demo`: the main job on the embedded data set."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True, help="Run folder."
)
def command(out: Path) -> None:
    """Train an 8-bit DoReFa YOLOv5n on `shapes` from the shipped FP32 weights, and compare the two.

    Takes minutes on two CPU cores; nothing is downloaded.
    """
    from rich.console import Console
    from rich.table import Table

    from yolo_qreg.config import QuantConfig, TrainConfig
    from yolo_qreg.data.shapes import ensure_shapes
    from yolo_qreg.host.run import train
    from yolo_qreg.host.validate import validate
    from yolo_qreg.shipped import read_card, shipped

    data, float_weights = ensure_shapes(), shipped("shapes-fp32")
    recipe = read_card("shapes-dorefa8")["recipe"]
    folder = train(
        TrainConfig(
            quant=QuantConfig(method="dorefa", bits=8),
            data=data,
            model=float_weights,
            settings={
                **recipe,
                "plots": True,
                "project": str(out.parent.resolve()),
                "name": out.name,
                "exist_ok": True,
            },
        )
    )
    best = folder / "weights" / "best.pt"
    table = Table(title="shapes, validation pictures", title_justify="left")
    for column in ("weights", "bits", "mAP50-95", "mAP50", "file"):
        table.add_column(column, justify="left" if column in {"weights", "file"} else "right")
    for name, bits, path in (("FP32", 32, float_weights), ("DoReFa", 8, best)):
        score = validate(path, data, imgsz=recipe["imgsz"], batch=recipe["batch"])
        table.add_row(name, str(bits), f"{100 * score.map50_95:.1f}", f"{100 * score.map50:.1f}", str(path))
    Console(soft_wrap=True).print(table)
    click.echo(f"Results: {folder} (results.csv and .png, quantization.csv and .png, weights/)")
    click.echo(f"Try: yolo-qreg info {best}")
