"""Training settings of the host by name and value, checked before torch or the host is loaded.

The host's own checks come after seconds of imports, and let pass what nobody can mean: a negative batch trains on
nothing in particular, `freeze=abc` freezes nothing. One table of rules here holds for `train` and `study` alike.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from yolo_qreg.errors import InputError, did_you_mean

DEFAULT_SIZE = 640
"""Longer side of pictures in pixels, as the host has it, where nothing says another."""
OPTIONS = {"data": "--data", "model": "--model", "seed": "--seed", "resume": "--resume"}
"""Settings of the host that are options of ours."""
FIXED = {"task": "detect", "mode": "train"}
_UNLISTED = ("augmentations", "save_dir")
"""Settings that the host takes without listing them."""
_AS_WRITTEN = ("cfg", "name", "project", "save_dir")
"""Settings whose values are text, whatever they look like."""
_WHOLE = ("epochs", "patience", "batch", "imgsz", "save_period", "workers", "nbs", "close_mosaic", "max_det", "freeze")
_COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_LONGEST_VALUE = 10_000
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting may be.

    Attributes:
        holds: Tells whether a value follows the rule.
        says: The rule, as the end of "... is not".
        remedy: What to write instead; empty for the host's default.
    """

    holds: Callable[[Any], bool]
    says: str
    remedy: str = ""


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return _number(value) and value == int(value)


def _each(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a test of a value, or of all entries of a list that is not empty."""
    return lambda value: bool(value) and all(map(holds, value)) if isinstance(value, (list, tuple)) else holds(value)


def _counts(least: int, most: int, remedy: str = "", what: str = "a whole number") -> Rule:
    return Rule(lambda value: _whole(value) and least <= value <= most, f"{what} from {least} to {most:,}", remedy)


def _word(*words: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, bool) or (isinstance(value, str) and value.lower() in words)


def _optional(rule: Rule) -> Rule:
    return Rule(lambda value: value is None or rule.holds(value), rule.says, rule.remedy)


def _is_batch(value: Any) -> bool:
    return _number(value) and (value == -1 or 0 < value < 1 or (_whole(value) and 1 <= value <= _MANY))


def _is_fraction(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) in (2, 3) and all(_number(part) and part >= 0 for part in value)
    return _number(value) and (0 < value <= 1 or (_whole(value) and value > 1))


def _is_index(value: Any) -> bool:
    return _whole(value) and value >= 0


def _is_freeze(value: Any) -> bool:
    """Tell whether it is a number of layers, or a list of their numbers and of modules' names, such as 23.cv2."""
    if isinstance(value, (list, tuple)):
        return all(_is_index(part) or (isinstance(part, str) and part[:1].isdigit()) for part in value)
    return _is_index(value)


def _is_scale(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) == 2 and all(_number(part) and part > 0 for part in value)
    return _number(value) and 0 <= value <= 1


_MANY = 100_000
_FINITE = Rule(_number, "a finite number")
_FROM_ZERO = Rule(lambda value: _number(value) and value >= 0, "a number of 0 or more")
_SHARE = Rule(lambda value: _number(value) and 0 <= value <= 1, "a number from 0 to 1")
_YES_NO = Rule(lambda value: isinstance(value, bool), "True or False")
_FILE = Rule(
    lambda value: isinstance(value, (str, Path)) and Path(value).is_file(), "a file", "name a YAML file of settings"
)
_WEIGHTS = Rule(
    lambda value: isinstance(value, (str, Path)) and Path(value).suffix == ".pt" and Path(value).is_file(),
    "a .pt file",
    "name the trained model that is to teach, such as the best.pt of an FP32 twin",
)
_HOURS = Rule(lambda value: _number(value) and 0 < value <= _MANY, f"a number of hours above 0, up to {_MANY:,}")

RULES: Mapping[str, Rule] = {
    "epochs": _counts(1, _MANY),
    "time": _optional(_HOURS),
    "patience": _counts(0, 10**9, "write patience=50, or 0 to never stop early"),
    "batch": Rule(
        _is_batch, f"a number of pictures from 1 to {_MANY:,}", "write batch=16, or -1 for what fits the GPU's memory"
    ),
    "imgsz": _counts(32, 8192, "write imgsz=640, a multiple of 32", "a longer side in pixels"),
    "save_period": _counts(-1, _MANY, "write -1 for off"),
    "cache": Rule(_word("ram", "disk"), "True, False, ram or disk"),
    "workers": _counts(0, 1024, "write workers=8, or 0 to load in the training's own process"),
    "nbs": _counts(1, _MANY),
    "close_mosaic": _counts(0, 10**9, "write close_mosaic=10, or 0 to keep the mosaic"),
    "max_det": _counts(1, _MANY),
    "freeze": _optional(Rule(_is_freeze, "a number of layers, or a list of them", "write freeze=10 or freeze=[0,1]")),
    "classes": _optional(
        Rule(_each(_is_index), "a class number, or a list of them", "write classes=0 or classes=[0,2]")
    ),
    "fraction": Rule(_is_fraction, "a share above 0, or a number of pictures", "write fraction=0.5"),
    "compile": Rule(_word(*_COMPILE_MODES), f"True, False, {', '.join(_COMPILE_MODES)}"),
    "amp": Rule(_word("fp16", "bf16", "fp32"), "True, False, fp16, bf16 or fp32"),
    "augmentations": _optional(
        Rule(lambda value: isinstance(value, (list, tuple)), "a list of transforms", "give one from Python, or drop it")
    ),
    "pretrained": Rule(lambda value: isinstance(value, (bool, str, Path)) and value != "", "True, False or a .pt file"),
    "cfg": _optional(_FILE),
    "distill_model": _optional(_WEIGHTS),
    "scale": Rule(_is_scale, "a number from 0 to 1, or a pair of factors", "write scale=0.5 or scale=[0.5,1.5]"),
    **dict.fromkeys(("degrees", "shear"), _FINITE),
    **dict.fromkeys(("box", "cls", "dfl", "dis", "warmup_epochs"), _FROM_ZERO),
    **dict.fromkeys(
        (
            *("lr0", "lrf", "momentum", "weight_decay", "warmup_momentum", "warmup_bias_lr", "hsv_h", "hsv_s", "hsv_v"),
            *("translate", "perspective", "flipud", "fliplr", "bgr", "mosaic", "mixup", "cutmix", "copy_paste"),
            *("multi_scale", "cls_pw", "iou"),
        ),
        _SHARE,
    ),
    **dict.fromkeys(
        (
            *("save", "exist_ok", "verbose", "deterministic", "single_cls", "rect", "cos_lr", "val", "plots"),
            *("save_json", "agnostic_nms"),
        ),
        _YES_NO,
    ),
}
"""What the settings of a training may be; one that is not here is left to the host."""


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check keys against the host's training settings, and values against `RULES`.

    Returns:
        The settings, whole numbers as int (1e2 is 100) and tuples as lists, which is what the host looks for.

    Raises:
        InputError: If a key is unknown (with the nearest right one) or belongs to an option of ours, or a value cannot
            be meant.
    """
    known = host_settings()
    for key, value in settings.items():
        if key in OPTIONS:
            raise InputError(f"{key}=... is set by an option; use {OPTIONS[key]}")
        if key in FIXED and value != FIXED[key]:
            raise InputError(f"{key}={value} does not fit: yolo-qreg train trains detectors; drop it")
        if key not in known and key not in _UNLISTED:
            raise InputError(f"{shown(key)!r} is not an Ultralytics training setting; {did_you_mean(key, known)}")
        rule = RULES.get(key)
        if rule is not None and not rule.holds(value):
            remedy = rule.remedy or f"leave it out for {known.get(key)}"
            raise InputError(f"{key}={shown(value)} is not {rule.says}; {remedy}")
    return {key: _as_the_host_wants(key, value) for key, value in settings.items()}


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """Return the settings of KEY=VALUE words.

    Raises:
        InputError: A word is none, or a key stands twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, value = parse_setting(word)
        if key in found:
            raise InputError(f"{key} is given twice ({shown(found[key])} and {shown(value)}); keep one")
        found[key] = value
    return found


def parse_setting(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE; the value is read as Ultralytics reads it: none, true, false, a Python literal or a string."""
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise InputError(f"{shown(text)!r} is not KEY=VALUE; write settings as epochs=50, without spaces")
    if len(value) > _LONGEST_VALUE:
        raise InputError(f"{shown(key)}={shown(value)} has {len(value):,} characters; no setting is that long")
    words = {"none": None, "true": True, "false": False}
    if value.lower() in words and (key not in _AS_WRITTEN or value.lower() == "none"):
        return key, words[value.lower()]
    if key in _AS_WRITTEN:
        return key, value
    try:
        return key, ast.literal_eval(value)
    except (MemoryError, RecursionError, SyntaxError, ValueError):  # the first two of very deep nesting
        return key, value


def shown(value: object) -> str:
    """Return a value for an error message, cut where it is long."""
    text = f"{value}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@cache
def host_settings() -> Mapping[str, Any]:
    """Return the host's settings and their defaults from its own list, without importing it.

    Raises:
        InputError: The host is not installed.
    """
    found: Mapping[str, Any] = yaml.safe_load((host_folder() / "cfg" / "default.yaml").read_text(encoding="utf-8"))
    return found


def host_folder() -> Path:
    """Return the folder of the installed host, without importing it.

    Raises:
        InputError: It is not installed.
    """
    spec = find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise InputError("ultralytics is not installed; pip install ultralytics")
    return Path(spec.origin).parent


def _as_the_host_wants(key: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return int(value) if key in _WHOLE and isinstance(value, float) and value.is_integer() else value
