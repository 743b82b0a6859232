from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quantized_detectors import CONFIGS, NAMES, Trained, detector, thin, write
from torch import nn

from yolo_qreg.cli import main
from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.models import subjects
from yolo_qreg.export.describe import describe
from yolo_qreg.export.graph import read
from yolo_qreg.export.onnx import to_onnx
from yolo_qreg.export.weights import read_checkpoint

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxslim")

SIDE = 64
BOXES_PX, SCORES = 0.05, 5e-4
"""What float32 rounding makes of detectors that were never trained, whose boxes are up to 500 px off the picture."""


@pytest.fixture(scope="module")
def exported(trained: Callable[[str], Trained], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the packed ONNX model of a configuration of `CONFIGS`, made on first use."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = to_onnx(trained(name).path, tmp_path_factory.mktemp(name) / "model.onnx")
        return made[name]

    return get


def run(path: Path, x: np.ndarray, *outputs: str) -> list[np.ndarray]:
    """Run a model in ONNX Runtime and return its outputs, tensors inside it included."""
    model = onnx.load(str(path))
    for name in outputs:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(list(outputs) or None, {"images": x})
    return found


def picture(side: int = SIDE, batch: int = 1) -> np.ndarray:
    """Return noise, float32 [batch, 3, side, side] in 0..1."""
    return np.random.default_rng(0).random((batch, 3, side, side), dtype=np.float32)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "twin"])
def test_weights_are_the_closed_form_of_the_codes(
    name: str, trained: Callable[[str], Trained], exported: Callable[[str], Path]
) -> None:
    """What a runtime decodes is, in float64, the quantized weight times gamma / sqrt(variance + epsilon)."""
    source = trained(name)
    held = read(exported(name))
    layers = dict(source.model.named_modules())
    assert held.codes
    decoded = run(exported(name), picture(), *[f"{layer}.weight" for layer in held.codes])
    for layer, found in zip(held.codes, decoded, strict=True):
        weight = layers[layer].quantized_weight().detach().double()
        norm = getattr(layers[layer.rpartition(".")[0]], "bn", None) if layer.endswith(".conv") else None
        factor = 1.0 if norm is None else (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double()
        wanted = (weight.flatten(1).T * factor).T.reshape(weight.shape).numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_outputs_are_those_of_the_quantized_model(
    name: str, trained: Callable[[str], Trained], exported: Callable[[str], Path]
) -> None:
    """The model that was trained, latents and quantizers and all, gives the same boxes and scores."""
    model = trained(name).model
    with torch.inference_mode():
        wanted = model(torch.from_numpy(picture()))[0].numpy()
    (found,) = run(exported(name), picture())
    np.testing.assert_allclose(found[:, :4], wanted[:, :4], atol=BOXES_PX)
    np.testing.assert_allclose(found[:, 4:], wanted[:, 4:], atol=SCORES)


def test_the_softmax_of_boxes_is_written_out(exported: Callable[[str], Path]) -> None:
    """ONNX Runtime takes an eighth of a float model's time for it as one operator."""
    kinds = {node.op_type for node in onnx.load(str(exported("lsq-2bit"))).graph.node}
    assert "Softmax" not in kinds
    assert "Exp" in kinds


def test_files_have_the_size_of_their_bits(tmp_path: Path) -> None:
    """A whole YOLOv5n weighs what its codes do, within a tenth of a megabyte for the rest of the graph."""
    config = QuantConfig(method="lsq", bits=2)
    source = write(tmp_path / "best.pt", detector(config, "yolov5n.yaml"), config)
    path = to_onnx(source.path, imgsz=SIDE)
    codes = sum(code.size for code in read(path).codes.values())
    assert 0 < path.stat().st_size - codes * 2 / 8 < 340_000


def test_the_command_says_how_to_run_it(trained: Callable[[str], Trained], tmp_path: Path, capsys: Any) -> None:
    """In one line, before the file and its size."""
    out = tmp_path / "a.onnx"
    assert main(["export", str(trained("lsq-2bit").path), "--to", "onnx", "--out", str(out)]) == 0
    told, file = capsys.readouterr().out.splitlines()
    assert told == f"run it: yolo predict task=detect model={out} source=PICTURES imgsz={SIDE}"
    assert file.startswith(f"{out} (")


def test_plain_ultralytics_detects_with_it(exported: Callable[[str], Path]) -> None:
    """The host needs no setting: class names, sizes and stride are in the file."""
    from ultralytics import YOLO

    image = np.full((48, 60, 3), 127, np.uint8)
    model = YOLO(str(exported("lsq-2bit")), task="detect")
    (found,) = model.predict(image, conf=1e-6, verbose=False, save=False)
    assert tuple(found.names.values()) == NAMES
    assert found.orig_shape == (48, 60)


def test_dynamic_models_take_other_sizes(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Also several at once."""
    path = to_onnx(trained("lsq-2bit").path, tmp_path / "any.onnx", dynamic=True)
    (found,) = run(path, picture(96, batch=2))
    with torch.inference_mode():
        wanted = trained("lsq-2bit").model(torch.from_numpy(picture(96, batch=2)))[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=BOXES_PX)


@pytest.mark.parametrize("yaml", ["yolo26n.yaml", "yolov5n6.yaml"])
def test_other_detectors_export_too(yaml: str, tmp_path: Path) -> None:
    """All quantized layers are integers in the file but those of a branch of the head that only trains."""
    config = QuantConfig(method="lsq", bits=4)
    model = detector(config, thin(yaml, width=0.13))  # less has no head of attention, which old hosts do not mend
    source = write(tmp_path / "best.pt", model, config)
    path = to_onnx(source.path, imgsz=64)
    weights, _, _ = read_checkpoint(source.path)
    held, facts = read(path), json.loads(path.with_suffix(".export.json").read_text())
    assert set(held.codes) | set(facts["left out"]) == set(weights.coded)
    assert all(name.startswith("model.23.") for name in facts["left out"])
    for layer, codes in held.codes.items():
        assert np.array_equal(codes, weights.coded[layer].codes.numpy())


def test_negative_batchnorm_factors_keep_their_sign(tmp_path: Path) -> None:
    """A legal gamma below 0 turns the scale of its channel."""
    config = QuantConfig(bits=4)
    model = detector(config)
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight[0] = -norm.weight[0]
        wanted = model(torch.from_numpy(picture()))[0].numpy()
    source = write(tmp_path / "best.pt", model, config)
    (found,) = run(to_onnx(source.path, imgsz=SIDE), picture())
    np.testing.assert_allclose(found, wanted, atol=BOXES_PX)


def test_the_note_beside_it_says_how_it_was_checked(exported: Callable[[str], Path]) -> None:
    """Figures in it are those of the files."""
    facts = json.loads(exported("dorefa-8bit").with_suffix(".export.json").read_text())
    codes = read(exported("dorefa-8bit")).codes
    assert facts["codes"]["read back"] == sum(layer.size for layer in codes.values())
    assert (
        facts["codes"]["sha256"]
        == hashlib.sha256(b"".join(codes[name].tobytes() for name in sorted(codes))).hexdigest()
    )
    assert facts["parity with torch float32"]["pictures"] == 8
    assert facts["bytes"] == exported("dorefa-8bit").stat().st_size


def test_info_reads_it(exported: Callable[[str], Path], trained: Callable[[str], Trained], capsys: Any) -> None:
    """Layers, bits and levels are those of the checkpoint."""
    ours, theirs = describe(exported("lsq-mixed")), describe(trained("lsq-mixed").path)
    assert [(row.name, row.bits, row.levels_used) for row in ours.layers] == [
        (row.name, row.bits, row.levels_used) for row in theirs.layers
    ]
    assert (ours.kind, ours.names, ours.config) == ("packed ONNX", NAMES, CONFIGS["lsq-mixed"])
    assert math.isclose(ours.totals.quantized_share, theirs.totals.quantized_share, rel_tol=0.05)
    assert main(["info", str(exported("lsq-mixed"))]) == 0
    assert "packed ONNX" in capsys.readouterr().out


def test_the_command_writes_beside_the_checkpoint(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """The name says method and bits."""
    source = tmp_path / "run" / "weights" / "best.pt"
    source.parent.mkdir(parents=True)
    source.write_bytes(trained("lsq-2bit").path.read_bytes())
    assert main(["export", str(tmp_path / "run"), "--to", "onnx", "--imgsz", "64"]) == 0
    assert source.with_name("best-lsq-2bit.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onnx", "--fp32"], "--fp32 is for pt and packed"),
        (["--to", "packed", "--imgsz", "64"], "--imgsz, --dynamic and --activations are for --to onnx and openvino"),
        (["--to", "onnx", "--out", "model.pt"], "must end in .onnx"),
    ],
)
def test_what_does_not_fit_is_refused(
    words: list[str], message: str, trained: Callable[[str], Trained], capsys: Any
) -> None:
    """Options that an export does not honour are errors."""
    assert main(["export", str(trained("lsq-2bit").path), *words]) == 2
    assert message in capsys.readouterr().err


ODD_METADATA = {"odd names": ("names", "5"), "odd keys": ("names", "{1: 2, 'a': 3}"), "odd size": ("imgsz", "['a']")}


def damaged(model: Any, how: str) -> bytes:
    """Return a model with something wrong in it."""
    note = next(entry for entry in model.metadata_props if entry.key == "qreg")
    codes = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(".codes"))
    held = json.loads(note.value)
    if how == "no codes":
        model.graph.initializer.remove(codes)
    elif how == "short codes":
        codes.CopyFrom(onnx.numpy_helper.from_array(np.zeros((3, 1), np.uint8), codes.name))
    elif how == "newer":
        note.value = json.dumps(held | {"format": 99})
    elif how == "foreign":
        model.metadata_props.remove(note)
    elif how == "odd note":
        note.value = "[" * 5000
    elif how in ODD_METADATA:
        key, value = ODD_METADATA[how]
        next(entry for entry in model.metadata_props if entry.key == key).value = value
    elif how == "odd method":
        note.value = json.dumps(held | {"config": held["config"] | {"method": {}}})
    elif how == "odd width":
        note.value = json.dumps(held | {"layers": {"a": [float("inf"), [1, 1, 1, 1], "a.weight"]}})
    elif how == "odd layer":
        note.value = json.dumps(held | {"layers": {"a": [9, [1, 1, 1, 1], "a.weight"]}})
    data: bytes = model.SerializeToString()
    return data[: len(data) // 2] if how == "cut" else data


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onnx"], "is a folder, where the note"),
        (["--to", "onnx", "--activations", "8", "--runtime", "ort"], "is a folder, where the note"),
        (["--to", "onnx", "--out", "nowhere/a.onnx"], "does not exist"),
        (["--to", "onnx", "--check-map"], "which is not on this machine; measure it with yolo-qreg eval-corrupted"),
        (["--to", "pt", "--check-map"], "--check-map is for --to onnx and openvino"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_host_exports(
    words: list[str],
    message: str,
    trained: Callable[[str], Trained],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    """The float export takes longest, and would be for nothing."""
    monkeypatch.setattr("yolo_qreg.host.exporting.float_onnx", lambda *_, **__: pytest.fail("the host exported"))
    (tmp_path / "a.export.json").mkdir()
    words = words if {"--out", "pt"} & {*words} else [*words, "--out", str(tmp_path / "a.onnx")]
    assert main(["export", str(trained("lsq-2bit").path), *words]) == 2
    assert message in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["a.export.json"]


def test_an_evaluation_knows_what_it_is(exported: Callable[[str], Path], tmp_path: Path) -> None:
    """Method, width and classes are in the file; other ONNX models stay nameless."""
    (ours,) = subjects([exported("lsq-2bit")])
    assert (ours.model.method, ours.model.bits, ours.names, ours.imgsz) == ("lsq", 2, NAMES, SIDE)
    assert ours.training is None
    assert ours.model.size_mb == exported("lsq-2bit").stat().st_size / 1e6
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(damaged(onnx.load(str(exported("lsq-2bit"))), "foreign"))
    (theirs,) = subjects([foreign])
    assert (theirs.model.method, theirs.model.bits) == (None, None)


@pytest.mark.parametrize(
    "how",
    [
        "no codes",
        "short codes",
        "newer",
        "foreign",
        "odd note",
        "odd layer",
        "cut",
        "odd method",
        "odd width",
        *ODD_METADATA,
    ],
)
def test_damaged_models_are_told_in_one_line(how: str, exported: Callable[[str], Path], tmp_path: Path) -> None:
    """Whatever is wrong with a file, its name is in the message."""
    path = tmp_path / "broken.onnx"
    path.write_bytes(damaged(onnx.load(str(exported("lsq-2bit"))), how))
    with pytest.raises(InputError, match=r"broken.onnx"):
        describe(path)


def test_a_model_that_answers_otherwise_is_not_written(
    trained: Callable[[str], Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks are on the way of every export: a wrong grid leaves no file."""
    from yolo_qreg.export import folding

    monkeypatch.setattr(folding, "CLOSE", 10.0)
    monkeypatch.setattr("yolo_qreg.quant.lsq.LSQQuantizer.grid", staticmethod(lambda bits: (1, 0)))
    with pytest.raises(InputError, match="differs from PyTorch"):
        to_onnx(trained("lsq-2bit").path, tmp_path / "wrong.onnx", imgsz=SIDE)
    assert list(tmp_path.iterdir()) == []
