"""Detections of two models side by side: `python benchmarks/deployment_picture.py fp32.pt packed.onnx`."""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_qreg.host.datasets import resolve_data, spread, validation_pictures

OUT = Path(__file__).parents[1] / "docs" / "results" / "deployment.png"
GAP = 6
LEAST_SCORE = 0.4
COLOURS = 64
"""Of the palette that the picture is stored with."""


@click.command()
@click.argument("models", nargs=2, type=click.Path(exists=True, path_type=Path))
@click.option("--data", default="shapes", show_default=True)
@click.option("--count", default=3, show_default=True, help="Pictures of val, a column each.")
@click.option("--imgsz", default=320, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def main(models: tuple[Path, Path], data: str, count: int, imgsz: int, out: Path) -> None:
    """Draw what each model finds, a row each."""
    found = validation_pictures(resolve_data(data), channels=(3,)).pictures
    paths = [picture.path for picture in spread(found, count)]
    rows = [row(model, paths, imgsz) for model in models]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    write(np.concatenate([rows[0], gap, rows[1]]), out)


def row(model: Path, paths: list[Path], imgsz: int) -> NDArray[np.uint8]:
    """Return pictures with the detections of a model, BGR."""
    from ultralytics import YOLO

    found = YOLO(str(model), task="detect").predict(
        [str(path) for path in paths],
        imgsz=imgsz,
        conf=LEAST_SCORE,
        rect=False,
        verbose=False,
        save=False,
        device="cpu",
    )
    drawn = [cv2.resize(result.plot(line_width=2, font_size=12), (imgsz, imgsz)) for result in found]
    gap = np.full((imgsz, GAP, 3), 255, np.uint8)
    parts = [part for picture in drawn for part in (picture, gap)][:-1]
    return np.concatenate(parts, axis=1)


def write(picture: NDArray[np.uint8], out: Path) -> None:
    """Store a picture with few colours."""
    from PIL import Image

    Image.fromarray(picture[..., ::-1]).quantize(COLOURS).save(out, optimize=True)


if __name__ == "__main__":
    main()
