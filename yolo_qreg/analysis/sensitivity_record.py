"""What single quantized layers cost, as data that is written and read again. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from yolo_qreg.errors import InputError
from yolo_qreg.sealed import read_sealed

FILE = "sensitivity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """What it costs that one layer, and no other, is at some width.

    Attributes:
        layer: Its name.
        bits: The width.
        weights: Number of weights.
        size_bytes: Of its codes and scales.
        macs: Multiply-accumulates for one picture.
        variance: sigma^2, the mean square of the errors of its weights.
        relative: The same over the mean square of the weights.
        loss_rise: Of the mean loss of a picture, as measured.
        map_drop: Of mAP@[.50:.95], a fraction, as measured.
        trace: tr(H_ll).
        trace_error: Its standard error over probes; None for one probe.
        estimate: Of the rise: sigma^2 tr(H_ll) / 2.
    """

    layer: str
    bits: int
    weights: int
    size_bytes: int
    macs: int
    variance: float
    relative: float
    loss_rise: float
    map_drop: float
    trace: float
    trace_error: float | None
    estimate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What all layers cost, one at a time.

    Attributes:
        layers: By layer in the order of the model, the largest width first.
        loss: Mean loss of a picture with float weights.
        map50_95: mAP with float weights, a fraction.
        fixed_bytes: What a packed file takes beside the layers.
        setup: What the numbers depend on.
    """

    layers: tuple[LayerCost, ...]
    loss: float
    map50_95: float
    fixed_bytes: int
    setup: dict[str, Any]

    @property
    def by_layer(self) -> dict[str, dict[int, LayerCost]]:
        """The same by layer and width."""
        found: dict[str, dict[int, LayerCost]] = {}
        for cost in self.layers:
            found.setdefault(cost.layer, {})[cost.bits] = cost
        return found

    @property
    def widths(self) -> tuple[int, ...]:
        """Those that were measured, the largest first."""
        return tuple(sorted({cost.bits for cost in self.layers}, reverse=True))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Sensitivity:
        """Read what `to_dict` gives.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another kind.
        """
        names = [entry.name for entry in fields(LayerCost)]
        layers = tuple(LayerCost(**{name: row[name] for name in names}) for row in found["layers"])
        rest = {name: found[name] for name in ("loss", "map50_95", "fixed_bytes")}
        return cls(layers=layers, setup=dict(found["setup"]), **rest)


def load_sensitivity(source: Path) -> Sensitivity:
    """Read what `sensitivity` wrote, from its folder or from the file in it.

    Raises:
        InputError: There is none, or a damaged one.
    """
    path = source / FILE if source.is_dir() else source
    found = read_sealed(path)
    try:
        if found is not None:
            return Sensitivity.from_dict(found)
    except (KeyError, TypeError):
        pass
    raise InputError(f"{path} is no whole file of the sensitivity command; run it, or name its folder")
