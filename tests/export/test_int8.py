from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quantized_detectors import NAMES, Trained

from yolo_qreg import QuantConfig, activations, shipped
from yolo_qreg.cli import main
from yolo_qreg.config import Calibration, Runtime
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.models import subjects
from yolo_qreg.export.describe import describe
from yolo_qreg.export.graph import PackedWeight
from yolo_qreg.export.int8 import Int8Weight, to_int8
from yolo_qreg.export.runtimes import run
from yolo_qreg.export.weights import read_checkpoint
from yolo_qreg.host import checkpoint
from yolo_qreg.openvino_import import import_openvino

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxslim")
if find_spec("openvino") is None:
    pytest.skip("could not import 'openvino'", allow_module_level=True)
openvino = import_openvino()  # by itself it would tell its makers, from threads beside which loaders fork

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


def test_openvino_does_not_report_to_its_makers(tmp_path: Path) -> None:
    """As it is imported it would draw an identifier for this machine, keep it in the home folder and send it."""
    home = tmp_path / "home"
    home.mkdir()
    code = "from yolo_qreg.openvino_import import import_openvino; print(import_openvino().__version__)"
    env = {key: value for key, value in os.environ.items() if key != "CI"} | {"HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == openvino.__version__
    assert not list(home.iterdir())


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


def test_info_knows_the_folder(folder: Path, trained: Callable[[str], Trained], capsys: Any) -> None:
    """Layers, bits and codes are read from the graph itself, what runs in int8 from the note; evaluations name it."""
    weights, _, _ = read_checkpoint(trained("lsq-2bit").path)
    assert main(["info", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["names"]) == ("int8 OpenVINO", list(NAMES))
    assert [layer["name"] for layer in found["layers"]] == list(weights.coded)
    assert {(layer["bits"], layer["container"]) for layer in found["layers"]} == {(2, 8)}
    assert [layer["levels_used"] for layer in found["layers"]] == [c.levels_used() for c in weights.coded.values()]
    assert found["int8"]["in_int8"] == len(weights.coded)
    assert found["size_bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert main(["info", str(folder)]) == 0
    assert f"{len(weights.coded)} of {len(weights.coded) + 5} convolutions" in capsys.readouterr().out
    (ours,) = subjects([folder])
    assert (ours.model.method, ours.model.bits, ours.names, ours.imgsz) == ("lsq", 2, NAMES, SIDE)


def damage(folder: Path, how: str) -> None:
    """Make something wrong in an OpenVINO folder."""
    graph, metadata = folder / "small.xml", folder / "metadata.yaml"
    if how == "cut graph":
        graph.write_bytes(graph.read_bytes()[:1000])
    elif how == "cut integers":
        graph.with_suffix(".bin").write_bytes(graph.with_suffix(".bin").read_bytes()[:1000])
    elif how == "no integers":
        graph.write_text(graph.read_text().replace(".weight.int8", ".weight.int9"))
    elif how == "two graphs":
        (folder / "other.xml").write_text("<net/>")
    elif how == "foreign":
        metadata.write_text("names: {0: a}")
    elif how == "odd metadata":
        metadata.write_text("- 1")
    elif how == "no metadata":
        metadata.unlink()
    elif how == "odd names":
        metadata.write_text(metadata.read_text().replace("0: cat", "0: cat\n  x: 1"))


@pytest.mark.parametrize(
    "how",
    [
        "cut graph",
        "cut integers",
        "no integers",
        "two graphs",
        "foreign",
        "odd metadata",
        "no metadata",
        "odd names",
    ],
)
def test_damaged_folders_are_told_in_one_line(how: str, folder: Path, tmp_path: Path, capsys: Any) -> None:
    """Whatever is wrong with a folder, its name is in the message."""
    broken = Path(shutil.copytree(folder, tmp_path / "broken_openvino_model"))
    damage(broken, how)
    assert main(["info", str(broken)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "broken_openvino_model" in line


def test_a_folder_without_its_note_is_described_all_the_same(folder: Path, tmp_path: Path) -> None:
    """But nobody says what ran in int8."""
    bare = Path(shutil.copytree(folder, tmp_path / "bare_openvino_model"))
    (bare / "export.json").unlink()
    found = describe(bare).int8
    assert found is not None
    assert (found.runtime, found.convolutions, found.in_int8) == ("openvino", None, None)


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


@pytest.mark.parametrize("name", ["lsq-2bit", "lsq-mixed"])
def test_onnx_runtime_computes_in_int8(
    name: str, trained: Callable[[str], Trained], shapes: Path, tmp_path: Path
) -> None:
    """Its layout is unsigned, and every quantized convolution but those of the output runs in its int8 kernel."""
    out = tmp_path / "ort.onnx"
    calibration = Calibration(data=shapes, images=2)
    to_int8(trained(name).path, out, openvino=False, calibration=calibration, runtime="ort", imgsz=SIDE)
    facts = json.loads(out.with_suffix(".export.json").read_text())
    weights, _, _ = read_checkpoint(trained(name).path)
    inner = [layer for layer in weights.coded if layer.endswith(".conv")]
    assert facts["convolutions in int8 on this machine"] == len(inner)
    assert facts["codes"]["read back"] == sum(layer.codes.numel() for layer in weights.coded.values())
    model = onnx.load(str(out))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {kinds[node.input[2]] for node in quantizers} == {onnx.TensorProto.UINT8}
    assert sum(kind == onnx.TensorProto.INT32 for kind in kinds.values()) == 2 * len(inner)
    assert "Softmax" not in {node.op_type for node in model.graph.node}


def test_tensorrt_gets_symmetric_signed_grids(trained: Callable[[str], Trained], shapes: Path, tmp_path: Path) -> None:
    """The picture's too: it takes neither uint8, nor zero points, nor negative scales."""
    out = tmp_path / "trt.onnx"
    calibration = Calibration(data=shapes, images=2)
    to_int8(trained("lsq-2bit").path, out, openvino=False, calibration=calibration, runtime="tensorrt", imgsz=SIDE)
    model = onnx.load(str(out))
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        scale, zero = (constants[name] for name in node.input[1:])
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (scale > 0).all()
    assert "not TensorRT" in json.loads(out.with_suffix(".export.json").read_text())["checked with"]


@pytest.fixture(scope="module")
def with_ranges(trained: Callable[[str], Trained], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training whose activations were quantized."""
    path = trained("lsq-2bit").path
    model, ckpt = checkpoint.load(path)
    state = checkpoint.state_of(ckpt, path)
    model = checkpoint.requantize(model.float(), state)
    picture = torch.from_numpy(np.random.default_rng(1).random((1, 3, SIDE, SIDE), dtype=np.float32))
    activations.place_quantizers(model, activations.find_places(model, state.bits, picture), 8, "lsq", "symmetric")
    activations.calibrate(model, [picture])
    out = tmp_path_factory.mktemp("ranges") / "best.pt"
    learned = replace(state, activations=activations.ranges_of(model))
    checkpoint.save(out, {**checkpoint.load(path)[1], checkpoint.KEY: learned.to_dict()})
    return Trained(out, model.eval(), state.config)


@pytest.mark.parametrize("runtime", ["openvino", "ort"])
def test_learned_ranges_are_those_of_the_export(
    runtime: Runtime, with_ranges: Trained, shapes: Path, tmp_path: Path
) -> None:
    """Scales are the training's, and OpenVINO's graph computes what PyTorch simulated; no picture is needed for it."""
    out = tmp_path / "a.onnx"
    if runtime == "ort":  # pre-activations have no range in a training
        monkey = pytest.MonkeyPatch()
        monkey.setattr("yolo_qreg.export.int8._calibration_data", lambda *_: shapes)
    source = with_ranges.path
    to_int8(source, out, openvino=False, runtime=runtime, imgsz=SIDE)
    model = onnx.load(str(out))
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    scales = {float(constants[node.input[1]]) for node in quantizers}
    state = checkpoint.state_of(checkpoint.load(source)[1], source)
    learned = {float(np.float32(r.scale)) for r in state.activations}
    if runtime == "ort":
        monkey.undo()
        assert learned < scales
        return
    assert learned == scales
    picture = np.random.default_rng(1).random((1, 3, SIDE, SIDE), dtype=np.float32)
    with torch.inference_mode():
        wanted = with_ranges.model(torch.from_numpy(picture))[0].numpy()
        plain = checkpoint.load(source)[0].float().eval()(torch.from_numpy(picture))[0].numpy()
    found, changed = (np.abs(a - wanted).mean() for a in (run(out, [picture], reference=True)[0], plain))
    assert found < changed / 10


def test_detections_stay_those_of_the_float_model(shapes: Path, tmp_path: Path, capsys: Any) -> None:
    """The shipped 8-bit weights find the same objects: best scores of a picture move by less than a tenth."""
    from ultralytics import YOLO

    out, source = tmp_path / "shapes_openvino_model", str(shipped.shipped("shapes-dorefa8"))
    words = ["--to", "openvino", "--calibrate", str(shapes), "--imgsz", "160", "--check-map", "--out", str(out)]
    assert main(["export", source, *words]) == 0
    told = capsys.readouterr().out
    assert "69 of 76 convolutions run in int8" in told
    assert "69 of 69 layers at the nearest of 255 levels" in told
    found = json.loads((out / "export.json").read_text())["mAP"]
    assert found["pictures"] == 2
    assert list(found["mAP50-95"]) == ["FP32 twin", "weights", "exported"]
    assert list(found["points"]) == ["exported against FP32 twin", "exported against weights"]
    apart = found["mAP50-95"]["exported"] - found["mAP50-95"]["weights"]
    assert found["points"]["exported against weights"]["difference"] == pytest.approx(100 * apart)
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
        (["--to", "openvino", "--runtime", "ort"], "--runtime ort reads ONNX"),
        (["--to", "onnx", "--runtime", "ort"], "--runtime is for int8 activations"),
        (["--to", "onnx", "--activations", "8", "--runtime", "tpu"], "runtime='tpu' is unknown"),
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
