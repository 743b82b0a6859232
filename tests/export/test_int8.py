from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantized_detectors import NAMES, Trained

from yolo_qreg import QuantConfig, shipped
from yolo_qreg.cli import main
from yolo_qreg.config import Calibration
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.errors import InputError
from yolo_qreg.export.describe import describe
from yolo_qreg.export.graph import PackedWeight
from yolo_qreg.export.int8 import Int8Weight, to_int8
from yolo_qreg.export.weights import read_checkpoint

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxslim")
openvino = pytest.importorskip("openvino")

SIDE = 64


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of few pictures."""
    return ensure_shapes(tmp_path_factory.mktemp("shapes"), train=4, val=2)


@pytest.fixture(scope="module")
def folder(trained: Callable[[str], Trained], shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector of 2 bits in OpenVINO's format."""
    out = tmp_path_factory.mktemp("int8") / "small_openvino_model"
    calibration = Calibration(data=shapes, images=4)
    return to_int8(trained("lsq-2bit").path, out, openvino=True, calibration=calibration, imgsz=SIDE)


def packed(slope: int, offset: int, bits: int, scale: list[float]) -> PackedWeight:
    """Return a weight that has all codes in each of its channels."""
    codes = np.tile(np.arange(2**bits, dtype=np.uint8), (len(scale), 1))[:, :, None, None]
    return PackedWeight(codes=codes, bits=bits, slope=slope, offset=offset, scale=np.array(scale, np.float32))


@pytest.mark.parametrize(("slope", "bits"), [(1, 2), (1, 4), (1, 8), (2, 1), (2, 2), (2, 4), (2, 7)])
def test_trained_integers_fit_int8(slope: int, bits: int) -> None:
    """LSQ at all widths and DoReFa below 8 bits keep every value, also where BatchNorm turns the sign."""
    offset = 2 ** (bits - 1) if slope == 1 else 2**bits - 1
    weight = packed(slope, offset, bits, [0.5, -0.25])
    found = Int8Weight.of(weight)
    assert found.exact
    values = found.values.astype(np.float64) * found.scale.reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(values, weight.values())


def test_dorefa_at_8_bits_takes_the_nearest_level() -> None:
    """Its 256 odd integers are nine bits' worth: each moves by at most half of a 127th of the largest."""
    weight = packed(2, 255, 8, [1 / 255])
    found = Int8Weight.of(weight)
    assert not found.exact
    moved = np.abs(found.values.astype(np.float64) * found.scale[0] - weight.values().astype(np.float64))
    assert 0 < moved.max() <= 0.5 / 127 + 1e-9
    assert set(np.unique(found.values)) == set(range(-127, 128))


def test_openvino_computes_in_int8(folder: Path, trained: Callable[[str], Trained]) -> None:
    """Every quantized layer runs in an int8 kernel, and the note says so; weights are stored in a byte each."""
    facts = json.loads((folder / "export.json").read_text())
    weights, _, _ = read_checkpoint(trained("lsq-2bit").path)
    assert facts["codes"]["exact layers"] == len(weights.coded)
    assert facts["convolutions in int8 on this machine"] == len(weights.coded)
    codes = sum(layer.codes.numel() for layer in weights.coded.values())
    assert codes < (folder / "small.bin").stat().st_size < 2 * codes


def test_plain_ultralytics_detects_with_it(folder: Path) -> None:
    """The host needs no setting: class names, sizes and stride are in the folder."""
    from ultralytics import YOLO

    (found,) = YOLO(str(folder), task="detect").predict(np.full((48, 60, 3), 127, np.uint8), verbose=False, save=False)
    assert tuple(found.names.values()) == NAMES


def test_onnx_holds_the_integers_and_shares_the_scales(
    trained: Callable[[str], Trained], shapes: Path, tmp_path: Path
) -> None:
    """Integers are code - Qn; each activation quantizer is signed and symmetric but for the picture's."""
    source = trained("lsq-2bit").path
    out = tmp_path / "a.onnx"
    to_int8(source, out, openvino=False, calibration=Calibration(data=shapes, images=2, ranges="minmax"), imgsz=SIDE)
    found = describe(out)
    assert (found.kind, {layer.bits for layer in found.layers}) == ("int8 ONNX", {2})
    assert all(layer.levels_used <= 4 for layer in found.layers)
    model = onnx.load(str(out))
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights, _, _ = read_checkpoint(source)
    for layer, coded in weights.coded.items():
        sign = np.sign(constants[f"{layer}.weight.scale"]).reshape(-1, 1, 1, 1)
        np.testing.assert_array_equal(
            np.abs(constants[f"{layer}.weight.int8"]), np.abs(coded.codes.numpy().astype(int) - 2)
        )
        assert set(np.unique(sign)) <= {-1, 1}
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {str(constants[node.input[2]].dtype) for node in quantizers} == {"int8", "uint8"}
    assert all(constants[node.input[2]] == 0 for node in quantizers)
    assert len({float(constants[node.input[1]]) for node in quantizers}) < len(quantizers)


def test_detections_stay_those_of_the_float_model(shapes: Path, tmp_path: Path) -> None:
    """The shipped 8-bit weights find the same objects: best scores of a picture move by less than a tenth."""
    from ultralytics import YOLO

    out = tmp_path / "shapes_openvino_model"
    to_int8(shipped.shipped("shapes-dorefa8"), out, openvino=True, calibration=Calibration(data=shapes), imgsz=160)
    picture = next((shapes.parent / "images" / "train").iterdir())
    models = [YOLO(str(shipped.shipped("shapes-dorefa8"))), YOLO(str(out), task="detect")]
    ours, theirs = (m.predict(picture, imgsz=160, verbose=False, save=False, rect=False)[0].boxes for m in models)
    assert len(ours) > 0
    assert abs(len(ours) - len(theirs)) <= 1
    np.testing.assert_allclose(ours.conf[:1].numpy(), theirs.conf[:1].numpy(), atol=0.1)
    np.testing.assert_allclose(ours.xyxy[:1].numpy(), theirs.xyxy[:1].numpy(), atol=8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onnx", "--activations", "4"], "--activations 4 is not a width that runtimes compute in"),
        (["--to", "pt", "--activations", "8"], "are for --to onnx and openvino"),
        (["--to", "openvino", "--dynamic"], "--dynamic is for float activations"),
        (["--to", "openvino", "--ranges", "best"], "ranges='best' is unknown"),
        (["--to", "openvino", "--images", "0"], "images=0 is not a number of pictures"),
        (["--to", "onnx", "--images", "9"], "are for int8 activations"),
        (["--to", "openvino", "--calibrate", "nowhere.yaml"], "nowhere.yaml"),
        (["--to", "openvino"], "--calibrate"),
        (["--to", "openvino", "--out", "plain"], "must end in _openvino_model"),
    ],
)
def test_what_does_not_fit_is_refused(
    words: list[str], message: str, trained: Callable[[str], Trained], capsys: Any
) -> None:
    """One line says what."""
    assert main(["export", str(trained("lsq-2bit").path), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_twin_has_no_integers(trained: Callable[[str], Trained], shapes: Path) -> None:
    """Ultralytics quantizes float models itself."""
    with pytest.raises(InputError, match="FP32 twin"):
        to_int8(trained("twin").path, None, openvino=True, calibration=Calibration(data=shapes), imgsz=SIDE)


def test_a_folder_of_others_is_not_replaced(trained: Callable[[str], Trained], shapes: Path, tmp_path: Path) -> None:
    """Only what an export wrote makes way for the next."""
    out = tmp_path / "mine_openvino_model"
    out.mkdir()
    (out / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="holds something else"):
        to_int8(trained("lsq-2bit").path, out, openvino=True, calibration=Calibration(data=shapes), imgsz=SIDE)
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]


def test_configurations_that_are_exact_say_so() -> None:
    """The widths that docs promise: 8-bit DoReFa alone is not exact."""
    for config, exact in ((QuantConfig(bits=8), False), (QuantConfig(bits=7), True), (QuantConfig(method="lsq"), True)):
        slope, offset = (1, 128) if config.method == "lsq" else (2, 2**config.bits - 1)
        assert Int8Weight.of(packed(slope, offset, config.bits, [1.0])).exact is exact
