"""Make the shipped weights and their cards, from the embedded data set alone.

    python tools/make_weights.py                       # trains both (about an hour on two CPU cores), exports, measures
    python tools/make_weights.py --fp32-run RUN        # takes a finished run for one of them instead of training it

A card says which command made the file, on which data, and what it scores there; `pytest -m weights` checks it.
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from yolo_qreg.config import QuantConfig, TrainConfig
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.export.plain import to_plain
from yolo_qreg.files import fill_block, write_atomic
from yolo_qreg.host.run import train
from yolo_qreg.host.validate import validate

HERE = Path(__file__).resolve().parents[1] / "weights"
COMMON = {"imgsz": 320, "batch": 16, "nbs": 16, "optimizer": "AdamW", "cos_lr": True, "plots": False}
FP32 = COMMON | {"epochs": 30, "lr0": 0.002, "warmup_epochs": 2, "close_mosaic": 8}
DOREFA8 = COMMON | {"epochs": 2, "lr0": 0.001, "warmup_epochs": 0.2, "close_mosaic": 2, "val": False}
TOLERANCE = 0.01
"""By how much mAP, as a fraction, may differ on another machine: decoders and kernels round differently."""


def command_line(quant: QuantConfig, model: str, recipe: dict[str, Any]) -> str:
    """Return the `yolo-qreg train` command that a training run stands for."""
    settings = " ".join(f"{key}={value}" for key, value in recipe.items())
    method = "" if quant.label == "fp32" else f"--method {quant.method} "
    return f"yolo-qreg train {method}--bits {quant.bits} --data shapes --model {model} {settings}"


def make(name: str, quant: QuantConfig, model: str, recipe: dict[str, Any], run: Path | None) -> None:
    """Train unless `run` is given, then write weights/NAME.pt and weights/NAME.json."""
    data = ensure_shapes()
    source = HERE.parent / model if model.startswith("weights/") else model
    run = run or train(TrainConfig(quant=quant, data=data, model=source, settings=recipe))
    path = to_plain(run, HERE / f"{name}.pt")
    score = validate(path, data, imgsz=recipe["imgsz"], batch=recipe["batch"], device="cpu")
    content = path.read_bytes()
    card = {
        "file": path.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "command": command_line(quant, model, recipe),
        "quant": quant.to_dict(),
        "recipe": recipe,
        "data": {"name": data.parent.name, "split": "val"} | json.loads((data.parent / "manifest.json").read_text()),
        "metrics": {"map50_95": round(score.map50_95, 4), "map50": round(score.map50, 4), "tolerance": TOLERANCE},
        "versions": {p: version(p) for p in ("yolo-qreg", "ultralytics", "torch", "numpy")}
        | {"python": platform.python_version()},
        "licence": "AGPL-3.0",
    }
    text = json.dumps(card, indent=2) + "\n"
    write_atomic(HERE / f"{name}.json", lambda file: file.write(text.encode()))
    click.echo(
        f"{name}: mAP50-95 {100 * score.map50_95:.1f}, mAP50 {100 * score.map50:.1f}, {len(content) / 1e6:.2f} MB"
    )


def table() -> str:
    """Return the table of shipped weights, from their cards."""
    lines = ["| weights | bits | mAP50-95 | mAP50 |", "| --- | --- | --- | --- |"]
    for path in sorted(HERE.glob("*.json"), reverse=True):
        card = json.loads(path.read_text())
        score = " | ".join(f"{100 * card['metrics'][key]:.1f}" for key in ("map50_95", "map50"))
        lines.append(f"| [{card['file']}](../weights/{path.name}) | {card['quant']['bits']} | {score} |")
    return "\n".join(lines)


@click.command()
@click.option("--fp32-run", type=click.Path(exists=True, path_type=Path), help="A finished run of the FP32 recipe.")
@click.option("--dorefa8-run", type=click.Path(exists=True, path_type=Path), help="A finished run of the 8-bit recipe.")
def main(fp32_run: Path | None, dorefa8_run: Path | None) -> None:
    """Write shapes-fp32 and shapes-dorefa8, in this order: the second starts from the first."""
    make("shapes-fp32", QuantConfig(bits=32), "yolov5n.yaml", FP32, fp32_run)
    make("shapes-dorefa8", QuantConfig(method="dorefa", bits=8), "weights/shapes-fp32.pt", DOREFA8, dorefa8_run)
    fill_block(HERE.parent / "docs" / "weights.md", "weights", table())


if __name__ == "__main__":
    main()
