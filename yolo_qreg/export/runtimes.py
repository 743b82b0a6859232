"""Exported models run by ONNX Runtime and OpenVINO, and how many of their convolutions run in int8 kernels there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from yolo_qreg.errors import InputError
from yolo_qreg.openvino_import import import_openvino

Picture = NDArray[np.float32]
"""One, [1, C, H, W] in 0..1, or the head's answer to it."""
INT8_KERNELS = frozenset({"QLinearConv", "ConvInteger"})
FLOAT_KERNELS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "NhwcConv"})


@dataclass(frozen=True, slots=True)
class Kernels:
    """What convolutions a runtime really runs.

    Attributes:
        int8: How many in int8.
        all: How many there are.
    """

    int8: int
    all: int


def check_openvino() -> None:
    """Check that OpenVINO is there.

    Raises:
        InputError: It is not.
    """
    if find_spec("openvino") is None:
        raise InputError(
            "models for OpenVINO are checked by it; install it with: pip install 'yolo-qreg[openvino]', or choose "
            "--runtime ort"
        )


def run(model: Path, pictures: Sequence[Picture], *, reference: bool = False) -> list[Picture]:
    """Return what a model answers in ONNX Runtime.

    Args:
        model: An ONNX file.
        pictures: What it is shown.
        reference: Whether operators run one by one as they stand in the file, in float between Q and DQ.

    Raises:
        InputError: The runtime cannot run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if reference:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        runtime = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return [runtime.run(None, {"images": picture})[0] for picture in pictures]
    except Exception as error:  # the runtime raises types of its own
        raise InputError(
            f"ONNX Runtime cannot run the exported model ({' '.join(str(error).split())[:200]})"
        ) from error


def ort_kernels(model: Path) -> Kernels:
    """Return what ONNX Runtime makes of a model's convolutions on this machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that what is saved fits this machine only
    with tempfile.TemporaryDirectory(prefix="yolo-qreg-") as folder:
        optimized = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized)
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(str(optimized)).graph.node]
    int8 = sum(kind in INT8_KERNELS for kind in kinds)
    return Kernels(int8, int8 + sum(kind in FLOAT_KERNELS for kind in kinds))


def run_openvino(model: Path, pictures: Sequence[Picture]) -> tuple[list[Picture], Kernels]:
    """Return what a model answers in OpenVINO in float32 and int8, and what it makes of its convolutions.

    Args:
        model: An ONNX file, or an .xml of OpenVINO.
        pictures: What it is shown.

    Raises:
        InputError: OpenVINO cannot run it.
    """
    openvino = import_openvino()
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(str(model)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        answers = [np.array(compiled(picture)[0]) for picture in pictures]
        facts = [operator.get_rt_info() for operator in compiled.get_runtime_model().get_ordered_ops()]
    except RuntimeError as error:
        raise InputError(f"OpenVINO cannot run the exported model ({' '.join(str(error).split())[:200]})") from error
    kinds = [_text(fact, "runtimePrecision") for fact in facts if _text(fact, "layerType") == "Convolution"]
    return answers, Kernels(sum(kind in {"i8", "u8"} for kind in kinds), len(kinds))


def _text(facts: Any, key: str) -> str:
    """Return an entry of OpenVINO's facts about an operator, which releases wrap or do not."""
    found = facts[key]
    return str(getattr(found, "value", found))
