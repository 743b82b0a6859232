"""AdaRound against nearest integers: mAP of float weights that were quantized both ways, without training.

    python benchmarks/adaround.py shapes shapes weights/shapes-fp32.pt 320 --out FOLDER --write

NAME is the data set's in the table, DATA and IMGSZ are the training's. Quantized files are made once into FOLDER, so
that a run which was stopped goes on. Gains are on FP32, and of AdaRound on the nearest integers, on the same pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from paired import gain, paired, publish

from yolo_qreg import QuantConfig, quantize
from yolo_qreg.config import BN_IMAGES


def made(weights: Path, data: str, out: Path, bits: int, images: int, *, adaround: bool) -> Path:
    """Return weights on the grid of LSQ, made on first use."""
    name = f"{bits}-bn{images}-{'adaround' if adaround else 'nearest'}"
    place = out / name
    if not list(place.glob("*.pt")):
        place.mkdir(parents=True, exist_ok=True)
        quantize(weights, QuantConfig(method="lsq", bits=bits, bn_images=images), place, data, adaround=adaround)
    return next(place.glob("*.pt"))


def table(held: dict[str, Any]) -> str:
    """Return what was found on all data sets as Markdown."""
    lines = [
        "| data | bits | BatchNorm | FP32 mAP | nearest: gain | AdaRound: gain | AdaRound on nearest |",
        f"|{' --- |' * 7}",
    ]
    for name, found in held.items():
        for row in found["rows"]:
            norm = f"{row['bn_images']} pictures" if row["bn_images"] else "kept"
            cells = [name, str(row["bits"]), norm, f"{row['fp32']['mAP']:.2f}"]
            cells += [gain(row[key]) for key in ("nearest", "adaround", "adaround on nearest")]
            lines.append(f"| {' | '.join(cells)} |")
    pictures = ", ".join(f"{name} {found['rows'][0]['fp32']['pictures']}" for name, found in held.items())
    sizes = ", ".join(f"{name} {found['imgsz']} px" for name, found in held.items())
    lines += ["", f"mAP@[.50:.95] in points on pictures of val ({pictures}; {sizes}); 95% intervals over pictures."]
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("name")
@click.argument("data")
@click.argument("weights", type=click.Path(exists=True, path_type=Path))
@click.argument("imgsz", type=int)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--bits", default="4,3,2", show_default=True)
@click.option("--images", default=f"{BN_IMAGES},0", show_default=True, help="For BatchNorm; 0 keeps it.")
@click.option("--limit", type=int, help="Pictures of val; all by default.")
@click.option("--write", is_flag=True, help="Write docs/results/adaround.json and its table.")
def main(
    name: str, data: str, weights: Path, imgsz: int, out: Path, bits: str, images: str, limit: int | None, write: bool
) -> None:
    """Quantize, evaluate and print."""
    rows = []
    for seen in map(int, images.split(",")):
        for width in map(int, bits.split(",")):
            nearest, rounded = (made(weights, data, out, width, seen, adaround=it) for it in (False, True))
            scores = out / "scores"
            fp32, *both = paired(weights, [nearest, rounded], data, scores, imgsz=imgsz, limit=limit)
            _, against = paired(nearest, [rounded], data, scores, imgsz=imgsz, limit=limit)
            row = {"bits": width, "bn_images": seen, "fp32": fp32, "nearest": both[0], "adaround": both[1]}
            rows.append(row | {"adaround on nearest": against})
            print(table({name: {"imgsz": imgsz, "rows": rows}}), flush=True)
    if write:
        publish("adaround", name, {"imgsz": imgsz, "rows": rows}, table)


if __name__ == "__main__":
    main()
