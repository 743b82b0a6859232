"""Settings of `sensitivity` as frozen data, checked when made. No torch: refused before anything heavy loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_qreg.analysis.config import check_numbers
from yolo_qreg.config import STRIDE, QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.quant.registry import CODED

LIMITS = {"images": (1, 100_000), "probes": (1, 10_000), "imgsz": (STRIDE, 8192), "seed": (0, 2**63 - 1)}
"""The least and the most of whole numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityConfig:
    """What is measured, and how closely.

    Attributes:
        weights: A run folder, or a .pt with float weights.
        data: "voc", "shapes" or a data set's YAML file; by default what the model was trained on.
        out: Folder of the results.
        method: Quantizer of the layer that is looked at.
        bits: Its widths.
        per_channel: One scale per output channel, where the method has that.
        images: Number of training pictures.
        probes: Random vectors for each layer's Hessian trace.
        imgsz: Sides of the pictures in pixels, a multiple of 32; by default those of the training.
        device: As the host names it: cpu, 0, mps; "" lets it choose.
        seed: Of the random vectors.

    Raises:
        InputError: A value cannot be used.
    """

    weights: Path
    data: str | Path | None = None
    out: Path = Path("runs/sensitivity")
    method: str = "lsq"
    bits: Sequence[int] = (8, 6, 4, 3, 2)
    per_channel: bool = False
    images: int = 64
    probes: int = 8
    imgsz: int | None = None
    device: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check numbers and names; widths become a tuple without repeats, the largest first."""
        if self.method not in CODED:
            raise InputError(f"method={self.method!r} is not one whose errors are known; choose of {', '.join(CODED)}")
        if not self.bits:
            raise InputError("bits is empty; name at least one width, such as 4")
        for bits in self.bits:
            if not QuantConfig(method=self.method, bits=bits, per_channel=self.per_channel).has_codes:
                raise InputError(f"bits={bits} quantizes nothing; use widths below")
        object.__setattr__(self, "bits", tuple(sorted(set(self.bits), reverse=True)))
        check_numbers(self, LIMITS)
