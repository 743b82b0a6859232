"""The Python front door: what it returns, what it refuses, and the places that it is used from."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import yolo_qreg
from yolo_qreg import EvalConfig, InputError, Study
from yolo_qreg.cli import COMMANDS, cli
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.shipped import shipped
from yolo_qreg.trust import trusting

TINY = Path(__file__).parents[1] / "host" / "tiny.yaml"
SMALL: dict[str, Any] = {"corruptions": ["fog"], "severities": [3], "imgsz": 64, "resamples": 200, "device": "cpu"}
SCRIPT = """
from yolo_qreg import EvalConfig, QuantConfig, TrainConfig, evaluate, export_weights, train

tiny = {"epochs": 1, "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "project": out}
run = train(TrainConfig(quant=QuantConfig(method="lsq", bits=4), data=data, model=model, settings=tiny))
config = EvalConfig(weights=[run], baseline=float_weights, data=data, out=f"{out}/evaluation", corruptions=["fog"],
                    severities=[3], imgsz=64, resamples=200, device="cpu", workers=1)
found = evaluate(config)
packed = export_weights(run, "packed")
print("said", found.delta(run.name, "fog").points, packed.name)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures to train on, six to evaluate on."""
    return ensure_shapes(tmp_path_factory.mktemp("data"), train=8, val=6)


def _said(text: str, out: Path) -> None:
    """Check the last line and what lies in the folder: one training, whose results these are."""
    (line,) = [line for line in text.splitlines() if line.startswith("said ")]
    _, points, name = line.split()
    assert name == "best-lsq-4bit.safetensors"
    assert sorted(path.name for path in out.iterdir()) == ["evaluation", "lsq-4bit"]
    assert yolo_qreg.load_results(out / "evaluation").delta("lsq-4bit", "fog").points == float(points)


def _script(data: Path, out: Path) -> str:
    places = (str(data), str(TINY), str(shipped("shapes-fp32")), str(out))
    return f"data, model, float_weights, out = {places!r}\n{SCRIPT}"


@pytest.mark.parametrize("way", ["script", "standard input"])
def test_a_script_needs_no_guard(way: str, data: Path, tmp_path: Path) -> None:
    """Without `if __name__ ...` a script trains once, evaluates with workers and exports; so does `python -`."""
    file, out = tmp_path / "script.py", tmp_path / "out"
    text = _script(data, out)
    file.write_text(text)
    words = [sys.executable, str(file) if way == "script" else "-"]
    done = subprocess.run(words, input=text, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _said(done.stdout, out)


def test_a_notebook(data: Path, tmp_path: Path) -> None:
    """The same cell runs in a Jupyter kernel."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    out = tmp_path / "out"
    cell = nbformat.v4.new_code_cell(_script(data, out))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    client.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [output["text"] for output in notebook.cells[0]["outputs"] if output["output_type"] == "stream"]
    _said("".join(texts), out)


def test_quiet_says_nothing(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With `quiet` neither stream gets a word; scores are fractions, differences points, and the page is there."""
    weights = [shipped("shapes-dorefa8")]
    config = EvalConfig(weights=weights, baseline=shipped("shapes-fp32"), data=data, out=tmp_path, workers=0, **SMALL)
    found = yolo_qreg.evaluate(config, quiet=True)
    assert capfd.readouterr() == ("", "")
    clean = [found.score(name).map50_95 for name in (found.baseline, "shapes-dorefa8")]
    assert found.delta("shapes-dorefa8", "clean").points == pytest.approx(100 * (clean[1] - clean[0]))
    assert (tmp_path / "report.html").is_file()
    assert yolo_qreg.load_results(tmp_path) == found


def test_what_was_run_is_noted_as_a_command(data: Path, tmp_path: Path) -> None:
    """The command that run.json names builds the same settings again."""
    weights = tmp_path / "a b.pt"
    weights.touch()
    config = EvalConfig(weights=[weights], data="shapes", out=tmp_path, corruptions=["noise", "fog"], strict=True, **{
        key: SMALL[key] for key in ("severities", "imgsz", "resamples")
    })  # fmt: skip
    noted: list[EvalConfig] = []

    def evaluate(given: EvalConfig) -> None:
        noted.append(given)
        raise InputError("seen")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolo_qreg.api.evaluate", evaluate)
        assert yolo_qreg.cli.main(shlex.split(config.command())[1:]) == 2
    assert noted == [config]
    with trusting():
        assert config.command().endswith(" --trust")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"severities": [6]}, "severity 6 is not one of 1, 2, 3, 4, 5"),
        ({"severities": []}, "severities is empty"),
        ({"severities": [True]}, "severity True is not one of"),
        ({"corruptions": ["rain"]}, "'rain' is no corruption"),
        ({"imgsz": 100}, "imgsz=100 is no multiple of 32; use 96"),
        ({"batch": 0}, "batch=0 is not a whole number from 1 to 4,096"),
        ({"resamples": 5}, "resamples=5 is not a whole number from 200 to 20,000"),
        ({"workers": -1}, "workers=-1 is not a whole number from 0 to 256"),
        ({"limit": 2.5}, "limit=2.5 is not a whole number"),
        ({"palette": "pink"}, "palette='pink' is unknown; choose one of paper, accessible"),
    ],
)
def test_settings_are_checked_when_made(change: dict[str, Any], message: str) -> None:
    """One line each: value, rule, remedy."""
    with pytest.raises(InputError, match=message):
        EvalConfig(**change)


def test_an_unknown_export_is_refused(tmp_path: Path) -> None:
    """Before anything is read."""
    with pytest.raises(InputError, match="to='tflite' is no kind of export; choose one of pt, "):
        yolo_qreg.export_weights(tmp_path, "tflite")  # type: ignore[arg-type]


def test_a_study_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    """`run_study` checks its data before the folder is written."""
    with pytest.raises(InputError, match="nowhere"):
        yolo_qreg.run_study(Study(data=str(tmp_path / "nowhere.yaml")), tmp_path / "study", quiet=True)
    assert not (tmp_path / "study").exists()


def test_every_command_has_its_function() -> None:
    """Settings of an evaluation are the options of its command, by name or by the table that renames them."""
    command = cli.get_command(click.Context(cli), "eval-corrupted")
    assert command is not None
    options = {param.name for param in command.params} - {"names", "severities", "trust"} | {
        "corruptions",
        "severities",
    }
    assert options == set(EvalConfig.__dataclass_fields__)
    assert set(COMMANDS) >= {"train", "eval-corrupted", "study", "export", "unpack", "info", "report"}


def test_importing_loads_nothing_heavy() -> None:
    """The package, its names and its settings come without torch and the host."""
    code = "import yolo_qreg, sys, json; yolo_qreg.EvalConfig(), yolo_qreg.Study(), yolo_qreg.train; dir(yolo_qreg); "
    code += "print(json.dumps([m for m in ('torch', 'ultralytics', 'albumentations') if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
