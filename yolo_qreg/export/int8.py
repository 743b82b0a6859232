"""Detectors that compute in int8: the trained integers as weights, activations quantized over calibrated ranges.

The graph is ONNX with QuantizeLinear and DequantizeLinear (`export.activations`), in the layout that OpenVINO turns
into int8 convolutions with the activation function fused: signed, symmetric, one scale for what meets in a Concat. The
head's output convolutions, DFL and the decoding of boxes stay in float.

Letters: O output channels, I input channels, K kernel side.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from yolo_qreg import __version__
from yolo_qreg.config import Calibration
from yolo_qreg.errors import InputError
from yolo_qreg.export import graph
from yolo_qreg.export.activations import activation_groups, calibrate, quantize_activations
from yolo_qreg.export.folding import FloatModel, Picture, convolutions, float_model, run
from yolo_qreg.export.graph import PackedWeight
from yolo_qreg.export.plain import output_path
from yolo_qreg.files import check_writable, write_atomic
from yolo_qreg.host import exporting
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.origin import Origin, confirm_data
from yolo_qreg.inputs import checkpoint_of

LOW, HIGH = -128, 127
FOLDER = "_openvino_model"
"""Ending by which the host knows a folder as OpenVINO's."""
NOTE_FILE = "export.json"
NEGLIGIBLE = 1e-5
"""Mean difference of scores that no detection feels, such as that of a detector which hardly sees anything."""
AGREEMENT = 0.25
"""Mean difference of scores between two runtimes, at most, as a share of what int8 itself changes."""


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
    def of(cls, weight: PackedWeight) -> Int8Weight:
        """Return a packed weight as int8; the integers of channels with a negative scale change sign where they can."""
        integers = weight.slope * weight.codes.astype(np.int64) - weight.offset
        scale, exact = weight.scale.astype(np.float64), True
        if integers.min() < LOW or integers.max() > HIGH:
            peak = 2**weight.bits - 1
            integers, scale, exact = np.rint(integers * (HIGH / peak)).astype(np.int64), scale * (peak / HIGH), False
        turned = (scale < 0) & (integers.reshape(len(scale), -1).min(1) > LOW)
        sign = np.where(turned, -1, 1)
        integers = integers * sign.reshape(-1, *[1] * (integers.ndim - 1))
        return cls(values=integers.astype(np.int8), scale=(scale * sign).astype(np.float32), exact=exact)


def to_int8(
    source: Path,
    out: Path | None = None,
    *,
    openvino: bool,
    calibration: Calibration,
    imgsz: int | None = None,
) -> Path:
    """Write a run's detector as an int8 model for OpenVINO.

    Args:
        source: A run folder (its weights/best.pt is taken), a checkpoint of ours or a plain export.
        out: A file ending in .onnx, or a folder ending in _openvino_model; by default beside the checkpoint.
        openvino: Whether to write OpenVINO's own format instead of ONNX.
        calibration: How activations are calibrated.
        imgsz: Sides of the model's pictures in pixels; that of the training by default.

    Returns:
        What was written.

    Raises:
        InputError: The source is not one of ours or has nothing quantized, a package is missing, a check fails or `out`
            cannot be written to.
    """
    if find_spec("openvino") is None:
        raise InputError("int8 models are checked by OpenVINO; install it with: pip install 'yolo-qreg[openvino]'")
    path = checkpoint_of(Path(source))
    with tempfile.TemporaryDirectory(prefix="yolo-qreg-") as folder:
        exact = float_model(path, Path(folder), imgsz=imgsz)
        if not exact.weights.coded:
            raise InputError(f"{path} is an FP32 twin: it has no trained integers; export it with Ultralytics")
        target = _target(path, out, exact.weights.config.label, openvino=openvino)
        data = _calibration_data(calibration, exact, path)
        pictures = exporting.training_pictures(data, calibration.images, exact.size, exact.channels)
        found, weights = _quantize(exact, pictures, calibration.ranges)
        written = Path(folder) / "int8.onnx"
        onnx.save(found, str(written))
        checks = {"codes": _check_integers(written, weights), **_check_runtime(exact, written)}
        settings = {
            "source": path.name,
            "imgsz": exact.size,
            "calibration": {
                "data": data.name,
                "split": "train",
                "pictures": len(pictures),
                "ranges": calibration.ranges,
            },
        }
        facts = {"format": "int8 OpenVINO" if openvino else "int8 ONNX", **settings, **checks, "versions": _versions()}
        if openvino:
            _write_folder(written, target, facts)
        else:
            text = json.dumps(facts | {"bytes": written.stat().st_size}, indent=1) + "\n"
            write_atomic(target, lambda file: file.write(written.read_bytes()))
            write_atomic(target.with_suffix(".export.json"), lambda file: file.write(text.encode()))
    return target


def _target(path: Path, out: Path | None, label: str, *, openvino: bool) -> Path:
    """Return what to write.

    Raises:
        InputError: It cannot be written there.
    """
    if not openvino:
        return output_path(path, out, f"{label}-int8", ".onnx")
    target = Path(out or path.with_name(f"{path.stem}-{label}-int8{FOLDER}"))
    if not target.name.endswith(FOLDER):
        raise InputError(f"--out {target} must end in {FOLDER}, by which Ultralytics knows such a folder")
    if not target.parent.is_dir():
        raise InputError(f"--out {target}: the folder {target.parent} does not exist; create it first")
    check_writable(target.parent, f"name a folder elsewhere with --out, such as --out {target.name}")
    if target.exists() and not (target / NOTE_FILE).is_file():
        raise InputError(f"--out {target} holds something else; name another folder")
    return target


def _calibration_data(calibration: Calibration, exact: FloatModel, path: Path) -> Path:
    """Return the data set that was named, or that of the training.

    Raises:
        InputError: It is not here, or was changed since.
    """
    if calibration.data is not None:
        return resolve_data(calibration.data)
    origin = Origin.from_dict(exact.origin)
    if origin is None:
        raise InputError(f"{path} names no data set; name one with --calibrate, whose training split sets the ranges")
    try:
        return confirm_data(None, origin.data, path)
    except InputError as error:
        raise InputError(str(error).replace("--data", "--calibrate")) from error


def _quantize(exact: FloatModel, pictures: Sequence[Picture], ranges: str) -> tuple[ModelProto, dict[str, Int8Weight]]:
    """Return the int8 graph, and its weights by layer."""
    found = exact.graph()
    layers = exact.integers(found)
    convs = convolutions(found, layers)
    scales = calibrate(found, activation_groups(found, convs), pictures, ranges)
    weights = {layer: Int8Weight.of(weight) for layer, weight in layers.items()}
    quantize_activations(found, scales, convs, float_part=f"/{exact.head.rstrip('.')}/")
    _replace_weights(found, weights)
    held = {
        "format": graph.FORMAT,
        "kind": "int8",
        "version": __version__,
        "config": exact.weights.config.to_dict(),
        "layers": {
            layer: [weight.bits, list(weight.codes.shape), f"{layer}.weight"] for layer, weight in layers.items()
        },
        "nearest levels": sorted(layer for layer, weight in weights.items() if not weight.exact),
    }
    graph.note(found, {graph.NOTE: json.dumps(held, separators=(",", ":"))})
    onnx.checker.check_model(found)
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


def _check_integers(file: Path, weights: Mapping[str, Int8Weight]) -> dict[str, Any]:
    """Read all weights back from a file and compare them with what was to be written.

    Returns:
        How many layers hold the trained integers, and how many the nearest levels.

    Raises:
        InputError: One differs.
    """
    held = {tensor.name: tensor for tensor in onnx.load(str(file)).graph.initializer}
    digest = hashlib.sha256()
    for layer, weight in sorted(weights.items()):
        values = numpy_helper.to_array(held[f"{layer}.weight{graph.INT8}"])
        if not np.array_equal(values, weight.values):
            raise InputError(f"integers of {layer} do not read back as they were written; please report this")
        digest.update(values.tobytes())
    exact = sum(weight.exact for weight in weights.values())
    return {"exact layers": exact, "layers at nearest levels": len(weights) - exact, "sha256": digest.hexdigest()}


def _check_runtime(exact: FloatModel, file: Path) -> dict[str, Any]:
    """Compare OpenVINO with ONNX Runtime on the same graph, and count what runs in int8.

    A sum that lies between two levels may be rounded either way, so that answers are not the same to the last bit; but
    they have to be much nearer to each other than either is to the float model.

    Raises:
        InputError: They are not.
    """
    pictures = list(exact.pictures())
    ours, float_answers = run(file, pictures), run(exact.file, pictures)
    found, in_int8, all_convs = _run_openvino(file, pictures)
    apart, changed = (
        float(np.mean([np.abs(a[:, 4:] - b[:, 4:]).mean() for a, b in zip(ours, other, strict=True)]))
        for other in (found, float_answers)
    )
    if not apart <= AGREEMENT * changed + NEGLIGIBLE:
        raise InputError(
            f"OpenVINO's scores differ from ONNX Runtime's by {apart:.2g} in the mean, where int8 itself changes "
            f"{changed:.2g}; please report this"
        )
    return {
        "mean difference of scores": {"OpenVINO and ONNX Runtime": apart, "int8 and float": changed},
        "convolutions": all_convs,
        "convolutions in int8 on this machine": in_int8,
    }


def _run_openvino(file: Path, pictures: Sequence[Picture]) -> tuple[list[Picture], int, int]:
    """Return OpenVINO's answers, how many convolutions ran in int8 kernels, and how many there are."""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(file)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = [np.array(compiled(picture)[0]) for picture in pictures]
    facts = [operator.get_rt_info() for operator in compiled.get_runtime_model().get_ordered_ops()]
    kinds = [_text(fact, "runtimePrecision") for fact in facts if _text(fact, "layerType") == "Convolution"]
    return answers, sum(kind in {"i8", "u8"} for kind in kinds), len(kinds)


def _text(facts: Any, key: str) -> str:
    """Return an entry of OpenVINO's facts about an operator, which releases wrap or do not."""
    found = facts[key]
    return str(getattr(found, "value", found))


def _write_folder(file: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Write OpenVINO's format as the host reads it, whole or not at all."""
    import openvino

    model = openvino.convert_model(str(file))
    metadata = {key: _literal(key, value) for key, value in graph.metadata_of(file).items()}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as staging:
        made = Path(staging) / target.name
        made.mkdir()
        openvino.save_model(model, str(made / f"{target.name.removesuffix(FOLDER)}.xml"), compress_to_fp16=False)
        (made / "metadata.yaml").write_text(yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True), "utf-8")
        size = sum(part.stat().st_size for part in made.iterdir())
        (made / NOTE_FILE).write_text(json.dumps({**facts, "bytes": size}, indent=1) + "\n", "utf-8")
        if target.exists():
            target.rename(Path(staging) / "old")
        made.rename(target)


def _literal(key: str, text: str) -> Any:
    """Return metadata as the host writes it to YAML: numbers, lists and mappings instead of their text."""
    if key in {"stride", "batch", "imgsz", "names", "channels", "end2end", "args"}:
        return ast.literal_eval(text)
    return text


def _versions() -> dict[str, str]:
    names = ("ultralytics", "torch", "onnx", "onnxruntime", "openvino")
    return {name: version(name) for name in names} | {"yolo-qreg": __version__}
