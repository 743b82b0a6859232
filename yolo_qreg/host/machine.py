"""What this machine's torch and device can do, checked before a training instead of by its first step."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from ultralytics.engine import trainer as host_trainer

from yolo_qreg.errors import InputError
from yolo_qreg.patch import QuantConv2d, quantized_layers

TOLERANCE = 0.01
"""Norm of the difference of two gradients, relative to the gradient's, that rounding (TF32 included) may cause."""


def check_precision(amp: bool | str, device: torch.device) -> None:
    """Check that the host runs `amp` on `device`.

    Raises:
        InputError: It is "bf16", which the host runs on some CUDA devices only.
    """
    if amp == "bf16":
        try:
            host_trainer.autocast(torch.bfloat16, device=device.type)
        except RuntimeError as error:
            raise InputError(f"amp='bf16' does not run on {device}: {error}; use amp=False") from error


def check_compiled(model: nn.Module, mode: bool | str, device: torch.device) -> None:
    """Compile the smallest layer of each quantizer and width as the training will, and compare gradients.

    A release of torch may compile a hand-written gradient wrongly without a word: 2.11 made zeros of one of ours.

    Raises:
        InputError: A layer cannot be compiled, or its gradients differ.
    """
    smallest: dict[tuple[type, int], tuple[str, QuantConv2d]] = {}
    for name, layer in sorted(quantized_layers(model).items(), key=lambda item: item[1].weight.numel()):
        if layer.quantizer.has_codes:
            smallest.setdefault((type(layer.quantizer), layer.quantizer.bits), (name, layer))
    for name, layer in smallest.values():
        eager, inner = (deepcopy(layer).eval().to(device).requires_grad_(True) for _ in range(2))
        compiled = host_trainer.attempt_compile(inner, device=device, mode=mode)
        if compiled is inner:  # nothing to compile with: the host has said so, and trains uncompiled
            return
        about = f"compile={mode}: torch {torch.__version__}"
        try:
            found = _gradients(compiled, inner)
        except Exception as error:
            reason = " ".join(str(error).partition("\n\n")[0].split())
            raise InputError(f"{about} cannot compile layer {name!r} ({reason}); drop compile") from error
        for ours, theirs in zip(_gradients(eager, eager), found, strict=True):
            if not (ours - theirs).norm() <= TOLERANCE * ours.norm():
                raise InputError(
                    f"{about} gives layer {name!r} another gradient than uncompiled; drop compile or change torch"
                )


def _gradients(run: nn.Module, layer: QuantConv2d) -> list[Tensor]:
    """Return the gradients of a layer's parameters; picture and incoming gradient are random numbers."""
    numbers = torch.Generator().manual_seed(0)
    height, width = (2 * side for side in layer.kernel_size)
    y = run(torch.rand(1, layer.in_channels, height, width, generator=numbers).to(layer.weight.device))
    y.backward(torch.randn(y.shape, generator=numbers).to(y.device))
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in layer.parameters()]
