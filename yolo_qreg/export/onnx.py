"""Packed ONNX: the trained integers at their own width in a model that any ONNX runtime runs, with float activations.

The host exports the float model; then each quantized weight gives way to its codes and the operators that decode them
(`export.graph`). Nothing is written unless the codes read back from the file are those of the checkpoint and ONNX
Runtime's outputs are PyTorch's.

Letters: O output channels.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import nn

from yolo_qreg import __version__
from yolo_qreg.errors import InputError
from yolo_qreg.export import graph
from yolo_qreg.export.codes import Coded
from yolo_qreg.export.graph import PackedWeight
from yolo_qreg.export.plain import output_path, to_plain
from yolo_qreg.export.weights import Weights, checkpoint_of, read_checkpoint
from yolo_qreg.files import write_atomic
from yolo_qreg.host import build, exporting
from yolo_qreg.quant.registry import quantizer_class

Picture = NDArray[np.float32]
"""One, or the head's answer to it."""

OPSET = 18
PARITY_PICTURES = 8
MOST_PX, MOST_SCORE = 5e-3, 5e-5
"""Largest differences from PyTorch of boxes in pixels and of scores."""
SEEN = 0.05
"""Least score of the boxes that are compared where a head has sorted them."""
CLOSE = 1e-4
"""Largest difference between a packed weight and the float one it replaces, relative to the layer's largest."""
DEFAULT_SIZE = 640


def to_onnx(source: Path, out: Path | None = None, *, imgsz: int | None = None, dynamic: bool = False) -> Path:
    """Write a run's detector as an ONNX model that holds integer codes, and `NAME.export.json` with its proofs.

    An FP32 twin has no codes: its model is the float one, under the same checks.

    Args:
        source: A run folder (its weights/best.pt is taken), a checkpoint of ours or a plain export.
        out: File to write, ending in .onnx; by default beside the checkpoint, named after method and bits.
        imgsz: Sides of its pictures in pixels; that of the training by default.
        dynamic: Whether batch and sides may vary.

    Returns:
        The file written.

    Raises:
        InputError: The source is not one of ours or was changed, the host cannot export it, a check fails, a package
            is missing or `out` cannot be written to.
    """
    exporting.check_installed()
    path = checkpoint_of(Path(source))
    weights, model, ckpt = read_checkpoint(path)
    out = output_path(path, out, weights.config.label, ".onnx")
    size = imgsz or build.with_defaults(ckpt.get("train_args") or {}).get("imgsz") or DEFAULT_SIZE
    with tempfile.TemporaryDirectory(prefix="yolo-qreg-") as folder:
        plain = to_plain(path, Path(folder) / "plain.pt", fp32=True)
        size = exporting.sides(size, plain)
        float_file = exporting.float_onnx(plain, imgsz=size, opset=OPSET, dynamic=dynamic)
        found = onnx.load(str(float_file))
        packed = _pack(found, weights, model)
        _note(found, weights, packed)
        packed_file = Path(folder) / "packed.onnx"
        onnx.save(found, str(packed_file))
        _check_codes(packed_file, weights, packed)
        parity = _parity(plain, float_file, packed_file, size, channels=build.spec_of(model).channels)
        data = packed_file.read_bytes()
    facts = _facts(weights, packed, parity, data, {"imgsz": size, "dynamic": dynamic, "source": path.name})
    write_atomic(out, lambda file: file.write(data))
    write_atomic(
        out.with_suffix(".export.json"), lambda file: file.write((json.dumps(facts, indent=1) + "\n").encode())
    )
    return out


def _pack(found: ModelProto, weights: Weights, model: nn.Module) -> dict[str, PackedWeight]:
    """Replace the weights of quantized layers in a float model, in place; return them by layer.

    Raises:
        InputError: A layer is not in the model, or is there with other values.
    """
    names = graph.convolution_weights(found)
    constants = {tensor.name: tensor for tensor in found.graph.initializer}
    packed = {}
    for layer, coded in weights.coded.items():
        if layer not in names:
            if _only_trains(layer, model):
                continue
            raise InputError(f"layer {layer} is no convolution of the exported model; export it --to packed instead")
        made = _fold(coded, weights.config.method, _batchnorm_factor(model, layer))
        held = numpy_helper.to_array(constants[names[layer]])
        if held.shape != made.codes.shape or np.abs(made.values() - held).max() > CLOSE * np.abs(held).max():
            raise InputError(f"layer {layer} has other weights in the exported model; export it --to packed instead")
        packed[layer] = made
    graph.replace_weights(found, {names[layer]: made for layer, made in packed.items()})
    return packed


def _only_trains(layer: str, model: nn.Module) -> bool:
    """Tell whether a layer is in that branch of a head of two which inference leaves out."""
    head = f"model.{len(model.model) - 1}."  # type: ignore[arg-type]
    branches = any(name.startswith(f"{head}one2one_") for name, _ in model.named_modules())
    return branches and layer.startswith(head)


def _batchnorm_factor(model: nn.Module, layer: str) -> NDArray[np.float64]:
    """Return gamma / sqrt(variance + epsilon) of the BatchNorm behind a convolution, float64 [O]; 1 without one."""
    conv: Any = model.get_submodule(layer)
    norm: Any = getattr(model.get_submodule(layer.rpartition(".")[0]), "bn", None)
    if not layer.endswith(".conv") or norm is None:
        return np.ones(conv.out_channels)
    factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return factor.numpy()  # type: ignore[no-any-return]


def _fold(coded: Coded, method: str, factor: NDArray[np.float64]) -> PackedWeight:
    kind = quantizer_class(method)
    slope, offset = kind.grid(coded.bits)
    unit = np.broadcast_to(kind.unit(coded.scale, coded.bits).numpy(), factor.shape)
    return PackedWeight(
        codes=coded.codes.numpy(),
        bits=coded.bits,
        slope=slope,
        offset=offset,
        scale=(unit * factor).astype(np.float32),
    )


def _note(found: ModelProto, weights: Weights, packed: Mapping[str, PackedWeight]) -> None:
    """Write into the model's metadata what its codes mean, beside what the host reads there."""
    names = graph.convolution_weights(found) | {layer: f"{layer}.weight" for layer in packed}
    layers = {layer: [made.bits, list(made.codes.shape), names[layer]] for layer, made in packed.items()}
    held = {"format": graph.FORMAT, "version": __version__, "config": weights.config.to_dict(), "layers": layers}
    graph.note(found, {graph.NOTE: json.dumps(held, separators=(",", ":"))})


def _check_codes(file: Path, weights: Weights, packed: Mapping[str, PackedWeight]) -> None:
    """Read all codes back from a file and compare them with those of the checkpoint.

    Raises:
        InputError: One differs.
    """
    held = graph.read(file)
    for layer in packed:
        if not np.array_equal(held.codes[layer], weights.coded[layer].codes.numpy()):
            raise InputError(f"codes of {layer} do not read back as they were written; please report this")


def _parity(plain: Path, float_model: Path, packed_model: Path, size: int, channels: int) -> dict[str, float]:
    """Compare a packed model in ONNX Runtime with the float32 one in PyTorch.

    A detector whose activations are large turns the rounding of float32 itself into more than the rule allows. So much
    as the host's own float model differs, and as much again, is therefore accepted.

    Returns:
        The largest differences: "boxes" in pixels, "scores".

    Raises:
        InputError: One is too large, or the runtime cannot run the model.
    """
    pictures = list(_pictures(size, channels))
    wanted = exporting.raw_outputs(plain, pictures)
    boxes, scores = _largest(wanted, _run(packed_model, pictures))
    if not (boxes <= MOST_PX and scores <= MOST_SCORE):
        noise = _largest(wanted, _run(float_model, pictures))
        if not (boxes <= max(MOST_PX, 2 * noise[0]) and scores <= max(MOST_SCORE, 2 * noise[1])):
            raise InputError(
                f"the exported model differs from PyTorch by {boxes:.2g} px and {scores:.2g} in scores (rule: at most "
                f"{MOST_PX} and {MOST_SCORE}); export it --to packed instead, and please report this"
            )
    return {"pictures": len(pictures), "boxes": boxes, "scores": scores}


def _run(model: Path, pictures: Sequence[Picture]) -> list[Picture]:
    import onnxruntime

    try:
        runtime = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        return [runtime.run(None, {"images": picture})[0] for picture in pictures]
    except Exception as error:  # the runtime raises types of its own
        raise InputError(
            f"ONNX Runtime cannot run the exported model ({' '.join(str(error).split())[:200]})"
        ) from error


def _largest(wanted: Sequence[Picture], found: Sequence[Picture]) -> tuple[float, float]:
    pairs = [_difference(ours, theirs) for ours, theirs in zip(wanted, found, strict=True)]
    return max(boxes for boxes, _ in pairs), max(scores for _, scores in pairs)


def _difference(ours: Picture, theirs: Picture) -> tuple[float, float]:
    """Return the largest differences of boxes and scores between two raw outputs of one picture."""
    if ours.shape[2] == 6 and ours.shape[1] != 6:  # sorted by score: near ties may change places
        return _sorted_difference(ours[0], theirs[0])
    apart = np.abs(ours - theirs)
    return float(apart[:, :4].max()), float(apart[:, 4:].max())


def _sorted_difference(ours: Picture, theirs: Picture) -> tuple[float, float]:
    """Compare rows of box, score and class; a row's counterpart is the nearest of its class."""
    boxes, scores = 0.0, float(np.abs(np.sort(ours[:, 4]) - np.sort(theirs[:, 4])).max())
    for row in ours[ours[:, 4] > SEEN]:
        alike = theirs[theirs[:, 5] == row[5]]
        boxes = max(boxes, float(np.abs(alike[:, :4] - row[:4]).max(1).min()) if len(alike) else np.inf)
    return boxes, scores


def _pictures(size: int, channels: int) -> Iterator[Picture]:
    """Return pictures of the generated data set, tiled to the size of the model, float32 [1, C, H, W] in 0..1."""
    from yolo_qreg.data.shapes_render import render

    for index in range(PARITY_PICTURES):
        pixels = render("train", index).pixels
        repeats = -(-size // pixels.shape[0])
        tiled = np.tile(pixels, (repeats, repeats, -(-channels // 3)))[:size, :size, :channels]
        yield np.ascontiguousarray(tiled.transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)


def _facts(
    weights: Weights,
    packed: Mapping[str, PackedWeight],
    parity: Mapping[str, float],
    data: bytes,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what was exported and how it was checked, as plain data."""
    every = b"".join(weights.coded[layer].codes.numpy().tobytes() for layer in sorted(packed))
    return {
        "format": "packed ONNX",
        "label": weights.config.label,
        **settings,
        "layers": {layer: {"bits": made.bits, "container bits": made.container} for layer, made in packed.items()},
        "left out": sorted(set(weights.coded) - set(packed)),
        "codes": sum(made.codes.size for made in packed.values()),
        "codes changed": 0,
        "codes sha256": hashlib.sha256(every).hexdigest(),
        "parity with torch float32": dict(parity),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "versions": {name: version(name) for name in ("ultralytics", "torch", "onnx", "onnxruntime")}
        | {"yolo-qreg": __version__},
    }
