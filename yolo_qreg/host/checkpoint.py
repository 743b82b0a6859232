"""Checkpoints: a plain Ultralytics file whose module is baked, plus one key that holds what quantization needs.

Plain Ultralytics loads these files without this package, because the pickled module has only the host's own classes
and the extra key holds only tensors, numbers and strings. `strip_optimizer` and `YOLO.save` keep the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import load_checkpoint as host_load
from ultralytics.utils.torch_utils import strip_optimizer

from yolo_qreg.activations import Range, place_ranges, quantizers
from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.files import scratch_folder, write_atomic
from yolo_qreg.health import LayerHealth
from yolo_qreg.host import build
from yolo_qreg.host.ensemble import draw
from yolo_qreg.host.loading import refusal, safe_loading
from yolo_qreg.host.model import quantize_activations
from yolo_qreg.inputs import check_unpacked
from yolo_qreg.patch import bake, quantize_convs, quantized_layers
from yolo_qreg.processes import undisturbed
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.trust import trusted

KEY = "qreg"
TRACKER = ".tracker."
"""In names of state that only a resumed training needs."""
FORMAT = 1
_OF_ACTIVATIONS = ("activations", "activation_method", "activation_grid")


@dataclass(frozen=True, slots=True)
class QuantState:
    """What a checkpoint carries under `KEY`.

    Attributes:
        config: How the model was quantized.
        bits: Bit width of each quantized layer.
        tensors: Float32 latent weights and quantizer state of those layers, by their names in the state dict.
        resume: Everything else that continuing the training needs; empty once training has finished.
        health: One row per layer as measured when the file was written.
        scales: Float32 scale of each layer below 32 bits, in a plain export, which has no `tensors`; empty otherwise.
        origin: What the training began from, as `Origin.to_dict` gives it; it names paths, so exports have none.
        activations: The grids of quantized activations; none where they are in float.
        trained: Whether it was trained with quantization; else that was done to float weights afterwards.
        rounding: "adaround" where that has chosen the integers of such weights; empty for the nearest.
    """

    config: QuantConfig
    bits: dict[str, int]
    tensors: dict[str, Tensor]
    resume: dict[str, Any] = field(default_factory=dict)
    health: tuple[LayerHealth, ...] = ()
    scales: dict[str, Tensor] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    activations: tuple[Range, ...] = ()
    trained: bool = True
    rounding: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return tensors, numbers, strings, lists and dicts only, so that a weights-only load accepts it."""
        rows = [[r.layer, r.bits, r.weights, r.levels_used, r.sqnr_db, r.flipped] for r in self.health]
        config = self.config.to_dict()
        held = {"format": FORMAT, "config": config, "bits": self.bits, "tensors": self.tensors, "health": rows}
        activations = [r.to_list() for r in self.activations]
        optional = {"resume": self.resume, "scales": self.scales, "origin": self.origin, "activations": activations}
        optional |= {"rounding": self.rounding}
        untrained = {} if self.trained else {"trained": False}
        return held | {key: value for key, value in optional.items() if value} | untrained

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> QuantState:
        """Read what `to_dict` wrote."""
        return cls(
            config=QuantConfig.from_dict(found["config"]),
            bits=dict(found["bits"]),
            tensors=dict(found["tensors"]),
            resume=dict(found.get("resume", {})),
            health=tuple(LayerHealth(*row) for row in found["health"]),
            scales=dict(found.get("scales", {})),
            origin=dict(found.get("origin", {})),
            activations=tuple(map(Range.from_list, found.get("activations", ()))),
            trained=bool(found.get("trained", True)),
            rounding=str(found.get("rounding", "")),
        )


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies, on the CPU and in float32, of the latent weights and quantizer states of a quantized model."""
    found = {}
    for name, layer in quantized_layers(model).items():
        for key, value in layer.state_dict(prefix=f"{name}.").items():
            if not key.endswith(".bias") and TRACKER not in key:  # an output convolution's bias is in the module
                found[key] = value.detach().to("cpu", torch.float32, copy=True)
    return found


def state_of(ckpt: Mapping[str, Any], source: str | Path) -> QuantState:
    """Return the quantization state of a loaded checkpoint.

    Raises:
        InputError: If there is none, or it was written by a newer release.
    """
    found = ckpt.get(KEY)
    if found is None:
        raise InputError(f"{source} was not trained by yolo-qreg (it holds no quantization state); train it here first")
    if found.get("format") != FORMAT:
        raise InputError(f"{source} has format {found.get('format')}, this release reads {FORMAT}; update yolo-qreg")
    return QuantState.from_dict(found)


def load(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a .pt file of Ultralytics or of ours: the plain float32 model, and the checkpoint's dictionary.

    No code in the file is run unless files are trusted.

    Raises:
        InputError: If the file is missing, is no checkpoint, is packed, or holds more than weights.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} is not a file; name a .pt checkpoint, such as RUN/weights/best.pt")
    check_unpacked(Path(path))
    try:
        with safe_loading():
            model, ckpt = host_load(str(path))
        description = getattr(model, "yaml", None)
        if isinstance(description, dict) and not trusted():
            build.check_yaml(description)  # a training builds its model from it
    except Exception as error:  # the host raises half a dozen types for damaged and foreign files
        raise refusal(path, error) from error
    return model, ckpt


def can_resume(path: Path) -> bool:
    """Tell whether a last.pt is of a training that was interrupted, not of one that finished.

    Raises:
        InputError: It is no checkpoint, or not one of ours.
    """
    _, ckpt = load(path)
    return bool(state_of(ckpt, path).resume)


def requantize(model: nn.Module, state: QuantState) -> nn.Module:
    """Turn a plain model back into the quantized one that it was baked from, in place, and return it.

    Raises:
        InputError: If the file was exported without latent weights.
    """
    if not state.tensors:
        raise InputError("a plain export holds no latent weights to quantize; use the run's own best.pt or last.pt")
    quantize_convs(model, state.bits, replace(state.config, init=""))  # steps are loaded: the quickest start will do
    quantize_activations(model, [r.place for r in state.activations], state.config)
    model.load_state_dict(state.tensors, strict=False)
    return model


def latents_into(model: nn.Module, state: QuantState, config: QuantConfig) -> bool:
    """Prepare a plain model for quantization by `config` from the weights of an earlier quantized training.

    Quantizing baked weights again would give another network (DoReFa applies tanh twice), so latents of the same
    method replace them, in place. For another method, or for float, the baked weights are the better start.

    Returns:
        Whether latents were taken over.

    Raises:
        InputError: If the earlier training used the same method and its latents were not kept.
    """
    widths = {name: bits for name, bits in state.bits.items() if bits != FLOAT_BITS}
    if not widths or config.bits == FLOAT_BITS or config.method != state.config.method:
        return False
    if not state.tensors:
        raise InputError("the model is a plain export without latent weights; train from the run's own best.pt")
    held = model.state_dict()
    for name in widths:
        key = f"{name}.weight"
        if key in held and held[key].shape == state.tensors[key].shape:
            held[key].copy_(state.tensors[key])
    return True


def steps_into(model: nn.Module, state: QuantState) -> None:
    """Load learned quantizer state into those layers of a quantized model that have the same width and shape."""
    for name, layer in quantized_layers(model).items():
        own = {key: value for key, value in layer.quantizer.state_dict().items() if TRACKER not in f".{key}"}
        found = {key: state.tensors.get(f"{name}.quantizer.{key}") for key in own}
        same = all(value is not None and value.shape == own[key].shape for key, value in found.items())
        if own and same and state.bits.get(name) == layer.quantizer.bits:
            layer.quantizer.load_state_dict(found, strict=False)


def ranges_into(model: nn.Module, state: QuantState, config: QuantConfig) -> None:
    """Load the ranges of an earlier training's activations into a quantized model, if they were quantized alike."""
    if any(getattr(config, name) != getattr(state.config, name) for name in _OF_ACTIVATIONS):
        return
    for name, quantizer in quantizers(model).items():
        found = {key: state.tensors.get(f"{name}.input_quantizer.{key}") for key in quantizer.state_dict()}
        if None not in found.values():
            quantizer.load_state_dict(found)


def as_meant(path: Path) -> nn.Module | Path:
    """Return a model of ours that its file does not hold whole; else the file.

    Its activations are quantized as in training, or it is several networks whose answers are averaged.

    Raises:
        InputError: It is damaged.
    """
    if path.suffix != ".pt":
        return path
    model, ckpt = load(path)
    if KEY not in ckpt:
        return path
    state = state_of(ckpt, path)
    if state.config.networks and state.tensors:
        return draw(requantize(model, state), state.config.networks)
    if not state.activations:
        return path
    place_ranges(model, state.activations)
    return model.eval()


def check_fresh(model: nn.Module, state: QuantState, source: str | Path) -> None:
    """Check that `model`, as loaded, is what baking `state` gives, at the precision the file stores.

    Raises:
        InputError: If they differ: the module was trained or edited after the state was written.
    """
    from copy import deepcopy

    again = dict(bake(requantize(deepcopy(model), state)).named_parameters())
    held = dict(model.named_parameters())
    for name in state.bits:
        ours, theirs = again[f"{name}.weight"], held[f"{name}.weight"]
        if not torch.equal(ours, theirs) and not torch.equal(ours.half().float(), theirs):
            raise InputError(f"{source}: weights of {name} were changed after quantization; export the original file")


def save(path: Path, ckpt: Mapping[str, Any], *copies: Path) -> None:
    """Write a checkpoint atomically, and then copies of the file."""
    write_atomic(path, lambda file: torch.save(dict(ckpt), file))
    for copy in copies:
        with path.open("rb") as whole:
            write_atomic(copy, partial(copyfileobj, whole))


def has_epochs_left(last: Path) -> bool:
    """Tell whether an interrupted training was before its last epoch, not in the validation that follows that."""
    _, found = load(last)
    return bool(0 <= found["epoch"] < found["train_args"]["epochs"] - 1)


def finish_run(last: Path) -> None:
    """Strip and finish last.pt and the best.pt beside it, each whole or as it was.

    Raises:
        InputError: One is damaged.
    """
    _, final = load(last)
    best = last.with_name("best.pt")
    for path in (best, last):  # last.pt tells that there is something to do: it comes last
        if path.is_file():
            ckpt = final if path == last else load(path)[1]  # safely: what the host's strip_optimizer reads runs
            finish(path, ckpt.get(KEY, {}), final.get("train_results"))


def finish(path: Path, state: Mapping[str, Any], results: Any) -> None:
    """Drop what only a resumed training needs from a checkpoint; latents, steps and settings stay.

    Args:
        path: The file, which is replaced.
        state: What it holds under our key.
        results: Losses and scores of all epochs.

    Raises:
        InputError: It is damaged.
    """
    kept = {key: value for key, value in state.items() if key != "resume"}
    with undisturbed(), scratch_folder(".finishing-", path.parent) as folder:
        stripped = folder / path.name
        if not strip_optimizer(path, str(stripped), {"train_results": results, **({KEY: kept} if kept else {})}):
            raise InputError(f"{path} is damaged; remove the run and train again")
        stripped.replace(path)
