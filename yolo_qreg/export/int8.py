"""Detectors that compute in int8: the trained integers as weights, activations quantized over calibrated ranges.

The graph is ONNX with QuantizeLinear and DequantizeLinear, in the layout of one runtime (`export.activations`).
The head's output convolutions, DFL and the decoding of boxes stay in float. Nothing is written unless
the integers read back from the file, and the runtime's answers are those of the graph as it stands.

Letters: O output channels, I input channels, K kernel side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from yolo_qreg import __version__
from yolo_qreg.config import Calibration, Runtime
from yolo_qreg.errors import InputError
from yolo_qreg.export import graph, ir, notes
from yolo_qreg.export.activations import ReadLayout, WholeLayout, quantize_biases
from yolo_qreg.export.folding import FloatModel, Source, convolutions, float_model, read_source
from yolo_qreg.export.graph import Held, PackedWeight
from yolo_qreg.export.plain import output_path
from yolo_qreg.export.ranges import PICTURE_GRID, UNSIGNED_LEVELS, Grid, calibrate
from yolo_qreg.export.runtimes import Kernels, Picture, check_openvino, ort_kernels, run, run_openvino
from yolo_qreg.export.softmax import write_out_softmax
from yolo_qreg.files import scratch_folder, write_atomic, write_text
from yolo_qreg.host import checkpoint, exporting
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.origin import Origin, confirm_data
from yolo_qreg.inputs import checkpoint_of

LOW, HIGH = -128, 127
NEGLIGIBLE = 1e-5
"""Mean difference of scores that no detection feels, such as that of a detector which hardly sees anything."""
AGREEMENT = 0.25
"""Mean difference of scores between a runtime and the graph, at most, as a share of what int8 itself changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Weight:
    """The weight of one layer as int8.

    Attributes:
        values: int8 [O, I, K, K].
        scale: float32 [O].
        exact: Whether they are the trained integers; at 8 bits DoReFa has nine bits' worth, and the nearest of 255
            levels is taken.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    exact: bool

    @classmethod
    def of(cls, weight: PackedWeight, *, positive: bool = False) -> Int8Weight:
        """Return a packed weight as int8; the integers of channels with a negative scale change sign where they can.

        Args:
            weight: Codes and scales.
            positive: Whether no scale may be negative: then -128 becomes 127 where it has to change sign.
        """
        integers = weight.slope * weight.codes.astype(np.int64) - weight.offset
        scale, exact = weight.scale.astype(np.float64), True
        if integers.min() < LOW or integers.max() > HIGH:
            peak = 2**weight.bits - 1
            integers, scale, exact = np.rint(integers * (HIGH / peak)).astype(np.int64), scale * (peak / HIGH), False
        turned = (scale < 0) & (positive | (integers.reshape(len(scale), -1).min(1) > LOW))
        sign = np.where(turned, -1, 1)
        integers = integers * sign.reshape(-1, *[1] * (integers.ndim - 1))
        exact = exact and integers.max() <= HIGH
        values = np.minimum(integers, HIGH).astype(np.int8)
        return cls(values=values, scale=(scale * sign).astype(np.float32), exact=bool(exact))


def to_int8(
    source: Path,
    out: Path | None = None,
    *,
    openvino: bool,
    calibration: Calibration | None = None,
    runtime: Runtime = "openvino",
    imgsz: int | None = None,
) -> Path:
    """Write a run's detector as an int8 model, and beside it how that was proved.

    Args:
        source: A run folder (its weights/best.pt is taken), a checkpoint of ours or a plain export.
        out: A file ending in .onnx, or a folder ending in _openvino_model; by default beside the checkpoint.
        openvino: Whether to write OpenVINO's own format instead of ONNX.
        calibration: How activations are calibrated; by default those keep the ranges that a training with quantized
            activations has found, and the others are calibrated on its data.
        runtime: For which the graph is laid out.
        imgsz: Sides of the model's pictures in pixels; that of the training by default.

    Returns:
        What was written.

    Raises:
        InputError: The source is not one of ours or has nothing quantized, a package is missing, a check fails or `out`
            cannot be written to.
    """
    if runtime == "openvino":
        check_openvino()
    opened = read_source(checkpoint_of(Path(source)))
    if not opened.weights.coded:
        raise InputError(f"{opened.path} is an FP32 twin: it has no trained integers; export it with Ultralytics")
    target = _target(opened, out, runtime, openvino=openvino)
    learned = {} if calibration else _learned(opened, runtime)
    how = calibration or Calibration()
    data = None if learned and runtime != "ort" else _calibration_data(how, opened)
    beside = target.parent if openvino else None  # a folder is moved, which is atomic on one disk only
    with scratch_folder(".yolo-qreg-", beside) as place:
        exact = float_model(opened, place, imgsz=imgsz)
        pictures = exporting.training_pictures(data, how.images, exact.size, exact.channels) if data else []
        found, weights = _quantize(exact, pictures, how.ranges, runtime, learned)
        file = place / "int8.onnx"
        onnx.save(found, str(file))
        written = ir.convert(file, place / target.name) if openvino else file
        facts = {
            "format": "int8 OpenVINO" if openvino else "int8 ONNX",
            "label": opened.weights.config.label,
            "runtime": runtime,
            "source": opened.path.name,
            "imgsz": exact.size,
            "learned ranges": len(learned),
            "calibration": data
            and {"data": data.name, "split": "train", "pictures": len(pictures), "ranges": how.ranges},
            "codes": _check_integers(ir.read(written.parent) if openvino else graph.read(file), weights),
            **_check_runtime(exact, file, written, runtime),
            "layers": {layer: {"bits": exact.weights.coded[layer].bits, "container bits": 8} for layer in weights},
            "left out": sorted(set(exact.weights.coded) - set(weights)),
            "versions": notes.versions(),
        }
        _write(exact, written, target, facts, weights)
    return target


def _target(source: Source, out: Path | None, runtime: Runtime, *, openvino: bool) -> Path:
    """Return what to write.

    Raises:
        InputError: It cannot be written there.
    """
    label = f"{source.weights.config.label}-int8"
    if openvino:
        return ir.folder_to_write(Path(out or source.path.with_name(f"{source.path.stem}-{label}{ir.FOLDER}")))
    target = output_path(source.path, out, label if runtime == "openvino" else f"{label}-{runtime}", ".onnx")
    notes.check_note(target)
    return target


def _write(
    exact: FloatModel, written: Path, target: Path, facts: dict[str, Any], weights: Mapping[str, Int8Weight]
) -> None:
    """Check the size of a model and put it in its place with its note.

    Raises:
        InputError: It is larger than its integers allow.
    """
    folder = written.parent if target.name.endswith(ir.FOLDER) else None
    files = [written] if folder is None else [file for file in folder.iterdir() if file.is_file()]
    stored = {layer: weight.values.size for layer, weight in weights.items()}
    facts |= notes.contents(files)
    heavy = written if folder is None else written.with_suffix(".bin")
    facts["size"] = notes.check_size(heavy.stat().st_size, exact.promised_bytes(stored), len(weights))
    if folder is None:
        data = written.read_bytes()
        write_atomic(target, lambda file: file.write(data))
        write_text(notes.note_file(target), notes.to_text(facts))
    else:
        write_text(folder / notes.IN_FOLDER, notes.to_text(facts))
        ir.move(folder, target)


def _learned(source: Source, runtime: Runtime) -> dict[str, Grid]:
    """Return the grids that a training has found for what layers read, where the runtime can compute on them."""
    grids: dict[str, Grid] = {}
    for found in checkpoint.state_of(source.checkpoint, source.path).activations:
        signed = found.low < 0
        if not found.place.picture and (runtime != "tensorrt" or (signed and not found.zero_point)):
            ends = found.low, found.high
            whole = ends == ((LOW, HIGH) if signed else (0, UNSIGNED_LEVELS))
            grid = Grid(found.scale, found.zero_point, signed, None if whole else ends)
            grids |= dict.fromkeys(found.place.layers, grid)
    return grids


def _calibration_data(calibration: Calibration, source: Source) -> Path:
    """Return the data set that was named, or that of the training.

    Raises:
        InputError: It is not here, or was changed since.
    """
    if calibration.data is not None:
        return resolve_data(calibration.data)
    origin = Origin.from_dict(source.origin)
    if origin is None:
        raise InputError(
            f"{source.path} names no data set; name one with --calibrate, whose training split sets the ranges"
        )
    try:
        return confirm_data(None, origin.data, source.path)
    except InputError as error:
        raise InputError(str(error).replace("--data", "--calibrate")) from error


def _quantize(
    exact: FloatModel, pictures: Sequence[Picture], ranges: str, runtime: Runtime, learned: Mapping[str, Grid]
) -> tuple[ModelProto, dict[str, Int8Weight]]:
    """Return the int8 graph, and its weights by layer."""
    found = exact.graph()
    layers = exact.integers(found)
    convs = convolutions(found, layers)
    weights = {layer: Int8Weight.of(weight, positive=runtime == "tensorrt") for layer, weight in layers.items()}
    known = {conv.name: grid for conv in convs if (grid := learned.get(conv.input[1].removesuffix(".weight")))}
    layout: ReadLayout | WholeLayout
    if runtime == "ort":  # an output convolution is no use in int8 if its answer is not quantized, which costs mAP
        inner = [conv for conv in convs if conv.input[1].endswith(".conv.weight")]
        layout = WholeLayout(exact.graph(), inner, known)
    else:
        picture = Grid.symmetric(1.0) if runtime == "tensorrt" else PICTURE_GRID  # TensorRT takes no uint8
        layout = ReadLayout(exact.graph(), convs, f"/{exact.head.rstrip('.')}/", picture, known)
    grids = calibrate(found, layout, pictures, ranges)
    layout.apply(found, grids)
    _replace_weights(found, weights)
    if runtime == "ort":
        scales = {f"{layer}.weight": weight.scale for layer, weight in weights.items()}
        quantize_biases(found, grids, {conv.input[1]: scales[conv.input[1]] for conv in layout.convs})
        write_out_softmax(found)
    held = {
        "format": graph.FORMAT,
        "kind": "int8",
        "runtime": runtime,
        "version": __version__,
        "config": exact.weights.config.to_dict(),
        "layers": {
            layer: [weight.bits, list(weight.codes.shape), f"{layer}.weight"] for layer, weight in layers.items()
        },
        "nearest levels": sorted(layer for layer, weight in weights.items() if not weight.exact),
    }
    graph.note(found, {graph.NOTE: json.dumps(held, separators=(",", ":"))})
    onnx.checker.check_model(found, full_check=True)
    return found, weights


def _replace_weights(found: ModelProto, weights: Mapping[str, Int8Weight]) -> None:
    """Put int8 weights in place of float ones, in place."""
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []
    for layer, weight in weights.items():
        name = f"{layer}.weight"
        parts: dict[str, NDArray[Any]] = {
            name + graph.INT8: weight.values,
            f"{name}.scale": weight.scale,
            f"{name}.zero": np.zeros(len(weight.scale), np.int8),
        }
        tensors += [numpy_helper.from_array(value, key) for key, value in parts.items()]
        nodes.append(helper.make_node("DequantizeLinear", list(parts), [name], name=f"{name}.dequantize", axis=0))
    replaced = {f"{layer}.weight" for layer in weights}
    kept = [tensor for tensor in found.graph.initializer if tensor.name not in replaced]
    following = [NodeProto.FromString(node.SerializeToString()) for node in found.graph.node]
    del found.graph.initializer[:], found.graph.node[:]
    found.graph.initializer.extend([*kept, *tensors])
    found.graph.node.extend([*nodes, *following])


def _check_integers(held: Held, weights: Mapping[str, Int8Weight]) -> dict[str, Any]:
    """Compare all weights that were read back from a file with what was to be written.

    Returns:
        How many layers hold the trained integers, and how many the nearest levels.

    Raises:
        InputError: One differs.
    """
    digest = hashlib.sha256()
    for layer, weight in sorted(weights.items()):
        if not np.array_equal(held.codes[layer], weight.values):
            raise InputError(f"integers of {layer} do not read back as they were written; please report this")
        digest.update(weight.values.tobytes())
    exact = sum(weight.exact for weight in weights.values())
    return {
        "read back": sum(weight.values.size for weight in weights.values()),
        "exact layers": exact,
        "layers at nearest levels": len(weights) - exact,
        "sha256": digest.hexdigest(),
    }


def _check_runtime(exact: FloatModel, file: Path, written: Path, runtime: Runtime) -> dict[str, Any]:
    """Compare a runtime with the graph as it stands, and count what it runs in int8.

    A sum that lies between two levels may be rounded either way, so that answers are not the same to the last bit; but
    they have to be much nearer to each other than either is to the float model.

    Args:
        exact: The float model.
        file: The ONNX model.
        written: What the runtime reads, the same or an .xml.
        runtime: Which one.

    Raises:
        InputError: They are not.
    """
    pictures = list(exact.pictures())
    wanted, float_answers = run(file, pictures, reference=True), run(exact.file, pictures)
    found, kernels = _answers(written, pictures, runtime)
    apart, changed = (
        float(np.mean([np.abs(a[:, 4:] - b[:, 4:]).mean() for a, b in zip(wanted, other, strict=True)]))
        for other in (found, float_answers)
    )
    name = RUNTIME_NAMES[runtime]
    if not apart <= AGREEMENT * changed + NEGLIGIBLE:
        raise InputError(
            f"{name}'s scores differ from those of the graph by {apart:.2g} in the mean, where int8 itself changes "
            f"{changed:.2g}; please report this"
        )
    facts: dict[str, Any] = {
        "checked with": name,
        "mean difference of scores": {"runtime and graph": apart, "int8 and float": changed},
    }
    if kernels is not None:
        facts |= {"convolutions": kernels.all, "convolutions in int8 on this machine": kernels.int8}
    return facts


def _answers(written: Path, pictures: Sequence[Picture], runtime: Runtime) -> tuple[list[Picture], Kernels | None]:
    """Return what a runtime answers and runs in int8; TensorRT's graph is run by ONNX Runtime, which tells nothing."""
    if runtime == "openvino":
        return run_openvino(written, pictures)
    return run(written, pictures), ort_kernels(written) if runtime == "ort" else None


RUNTIME_NAMES: dict[Runtime, str] = {
    "openvino": "OpenVINO",
    "ort": "ONNX Runtime",
    "tensorrt": "ONNX Runtime (not TensorRT, which needs its GPU)",
}
"""What checks a layout."""
