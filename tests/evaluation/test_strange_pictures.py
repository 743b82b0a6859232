"""Evaluations of pictures that strangers have: grey, turned, cut, listed twice, oddly named, and theirs to keep."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from small_evaluations import contents, run
from ultralytics import YOLO

from yolo_qreg.cli import main
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation import evaluate as evaluate_module
from yolo_qreg.evaluation.result_files import load
from yolo_qreg.host import scan as scan_module
from yolo_qreg.host.compat import is_before
from yolo_qreg.host.datasets import prepare_for_trainings, validation_pictures
from yolo_qreg.host.validate import validate
from yolo_qreg.shipped import shipped

FP32 = [shipped("shapes-fp32")]
PICTURES = 5
SMALL = ["--imgsz", "160", "--device", "cpu", "--workers", "0", "--resamples", "200"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML file of fewer pictures than other tests evaluate."""
    return ensure_shapes(tmp_path_factory.mktemp("data"), train=1, val=PICTURES)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, which take seconds."""
    monkeypatch.setattr("yolo_qreg.report.evaluation.write_figures", lambda *_: ())


def pictures_of(data: Path) -> list[Path]:
    """Return the validation pictures beside a YAML file."""
    return sorted((data.parent / "images" / "val").iterdir())


def evaluate(data: Path, out: Path, *options: str, weights: list[Path] = FP32) -> int:
    """Run the command on one kind of corruption; return its status."""
    given = [
        "eval-corrupted",
        *map(str, weights),
        "--baseline",
        str(weights[0]),
        "--data",
        str(data),
        "--out",
        str(out),
    ]
    return main([*given, *SMALL, "--severity", "1", *(options or ("--corruptions", "fog"))])


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".jp2", ".avif"])
def test_a_cut_picture_is_left_out_and_named(
    suffix: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of kinds whose pixels the host's scan does not look at; with --strict it is an error before a model runs."""
    if suffix == ".avif":
        pytest.importorskip("PIL._avif")
    first = pictures_of(own)[0]
    cut = first.with_suffix(suffix)
    PIL.Image.open(first).save(cut)
    first.unlink()
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    found = run(own, tmp_path / "out", FP32, corruptions=("fog",), severities=(1,))
    assert found.scores[0].images == PICTURES - 1
    assert found.setup["pictures left out"] == [str(cut)]
    monkeypatch.setattr(evaluate_module, "Detector", None)
    with pytest.raises(InputError, match=rf"{cut.name} is not a whole picture .*\(1 in"):
        run(own, tmp_path / "strict", FP32, corruptions=("fog",), strict=True)
    leaves_out = {".avif"} | ({".jp2"} if is_before("8.4.164") else set())
    if suffix not in leaves_out:  # by the host's own scan as well
        with pytest.raises(InputError, match=f"{cut.name} is not a whole picture and would end a training"):
            prepare_for_trainings(own)


@pytest.mark.usefixtures("no_figures")
def test_nothing_of_the_users_is_touched(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No JPEG is "restored", no label cache is left, in a folder that may be read only; the odd JPEG counts."""
    first = pictures_of(own)[0]
    odd = first.with_suffix(".jpg")
    PIL.Image.open(first).save(odd, quality=95)
    odd.write_bytes(odd.read_bytes() + b"a phone's own")
    first.unlink()
    before = contents(own.parent)
    times = {path: path.stat().st_mtime_ns for path in own.parent.rglob("*")}
    for folder in (own.parent / "images" / "val", own.parent / "labels", own.parent / "labels" / "val"):
        folder.chmod(0o555)
    assert evaluate(own, tmp_path / "out") == 0
    assert main(["corrupt", "--data", str(own), "--out", str(tmp_path / "c"), "--corruptions", "fog"]) == 0
    assert contents(own.parent) == before
    assert {path: path.stat().st_mtime_ns for path in own.parent.rglob("*")} == times
    assert load(tmp_path / "out").scores[0].images == PICTURES
    assert "left out" not in capsys.readouterr().err


def test_a_picture_listed_twice_is_taken_once(own: Path, tmp_path: Path) -> None:
    """In one list, in a list and a folder, in nested folders."""
    once = run(own, tmp_path / "once", FP32, corruptions=())
    text = own.read_text()
    lines = [f"./images/val/{path.name}\n" for path in pictures_of(own)]
    (own.parent / "val.txt").write_text("".join([*lines, lines[0]]))
    for number, val in enumerate(["val.txt", "[val.txt, images/val]", "[images, images/val]"]):
        own.write_text(text.replace("val: images/val", f"val: {val}"))
        found = validation_pictures(own)
        assert [path.path for path in found.pictures] == sorted({path.path for path in found.pictures})
        if number < 2:  # `images` holds the training pictures too
            assert run(own, tmp_path / str(number), FP32, corruptions=()).scores == once.scores


@pytest.mark.parametrize("suffix", [".avif", ".jpg"])
def test_turned_pictures_score_as_by_the_host(suffix: str, own: Path, tmp_path: Path) -> None:
    """Saved on their side with EXIF orientation 6, labels of the upright picture: as the host's `val`."""
    if suffix == ".avif":
        pytest.importorskip("PIL._avif")
    for path in pictures_of(own):
        exif = PIL.Image.Exif()  # Pillow takes the orientation of an AVIF out of it
        exif[274] = 6
        with PIL.Image.open(path) as picture:
            turned = picture.crop((0, 0, picture.width, picture.height * 3 // 4)).transpose(
                PIL.Image.Transpose.ROTATE_90
            )
        turned.save(path.with_suffix(suffix), exif=exif, quality=95)
        path.unlink()
        rows = [line.split() for line in (own.parent / "labels" / "val" / f"{path.stem}.txt").read_text().splitlines()]
        kept = [[k, x, float(y) / 0.75, w, float(h) / 0.75] for k, x, y, w, h in rows if float(y) + float(h) / 2 < 0.75]
        text = "\n".join(" ".join(map(str, row)) for row in kept)
        (own.parent / "labels" / "val" / f"{path.stem}.txt").write_text(text)
    ours = run(own, tmp_path / "out", FP32, corruptions=()).scores[0]
    assert ours.map50_95 > 0.2
    if suffix != ".avif" or not is_before("8.4.168"):  # before, the host shows them on their side
        theirs = validate(FP32[0], own, imgsz=160, batch=4, device="cpu")
        assert ours.map50_95 == pytest.approx(theirs.map50_95, abs=0.02)


def grey_data(own: Path) -> Path:
    """Return the YAML file of the pictures in grey, and beside it one that has them as colour."""
    for path in pictures_of(own):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    shutil.copy(own, own.with_name("colour.yaml"))
    own.write_text(own.read_text() + "\nchannels: 1\n")
    return own


def grey_model(to: Path) -> Path:
    """Write the shipped FP32 model for one channel: on a grey picture it finds what the original finds in colour."""
    model = YOLO(FP32[0])
    first = model.model.model[0].conv
    first.weight = torch.nn.Parameter(first.weight.sum(1, keepdim=True))
    first.in_channels = 1
    model.model.yaml["channels"] = 1
    model.ckpt = {}
    model.save(to)
    return to


@pytest.mark.usefixtures("no_figures")
def test_grey_data_sets_are_evaluated(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of one channel scores as its twin of three on the same pictures, and as the host's `val`."""
    model, data = grey_model(tmp_path / "grey.pt"), grey_data(own)
    assert evaluate(data, tmp_path / "grey", "--corruptions", "brightness,pixelate,saturate", weights=[model]) == 0
    assert "they need colour and the pictures are grey: saturate" in capsys.readouterr().err
    grey = load(tmp_path / "grey")
    assert grey.corruptions == ("brightness", "pixelate")
    assert (tmp_path / "grey" / "gallery" / "pixelate.jpg").is_file()
    colour = run(own.with_name("colour.yaml"), tmp_path / "colour", FP32, corruptions=grey.corruptions, severities=(1,))
    for ours, theirs in zip(grey.scores, colour.scores, strict=True):
        assert ours.map50_95 == pytest.approx(theirs.map50_95, abs=0.02), ours.corruption
    theirs = validate(model, data, imgsz=160, batch=4, device="cpu")
    assert grey.scores[0].map50_95 == pytest.approx(theirs.map50_95, abs=0.02)
    assert evaluate(data, tmp_path / "no", "--corruptions", "saturate", weights=[model]) == 2
    assert "saturate needs colour" in capsys.readouterr().err
    assert evaluate(data, tmp_path / "no", weights=FP32) == 2
    assert "shapes-fp32.pt takes pictures of 3 channels, those of" in capsys.readouterr().err


def test_other_channels_are_refused_at_once(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By whatever damages pictures; a study trains nothing first."""
    own.write_text(own.read_text() + "\nchannels: 4\n")
    out = str(tmp_path / "out")
    for command in (
        ["eval-corrupted", str(FP32[0]), "--data", str(own), "--out", out],
        ["corrupt", "--data", str(own), "--out", out],
        ["study", "--methods", "dorefa", "--bits", "8", "--data", str(own), "--out", out, "epochs=1", "imgsz=64"],
    ):
        assert main(command) == 2
        assert "channels: 4; corruptions take 1 or 3" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


LATIN = b"caf\xe9"


def test_names_that_are_no_utf8(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures, of folders, and of weights: results, page, gallery and copy are there, and read back."""
    names = [os.fsdecode(LATIN + b"%d" % number) for number in range(PICTURES)]
    for path, name in zip(pictures_of(own), names, strict=True):
        path.rename(path.with_name(f"{name}.png"))
        label = own.parent / "labels" / "val" / f"{path.stem}.txt"
        label.rename(label.with_name(f"{name}.txt"))
    weights = tmp_path / os.fsdecode(LATIN + b".pt")
    shutil.copy(FP32[0], weights)
    place = own.parent.rename(tmp_path / os.fsdecode(LATIN))
    data = place / own.name
    data.write_text("".join(line for line in data.read_text().splitlines(True) if not line.startswith("path:")))
    out = tmp_path / os.fsdecode(b"out-" + LATIN)
    options = ("--corruptions", "fog", "--cache", str(tmp_path / "cache"))
    assert evaluate(data, out, *options, weights=[weights, shipped("shapes-dorefa8")]) == 0
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["setup"]["gallery"]["picture"][:-5] in names[0]
    results = load(out)
    assert results.baseline == "caf\ufffd"
    monkeypatch.setattr("yolo_qreg.report.evaluation.write_figures", lambda *_: ())  # they are there already
    assert main(["report", str(out)]) == 0
    assert "caf\ufffd" in (out / "report.html").read_text(encoding="utf-8")
    copy = tmp_path / os.fsdecode(b"copy-" + LATIN)
    assert main(["corrupt", "--data", str(data), "--out", str(copy), "--corruptions", "fog", "--severity", "1"]) == 0
    assert [p.path.stem for p in validation_pictures(copy / "fog-1.yaml").pictures] == sorted(names)


LONG = "\u957f" * 82 + "a"  # 247 bytes


@pytest.mark.usefixtures("no_figures")
def test_names_as_long_as_may_be(own: Path, tmp_path: Path) -> None:
    """With a suffix 251 of the 255 bytes that file systems take."""
    first = pictures_of(own)[0]
    label = own.parent / "labels" / "val" / f"{first.stem}.txt"
    first = first.rename(first.with_name(f"{LONG}.png"))
    label.rename(label.with_name(f"{LONG}.txt"))
    assert evaluate(own, tmp_path / "out", "--corruptions", "fog", "--cache", str(tmp_path / "cache")) == 0
    given = ["--corruptions", "fog", "--severity", "1"]
    assert main(["corrupt", "--data", str(own), "--out", str(tmp_path / "c"), *given]) == 0
    assert (tmp_path / "c" / "images" / "fog-1" / f"{LONG}.png").is_file()
    for kind in ("sheet", "strips", "pictures"):
        assert main(["corrupt", str(first), "--as", kind, "--out", str(tmp_path / kind), *given]) == 0
        assert len([path for path in (tmp_path / kind).rglob("*") if path.is_file()]) == 1


@pytest.mark.usefixtures("no_figures")
def test_boxes_of_nan_end_nothing(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model is named with a count, scores 0, and the other model's numbers are its own."""
    model = YOLO(FP32[0])
    for branch in model.model.model[-1].cv2:
        branch[-1].bias.data.fill_(float("nan"))
    model.ckpt = {}
    model.save(tmp_path / "nan.pt")
    assert evaluate(own, tmp_path / "out", weights=[*FP32, tmp_path / "nan.pt"]) == 0
    results = load(tmp_path / "out")
    assert "nan: " in (said := capsys.readouterr().err) and "detections left out" in said
    assert results.setup["detections left out"].keys() == {"nan"}
    assert results.score("nan").map50_95 == 0
    assert evaluate(own, tmp_path / "alone", weights=FP32) == 0
    assert results.score("shapes-fp32") == load(tmp_path / "alone").score("shapes-fp32")


def test_large_data_sets_are_decoded_once(own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was found is kept outside of the data set, and a changed file is looked at again."""
    monkeypatch.setenv("YOLO_QREG_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(scan_module, "KEPT_FROM", PICTURES)
    first = validation_pictures(own)
    decoded: list[Path] = []
    decode = scan_module.decode
    monkeypatch.setattr(scan_module, "decode", lambda data, path, n: decoded.append(path) or decode(data, path, n))
    again = validation_pictures(own)
    assert [p.size for p in again.pictures] == [p.size for p in first.pictures]
    assert not decoded
    changed = pictures_of(own)[0]
    cv2.imwrite(str(changed), np.zeros((64, 48, 3), np.uint8))
    assert validation_pictures(own).pictures[0].size == (48, 64)
    assert decoded == [changed]
    (kept,) = (tmp_path / "kept").rglob("*.json")
    forgotten = kept.with_name("0.json")  # of a data set that nobody asked for in a year
    forgotten.touch()
    os.utime(forgotten, (0, 0))
    os.utime(kept, (0, 0))
    validation_pictures(own)
    assert kept.is_file() and not forgotten.exists()
    for damaged in (kept.read_text().replace("48", "84"), "[[1]]", "[" * 100_000):
        decoded.clear()
        kept.write_text(damaged)
        assert validation_pictures(own).pictures[0].size == (48, 64)
        assert len(decoded) == PICTURES
