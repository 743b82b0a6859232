from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from yolo_qreg.cli import env, main
from yolo_qreg.config import QuantConfig
from yolo_qreg.host import checkpoint
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.patch import bake

TOOLS = ("export", "unpack", "info", "data", "env")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the finished weights of a thin, untrained 2-bit detector."""
    yaml = yaml_model_load("yolov5n.yaml")
    yaml["scales"] = {"n": [0.33, 0.08, 1024]}
    config = QuantConfig(method="lsq", bits=2)
    with torch.random.fork_rng(devices=[]):
        model = DetectionModel(yaml, nc=2, verbose=False)
    plan = quantize_detector(model, config)
    model.names = {0: "cat", 1: "dog"}
    state = checkpoint.QuantState(config, plan.bits, checkpoint.tensors_of(model))
    folder = tmp_path_factory.mktemp("lsq-2bit")
    module = bake(model).half()
    args = {"task": "detect", "data": "pets.yaml", "epochs": 3}
    ckpt = {"model": module, "train_args": args, "version": "8.4.190", checkpoint.KEY: state.to_dict()}
    checkpoint.save(folder / "weights" / "best.pt", ckpt)
    torch.save({"model": module}, folder / "host.pt")
    return folder


@pytest.mark.parametrize("tool", TOOLS)
def test_help_is_instant(tool: str) -> None:
    """Help shows examples, and neither torch nor the host is loaded for it."""
    script = (
        "import sys, time\n"
        "from yolo_qreg.cli import main\n"
        f"status = main([{tool!r}, '--help'])\n"
        "heavy = {'torch', 'ultralytics', 'cv2', 'safetensors'} & set(sys.modules)\n"
        "print(status, sorted(heavy), time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *text, last = done.stdout.splitlines()
    status, heavy, seconds = last.split(" ", 1)[0], last[last.index("[") : last.index("]") + 1], last.split()[-1]
    assert (status, heavy) == ("0", "[]")
    assert any(f"yolo-qreg {tool}" in line for line in text[1:])
    assert float(seconds) < 0.3  # of processor time: other work on the machine does not count


def test_export_unpack_and_info_work_together(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each prints the file that it wrote; info describes all of them."""
    pt, packed, back = tmp_path / "a.pt", tmp_path / "a.safetensors", tmp_path / "b.pt"
    assert main(["export", str(run), "--to", "pt", "--fp32", "--out", str(pt)]) == 0
    assert main(["export", str(run / "weights" / "best.pt"), "--to", "packed", "--out", str(packed)]) == 0
    assert main(["unpack", str(packed), "--out", str(back)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines] == [str(pt), str(packed), str(back)]
    assert all(line.endswith(" MB)") for line in lines)
    kinds = {pt: "plain export", packed: "packed weights", back: "plain export", run: "finished checkpoint"}
    for file, kind in kinds.items():
        assert main(["info", str(file), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["kind"], found["config"]["bits"], len(found["layers"])) == (kind, 2, 69)


def test_info_shows_layers_and_facts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row per layer, then what the file is."""
    assert main(["info", str(run)]) == 0
    text = capsys.readouterr().out
    for word in ("model.0.conv", "8x3x6x6", "/4", "lsq-2bit init=paper", "finished checkpoint", "2: cat, dog"):
        assert word in text
    assert "data pets.yaml, epochs 3" in text


def test_info_on_a_file_of_the_host(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no table, and says that nothing is quantized."""
    assert main(["info", str(run / "host.pt")]) == 0
    text = capsys.readouterr().out
    assert "plain Ultralytics" in text
    assert "0.0% of them quantized" in text
    assert "levels used" not in text


def test_wrong_input_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, one line that names the file and the remedy, nothing written."""
    missing = str(tmp_path / "none")
    for args, message in {
        ("info", missing): "is not a file",
        ("unpack", missing): "is not a file; name a packed one",
        ("export", missing, "--to", "pt"): "is not a file; name a .pt checkpoint",
        ("export", str(run), "--to", "tflite"): "'tflite' is not one of 'pt', 'packed'",
        ("export", str(run)): "Missing option '--to'",
        ("export", str(run / "host.pt"), "--to", "packed"): "was not trained by yolo-qreg",
        ("data", "voc", "--devkit", missing): "Missing option '--out'",
        ("data", "voc", "--devkit", missing, "--out", str(tmp_path / "out")): "none",
    }.items():
        assert main(list(args)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("error: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_env_tells_versions_and_no_paths(capsys: pytest.CaptureFixture[str]) -> None:
    """What a bug report needs, without a home folder or a host name."""
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    for word in (
        "yolo-qreg",
        "python",
        torch.__version__.split("+")[0],
        "ultralytics",
        "opencv-python-headless",
        "memory",
    ):
        assert word in text
    assert "/home" not in text and str(Path.home()) not in text


def test_env_works_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing packages are what it is there to report."""
    monkeypatch.setattr(env, "PACKAGES", ("no-such-package-anywhere",))
    monkeypatch.setitem(sys.modules, "torch", None)
    found = env.environment()
    assert found["no-such-package-anywhere"] == "not installed"
    assert found["cuda"] == "unknown: torch does not work here (ModuleNotFoundError)"


def test_data_voc_reports_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One picture with two boxes, one of them difficult, becomes one label file."""
    from PIL import Image

    home = tmp_path / "VOCdevkit" / "VOC2007"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (home / folder).mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(home / "JPEGImages" / "000001.jpg")
    (home / "ImageSets" / "Main" / "train.txt").write_text("000001\n")
    boxes = "".join(
        f"<object><name>cat</name><difficult>{hard}</difficult>"
        "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>"
        for hard in (0, 1)
    )
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    (home / "Annotations" / "000001.xml").write_text(f"<annotation>{size}{boxes}</annotation>")
    out = tmp_path / "out"
    assert main(["data", "voc", "--devkit", str(home.parent), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "train2007: 1 pictures converted, 0 up to date, 0 removed; 1 boxes, 1 difficult dropped" in text
    assert text.splitlines()[-1] == str(out / "voc.yaml")
    assert (out / "labels" / "train2007" / "000001.txt").read_text().count("\n") == 1


def test_data_shapes_prints_the_yaml(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path is what --data takes."""
    from yolo_qreg.data import shapes

    monkeypatch.setattr(shapes, "ensure_shapes", lambda root: root / "shapes" / "data.yaml")
    assert main(["data", "shapes", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "shapes" / "data.yaml")
