"""Settings of an evaluation as frozen data, checked when made. No torch: refused before anything heavy loads."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from yolo_qreg.config import STRIDE, check_stride
from yolo_qreg.errors import InputError
from yolo_qreg.trust import trusted

PALETTES = ("paper", "accessible")
LIMITS = {
    "imgsz": (STRIDE, 8192),
    "batch": (1, 4096),
    "limit": (1, 10**9),
    "resamples": (200, 20_000),  # every worker holds their weights: 200 MB for 5,000 pictures
    "workers": (0, 256),
    "jobs": (1, 64),
    "seed": (0, 2**64),
}
"""The least and the most of whole numbers."""
SEVERITIES = (1, 2, 3, 4, 5)
OPTIONS = {"corruptions": "--corruptions", "severities": "--severity"}
"""Fields whose option has another name than their own, or whose values are joined by commas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """One evaluation: which models, on which pictures, under which damage.

    Attributes:
        weights: Run folders, .pt, .onnx or exported folders: anything that Ultralytics runs. None given, the newest
            quantized run is taken.
        baseline: FP32 weights to compare with; by default the FP32 model among `weights`, else the FP32 twin.
        data: "voc", "shapes" or a data set's YAML file, of which the `val` split is taken; by default what the models
            were trained on.
        out: Folder of the results.
        corruptions: Names, or groups: all, benchmark, holdout, noise, blur, weather, digital.
        severities: Each 1 to 5.
        imgsz: Longer side of pictures as models see them, in pixels, a multiple of 32; by default that of the training.
        batch: Pictures at a time.
        device: As the host names it: cpu, 0, mps; "" lets it choose.
        workers: Processes that damage pictures; None for as many as suit the cores, 0 for none.
        jobs: Processes that run models, for a GPU that one does not keep busy; each takes some kinds of pictures, and
            holds all models.
        limit: Number of pictures, spread evenly over the split; None for all.
        seed: Of the corruptions' random numbers and of the bootstrap.
        resamples: Of the bootstrap, 200 or more.
        textures: Folder of pictures for frost; None for the default.
        cache: Folder to keep corrupted pictures in, losslessly; None to keep none.
        strict: Whether a picture that cannot be used is an error; else it is left out, and named in the results.
        palette: Of the page: "paper" (green and red) or "accessible" (blue and orange).

    Raises:
        InputError: A value cannot be used.
    """

    weights: Sequence[str | Path] = ()
    baseline: str | Path | None = None
    data: str | Path | None = None
    out: str | Path = Path("runs/corrupted")
    corruptions: Sequence[str] = ("all",)
    severities: Sequence[int] = SEVERITIES
    imgsz: int | None = None
    batch: int = 16
    device: str = ""
    workers: int | None = None
    jobs: int = 1
    limit: int | None = None
    seed: int = 0
    resamples: int = 1000
    textures: str | Path | None = None
    cache: str | Path | None = None
    strict: bool = False
    palette: str = PALETTES[0]

    def __post_init__(self) -> None:
        """Check names, levels and numbers; lists become tuples, and paths `Path`."""
        self._plain()
        self._check_kinds()
        for name, (least, most) in LIMITS.items():
            self._check_whole(name, least, most, optional=name in {"imgsz", "limit", "workers"})
        if self.imgsz is not None:
            check_stride(self.imgsz)
        if self.palette not in PALETTES:
            raise InputError(f"palette={self.palette!r} is unknown; choose one of {', '.join(PALETTES)}")

    def _plain(self) -> None:
        for name in ("weights", "corruptions", "severities"):
            value = getattr(self, name)
            one = isinstance(value, (str, Path, int)) or not isinstance(value, Iterable)
            object.__setattr__(self, name, (value,) if one else tuple(value))
        object.__setattr__(self, "weights", tuple(Path(path) for path in self.weights))
        for name in ("baseline", "out", "textures", "cache"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(value))

    def _check_kinds(self) -> None:
        from corruptions import select
        from corruptions.registry import is_severity, textures_for

        if not self.severities:
            raise InputError("severities is empty; name at least one of 1, 2, 3, 4, 5")
        if wrong := [level for level in self.severities if not is_severity(level)]:
            raise InputError(f"severity {wrong[0]!r} is not one of 1, 2, 3, 4, 5; give one or more of these")
        try:
            textures_for(select(self.corruptions), None if self.textures is None else Path(self.textures))
        except ValueError as error:
            raise InputError(str(error)) from error

    def _check_whole(self, name: str, least: int, most: int, *, optional: bool) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"{name}={value!r} is not a whole number from {least} to {most:,}; correct it")

    def command(self) -> str:
        """Return the command that does the same, for the page and run.json."""
        words = ["yolo-qreg", "eval-corrupted", *map(str, self.weights)]
        for entry in fields(self)[1:]:
            value = getattr(self, entry.name)
            if value == entry.default:
                continue
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [OPTIONS.get(entry.name, f"--{entry.name}"), *([] if value is True else [text])]
        return shlex.join([*words, "--trust"] if trusted() else words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """An evaluation with everything filled in that `EvalConfig` leaves open.

    Attributes:
        data: YAML file of the data set; its `val` split is used.
        out: Folder of the results.
        cells: Folder of the finished work, which several evaluations may share; None for one inside `out`.
        imgsz: Longer side of the pictures as models see them, in pixels; a multiple of 32.
        corruptions: In published order.
        severities: Each 1 to 5.
        batch: Pictures at a time.
        device: As the host names it; "" lets it choose.
        device_kind: cpu, cuda or mps, where cells are filled on other machines; None for what `device` is here.
        workers: Processes that make pictures and resample; 0 for none.
        jobs: Processes that run models; each takes some kinds of pictures, and its part of the workers.
        threads: That models run in on a CPU; None for as many as it has cores.
        limit: Number of pictures, spread evenly over the split; None for all.
        seed: Of the corruptions' random numbers and of the bootstrap.
        resamples: Of the bootstrap.
        cache: Folder to keep corrupted pictures in; None to keep none.
        textures: Folder of frost textures; None for the default.
        strict: Whether a picture that cannot be used is an error; else it is left out, and named in the results.

    Raises:
        InputError: The image size is no multiple of 32.
    """

    data: Path
    out: Path
    imgsz: int
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    batch: int = 16
    device: str = ""
    workers: int = 0
    jobs: int = 1
    threads: int | None = None
    limit: int | None = None
    seed: int = 0
    resamples: int = 1000
    cache: Path | None = None
    textures: str | None = None
    strict: bool = False
    cells: Path | None = None
    device_kind: str | None = None

    @property
    def kind_of_device(self) -> str:
        """Kind of device that models run on: cpu, cuda or mps."""
        from yolo_qreg.host.predict import device_type  # loads torch

        return self.device_kind or device_type(self.device)

    def __post_init__(self) -> None:
        """Check the image size."""
        check_stride(self.imgsz)
