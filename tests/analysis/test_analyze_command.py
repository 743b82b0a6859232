"""`yolo-qreg analyze`: what it writes, that it goes on where it stopped, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel

from yolo_qreg import QuantConfig, quantize
from yolo_qreg.analysis import run
from yolo_qreg.analysis.network import load_network
from yolo_qreg.analysis.parts import Laboratory
from yolo_qreg.cli import main
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.data.shapes_spec import CLASS_NAMES
from yolo_qreg.export.packed import to_packed, unpack
from yolo_qreg.shipped import shipped, weights_folder

TINY = Path(__file__).parents[1] / "host" / "tiny.yaml"
LEAST = "--imgsz 32 --images 2 --layer-images 1 --probes 2 --directions 1 --bits 2 --methods lsq"


def table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_tiny(to: Path) -> Path:
    """Write a tiny detector of 15 Conv blocks."""
    yolo = YOLO(TINY)
    yolo.model = DetectionModel(str(TINY), nc=len(CLASS_NAMES), verbose=False)
    yolo.model.names = dict(enumerate(CLASS_NAMES))
    yolo.save(to)
    return to


def test_an_analysis_of_a_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows for every layer, a page and figures; a second call computes nothing and writes the same bytes.

    An unpacked file has the noise that its float weights had, and no terms of the theorem.
    """
    monkeypatch.setattr("yolo_qreg.report.figures.DPI", 40)
    data, out = ensure_shapes(tmp_path / "data", train=2, val=2), tmp_path / "out"
    mine = write_tiny(tmp_path / "mine.pt")
    (rounded,) = quantize(mine, QuantConfig(method="lsq", bits=2, bn_images=0), tmp_path)
    bare = unpack(to_packed(rounded, tmp_path / "packed.safetensors"), tmp_path / "bare.pt")
    words = ["analyze", str(mine), str(bare), "--data", str(data), "--out", str(out), *LEAST.split()]
    assert main(words) == 0, capsys.readouterr().err
    assert "no terms of the theorem for bare" in capsys.readouterr().err
    rises = table(out / "theorem.csv")
    assert len(rises) == 1 + 15
    whole = rises[0]
    assert (whole["model"], whole["layer"], whole["own"]) == ("mine", "all", "False")
    parts = [float(row["predicted_outputs"]) for row in rises[1:]]
    assert float(whole["predicted_outputs"]) == pytest.approx(sum(parts))
    for row in rises[1:]:
        assert float(row["predicted_outputs"]) == pytest.approx(float(row["variance"]) * float(row["jacobian"]))
        assert float(row["predicted_loss"]) == pytest.approx(float(row["variance"]) * float(row["trace"]) / 2)
    noise = table(out / "noise.csv")
    assert {(row["method"], row["bits"]) for row in noise} == {("lsq", "2")}
    kept = {row["layer"]: row for row in noise if row["model"] == "bare"}
    for layer, known in load_network(rounded).noise("lsq", 2).items():
        assert float(kept[layer]["relative"]) == pytest.approx(known.relative, rel=0.02)
        assert float(kept[layer]["variance"]) == pytest.approx(known.variance, rel=0.05)
    assert {row["model"] for row in table(out / "sharpness.csv")} == {"mine", "bare"}
    assert {row["distance"] for row in table(out / "profiles.csv")} >= {"-0.4", "0.0", "0.4"}
    assert {"noise.png", "theorem-mine.pdf", "directions.png"} <= {p.name for p in (out / "figures").iterdir()}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "FP32" in page
    assert "No terms of the theorem for 2-bit LSQ" in page

    def nothing(*_: object) -> None:
        raise AssertionError("computed again")

    for work in ("_noise", "_terms", "_rises", "_sharpness"):
        monkeypatch.setattr(Laboratory, work, nothing)
    monkeypatch.setattr("yolo_qreg.report.analysis.write_figures", lambda *_: ())  # drawn already
    assert main(words) == 0
    assert (out / "report.html").read_text(encoding="utf-8") == page
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text(encoding="utf-8") == page
    (out / run.FILE).write_text("{}", encoding="utf-8")
    capsys.readouterr()
    assert main(["report", str(out)]) == 2
    assert "holds no whole analysis.json" in capsys.readouterr().err


def test_weights_that_diverged_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NaN is found before anything is computed or written, by both commands that measure."""
    ckpt = torch.load(shipped("shapes-fp32"), weights_only=False)
    with torch.no_grad():
        ckpt["model"].model[3].conv.weight[0] = float("nan")
    torch.save(ckpt, tmp_path / "diverged.pt")
    for command in ("analyze", "sensitivity"):
        assert main([command, str(tmp_path / "diverged.pt"), "--out", str(tmp_path / "out"), "--data", "shapes"]) == 2
        assert "model.3.conv.weight holds NaN or infinity; name weights of a training" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


HEADS = {
    "RT-DETR": (tasks.RTDETRDetectionModel, [[0, 1], 1, "RTDETRDecoder", ["nc", 16, 10, 2, 2, 1, 16]]),
    "SegmentationModel": (tasks.SegmentationModel, [[0, 1], 1, "Segment", ["nc", 4, 8]]),
    "OBBModel": (tasks.OBBModel, [[0, 1], 1, "OBB", ["nc", 1]]),
    "ClassificationModel": (tasks.ClassificationModel, [-1, 1, "Classify", ["nc"]]),
}


@pytest.mark.parametrize("kind", HEADS)
def test_models_of_other_losses_are_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any picture is looked for, by both commands that measure."""
    made, head = HEADS[kind]
    blocks = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 2]]]
    model = made({"nc": 2, "backbone": blocks, "head": [head]}, verbose=False)
    model.names = {0: "a", 1: "b"}
    torch.save({"model": model, "train_args": {}}, tmp_path / "other.pt")
    for command in ("analyze", "sensitivity"):
        assert main([command, str(tmp_path / "other.pt"), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert said.endswith(
            f"other.pt is of {kind}, whose loss is not a YOLO detector's; name a YOLO detection model\n"
        )
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.pt",), "missing.pt is not a file; name a .pt checkpoint"),
        (("{card}",), "is no .pt file, which derivatives need"),
        (("{fp32}", "--imgsz", "33"), "imgsz=33 is no multiple of 32; use 32"),
        (("{fp32}", "--images", "1"), "images=1 is not a whole number from 2 to 100,000; correct it"),
        (("{fp32}", "--bits", "9"), "bits: 9 is out of range for dorefa and lsq; use 1-8"),
        (("{fp32}", "--bits", "1", "--methods", "lsq"), "bits: 1 is out of range for lsq; use 2-8"),
        (("{fp32}", "--methods", "noise"), "methods: 'noise' is not one whose noise is known; choose of dorefa"),
        (("{fp32}", "--data", "nowhere.yaml"), "data=nowhere.yaml does not exist"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, status 2, before anything is computed."""
    names = {"fp32": shipped("shapes-fp32"), "card": weights_folder() / "shapes-fp32.json"}
    assert main(["analyze", *(word.format(**names) for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
