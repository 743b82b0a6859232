"""Size of YOLOv5n's weights by bit width: parameters in FP32, the plain .pt in fp16, and packed files.

    python benchmarks/packed_sizes.py

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
from yolo_qreg.host import checkpoint
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.patch import bake


@click.command()
@click.option("--model", default="yolov5n.yaml", show_default=True)
@click.option("--classes", default=20, show_default=True)
@click.option("--method", default="dorefa", show_default=True)
def main(model: str, classes: int, method: str) -> None:
    """Print one line per bit width, sizes in megabytes (10**6 bytes)."""
    base = DetectionModel(model, nc=classes, verbose=False)
    base.names = {i: f"class {i}" for i in range(classes)}
    print(f"{model}, {classes} classes: {sum(v.numel() * 4 for v in base.state_dict().values()) / 1e6:.2f} MB in FP32")
    with tempfile.TemporaryDirectory() as folder:
        for bits in (8, 4, 2):
            config = QuantConfig(method=method, bits=bits)
            net = deepcopy(base)
            plan = quantize_detector(net, config)
            state = checkpoint.QuantState(config, plan.bits, checkpoint.tensors_of(net))
            run = Path(folder) / "best.pt"
            checkpoint.save(run, {"model": bake(net).half(), checkpoint.KEY: state.to_dict()})
            sizes = [path.stat().st_size / 1e6 for path in (to_plain(run), to_packed(run), to_packed(run, fp32=True))]
            print("{} bits: .pt {:.2f} MB, packed {:.2f} MB, packed --fp32 {:.2f} MB".format(bits, *sizes))


if __name__ == "__main__":
    main()
