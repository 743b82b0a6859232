"""What int8 activations lose where they run: trained with and without them, exported to OpenVINO, evaluated there.

    python benchmarks/activations.py shapes shapes weights/shapes-fp32.pt --out FOLDER --write epochs=1 imgsz=320

NAME is the data set's in the table. Weights are trained on DATA with LSQ twice at each width, beginning with WEIGHTS
and with the same settings, once with 8-bit activations; finished trainings in FOLDER are kept. Changes are from the
training with float activations, which PyTorch runs: of its own int8 export, whose ranges were calibrated, and of that
of the training with activations, which computes on the ranges that were learned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from paired import gain, paired, publish

from yolo_qreg import QuantConfig, TrainConfig, export_weights, train
from yolo_qreg.config import Calibration
from yolo_qreg.host.history import read_run
from yolo_qreg.settings import parse_settings

OUT = "openvino"


def trained(out: Path, name: str, quant: QuantConfig, data: str, weights: Path, settings: dict[str, Any]) -> Path:
    """Return a finished run folder: train it, or find it."""
    run = out / name
    found = read_run(run)
    if found is None or not found.finished:
        place = {"project": str(out.resolve()), "name": name, "exist_ok": True, "plots": False}
        train(TrainConfig(quant=quant, data=data, model=weights, settings=place | settings))
    return run


def exported(run: Path, imgsz: int, calibration: Calibration | None) -> Path:
    """Return a run's int8 folder, made on first use; without a calibration it has the ranges of its training."""
    folder = run / f"int8_{OUT}_model"
    return folder if folder.exists() else export_weights(run, OUT, folder, imgsz=imgsz, calibration=calibration)


def table(held: dict[str, Any]) -> str:
    """Return what was found on all data sets and at all widths as Markdown."""
    lines = [
        "| data | weights | float activations: mAP | int8, calibrated ranges: gain | int8, trained ranges: gain |",
        f"|{' --- |' * 5}",
    ]
    notes: dict[str, None] = {}
    for found in held.values():
        cells = [found["data"], f"{found['bits']} bits", f"{found['float']['mAP']:.2f}"]
        cells += [gain(found[key]) for key in ("calibrated", "trained")]
        lines.append(f"| {' | '.join(cells)} |")
        facts = f"{found['float']['pictures']} pictures of {found['imgsz']} px after {found['settings']}"
        notes[f"{found['data']} {facts}"] = None
    lines += ["", f"mAP@[.50:.95] in points on val, 95% intervals over pictures: {'; '.join(notes)}."]
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("name")
@click.argument("data")
@click.argument("weights", type=click.Path(exists=True, path_type=Path))
@click.argument("settings", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--bits", default="8,4", show_default=True)
@click.option("--limit", type=int, help="Pictures of val; all by default.")
@click.option("--write", is_flag=True, help="Write docs/results/activations.json and its table.")
def main(
    name: str, data: str, weights: Path, settings: tuple[str, ...], out: Path, bits: str, limit: int | None, write: bool
) -> None:
    """Train, export, evaluate and print."""
    given = parse_settings(settings)
    imgsz = int(given["imgsz"])
    for width in map(int, bits.split(",")):
        plain = trained(out, f"lsq-{width}bit", QuantConfig(method="lsq", bits=width), data, weights, given)
        quant = QuantConfig(method="lsq", bits=width, activations=8)
        whole = trained(out, f"lsq-{width}bit-a8", quant, data, weights, given)
        models = [exported(plain, imgsz, Calibration(data=data)), exported(whole, imgsz, None)]
        scores = paired(plain, models, data, out / "scores", imgsz=imgsz, limit=limit)
        found = {"data": name, "bits": width, "imgsz": imgsz, "settings": " ".join(settings)}
        found |= dict(zip(("float", "calibrated", "trained"), scores, strict=True))
        print(table({name: found}), flush=True)
        if write:
            publish("activations", f"{name}, {width} bits", found, table)


if __name__ == "__main__":
    main()
