"""Files of unknown origin run no code in any command, unless the user trusts them; good ones are not in the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import _weights_only_unpickler as unpickler
from torch import nn
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from yolo_qreg import export_weights
from yolo_qreg.cli import main
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.host import checkpoint, loading
from yolo_qreg.inputs import check_model_file
from yolo_qreg.shipped import shipped
from yolo_qreg.trust import VARIABLE, trusted, trusting

COMMANDS = {
    "info": "info {file}",
    "export": "export {file} --to pt --out {out}/x.pt",
    "eval-corrupted": "eval-corrupted {file} --data {data} --out {out}",
    "train --model": "train --model {file} --data {data} project={out}",
    "train --resume": "train --resume {file}",
    "train pretrained=": "train pretrained={file} --data {data} project={out} epochs=1 imgsz=32 device=cpu workers=0",
    "study --model": "study --model {file} --data {data} --out {out}",
}
BACKBONE = Path(__file__).parents[3] / "shared" / "weights" / "yolov5n-coco-backbone.pt"


def command(marker: Path) -> str:
    """Return a shell command that leaves a file."""
    return f"touch {marker}"


class Shell:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (command(self.marker),)


class Activation(Shell):
    """Builds a model of the host's whose YAML runs a command: only allowed classes are named."""

    def __reduce__(self) -> tuple[Any, ...]:
        code = f"__import__('os').system({command(self.marker)!r}) or nn.ReLU()"
        return DetectionModel, ({**yaml_model_load("yolov5n.yaml"), "activation": code},)


class Stranger(nn.Module):
    """A layer of nobody's."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures."""
    return ensure_shapes(tmp_path_factory.mktemp("data"), train=1, val=1)


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command, assert status 2 and one line of error, and return it."""
    assert main(line.split()) == 2
    error = [row for row in capsys.readouterr().err.splitlines() if row.startswith("error: ")]
    assert len(error) == 1
    return error[0]


@pytest.mark.parametrize("kind", [Shell, Activation])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_pickle_runs_no_code(
    name: str, kind: Callable[[Path], Shell], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever command reads it; nothing is left but the file."""
    file, marker, out = tmp_path / "evil.pt", tmp_path / "marker", tmp_path / "out"
    torch.save({"model": kind(marker), "train_args": {}, "epoch": 0}, file)
    error = refused(COMMANDS[name].format(file=file, data=data, out=out), capsys)
    assert str(file) in error or "--resume" in name
    assert not marker.exists()
    assert not any(path.is_file() for path in out.rglob("*"))


def test_what_a_pickle_names_is_said_and_trust_lets_it_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The remedy works, by option and by variable, and holds for one command."""
    file, marker = tmp_path / "evil.pt", tmp_path / "marker"
    torch.save({"model": Shell(marker)}, file)
    assert ".system, which weights do not need" in (error := refused(f"info {file}", capsys))
    assert f"repeat with --trust (or {VARIABLE}=1)" in error
    refused(f"info --trust {file}", capsys)  # it still is no checkpoint
    assert marker.exists()
    assert not trusted()


def test_a_class_of_somebody_else_needs_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model with a layer that is neither torch's nor the host's is named, not called damaged."""
    model = DetectionModel("yolov5n.yaml", nc=2, verbose=False)
    model.model[0].act = Stranger()
    torch.save({"model": model, "train_args": {}}, tmp_path / "own.pt")
    assert "Stranger, which weights do not need" in refused(f"info {tmp_path / 'own.pt'}", capsys)
    with trusting():
        assert isinstance(checkpoint.load(tmp_path / "own.pt")[0].model[0].act, Stranger)


@pytest.mark.parametrize("name", ["train --model", "study --model"])
def test_a_model_yaml_runs_no_code(name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The host evaluates activations, and calls whatever a layer is called."""
    marker = tmp_path / "marker"
    good = yaml_model_load("yolov5n.yaml")
    calls = [[-1, 1, "torch_safe_load", [str(tmp_path / "x.pt")]], *good["backbone"]]
    for number, bad in enumerate(
        ({"activation": f"__import__('os').system({command(marker)!r}) or nn.ReLU()"}, {"backbone": calls})
    ):
        file = tmp_path / f"yolov5n-{number}.yaml"
        file.write_text(yaml.safe_dump(good | bad))
        line = COMMANDS[name].format(file=file, data=data, out=tmp_path / "out")
        assert "building it may run code; if you know" in refused(line, capsys)
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        "train --data {data} project={out} epochs=1",
        "eval-corrupted {weights} --data {data} --out {out}",
        "corrupt --data {data} --out {out}",
        "study --data {data} --out {out}",
    ],
)
@pytest.mark.parametrize("code", ["import os; os.system({command!r})", "bash {script}"])
def test_a_data_yaml_runs_no_code(line: str, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`download:` is code; with the pictures there it is not run, and the file is as good as any."""
    script, marker, file = tmp_path / "get.sh", tmp_path / "marker", tmp_path / "data.yaml"
    script.write_text(command(marker))
    described = {"path": str(tmp_path), "train": "nowhere", "val": "nowhere", "names": ["a"]}
    file.write_text(yaml.safe_dump(described | {"download": code.format(command=command(marker), script=script)}))
    line = line.format(data=file, out=tmp_path / "out", weights=shipped("shapes-fp32"))
    assert "`download:` would run code from the file" in refused(line, capsys)
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_a_download_that_fails_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it raises, once it is trusted."""
    file = tmp_path / "data.yaml"
    for code, said in (("bash false", "returned non-zero"), ("raise LookupError('gone')", ": gone")):
        text = {"path": str(tmp_path), "train": "nowhere", "val": "nowhere", "names": ["a"], "download": code}
        file.write_text(yaml.safe_dump(text))
        assert said in refused(f"corrupt --trust --data {file} --out {tmp_path / 'out'}", capsys)


def test_code_for_pictures_that_are_there_is_no_matter(data: Path, tmp_path: Path) -> None:
    """The host's own VOC.yaml holds code as well: what counts is whether it would run."""
    described = yaml.safe_load(data.read_text()) | {"download": "raise SystemExit", "path": str(data.parent)}
    file = tmp_path / "data.yaml"
    file.write_text(yaml.safe_dump(described))
    line = f"corrupt --data {file} --corruptions fog --severity 1 --workers 0 --out {tmp_path / 'out'}"
    assert main(line.split()) == 0


def test_other_formats_need_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TorchScript, TensorRT and the like hold programs; a picture is none of them."""
    for name in ("x.torchscript", "x.engine", "x.jpg"):
        (tmp_path / name).write_bytes(b"PK")
        line = f"eval-corrupted {tmp_path / name} --out {tmp_path / 'out'}"
        assert f"{name} is no .pt, .onnx or OpenVINO folder" in refused(line, capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        "train --data shapes --model",
        "quantize --bits 4",
        "eval-corrupted",
        "export --to onnx",
        "analyze",
        "sensitivity",
    ],
)
def test_packed_files_are_to_be_unpacked(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the host runs weights, whatever the file is called; the remedy is named."""
    monkeypatch.chdir(tmp_path)
    packed = export_weights(shipped("shapes-dorefa8"), "packed", tmp_path / "net.safetensors")
    said = refused(f"{command} {packed}", capsys)
    assert f"'yolo-qreg unpack {packed}' makes a .pt" in said
    assert [*tmp_path.iterdir()] == [packed]
    text = tmp_path / "net.yaml"
    text.write_text("scales: {n: [0.33, 0.25, 1024]}\n")  # whose ninth letter is that of a packed file
    check_model_file(text)


@pytest.mark.parametrize("mode", [True, False])
def test_good_files_pass(mode: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and the host's, by the host's own mode and by what stands in for it before torch 2.6, which knows less."""
    if mode and not loading._HAS_MODE:
        pytest.skip("torch before 2.6")
    monkeypatch.setattr(loading, "_HAS_MODE", mode)
    if not mode:
        known = unpickler._get_allowed_globals
        monkeypatch.setattr(
            unpickler,
            "_get_allowed_globals",
            lambda: {k: v for k, v in known().items() if not k.startswith(("builtins.", "_codecs."))},
        )
    plain = tmp_path / "plain.pt"
    torch.save({"model": DetectionModel("yolov8n.yaml", nc=2, verbose=False).half(), "train_args": {}}, plain)
    files = [plain, shipped("shapes-fp32"), shipped("shapes-dorefa8"), *([BACKBONE] if BACKBONE.is_file() else [])]
    for file in files:
        assert isinstance(checkpoint.load(file)[0], DetectionModel)
    torch.save({"model": Shell(tmp_path / "marker")}, tmp_path / "evil.pt")
    torch.save({"model": Activation(tmp_path / "marker")}, tmp_path / "sly.pt")
    for name in ("evil.pt", "sly.pt"):
        with pytest.raises(ValueError, match=name):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "marker").exists()
