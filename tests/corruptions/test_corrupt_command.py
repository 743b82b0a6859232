from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import rich.progress
from numpy.typing import NDArray

from corruptions import CORRUPTIONS, corrupt, frost, rng_for
from corruptions.__main__ import main
from corruptions.cli import read_picture, write_whole
from corruptions.sheet import sheet_layout
from yolo_qreg.cli import main as yolo_qreg_main

ROOT = Path(__file__).parents[2]


def save(path: Path, shape: tuple[int, ...] = (48, 64, 3), **settings: object) -> NDArray[np.uint8]:
    """Write a picture of soft stripes and return its pixels, as a lossless file has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.indices(shape[:2])
    grey = (127 + 90 * np.sin(x / 7) * np.cos(y / 9)).astype(np.uint8)
    image = grey if len(shape) == 2 else np.stack([grey, grey[::-1], 255 - grey], axis=-1)
    PIL.Image.fromarray(image).save(path, **settings)
    return image


def written(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sheet_shows_the_picture_under_all_corruptions(
    here: Path, texture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default one page lands in `corrupted`; its cells have the mean colours of the corrupted pictures."""
    image = save(here / "cat.png")
    assert main(["cat.png"]) == 0
    target = Path("corrupted", "cat-sheet.jpg")
    assert capsys.readouterr().out.splitlines() == [str(target), f"frost textures: folder:{texture_folder.name}"]
    page = np.array(PIL.Image.open(target)).astype(float)
    layout = sheet_layout(image, tuple(CORRUPTIONS), (1, 2, 3, 4, 5))
    assert page.shape[1] == layout.width
    for name, severity in (("brightness", 5), ("snow", 4), ("fog", 1), ("frost", 2), ("saturate", 5), ("contrast", 3)):
        left, top, right, bottom = layout.box(list(CORRUPTIONS).index(name), severity - 1)
        damaged = corrupt(image, name, severity, rng_for(0, "cat.png", name, severity))
        shown, expected = page[top:bottom, left:right], damaged.astype(float)
        assert np.abs(shown.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 3, name
        assert abs(shown.std() - expected.std()) < 8, name


def test_strips_are_one_file_a_corruption(here: Path) -> None:
    """A folder of the picture's name holds a strip for each corruption asked for, and nothing else."""
    save(here / "cat.png")
    assert main(["cat.png", "--as", "strips", "--corruptions", "noise, fog", "--severity", "2,5"]) == 0
    assert sorted(written(here / "corrupted")) == [
        f"cat/{name}.jpg" for name in ("fog", "gaussian_noise", "impulse_noise", "shot_noise")
    ]
    with PIL.Image.open("corrupted/cat/fog.jpg") as strip:
        assert strip.size[0] == 2 * 12 + 3 * 192 + 2 * 4


@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64)], ids=["rgb", "grey"])
def test_pictures_are_what_the_function_returns(here: Path, shape: tuple[int, ...]) -> None:
    """Each PNG has every pixel of `corrupt`, at full size; a grey picture stays grey."""
    image = save(here / "cat.png", shape)
    args = ["--as", "pictures", "--corruptions", "snow", "--severity", "4", "--severity", "1", "--seed", "7"]
    assert main(["cat.png", "--out", "there", *args, "--parameters", "cifar-c"]) == 0
    assert sorted(written(here / "there")) == ["cat/snow-1.png", "cat/snow-4.png"]
    for severity in (1, 4):
        expected = corrupt(image, "snow", severity, rng_for(7, "cat.png", "snow", severity), parameters="cifar-c")
        with PIL.Image.open(f"there/cat/snow-{severity}.png") as picture:
            assert np.array_equal(np.array(picture), expected)


@pytest.mark.parametrize("kind", ["sheet", "strips", "pictures"])
def test_results_depend_on_nothing_else_in_the_run(here: Path, kind: str) -> None:
    """The same bytes come out of a second run, among other pictures, in another order, and by another path."""
    for name in ("a.png", "b.png", "c.png"):
        save(here / "in" / name)
    args = ["--as", kind, "--corruptions", "glass_blur,fog,impulse_noise", "--severity", "3"]
    assert main(["in/b.png", "--out", "alone", *args]) == 0
    assert main(["in/c.png", "in/b.png", "in/a.png", "--out", "mixed", *args]) == 0
    assert main([str(here / "in"), "--out", "folder", *args]) == 0
    alone, mixed, folder = (written(here / out) for out in ("alone", "mixed", "folder"))
    assert alone and alone.items() <= mixed.items()
    assert mixed == folder and len(folder) == 3 * len(alone)


def test_folders_keep_their_shape(here: Path) -> None:
    """Pictures of equal names in subfolders do not meet; other files and earlier results are passed over."""
    for name in ("one/cat.png", "two/cat.JPG", "two/deep/dog.bmp"):
        save(here / "in" / name)
    (here / "in" / "notes.txt").write_text("no picture")
    args = ["in", str(here / "in" / "two" / "cat.JPG"), "--out", "in/out", "--corruptions", "fog", "--severity", "1"]
    for _ in range(2):
        assert main(args) == 0
        assert sorted(written(here / "in" / "out")) == [
            "one/cat-sheet.jpg",
            "two/cat-sheet.jpg",
            "two/deep/dog-sheet.jpg",
        ]


def test_two_sources_for_one_result_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names both, and nothing is written."""
    save(here / "one" / "cat.png")
    save(here / "two" / "cat.png")
    assert main(["one/cat.png", "two/cat.png"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(Path("one/cat.png")) in message and str(Path("two/cat.png")) in message and "rename" in message
    assert not (here / "corrupted").exists()


def test_pictures_that_differ_by_their_suffix_keep_it(here: Path) -> None:
    """Both of the pair do, whatever their order; others lose theirs."""
    for name in ("cat.png", "cat.jpg", "dog.png"):
        save(here / "in" / name)
    args = ["--corruptions", "fog", "--severity", "1"]
    assert main(["in", "--out", "folder", *args]) == 0
    assert main(["in/dog.png", "in/cat.png", "in/cat.jpg", "--out", "files", *args]) == 0
    assert list(written(here / "folder")) == ["cat.jpg-sheet.jpg", "cat.png-sheet.jpg", "dog-sheet.jpg"]
    assert written(here / "files") == written(here / "folder")


def damaged_files(folder: Path) -> list[str]:
    """Write files that are no usable picture and return their names."""
    save(folder / "whole.png")
    (folder / "broken.png").write_bytes((folder / "whole.png").read_bytes()[:300])
    (folder / "text.jpg").write_text("no picture")
    (folder / "whole.png").unlink()
    save(folder / "tiny.png", (20, 40, 3))
    frames = [PIL.Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:])
    PIL.Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(folder / "deep.png")
    for name in ("deep-rgb.png", "deep-rgb.tif"):
        cv2.imwrite(str(folder / name), np.full((40, 40, 3), 40_000, np.uint16))
    return ["broken.png", "text.jpg", "tiny.png", "moving.webp", "deep.png", "deep-rgb.png", "deep-rgb.tif"]


def test_unusable_files_are_named_and_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are done; status 0."""
    names = damaged_files(here / "in")
    save(here / "in" / "good.png")
    assert main(["in", "--corruptions", "fog", "--severity", "1"]) == 0
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[-1] == "7 skipped" and len(lines) == 8
    for name in names:
        assert sum(line.startswith(f"skipped {Path('in', name)}: ") for line in lines) == 1
    assert captured.out == f"{Path('corrupted', 'good-sheet.jpg')}\n"
    assert list(written(here / "corrupted")) == ["good-sheet.jpg"]


def test_nothing_readable_is_an_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 and a last line with the count."""
    damaged_files(here / "in")
    assert main(["in"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: none of 7 pictures could be read;")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'SOURCE...'"),
        (["nowhere.png"], "nowhere.png does not exist; name"),
        (["empty"], "empty holds no picture; name"),
        (["empty", "--out", "empty"], "--out empty is a folder to read from; choose another"),
        ([""], "an empty path names nothing; write . for the current folder"),
        (["cat.png", "--out", ""], "an empty path names nothing"),
        (["cat.png", "--textures", ""], "an empty path names nothing"),
        (
            ["cat.png", "--corruptions", ","],
            "',' names nothing; give values separated by commas, or leave the option out",
        ),
        (["cat.png", "--severity", ""], "'' names nothing; give values separated by commas, or leave the option out"),
        (["cat.png", "--severity", "1,6"], "severity '6' is not one of 1, 2, 3, 4, 5; give"),
        (["cat.png", "--corruptions", "fogg"], "'fogg' is no corruption; choose from gaussian_noise"),
        (["cat.png", "--parameters", "mine"], "parameters='mine' is not known; choose one of imagenet-c"),
        (["cat.png", "--textures", "nowhere"], "nowhere is not a folder; name one"),
        (["cat.png", "--textures", "empty", "--corruptions", "fog"], "textures=empty are for frost"),
        (["cat.png", "--as", "film"], "'film' is not one of"),
        (["cat.png", "--seed", "x"], "'x' is not a valid integer"),
        (["cat.png", "--out", "cat.png"], "'cat.png' is a file"),
        (["cat.png", "--out", "cat.png/deeper"], "cat.png"),
    ],
)
def test_bad_input_is_one_line(here: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2; the line says value, rule and remedy, and nothing is written."""
    save(here / "cat.png")
    (here / "empty").mkdir()
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and message in captured.err
    assert captured.out == "" and list(written(here)) == ["cat.png"]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt, 130, "interrupted"),
        (OSError(28, "No space left", ".hidden.part"), 2, "error: No space left ({}); free space or choose another"),
        (OSError("no\nspace"), 2, "error: no space ({}); free space or choose another"),
    ],
)
def test_a_write_that_breaks_off_leaves_whole_files_only(
    here: Path,
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was written before stays; of the file under way there is neither a part nor a name, save in the message."""
    save(here / "cat.png")
    whole, count = Path.write_bytes, 0

    def fails(path: Path, data: bytes) -> int:
        nonlocal count
        count += 1
        if count < 3:
            return whole(path, data)
        whole(path, data[:100])
        raise error

    monkeypatch.setattr(Path, "write_bytes", fails)
    assert main(["cat.png", "--as", "pictures", "--corruptions", "fog"]) == status
    (message,) = capsys.readouterr().err.strip().splitlines()  # click ends the line that the terminal shows ^C on
    assert message.startswith(line.format(Path("corrupted", "cat", "fog-3.png")))
    assert list(written(here / "corrupted")) == ["cat/fog-1.png", "cat/fog-2.png"]
    for severity in (1, 2):
        with PIL.Image.open(f"corrupted/cat/fog-{severity}.png") as picture:
            picture.load()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is replaced as a whole, with the permissions of any other file, or stays as it was."""
    path, plain = tmp_path / "deep" / "page.jpg", tmp_path / "plain"
    plain.write_bytes(b"")
    assert write_whole(path, b"old") == path
    assert path.stat().st_mode == plain.stat().st_mode
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_whole(path, b"new")
    assert written(tmp_path) == {"deep/page.jpg": b"old", "plain": b""}
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def test_pictures_are_read_upright_and_without_alpha(tmp_path: Path) -> None:
    """EXIF orientation is applied; palettes and alpha become RGB, grey with alpha becomes grey."""
    image = save(tmp_path / "plain.png")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "turned.png"), np.rot90(image, -1))
    for mode, shape in (("RGBA", (48, 64, 3)), ("P", (48, 64, 3)), ("LA", (48, 64)), ("1", (48, 64))):
        PIL.Image.fromarray(image).convert(mode).save(tmp_path / "mode.png")
        assert read_picture(tmp_path / "mode.png").shape == shape
    PIL.Image.fromarray(image).convert("P").save(tmp_path / "mode.png", transparency=bytes(range(256)))
    assert read_picture(tmp_path / "mode.png").shape == (48, 64, 3)


def test_a_camera_jpeg_with_a_preview_is_one_picture(tmp_path: Path) -> None:
    """Its first frame is read; the others are no animation."""
    frames = [PIL.Image.new("RGB", (64, 48), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / "camera.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert (read_picture(tmp_path / "camera.jpg") == 255).all()


@pytest.mark.parametrize(("limit", "status"), [(2000, 0), (1000, 2)])
def test_large_pictures_are_read_without_a_warning(
    here: Path, limit: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to twice the number of pixels from which on Pillow warns; larger ones are skipped with one line."""
    save(here / "cat.png")  # 3072 pixels
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
    assert main(["cat.png", "--as", "pictures", "--corruptions", "contrast"]) == status
    lines = capsys.readouterr().err.splitlines()
    assert lines == [] if status == 0 else len(lines) == 2 and lines[0].startswith("skipped cat.png: Image size (3072")


def test_the_command_uses_the_textures_that_it_is_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pictures are those of `corrupt` with that folder, and the folder is reported."""
    image = save(here / "cat.png")
    save(here / "ice" / "stripes.png", (90, 120, 3))
    args = ["--as", "pictures", "--corruptions", "frost", "--severity", "4", "--textures", "ice"]
    assert main(["cat.png", *args]) == 0
    assert "frost textures: folder:ice" in capsys.readouterr().out
    expected = corrupt(image, "frost", 4, rng_for(0, "cat.png", "frost", 4), textures="ice")
    with PIL.Image.open("corrupted/cat/frost-4.png") as picture:
        assert np.array_equal(np.array(picture), expected)
    other = corrupt(image, "frost", 4, rng_for(0, "cat.png", "frost", 4))
    assert not np.array_equal(other, expected)


@pytest.mark.parametrize("kind", ["sheet", "strips", "pictures"])
def test_progress_counts_every_corrupted_picture(here: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every picture, those that could not be read included."""
    shown: list[rich.progress.Progress] = []

    class Watched(rich.progress.Progress):
        def __init__(self, *columns: Any, **options: Any) -> None:
            super().__init__(*columns, **options)
            shown.append(self)

        def update(self, *args: Any, **changes: Any) -> None:
            before.append(self.tasks[0].completed)
            super().update(*args, **changes)

    before: list[float] = []
    monkeypatch.setattr(rich.progress, "Progress", Watched)
    for name in ("a.png", "c.png"):
        save(here / "in" / name)
    (here / "in" / "b.png").write_text("no picture")
    assert main(["in", "--as", kind, "--corruptions", "fog,contrast", "--severity", "1,3,5"]) == 0
    (task,) = shown[0].tasks
    assert (task.completed, task.total) == (18, 18)
    assert before == [0, 6, 6]  # when each picture's turn came


def test_generated_frost_is_announced_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without published textures one line of warning goes to standard error, and only where frost is asked for."""
    monkeypatch.delenv(frost.FOLDER_VARIABLE)
    monkeypatch.setattr(frost.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(frost, "_generate", lambda index: np.full((60, 80, 3), 20 * index, np.uint8))
    frost._installed_or_generated.cache_clear()
    save(here / "cat.png")
    for name, announced in (("fog", []), ("frost", ["frost textures: generated"])):
        assert main(["cat.png", "--corruptions", name]) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines()[1:] == announced
        assert captured.err.count("warning: frost uses generated textures") == captured.err.count("\n")
        assert captured.err.count("\n") == len(announced)
    frost._installed_or_generated.cache_clear()


def test_many_results_are_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three paths and a count."""
    save(here / "cat.png")
    assert main(["cat.png", "--as", "pictures", "--corruptions", "fog"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *(str(Path("corrupted", "cat", f"fog-{severity}.png")) for severity in (1, 2, 3)),
        "and 2 more in corrupted",
    ]


def test_the_command_runs_as_a_module_and_below_yolo_qreg(here: Path) -> None:
    """`python -m corruptions` names itself in its help; `yolo-qreg corrupt` does the same with the same options."""
    result = subprocess.run(
        [sys.executable, "-m", "corruptions", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.stdout.startswith("Usage: python -m corruptions [OPTIONS] SOURCE...")
    save(here / "cat.png")
    args = ["cat.png", "--as", "pictures", "--corruptions", "weather", "--severity", "2", "--seed", "3"]
    assert main([*args, "--out", "module"]) == yolo_qreg_main(["corrupt", *args, "--out", "subcommand"]) == 0
    assert written(here / "module") == written(here / "subcommand")


def test_only_the_command_imports_click_and_rich() -> None:
    """Importing the rest of the package, or drawing with it, loads neither."""
    code = (
        "import sys, pkgutil, importlib, corruptions\n"
        "for m in pkgutil.iter_modules(corruptions.__path__):\n"
        "    if m.name not in ('cli', '__main__', 'transforms'): importlib.import_module(f'corruptions.{m.name}')\n"
        "assert not {'click', 'rich', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_page_of_the_documentation_is_that_of_the_registry() -> None:
    """docs/corruptions has a strip and the parameters of every corruption, as the tool writes them."""
    spec = importlib.util.spec_from_file_location("corruption_pictures", ROOT / "tools" / "corruption_pictures.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    folder = ROOT / "docs" / "corruptions"
    assert (folder / "README.md").read_text(encoding="utf-8") == tool.page("210 x 140")
    assert {path.name for path in folder.iterdir()} == {"README.md", "sheet.jpg", *(f"{n}.jpg" for n in CORRUPTIONS)}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1.5e6
