"""Settings of an analysis as frozen data, checked when made. No torch: refused before anything heavy loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_qreg.config import STRIDE, check_stride
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.config import PALETTES
from yolo_qreg.quant.registry import CODED, METHODS

LIMITS = {
    "images": (2, 100_000),
    "layer_images": (1, 100_000),
    "probes": (2, 10_000),
    "directions": (1, 1000),
    "imgsz": (STRIDE, 8192),
    "seed": (0, 2**63 - 1),
}
"""The least and the most of whole numbers."""
SAM_SHARES = (0.0005, 0.001, 0.002)
"""Lengths of SAM's step, as shares of the weights' norm."""
ASAM_RADII = (0.05, 0.1, 0.2)
DISTANCES = (-0.4, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
"""Along random directions, in norms of filters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisConfig:
    """What is looked at, and how closely.

    Attributes:
        sources: Run folders and .pt files, or the folder of one study.
        data: "voc", "shapes" or a data set's YAML file; by default what the models were trained on.
        out: Folder of the results.
        images: Number of training pictures, and of validation pictures, that losses and sharpness are taken on.
        layer_images: Number of training pictures that second derivatives and the noise of single layers are taken on.
        bits: Widths whose noise is looked at.
        methods: Quantizers whose noise is looked at in float weights; quantized ones have their own.
        probes: Random vectors for each estimate of a trace or a norm.
        directions: Random directions along which the loss is taken.
        imgsz: Sides of the pictures in pixels, a multiple of 32; by default those of the training.
        device: As the host names it: cpu, 0, mps; "" lets it choose.
        seed: Of everything random.
        palette: Of the page: "paper" or "accessible".

    Raises:
        InputError: A value cannot be used.
    """

    sources: Sequence[Path]
    data: str | Path | None = None
    out: Path = Path("runs/analysis")
    images: int = 64
    layer_images: int = 16
    bits: Sequence[int] = (8, 4, 2)
    methods: Sequence[str] = ("dorefa", "lsq")
    probes: int = 8
    directions: int = 3
    imgsz: int | None = None
    device: str = "cpu"
    seed: int = 0
    palette: str = PALETTES[0]

    def __post_init__(self) -> None:
        """Check numbers and names; lists become tuples without repeats."""
        for name in ("sources", "bits", "methods"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
            if not getattr(self, name):
                raise InputError(f"{name} is empty; name at least one")
        check_numbers(self, LIMITS)
        for method in self.methods:
            if method not in CODED:
                raise InputError(f"methods: {method!r} is not one whose noise is known; choose of {', '.join(CODED)}")
        known = {bits for method in self.methods for bits in METHODS[method].bits}
        for width in self.bits:
            if width not in known:
                which = " and ".join(self.methods)
                raise InputError(f"bits: {width} is out of range for {which}; use {min(known)}-{max(known)}")
        if self.palette not in PALETTES:
            raise InputError(f"palette={self.palette!r} is unknown; choose one of {', '.join(PALETTES)}")


def check_numbers(settings: object, limits: Mapping[str, tuple[int, int]]) -> None:
    """Check attributes that hold whole numbers, and sides of pictures, which may be None.

    Raises:
        InputError: One is another thing, or out of its limits.
    """
    for name, (least, most) in limits.items():
        value = getattr(settings, name)
        if name == "imgsz" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"{name}={value!r} is not a whole number from {least} to {most:,}; correct it")
        if name == "imgsz":
            check_stride(value)
