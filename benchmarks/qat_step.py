"""Time of a quantized training step as a ratio of the float one, interleaved in one run, and what it is spent on.

    python benchmarks/qat_step.py --imgsz 320 --batch 16 --repeats 15

Each round times one step of every variant in turn, so that a busy machine slows all alike; the table shows medians
and the median of the per-round ratios, and how many operations forward and backward dispatch to a device, which is the
same on every machine. "one by one" is the same method without quantizing all layers at once; "composed" is DoReFa
written as differentiable operations with torch's own straight-through rounding. Rows of other packages appear where
these are installed: nvidia-modelopt (weights only, and weights and activations, the host's own way) and brevitas.
"""

from __future__ import annotations

import copy
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import click
import torch
import ultralytics
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

from yolo_qreg.activations import calibrate
from yolo_qreg.config import QuantConfig
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.host.predict import device_of
from yolo_qreg.patch import quantized_layers
from yolo_qreg.quant.dorefa import DoReFaQuantizer
from yolo_qreg.together import quantize_one_by_one

VARIANTS = {
    "float": None,
    "fp32 twin": QuantConfig(bits=32),
    "dorefa 8": QuantConfig(method="dorefa", bits=8),
    "dorefa 2": QuantConfig(method="dorefa", bits=2),
    "lsq 8": QuantConfig(method="lsq", bits=8),
    "lsq 4 per channel": QuantConfig(method="lsq", bits=4, per_channel=True),
    "dorefa 4 per channel": QuantConfig(method="dorefa", bits=4, per_channel=True),
    "ternary": QuantConfig(method="ternary", bits=2),
    "lsq 8, activations 8": QuantConfig(method="lsq", bits=8, activations=8),
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


class Composed(DoReFaQuantizer):
    """DoReFa as most implementations have it: differentiable operations, and a detached difference at the rounding."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the quantized weight."""
        n: int = 2**self.bits - 1
        t = torch.tanh(weight)
        position = (t / (2 * t.abs().max()) + 0.5) * n
        return 2 * (position + (position.round() - position).detach()) / n - 1


def quantized(config: QuantConfig | None, pictures: torch.Tensor, net: nn.Module) -> None:
    """Quantize as a training does, ranges of activations from the pictures."""
    if config is not None:
        quantize_detector(net, config)
        if config.activations is not None:
            calibrate(net, [pictures])


def one_by_one(net: nn.Module) -> None:
    """Let each layer quantize its own weight."""
    quantize_detector(net, QuantConfig(method="dorefa", bits=8))
    quantize_one_by_one(net)


def composed(net: nn.Module) -> None:
    """Quantize by composed operations."""
    one_by_one(net)
    for layer in quantized_layers(net).values():
        layer.quantizer = Composed(8)


def modelopt(activations: bool, data: dict[str, torch.Tensor]) -> Callable[[nn.Module], None]:
    """Return what quantizes by NVIDIA's package: 8 bits, per-channel weights, and activations by layer if wanted."""

    def apply(net: nn.Module) -> None:
        import modelopt.torch.quantization as mtq

        config = copy.deepcopy(mtq.INT8_DEFAULT_CFG)
        if not activations:
            found = config["quant_cfg"]
            if isinstance(found, dict):
                found["*input_quantizer"] = {"enable": False}
            else:  # a list of rules since 0.40
                found.append({"quantizer_name": "*input_quantizer", "enable": False})
        mtq.quantize(net, config, lambda model: model(data["img"]))

    return apply


def brevitas(net: nn.Module) -> None:
    """Quantize weights to 8 bits, one scale a layer, by the package's own convolutions."""
    from brevitas.nn import QuantConv2d

    for parent in list(net.modules()):
        for name, conv in list(parent.named_children()):
            if type(conv) is nn.Conv2d and conv.groups == 1:
                new = QuantConv2d(
                    conv.in_channels,
                    conv.out_channels,
                    conv.kernel_size,
                    conv.stride,
                    conv.padding,
                    bias=conv.bias is not None,
                    weight_bit_width=8,
                )
                new.load_state_dict(conv.state_dict(), strict=False)
                setattr(parent, name, new)


class Counter(TorchDispatchMode):
    """Counts what is dispatched, views of tensors apart: they start nothing."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def operations(net: nn.Module, batch: dict[str, torch.Tensor]) -> int:
    """Return how many operations forward and backward of a model dispatch, optimizer apart, in its second step."""
    net.train()
    for _ in range(2):
        net.zero_grad()
        with Counter() as counter:
            loss, _ = net(batch)
            loss.sum().backward()
    net.zero_grad()
    return counter.count


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
    place = device_of(device)
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
    variants: dict[str, Callable[[nn.Module], object]] = {
        name: partial(quantized, config, data["img"]) for name, config in VARIANTS.items()
    }
    variants |= {"dorefa 8 one by one": one_by_one, "dorefa 8 composed": composed}
    if find_spec("modelopt"):
        variants |= {"modelopt W8": modelopt(False, data), "modelopt W8A8": modelopt(True, data)}
    if find_spec("brevitas"):
        variants["brevitas W8"] = brevitas
    steps, counts = {}, {}
    for name, quantize in variants.items():
        net = copy.deepcopy(base).to(place)
        quantize(net)
        counts[name] = operations(net, data)
        steps[name] = make_step(net, data, place)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(repeats + 2):
        for name, step in steps.items():
            times[name].append(clock(step, place))
        if round_ == 1:  # two rounds of warm-up
            for values in times.values():
                values.clear()
    where = torch.cuda.get_device_name(place) if place.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}; {platform.platform()}; torch {torch.__version__}, ultralytics {ultralytics.__version__}")
    print(f"{model}, {imgsz} px, batch {batch}, {repeats} interleaved rounds, medians")
    print(f"{'variant':20s}{'step ms':>10s}{'ratio':>8s}{'operations':>12s}{'ratio':>8s}")
    for name, values in times.items():
        ratio = statistics.median(v / f for v, f in zip(values, times["float"], strict=True))
        started = f"{counts[name]:12d}{counts[name] / counts['float']:8.3f}"
        print(f"{name:20s}{1e3 * statistics.median(values):10.1f}{ratio:8.3f}{started}")


if __name__ == "__main__":
    main()
