"""What a study consists of: a grid of trainings under one schedule, and how they are evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from corruptions import select
from yolo_qreg.config import BN_IMAGES, STRIDE, QuantConfig
from yolo_qreg.errors import InputError, did_you_mean
from yolo_qreg.files import write_atomic
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS

EPOCHS = 100
"""The host's default."""
PLAN = "study.yaml"
"""What a study's folder says that it holds."""
GRID = ("methods", "bits", "seeds")
"""What may grow in a study that was begun."""
OF_ONE_TRAINING = ("widths", "grad_l1")
"""Settings of `QuantConfig` that no grid has."""
OWN = ("project", "name", "save_dir", "exist_ok")
"""Settings of the host by which a study puts its trainings into its folder."""
MACHINE = ("device", "workers", "cache")
"""Settings of the host that say where and how fast is trained, not what."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training of a study."""

    quant: QuantConfig
    seed: int

    @property
    def name(self) -> str:
        """Its folder, such as "dorefa-8bit-seed0"."""
        return f"{self.quant.label}-seed{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How models are evaluated.

    Attributes:
        corruptions: Names or groups.
        severities: Each 1 to 5.
        imgsz: Longer side in pixels; None for that of the training.
        batch: Pictures at a time.
        limit: Number of pictures, spread over the split; None for all.
        resamples: Of the bootstrap.
    """

    corruptions: tuple[str, ...] = ("all",)
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    imgsz: int | None = None
    batch: int = 16
    limit: int | None = None
    resamples: int = 1000

    def __post_init__(self) -> None:
        """Check names and levels."""
        for name in ("corruptions", "severities"):
            object.__setattr__(self, name, _sequence(name, getattr(self, name)))
        try:
            object.__setattr__(self, "corruptions", select(self.corruptions))
        except ValueError as error:
            raise InputError(f"evaluation: {error}") from error
        if not self.severities:
            raise InputError("evaluation: severities is empty; name at least one of 1, 2, 3, 4, 5")
        if wrong := [level for level in self.severities if not _whole(level) or level not in range(1, 6)]:
            raise InputError(f"evaluation: severity {wrong[0]!r} is not one of 1, 2, 3, 4, 5; correct it")
        object.__setattr__(self, "severities", tuple(dict.fromkeys(self.severities)))
        for name in ("batch", "resamples", "limit", "imgsz"):
            value = getattr(self, name)
            optional = name in ("limit", "imgsz") and value is None
            if not optional and (not _whole(value) or value < 1):
                raise InputError(f"evaluation: {name}={value!r} is not a whole number of 1 or more; correct it")
        if self.imgsz is not None and self.imgsz % STRIDE:
            raise InputError(f"evaluation: imgsz={self.imgsz} is no multiple of {STRIDE}; correct it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A grid of trainings, each beside the FP32 twin of its seed.

    Attributes:
        data: "voc", "shapes" or a data set's YAML file.
        model: A model YAML (from scratch), a .pt file (fine-tuned from) or the name of shipped weights.
        methods: Quantizers.
        bits: Widths; a method goes without those that it does not have.
        seeds: One training of everything for each.
        train: Ultralytics training settings, the same for all.
        quant: By quantizer, its further settings by the names of `QuantConfig`, such as {"lsq": {"per_channel": True}}.
        bn_images: Training images on which BatchNorm statistics are estimated anew before each validation, for every
            model, FP32 included: what only some of them had would look like an effect of quantization. 0 keeps the
            statistics of training.
        evaluation: How they are evaluated.

    Raises:
        InputError: A value cannot be used.
    """

    data: str = "voc"
    model: str = "yolov5n.yaml"
    methods: tuple[str, ...] = ("dorefa", "lsq")
    bits: tuple[int, ...] = (8, 4, 2)
    seeds: tuple[int, ...] = (0,)
    train: Mapping[str, Any] = field(default_factory=dict)
    quant: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bn_images: int = BN_IMAGES
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self) -> None:
        """Check the grid by making its runs."""
        for name in GRID:
            values = _sequence(name, getattr(self, name))
            if not values:
                raise InputError(f"{name} is empty; name at least one")
            object.__setattr__(self, name, tuple(dict.fromkeys(values)))
        for seed in self.seeds:
            if not _whole(seed) or seed < 0:
                raise InputError(f"seeds: {seed!r} is not a whole number of 0 or more; correct it")
        for method, settings in self.quant.items():
            if method not in self.methods or not isinstance(settings, Mapping):
                raise InputError(f"quant: {method!r} is not one of methods with settings below it; correct it")
            if given := [key for key in OF_ONE_TRAINING if key in settings]:
                raise InputError(f"quant: {given[0]} is of single trainings; drop it, and use the train command")
        if given := [key for key in OWN if key in self.train]:
            raise InputError(f"train: {given[0]} is set by the study; drop it, and name the study's folder with --out")
        if not _whole(epochs := self.epochs) or epochs < 1:
            raise InputError(f"train: epochs={epochs!r} is not a whole number of 1 or more; correct it")
        self.runs()

    @property
    def epochs(self) -> int:
        """Of each training."""
        return self.train.get("epochs", EPOCHS)  # type: ignore[no-any-return]

    def runs(self) -> list[Run]:
        """Return all trainings: by seed, the FP32 twin first, then by method and falling width."""
        return [
            Run(quant, seed)
            for seed in self.seeds
            for quant in (self._twin(), *(self._quant(method, bits) for method, bits in self._grid()))
        ]

    def _grid(self) -> list[tuple[str, int]]:
        """Return method and width of all that is quantized, without widths that only other methods of the study have.

        A width that no method has, and a method that has no width, are left in: they are mistakes.
        """
        widths = [bits for bits in sorted(self.bits, reverse=True) if bits != FLOAT_BITS]
        every = [(method, bits) for method in self.methods for bits in widths]
        had = {(method, bits) for method, bits in every if method not in METHODS or bits in METHODS[method].bits}
        methods, taken = ({pair[place] for pair in had} for place in (0, 1))
        return [pair for pair in every if pair in had or pair[0] not in methods or pair[1] not in taken]

    def _twin(self) -> QuantConfig:
        return QuantConfig(bits=FLOAT_BITS, bn_images=self.bn_images)

    def _quant(self, method: str, bits: int) -> QuantConfig:
        settings = {"bn_images": self.bn_images, **self.quant.get(method, {})}
        return QuantConfig.from_dict({**settings, "method": method, "bits": bits})

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings."""
        found = asdict(self)
        return {**found, **{name: list(found[name]) for name in GRID}, "evaluation": _plain(found["evaluation"])}


def load_study(name: str) -> Study:
    """Read a study from a YAML file, or a preset by its name.

    Raises:
        InputError: There is no such file or preset, or something in it is wrong.
    """
    if name in presets():
        text = _presets_folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    else:
        path = Path(name)
        if not path.is_file():
            raise InputError(f"{name} is neither a file nor a preset; there are {', '.join(presets())}")
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2026-99-99
        raise InputError(f"{name} is no YAML ({' '.join(str(error).split())[:200]}); correct it") from error
    if not isinstance(found, dict):
        raise InputError(f"{name} holds no settings; write keys such as data: and bits:")
    return study_from(found)


def note_plan(study: Study, path: Path) -> None:
    """Write a study, so that its folder says what it holds."""
    text = yaml.safe_dump(study.to_dict(), sort_keys=False)
    write_atomic(path, lambda file: file.write(text.encode()))


def study_from(values: Mapping[str, Any]) -> Study:
    """Build a study from a mapping; a wrong key is answered with the nearest right one.

    Raises:
        InputError: A key or a value cannot be used.
    """
    _check_keys(values, Study, "study")
    evaluation = values.get("evaluation") or {}
    for name in ("train", "quant", "evaluation"):
        if not isinstance(values.get(name) or {}, Mapping):
            raise InputError(f"{name}: {values[name]!r} is not a mapping; write key: value lines below it")
    _check_keys(evaluation, Evaluation, "evaluation")
    given = {key: value for key, value in values.items() if value is not None}
    return Study(**{**given, "evaluation": Evaluation(**evaluation)})


def presets() -> tuple[str, ...]:
    """Return the names of the studies that come with the package."""
    return tuple(sorted(Path(entry.name).stem for entry in _presets_folder().iterdir() if entry.name.endswith(".yaml")))


def _presets_folder() -> Any:
    return resources.files("yolo_qreg.study") / "presets"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sequence(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, (str, int)):
        return (values,)
    if not isinstance(values, Iterable):
        raise InputError(f"{name}: {values!r} is not a list; write [{values!r}]")
    return tuple(values)


def _check_keys(values: Mapping[str, Any], kind: type, what: str) -> None:
    known = [entry.name for entry in fields(kind)]
    for key in values:
        if key not in known:
            raise InputError(f"{what} key {key!r} is unknown; {did_you_mean(key, known)}")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
