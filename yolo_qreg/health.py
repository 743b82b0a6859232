"""How well each layer's weights use their grid: levels used, signal to quantization noise, codes that flipped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yolo_qreg.patch import QuantConv2d, quantized_layers


@dataclass(frozen=True, slots=True)
class LayerHealth:
    """One quantized layer at one moment.

    Attributes:
        layer: Module name.
        bits: Bit width.
        weights: Number of weights.
        levels_used: Distinct codes that occur, of 2**bits.
        sqnr_db: Signal to quantization noise ratio in dB; see `sqnr_db`.
        flipped: Share of codes that differ from the last time, 0..1; None where there is no last time.
        oscillating: Share of weights whose codes go to and fro from step to step; None where that is not tracked.
    """

    layer: str
    bits: int
    weights: int
    levels_used: int
    sqnr_db: float
    flipped: float | None
    oscillating: float | None = None

    @property
    def levels(self) -> int:
        """Number of codes the width allows."""
        return int(2**self.bits)


def sqnr_db(weight: Tensor, quantized: Tensor) -> float:
    """Return 10 log10(|w|^2 / |w - a q|^2) with the a that fits best, in dB.

    The factor a is free because BatchNorm absorbs the scale of a layer's weights, and DoReFa changes it on purpose.
    """
    w, q = weight.detach().cpu().double().flatten(), quantized.detach().cpu().double().flatten()
    power = w.dot(w)
    noise = power - w.dot(q) ** 2 / q.dot(q).clamp_min(1e-300)
    if noise <= 0:
        return math.inf
    return 10 * math.log10(float(power / noise)) if power > 0 else 0.0


def measure(model: nn.Module, last: Mapping[str, Tensor]) -> tuple[list[LayerHealth], dict[str, Tensor]]:
    """Measure every quantized layer of `model`.

    Args:
        model: A model with `QuantConv2d` layers; layers without codes, such as those at 32 bits, are passed over.
        last: The codes of the previous call, by layer; empty on the first.

    Returns:
        One entry per layer, and the codes to pass in next time (uint8, on the CPU).
    """
    rows, codes = [], {}
    for name, layer in quantized_layers(model).items():
        if not layer.quantizer.has_codes:
            continue
        codes[name] = layer_codes(layer).cpu()
        changed = (codes[name] != last[name]).float().mean().item() if name in last else None
        rows.append(
            LayerHealth(
                layer=name,
                bits=layer.quantizer.bits,
                weights=layer.weight.numel(),
                levels_used=int(torch.bincount(codes[name].flatten()).count_nonzero()),
                sqnr_db=sqnr_db(layer.weight, _values(layer)),
                flipped=changed,
                oscillating=layer.quantizer.oscillating(),
            )
        )
    return rows, codes


def layer_codes(layer: QuantConv2d) -> Tensor:
    """Return a layer's codes, uint8 of its weight's shape."""
    with torch.no_grad():
        return layer.quantizer.codes(layer.weight.detach().float())


def _values(layer: QuantConv2d) -> Tensor:
    """Return a layer's quantized weight without what a method draws at random in training mode."""
    weight, quantizer = layer.weight.detach().float(), layer.quantizer
    with torch.no_grad():
        return quantizer.values(quantizer.codes(weight), quantizer.scale(weight), quantizer.bits)


def summary(rows: list[LayerHealth]) -> str:
    """Return one line over all layers: levels used, SQNR (weighted mean and worst layer) and flips."""
    if not rows:
        return "no quantized layer"
    weights = sum(r.weights for r in rows)
    levels = 100 * sum(r.levels_used for r in rows) / sum(r.levels for r in rows)
    worst = min(rows, key=lambda r: r.sqnr_db)
    mean = sum(r.sqnr_db * r.weights for r in rows) / weights
    line = f"levels used {levels:.0f}%, SQNR {mean:.1f} dB (worst {worst.sqnr_db:.1f}, {worst.layer})"
    flips = [(r.flipped, r.weights) for r in rows if r.flipped is not None]
    if flips:
        line += f", codes flipped {100 * sum(f * n for f, n in flips) / sum(n for _, n in flips):.2f}%"
    tracked = [(r.oscillating, r.weights) for r in rows if r.oscillating is not None]
    if tracked:
        line += f", oscillating {100 * sum(f * n for f, n in tracked) / sum(n for _, n in tracked):.2f}%"
    return line
