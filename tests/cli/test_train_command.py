"""`yolo-qreg train` on bad input: one line that says value, rule and remedy, status 2, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_qreg.cli import main
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.settings import parse_setting

BEFORE_ANYTHING_LOADS = {
    "distill_model=x.pt": "distill_model=x.pt is not a .pt file; name the trained model that is to teach",
    "--bits 9": "bits=9 is out of range for dorefa; use 1-8, or 32 for float",
    "--method lsq --bits 1": "bits=1 is out of range for lsq; use 2-8",
    "--method pact": "method='pact' is unknown; choose one of dorefa, lsq",
    "--last-bits 8": "last_bits=8 needs a method that keeps the weights' scale",
    "--method noise --per-channel": "per_channel=True is not defined for noise",
    "epochs": "'epochs' is not KEY=VALUE",
    "--colour": "No such option",
    "--resume nowhere": "nowhere does not exist; --resume takes a run folder",
    "--resume . --bits 4": "weights/last.pt does not exist",
    "epoch=3": "'epoch' is not an Ultralytics training setting; did you mean 'epochs'?",
    "seed=3": "seed=... is set by an option; use --seed",
    "task=segment": "task=segment does not fit",
    "cfg=nowhere.yaml": "cfg=nowhere.yaml is not a file",
    "epochs=-1": "epochs=-1 is not a whole number from 1 to 100,000; leave it out for 100",
    "batch=many": "batch=many is not a number of pictures from 1",
    "--model nowhere/yolov5n.pt": "model=nowhere/yolov5n.pt is not a file",
    "--data nowhere/x.yaml": "data=nowhere/x.yaml does not exist",
    "--data pictures": "data=pictures is neither voc, shapes nor a YAML file",
}
CHECKED_BY_US = {
    "--model yolov8n-cls.yaml": "model=yolov8n-cls.yaml is for classify; name a detection model",
    "--model rtdetr-l.yaml": "model=rtdetr-l.yaml is of RT-DETR, which the host trains otherwise; name one",
    "--model yolov8s-worldv2.yaml": "is of YOLO-World, which the host trains otherwise",
    "--model yoloe-v8n.yaml": "is of YOLOE, which the host trains otherwise",
    "--model yoloe-11n-seg.yaml": "is of YOLOE, which the host trains otherwise",
    "--data voc": "yolo-qreg data voc --devkit DIR",
}
CHECKED_BY_THE_HOST = {
    "optimizer=Foo": "Optimizer 'Foo' not found",
    "classes=[0,99]": "classes=99 is none of the data set's 8; name some of 0 to 7",
    "freeze=100": "froze the entire model",
    "--skip zzz": "skip='zzz' matches no Conv block; names look like 'model.0.conv'",
}


def fails(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Assert status 2 and one line on standard error that holds the message."""
    assert main(["train", *arguments.split()]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in error


@pytest.mark.parametrize("arguments", BEFORE_ANYTHING_LOADS)
def test_options_are_checked_first(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What needs no host is refused without it."""
    fails(arguments, BEFORE_ANYTHING_LOADS[arguments], capsys)


@pytest.mark.parametrize("arguments", CHECKED_BY_US)
def test_settings_model_and_data_are_checked(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong settings, models and data sets are named before a run folder exists."""
    monkeypatch.chdir(tmp_path)
    fails(arguments, CHECKED_BY_US[arguments], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", CHECKED_BY_THE_HOST)
def test_what_the_host_refuses_is_one_line_too(
    arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host's own checks end in one line, and the run folder is gone again."""
    data = ensure_shapes(tmp_path / "data", train=4, val=2)
    project = tmp_path / "runs"
    common = f" imgsz=32 epochs=1 batch=4 plots=False device=cpu project={project}"
    given = {word.partition("=")[0] for word in arguments.split()}
    rest = " ".join(word for word in common.split() if word.partition("=")[0] not in given)
    fails(f"{arguments} --data {data} {rest}", CHECKED_BY_THE_HOST[arguments], capsys)
    assert not any(p.is_file() and p.name != "labels.jpg" for p in project.rglob("*"))


def test_without_arguments_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The bare command and the bare group print their help and succeed."""
    for arguments in ([], ["data"]):
        assert main(arguments) == 0
        assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=.5", 0.5),
        ("a=True", True),
        ("a=none", None),
        ("a=[1,2]", [1, 2]),
        ("a=0,1", (0, 1)),
        ("a=x=y", "x=y"),
    ],
)
def test_values_are_read_as_the_host_reads_them(text: str, value: object) -> None:
    """Numbers, lists, booleans and none are literals; anything else is a string."""
    assert parse_setting(text) == ("a", value)
