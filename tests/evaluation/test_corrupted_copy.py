"""Corrupted copies of a data set."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from small_evaluations import contents

from corruptions import corrupt, rng_for
from yolo_qreg.cli import main
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.corrupted_copy import CopySettings, write_copy
from yolo_qreg.host.datasets import validation_pictures


def settings(data: Path, out: Path) -> CopySettings:
    """Return settings of four kinds of damage."""
    return CopySettings(data=data, out=out, corruptions=("shot_noise", "fog"), severities=(2, 4), seed=3)


def write(given: CopySettings) -> tuple[list[Path], int]:
    """Write the copy; return its YAML files and how many pictures were made."""
    made: list[int] = []
    copy = write_copy(given, lambda total: lambda label, done: made.append(done))
    return list(copy.files), sum(made)


def test_a_copy_is_a_data_set(shapes: Path, tmp_path: Path) -> None:
    """Each YAML file names pictures that are those of `corrupt`, with the labels of the originals."""
    files, made = write(settings(shapes, tmp_path))
    assert [file.name for file in files] == ["shot_noise-2.yaml", "shot_noise-4.yaml", "fog-2.yaml", "fog-4.yaml"]
    assert made == 4 * 12
    originals, copies = validation_pictures(shapes), validation_pictures(files[1])
    assert copies.names == originals.names
    assert len(copies.pictures) == 12
    for original, copied in zip(originals.pictures, copies.pictures, strict=True):
        assert copied.labels.tolist() == original.labels.tolist()
        np.testing.assert_allclose(copied.boxes, original.boxes, atol=1e-3)
        picture = cv2.cvtColor(cv2.imread(str(original.path)), cv2.COLOR_BGR2RGB)
        expected = corrupt(picture, "shot_noise", 4, rng_for(3, original.path.name, "shot_noise", 4))
        np.testing.assert_array_equal(cv2.cvtColor(cv2.imread(str(copied.path)), cv2.COLOR_BGR2RGB), expected)


@pytest.mark.filterwarnings("ignore:frost uses generated textures")  # where the extra is not installed
def test_a_copy_continues(shapes: Path, tmp_path: Path) -> None:
    """What is there is not made again, more corruptions may be added, worker processes change nothing."""
    given = settings(shapes, tmp_path)
    write(given)
    pictures = sorted((tmp_path / "images" / "fog-2").iterdir())
    before = pictures[0].read_bytes()
    pictures[0].unlink()
    assert write(given)[1] == 1
    assert pictures[0].read_bytes() == before
    assert write(given)[1] == 0
    assert write(replace(given, corruptions=("fog", "frost"), severities=(2,), workers=2))[1] == 12


@pytest.mark.parametrize("change", [{"seed": 4}, {"format": "jpeg"}])
def test_copies_are_not_mixed(change: dict[str, object], shapes: Path, tmp_path: Path) -> None:
    """Pictures of another seed or format need their own folder."""
    given = replace(settings(shapes, tmp_path), corruptions=("fog",), severities=(1,))
    write(given)
    with pytest.raises(InputError, match="other settings"):
        write(replace(given, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("note", ["", "[]", "[" * 100_000, '{"seed": 0}'])
def test_a_copy_whose_note_is_damaged_is_one_line(note: str, shapes: Path, tmp_path: Path) -> None:
    """Nobody knows then what its pictures are of; nothing is changed."""
    given = replace(settings(shapes, tmp_path), corruptions=("fog",), severities=(1,))
    (tmp_path / "corrupted.json").write_text(note)
    with pytest.raises(InputError, match=r"other settings \(corrupted.json\); choose another --out"):
        write(given)
    assert [path.name for path in tmp_path.iterdir()] == ["corrupted.json"]


def test_other_files_are_left_alone(shapes: Path, tmp_path: Path) -> None:
    """A folder that holds something else is refused."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="not empty"):
        write(settings(shapes, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_jpeg_files_are_smaller(shapes: Path, tmp_path: Path) -> None:
    """They lose little and take a fraction of the room."""
    base = replace(settings(shapes, tmp_path / "png"), corruptions=("fog",), severities=(4,))
    write(base)
    write(replace(base, out=tmp_path / "jpeg", format="jpeg"))
    png, jpeg = (sorted((tmp_path / kind / "images" / "fog-4").iterdir()) for kind in ("png", "jpeg"))
    assert [path.suffix for path in jpeg] == [".jpg"] * 12
    assert sum(p.stat().st_size for p in jpeg) < 0.4 * sum(p.stat().st_size for p in png)
    difference = cv2.imread(str(png[0])).astype(int) - cv2.imread(str(jpeg[0]))
    assert 0 < np.abs(difference).mean() < 5


FOG = ["--corruptions", "fog", "--severity", "1"]


def corrupted(data: Path, out: Path, *options: str) -> None:
    """Run the command."""
    assert main(["corrupt", "--data", str(data), "--out", str(out), "--workers", "0", *options]) == 0


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_a_copy_follows_its_source(form: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures replaced or removed and labels mended are taken over, whatever their dates: it equals a new copy."""
    out, options = tmp_path / "c", ["--format", form]
    corrupted(own, out, *FOG, *options)
    corrupted(own, out, "--corruptions", "contrast", "--severity", "2", *options)
    first, second, third, *_ = sorted((own.parent / "images" / "val").iterdir())
    date = first.stat().st_mtime
    cv2.imwrite(str(first), np.full((64, 64, 3), 90, np.uint8))
    os.utime(first, (date, date))
    second.unlink()
    label = own.parent / "labels" / "val" / f"{third.stem}.txt"
    label.write_text("2 0.5 0.5 0.25 0.25\n")
    os.utime(label, (date, date))
    corrupted(own, out, *FOG, *options)
    assert "the YAML files of contrast-2" in capsys.readouterr().err
    corrupted(own, tmp_path / "new", *FOG, *options)
    for folder in ("images/fog-1", "labels/fog-1"):
        assert contents(out / folder) == contents(tmp_path / "new" / folder)
    assert sorted(path.name for path in out.glob("*.yaml")) == ["fog-1.yaml"]
    assert write(CopySettings(data=own, out=out, corruptions=("fog",), severities=(1,), format=form))[1] == 0  # type: ignore[arg-type]


def test_a_copy_of_grey_pictures_is_grey(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its YAML says so, its files have one channel, and what needs colour is said."""
    own.write_text(own.read_text() + "\nchannels: 1\n")
    corrupted(own, tmp_path / "c", "--corruptions", "fog,saturate", "--severity", "1")
    assert "as they need colour and the pictures are grey: saturate" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "c").glob("*.yaml")] == ["fog-1.yaml"]
    copied = validation_pictures(tmp_path / "c" / "fog-1.yaml")
    assert copied.channels == 1
    original = validation_pictures(own).pictures[3].path
    grey = cv2.imread(str(original), cv2.IMREAD_GRAYSCALE)
    with PIL.Image.open(copied.pictures[3].path) as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.array(picture), corrupt(grey, "fog", 1, rng_for(0, original.name, "fog", 1)))


def test_unusable_pictures_are_named(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are left out of the copy."""
    bmp = min((own.parent / "images" / "val").iterdir()).with_name("z.bmp")
    cv2.imwrite(str(bmp), np.zeros((64, 64, 3), np.uint8))
    bmp.write_bytes(bmp.read_bytes()[:6000])
    corrupted(own, tmp_path / "c", *FOG)
    assert f"left out, not whole pictures with right labels, or too small: {bmp} (1)" in capsys.readouterr().err
    assert len(list((tmp_path / "c" / "images" / "fog-1").iterdir())) == 12
    assert main(["corrupt", "--data", str(own), "--out", str(tmp_path / "s"), "--strict", *FOG]) == 2
    assert not (tmp_path / "s").exists()
