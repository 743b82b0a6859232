"""Time of a quantized training step as a ratio of the float one, interleaved in one run, and what it is spent on.

    python benchmarks/qat_step.py --imgsz 320 --batch 16 --repeats 15

Each round times one step of every variant in turn, so that a busy machine slows all alike; the table shows medians
and the median of the per-round ratios. The quantizer's own share is timed apart: forward and backward of every
layer's weight, without the network.
"""

from __future__ import annotations

import copy
import platform
import statistics
import time
from collections.abc import Callable

import click
import torch
import ultralytics
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

from yolo_qreg.config import QuantConfig
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.patch import quantized_layers

VARIANTS = {
    "float": None,
    "fp32 twin": QuantConfig(bits=32),
    "dorefa 8": QuantConfig(method="dorefa", bits=8),
    "dorefa 2": QuantConfig(method="dorefa", bits=2),
    "lsq 8": QuantConfig(method="lsq", bits=8),
    "lsq 4 per channel": QuantConfig(method="lsq", bits=4, per_channel=True),
}


def make_step(model: nn.Module, batch: dict[str, torch.Tensor], device: torch.device) -> Callable[[], None]:
    """Return one training step: forward and loss (AMP on CUDA), backward, SGD update."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    model.train()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, _ = model(batch)
        loss.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def quantizer_only(model: nn.Module) -> Callable[[], None]:
    """Return forward and backward of every quantizer on its weight, with a gradient of ones."""
    layers = list(quantized_layers(model).values())

    def once() -> None:
        for layer in layers:
            quantized = layer.quantized_weight()
            quantized.backward(torch.ones_like(quantized))
            layer.weight.grad = None

    return once


def clock(run: Callable[[], None], device: torch.device) -> float:
    """Return the seconds one call takes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


@click.command()
@click.option("--model", default="yolov5n.yaml", show_default=True)
@click.option("--imgsz", default=320, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--repeats", default=15, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=int, help="CPU threads of torch.")
def main(model: str, imgsz: int, batch: int, repeats: int, device: str, threads: int | None) -> None:
    """Print a table of step times and ratios."""
    if threads:
        torch.set_num_threads(threads)
    place = torch.device(device)
    torch.manual_seed(0)
    base = DetectionModel(model, nc=20, verbose=False)
    base.args = get_cfg()
    boxes = 4 * batch
    data = {
        "img": torch.rand(batch, 3, imgsz, imgsz, device=place),
        "batch_idx": torch.arange(boxes, device=place) // 4,
        "cls": torch.randint(20, (boxes, 1), device=place).float(),
        "bboxes": torch.rand(boxes, 4, device=place) * 0.4 + 0.3,
    }
    steps, quantizers = {}, {}
    for name, config in VARIANTS.items():
        net = copy.deepcopy(base).to(place)
        if config:
            quantize_detector(net, config)
            quantizers[name] = quantizer_only(copy.deepcopy(net))
        steps[name] = make_step(net, data, place)
    times: dict[str, list[float]] = {name: [] for name in steps}
    alone: dict[str, list[float]] = {name: [] for name in quantizers}
    for round_ in range(repeats + 2):
        for name, step in steps.items():
            times[name].append(clock(step, place))
        for name, once in quantizers.items():
            alone[name].append(clock(once, place))
        if round_ == 1:  # two rounds of warm-up
            for values in (*times.values(), *alone.values()):
                values.clear()
    where = torch.cuda.get_device_name(place) if place.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}; {platform.platform()}; torch {torch.__version__}, ultralytics {ultralytics.__version__}")
    print(f"{model}, {imgsz} px, batch {batch}, {repeats} interleaved rounds, medians")
    print(f"{'variant':20s}{'step ms':>10s}{'ratio':>8s}{'quantizers ms':>15s}")
    for name, values in times.items():
        ratio = statistics.median(v / f for v, f in zip(values, times["float"], strict=True))
        own = f"{1e3 * statistics.median(alone[name]):15.1f}" if name in alone else ""
        print(f"{name:20s}{1e3 * statistics.median(values):10.1f}{ratio:8.3f}{own}")


if __name__ == "__main__":
    main()
