"""Detectors rebuilt from a description that is plain data, and host checkpoints composed around them.

The description may come from a file of unknown origin. The host evaluates parts of a model YAML as Python, so what
it names is checked here first, and tensors are compared with it before any memory is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics import __version__ as host_version
from ultralytics.nn import tasks
from ultralytics.nn.modules.head import Detect
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.torch_utils import initialize_weights

from yolo_qreg.errors import InputError

_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z]\w*\([\w=., +-]*\)")
_DOWNLOADS = {"TorchVision"}
_MOST_REPEATS = 1000
_MOST = 65_536
"""Of any number among a layer's arguments."""
_SIDE = 256
"""Pixels of the picture that the host shows a model as it builds it."""
_MOST_VALUES = 2**26
"""Of a feature map of such a picture: thirty times what the largest models of the host make."""
_OF_THE_RUN = {"model", "name", "project", "resume", "save_dir"}
_LEGAL = {
    "version": host_version,
    "license": "AGPL-3.0 (https://ultralytics.com/license)",
    "docs": "https://docs.ultralytics.com",
}
_UNUSED = ("best_fitness", "stopper", "ema", "updates", "modelopt", "optimizer", "scaler")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What the host needs to build a detector, as plain data.

    Attributes:
        yaml: The model YAML, with `nc` and `scale` filled in.
        channels: Input channels.
        names: Class names, in class order.
        stride: Stride of each detection level, in pixels.
        end2end: Whether the head answers without non-maximum suppression.
        class_width: Hidden channels of the head's class branch. They follow from the number of classes, but a model
            fine-tuned from one with other classes keeps the width of that one.
    """

    yaml: dict[str, Any]
    channels: int
    names: list[str]
    stride: list[float]
    end2end: bool
    class_width: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_dict` wrote, distrusting it.

        Raises:
            KeyError: If an entry is missing.
            ValueError: If an entry has another type or names something that is not a layer of the host or of torch.
        """
        spec = cls(
            yaml=dict(found["yaml"]),
            channels=int(found["channels"]),
            names=[str(name) for name in found["names"]],
            stride=[float(s) for s in found["stride"]],
            end2end=bool(found["end2end"]),
            class_width=int(found["class_width"]),
        )
        if len(spec.names) != spec.yaml.get("nc"):
            raise ValueError(f"{len(spec.names)} class names for nc={spec.yaml.get('nc')}")
        check_yaml(spec.yaml)
        return spec


def spec_of(model: Any) -> ModelSpec:
    """Describe a detector of the host.

    Raises:
        InputError: If it is another kind of model, or was changed since the host built it from its YAML.
    """
    if type(model) is not tasks.DetectionModel or not isinstance(model.model[-1], Detect) or model.is_fused():
        kind = f"{'fused ' if model.is_fused() else ''}{type(model).__name__}"
        raise InputError(f"a {kind} cannot be packed, only an unfused DetectionModel can; export it --to pt")
    spec = ModelSpec(
        yaml=model.yaml,
        channels=model.yaml.get("channels", 3),
        names=[str(model.names[i]) for i in range(len(model.names))],
        stride=[float(s) for s in model.stride],
        end2end=bool(model.end2end),
        class_width=model.model[-1].cv3[0][-1].in_channels,
    )
    try:
        check_yaml(spec.yaml)
        check_tensors(spec, model.state_dict())
    except ValueError as error:
        raise InputError(f"the model is not what its YAML builds ({error}); export it --to pt") from error
    return spec


def check_tensors(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> None:
    """Check that `tensors` are the state dict of the detector that `spec` describes, by name, shape and kind.

    Raises:
        ValueError: If they are not; the message names the first difference.
    """
    if (modules := _modules(spec.yaml)) > len(tensors):  # each has some, but for those that join others
        raise ValueError(f"its YAML describes {modules:,} modules for {len(tensors)} tensors")
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):  # shapes only: no memory, however large
            layers = _layers(spec.yaml, spec.channels)
            _set_class_width(layers, spec)
            _check_maps(layers, spec.channels)
    except Exception as error:  # the host raises whatever a wrong YAML happens to hit
        raise ValueError(f"its YAML does not build: {type(error).__name__}: {error}") from error
    expected = {f"model.{key}": value for key, value in layers.state_dict().items()}
    odd = sorted(set(expected) ^ set(tensors))
    if odd:
        raise ValueError(f"tensor {odd[0]} is {'missing' if odd[0] in expected else 'unknown'}")
    for key, value in expected.items():
        given = tensors[key]
        if given.shape != value.shape or given.is_floating_point() != value.is_floating_point():
            raise ValueError(f"tensor {key} is {list(given.shape)} {given.dtype}, not {list(value.shape)}")


def build(spec: ModelSpec, tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Any:
    """Build the detector that `spec` describes around `tensors`, which `check_tensors` has accepted.

    Args:
        spec: What to build.
        tensors: Its whole state dict; the model takes over their dtype.
        args: Training settings by the host's names.

    Returns:
        A `DetectionModel` in eval mode with class names, stride, task and settings set.

    Raises:
        ValueError: If its layers do not fit together, or give other strides than described.
    """
    try:
        with torch.random.fork_rng(devices=[]):  # the host draws initial weights, which are replaced
            model = tasks.DetectionModel(deepcopy(spec.yaml), ch=spec.channels, verbose=False)
            _set_class_width(model.model, spec)
            initialize_weights(model)  # sets BatchNorm's constants, also in a replaced branch
    except Exception as error:  # the host raises whatever a wrong YAML happens to hit
        raise ValueError(f"its YAML does not build: {type(error).__name__}: {error}") from error
    if model.stride.tolist() != spec.stride:
        raise ValueError(f"its YAML gives strides {model.stride.tolist()}, not {spec.stride}")
    model.to(next(v.dtype for v in tensors.values() if v.is_floating_point()))
    model.load_state_dict(tensors, strict=True)
    model.names = dict(enumerate(spec.names))
    model.nc = len(spec.names)
    if model.end2end != spec.end2end:
        model.end2end = spec.end2end
    return settle(model, args)


def settle(model: Any, args: Mapping[str, Any]) -> Any:
    """Put a detector into the state in which the host publishes weights, in place, and return it.

    Caches of past forward passes, gradients, the loss and paths of the machine that trained it are dropped.
    """
    model.eval().requires_grad_(False)
    model.args = with_defaults(args)
    model.task = model.args["task"] = "detect"
    model.criterion = None
    model.__dict__.pop("pt_path", None)  # the host sets it on loading
    head = model.model[-1]
    for cache in ("anchors", "strides", "shape"):
        head.__dict__.pop(cache, None)
    if isinstance(head, Detect) and isinstance(model.args["max_det"], int):
        head.max_det = model.args["max_det"]  # as the host's trainer does; a head without NMS keeps so many boxes
    return model


def portable_args(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training settings that mean something elsewhere: host keys and plain values, file names for paths."""
    kept = {}
    for key, value in args.items():
        if key not in DEFAULT_CFG_DICT or key in _OF_THE_RUN:
            continue
        if hasattr(value, "__fspath__") or isinstance(value, str):
            kept[key] = re.split(r"[\\/]", str(value))[-1]
        elif value is None or isinstance(value, (bool, int, float)):
            kept[key] = value
    return kept


def with_defaults(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return `portable_args`, completed by the host's defaults."""
    return dict(DEFAULT_CFG_DICT) | portable_args(args)


def changed_args(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `portable_args` that differ from the host's defaults."""
    return {key: value for key, value in portable_args(args).items() if DEFAULT_CFG_DICT[key] != value}


def host_checkpoint(model: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Compose the dictionary of a finished host checkpoint around a settled model.

    Args:
        model: What `settle` returned.
        facts: Further top-level entries, such as date and train_metrics.
    """
    blank: dict[str, Any] = dict.fromkeys(_UNUSED)
    return _LEGAL | blank | {"epoch": -1, "model": model, "train_args": dict(model.args)} | dict(facts)


def _layers(yaml: Mapping[str, Any], channels: int) -> Any:
    layers, _ = tasks.parse_model(deepcopy(dict(yaml)), ch=channels, verbose=False)
    return layers


def _check_maps(layers: Any, channels: int) -> None:
    """Run all layers but the head on the meta device, as building the model will on the CPU, and look at the sizes.

    Raises:
        ValueError: An output is too large.
    """

    def check(module: nn.Module, given: Any, made: Any) -> None:
        for part in made if isinstance(made, (list, tuple)) else [made]:
            if part.numel() > _MOST_VALUES:
                raise ValueError(f"{type(module).__name__} makes a feature map of {part.numel():,} values")

    hooks = [module.register_forward_hook(check) for module in layers.modules()]
    try:
        value: Any = torch.empty(1, channels, _SIDE, _SIDE)
        values: list[Any] = []
        for layer in layers[:-1]:
            sources = layer.f if isinstance(layer.f, list) else [layer.f]
            taken = [value if source == -1 else values[source] for source in sources]
            value = layer(taken if isinstance(layer.f, list) else taken[0])
            values.append(value)
    finally:
        for hook in hooks:  # the host gives its activation function, one object, to all models
            hook.remove()


def _set_class_width(layers: Any, spec: ModelSpec) -> None:
    """Give the head's class branches the hidden channels of `spec`, as the host does when it loads weights.

    The branches are those of a model with as many classes as channels, with new output convolutions.
    """
    head = layers[-1]
    if head.cv3[0][-1].in_channels == spec.class_width:
        return
    donor = _layers(spec.yaml | {"nc": spec.class_width}, spec.channels)[-1]
    for attribute in ("cv3", "one2one_cv3"):
        branches = getattr(donor, attribute, None)
        if branches is not None:
            for branch in branches:
                branch[-1] = nn.Conv2d(branch[-1].in_channels, head.nc, 1)
            setattr(head, attribute, branches)


def check_yaml(yaml: Mapping[str, Any]) -> None:
    """Accept a model YAML only if it names layers and nothing else; the host evaluates activation strings.

    Raises:
        ValueError: It does not.
    """
    activation = yaml.get("activation")
    if activation is not None and not (isinstance(activation, str) and _ACTIVATION.fullmatch(activation)):
        raise ValueError(f"activation {activation!r} is not a layer of torch.nn with plain arguments")
    rows = [*_list(yaml.get("backbone")), *_list(yaml.get("head"))]
    if not rows:
        raise ValueError("the model YAML has no layers")
    for row in rows:
        if len(_list(row)) != 4 or not isinstance(row[2], str) or not isinstance(row[3], list):
            raise ValueError(f"layer {row!r} is not [from, repeats, module, arguments]")
        if not isinstance(row[1], int) or not 1 <= row[1] <= _MOST_REPEATS:
            raise ValueError(f"layer {row!r} is repeated {row[1]!r} times; the rule is 1-{_MOST_REPEATS}")
        if not _largest(row[3]) <= _MOST:
            raise ValueError(f"an argument of layer {row[2]} is larger than {_MOST:,}")
        if not _is_layer(row[2]):
            raise ValueError(f"module {row[2]!r} is not a layer of Ultralytics or torch.nn")


def _modules(yaml: Mapping[str, Any]) -> int:
    """Return how many modules the host would make of the rows of a model YAML, by its rule for the depth."""
    depth = yaml.get("depth_multiple", 1.0)
    if scales := yaml.get("scales"):
        depth = scales[yaml.get("scale") or next(iter(scales))][0]
    repeats = [row[1] for row in (*_list(yaml.get("backbone")), *_list(yaml.get("head")))]
    return sum(max(round(number * depth), 1) for number in repeats)


def _largest(value: object) -> float:
    """Return the largest size of a number in nested lists; channels, kernels and repeats are numbers there."""
    if isinstance(value, list):
        return max(map(_largest, value), default=0.0)
    return abs(value) if isinstance(value, (int, float)) else 0.0


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_layer(name: str) -> bool:
    """Tell whether the host would resolve `name` to a layer class that does nothing but compute."""
    home, found = "torch.nn", getattr(nn, name[3:], None)
    if not name.startswith("nn."):
        home, found = "ultralytics.nn.modules", getattr(tasks, name, None)
    is_module = isinstance(found, type) and issubclass(found, nn.Module)
    return is_module and found.__module__.startswith(home) and name not in _DOWNLOADS
