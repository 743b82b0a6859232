"""`yolo-qreg eval-corrupted`, `report` and `corrupt --data`: the whole way, and bad input."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from ultralytics.utils import SETTINGS

from yolo_qreg.cli import main
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.shipped import shipped

OURS = str(shipped("shapes-dorefa8"))
BAD = {
    "text.pt --severity 6": "severity '6' is not one of 1, 2, 3, 4, 5",
    "text.pt --corruptions rain": "'rain'",
    "x.pt": "x.pt does not exist; name a weight file",
    "": "there is no quantized run yet; train one",
    f"{OURS} --baseline y.pt": "y.pt does not exist",
    f"{OURS} --data nowhere/x.yaml": "data=nowhere/x.yaml does not exist",
    f"{OURS} --limit 0": "0 is not in the range",
    f"{OURS} --device 77 --data {{data}}": "device=77",
    "text.pt --data {data}": "text.pt",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six validation pictures."""
    return ensure_shapes(tmp_path_factory.mktemp("data"), train=1, val=6)


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line(
    arguments: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, one line, no traceback, and nothing left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # nobody has trained anything
    monkeypatch.setitem(SETTINGS, "runs_dir", str(tmp_path))
    (tmp_path / "text.pt").write_text("not weights")
    assert main(["eval-corrupted", *arguments.format(data=data).split()]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert BAD[arguments] in lines[0]
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["text.pt"]


def test_the_whole_way(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores, deltas, pictures and a page; the twin and the image size are found; a page can be written again."""
    out = tmp_path / "out"
    command = f"eval-corrupted {OURS} --data {data} --corruptions noise,saturate --severity 3 --workers 0"
    assert main([*command.split(), "--resamples", "200", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "FP32 twin" in shown.err
    assert "shapes-dorefa8" in shown.out
    assert str(out / "report.html") in shown.out
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (1 + 4)
    assert {row["corruption"] for row in rows} == {
        "clean", "gaussian_noise", "shot_noise", "impulse_noise", "saturate"
    }  # fmt: skip
    page = (out / "report.html").read_bytes()
    assert b"shapes-dorefa8" in page
    assert b"eval-corrupted" in page
    assert list((out / "figures").glob("*.png"))
    monkeypatch.setattr("yolo_qreg.report.evaluation.write_figures", lambda *_: ())  # once is enough
    deltas = (out / "deltas.csv").read_bytes()
    for kept in out.rglob("*.npy"):
        kept.unlink()
    assert main([*command.split(), "--resamples", "200", "--out", str(out)]) == 0
    assert (out / "deltas.csv").read_bytes() == deltas
    assert "confidence intervals" in capsys.readouterr().err
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_bytes() == page


def test_a_report_needs_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another folder is named."""
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_a_data_set_is_copied(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`corrupt --data` writes a YAML file for each corruption and severity, and says where."""
    out = tmp_path / "copy"
    command = f"corrupt --data {data} --corruptions fog --severity 1,2 --format jpeg --workers 0 --out {out}"
    assert main(command.split()) == 0
    assert capsys.readouterr().out.startswith(str(out / "fog-1.yaml"))
    assert len(list((out / "images" / "fog-2").glob("*.jpg"))) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "there is nothing to corrupt"),
        ("--data {data} x.png", "leave out x.png"),
        ("--data {data} --parameters cifar-c", "takes imagenet-c"),
        ("--data {data} --corruptions rain", "'rain'"),
    ],
)
def test_corrupt_takes_pictures_or_data(
    arguments: str, message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them, with settings that exist."""
    assert main(["corrupt", *arguments.format(data=data).split()]) == 2
    assert message in capsys.readouterr().err
