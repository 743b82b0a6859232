"""Size of YOLOv5n's weights by bit width: parameters in FP32, the plain .pt in fp16, and packed files.

    python benchmarks/packed_sizes.py --write

Nothing is trained: size depends on the bit width and the number of classes alone.
"""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path

import click
from ultralytics.nn.tasks import DetectionModel

from yolo_qreg.config import QuantConfig
from yolo_qreg.export.packed import to_packed
from yolo_qreg.export.plain import to_plain
from yolo_qreg.files import fill_block
from yolo_qreg.host import checkpoint
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.patch import bake

PAGE = Path(__file__).parents[1] / "docs" / "weights.md"
WIDTHS = (8, 4, 2)


@click.command()
@click.option("--model", default="yolov5n.yaml", show_default=True)
@click.option("--classes", default=20, show_default=True)
@click.option("--method", default="dorefa", show_default=True)
@click.option("--write", is_flag=True, help="Write the table into docs/weights.md.")
def main(model: str, classes: int, method: str, write: bool) -> None:
    """Print sizes by bit width in megabytes (10**6 bytes)."""
    text = table(model, classes, method)
    print(text)
    if write:
        fill_block(PAGE, "sizes", text)


def table(model: str = "yolov5n.yaml", classes: int = 20, method: str = "dorefa") -> str:
    """Return the sizes as a Markdown table."""
    base = DetectionModel(model, nc=classes, verbose=False)
    base.names = {i: f"class {i}" for i in range(classes)}
    rows = [("parameters in FP32", sum(v.numel() * 4 for v in base.state_dict().values()), 0, 0)]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "best.pt"
        for bits in WIDTHS:
            config = QuantConfig(method=method, bits=bits)
            net = deepcopy(base)
            plan = quantize_detector(net, config)
            state = checkpoint.QuantState(config, plan.bits, checkpoint.tensors_of(net))
            checkpoint.save(run, {"model": bake(net).half(), checkpoint.KEY: state.to_dict()})
            sizes = [path.stat().st_size for path in (to_plain(run), to_packed(run), to_packed(run, fp32=True))]
            rows.append((f"{bits} bits", *sizes))
    head = f"| {model}, {classes} classes; MB | `.pt` | packed | packed, the rest in float32 |"
    shown = [[name, *(f"{n / 1e6:.2f}" if n else "-" for n in numbers)] for name, *numbers in rows]
    return "\n".join([head, "| --- | --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in shown)])


if __name__ == "__main__":
    main()
