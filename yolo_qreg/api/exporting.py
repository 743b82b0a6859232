"""Weights for others to use, and what weight files are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from yolo_qreg.config import Calibration, Runtime
from yolo_qreg.errors import InputError
from yolo_qreg.progress import watched

if TYPE_CHECKING:
    from yolo_qreg.export.describe import Description

Kind = Literal["pt", "packed", "onnx", "openvino"]
"""Of an export."""


def export_weights(
    source: str | Path,
    to: Kind,
    out: str | Path | None = None,
    *,
    fp32: bool = False,
    imgsz: int | None = None,
    dynamic: bool = False,
    activations: Literal[8] | None = None,
    runtime: Runtime | None = None,
    calibration: Calibration | None = None,
    check_map: bool = False,
    quiet: bool = True,
) -> Path:
    """Write a run's weights for others to use.

    Args:
        source: A run folder (its weights/best.pt is taken) or a checkpoint of ours.
        to: "pt", a plain file that loads without this package; "packed", integer codes at their own width; "onnx", a
            model of the same integers for any ONNX runtime; or "openvino", a folder that computes in int8.
        out: File to write, .pt, .safetensors or .onnx, or a folder that ends in _openvino_model; by default beside the
            weights.
        fp32: Store float32 instead of fp16 where there are no codes (pt, packed).
        imgsz: Sides of the pictures in pixels (onnx, openvino); those of the training by default.
        dynamic: Whether batch and sides may vary (onnx with float activations).
        activations: Bits of the activations (onnx, openvino): None leaves them in float, 8 makes a model that
            computes in int8, which "openvino" always is.
        runtime: For which an int8 ONNX model is laid out: "openvino" (None), "ort" (ONNX Runtime) or "tensorrt".
        calibration: How ranges of int8 activations are found. By default they are those that a training with quantized
            activations has learned, else they are found on its data.
        check_map: Whether to measure the exported model, the weights and their FP32 twin on the `val` split of the
            training's data, or of the calibration's (onnx, openvino); what was found goes into the note.
        quiet: Whether to say nothing on the way.

    Returns:
        What was written. Beside an ONNX model, NAME.export.json says how it was checked; in a folder, export.json.

    Raises:
        InputError: The source is no checkpoint of ours, an option is of another kind of export, a check of what was
            exported fails, a package is missing, or `out` cannot be written.
    """
    target = None if out is None else Path(out)
    if to not in get_args(Kind):
        raise InputError(f"to={to!r} is no kind of export; choose one of {', '.join(get_args(Kind))}")
    int8 = to == "openvino" or activations is not None
    _check_export(to, fp32=fp32, imgsz=imgsz, dynamic=dynamic, activations=activations, int8=int8)
    if not int8 and calibration is not None:
        raise InputError("--calibrate, --images and --ranges are for int8 activations; add --activations 8")
    _check_runtime(to, runtime, int8=int8)
    if check_map and to not in ("onnx", "openvino"):
        raise InputError(f"--check-map is for --to onnx and openvino; {to} holds the weights themselves: drop it")
    if check_map:
        from yolo_qreg.evaluation.exported import data_to_check

        data = data_to_check(Path(source), calibration.data if calibration else None)
        written = export_weights(
            source,
            to,
            out,
            imgsz=imgsz,
            dynamic=dynamic,
            activations=activations,
            runtime=runtime,
            calibration=calibration,
        )
        _measure(Path(source), written, data, quiet=quiet)
        return written
    if int8:
        from yolo_qreg.export.int8 import to_int8

        layout = runtime or "openvino"
        return to_int8(
            Path(source), target, openvino=to == "openvino", calibration=calibration, runtime=layout, imgsz=imgsz
        )
    if to == "onnx":
        from yolo_qreg.export.onnx import to_onnx

        return to_onnx(Path(source), target, imgsz=imgsz, dynamic=dynamic)
    from yolo_qreg.export.packed import to_packed
    from yolo_qreg.export.plain import to_plain

    return (to_plain if to == "pt" else to_packed)(Path(source), target, fp32=fp32)


def _measure(source: Path, written: Path, data: Path, *, quiet: bool) -> None:
    """Measure what was exported and add that to its note."""
    from yolo_qreg.evaluation.exported import check_map
    from yolo_qreg.export import notes

    with watched(quiet) as watch:
        found = check_map(source, written, data, imgsz=notes.read(written)["imgsz"], watch=watch)
    notes.extend(written, {"mAP": found})


def _check_export(
    to: Kind,
    *,
    fp32: bool,
    imgsz: int | None,
    dynamic: bool,
    activations: int | None,
    int8: bool,
) -> None:
    """Refuse options that an export does not honour."""
    graphs = to in ("onnx", "openvino")
    if fp32 and graphs:
        raise InputError(f"--fp32 is for pt and packed; --to {to} has float32 beside its integers: drop it")
    if (imgsz is not None or dynamic or activations is not None) and not graphs:
        raise InputError("--imgsz, --dynamic and --activations are for --to onnx and openvino; drop them")
    if activations not in (None, 8):
        raise InputError(f"--activations {activations} is not a width that runtimes compute in; use 8, or leave it out")
    if dynamic and int8:
        raise InputError("--dynamic is for float activations; an int8 model has fixed sides: drop it")


def _check_runtime(to: Kind, runtime: str | None, *, int8: bool) -> None:
    """Refuse a runtime that an export is not for."""
    if runtime is not None and runtime not in get_args(Runtime):
        raise InputError(f"runtime={runtime!r} is unknown; choose one of {', '.join(get_args(Runtime))}")
    if runtime is not None and not int8:
        raise InputError("--runtime is for int8 activations; add --activations 8, or drop it")
    if to == "openvino" and runtime not in (None, "openvino"):
        raise InputError(f"--runtime {runtime} reads ONNX; write --to onnx --activations 8 --runtime {runtime}")


def unpack(packed: str | Path, out: str | Path | None = None) -> Path:
    """Turn packed weights back into a .pt that plain Ultralytics loads, equal in every bit to `export_weights`.

    Args:
        packed: A .safetensors file that `export_weights` wrote.
        out: File to write; by default beside the packed one.

    Raises:
        InputError: The file is not packed weights or is damaged.
    """
    from yolo_qreg.export import packed as container

    return container.unpack(Path(packed), None if out is None else Path(out))


def describe(file: str | Path) -> Description:
    """Return what a weight file is: method, bits, levels used, SQNR (dB) and bytes of every layer, and its training.

    Args:
        file: A run folder, a .pt of ours or of plain Ultralytics, a packed file, or an ONNX model or
            OpenVINO folder that we exported.

    Raises:
        InputError: It is none of these, or damaged.
    """
    from yolo_qreg.export import describe as work

    return work.describe(Path(file))
