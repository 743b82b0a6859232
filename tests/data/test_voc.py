"""The VOC converter against independent readings of the XML, and against the host's own conversion."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import types
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image

from yolo_qreg.cli import main
from yolo_qreg.data import voc, voc_folder
from yolo_qreg.data.registry import named_data
from yolo_qreg.data.voc import convert_devkit
from yolo_qreg.data.voc_classes import class_names, voc_yaml
from yolo_qreg.errors import InputError

SAMPLE = Path(__file__).parents[2].parent / "shared/data/vocdevkit-sample.tar"
Objects = list[tuple[str, int, tuple[float, float, float, float]]]  # name, difficult, xmin ymin xmax ymax


def xml_text(objects: Objects, size: tuple[int, int] = (50, 40)) -> str:
    """An annotation as VOC writes it."""
    parts = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, hard, box in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{parts}</annotation>"


@cache
def jpeg(size: tuple[int, int], orientation: int = 1) -> bytes:
    """A grey picture."""
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("L", size, 128).save(stream, "jpeg", exif=exif)
    return stream.getvalue()


def add(home: Path, name: str, *lists: str, objects: Objects | None = None) -> None:
    """Add a picture, which ends in its name, with its annotation to VOC lists."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg((50, 40)) + name.encode())
    (home / "Annotations" / f"{name}.xml").write_text(xml_text(objects or [("dog", 0, (1, 1, 50, 40))]))
    for listed in lists:
        with (home / "ImageSets" / "Main" / f"{listed}.txt").open("a") as file:
            file.write(f"{name}\n")


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """Both years, one or two pictures a split."""
    kit = tmp_path / "VOCdevkit"
    add(kit / "VOC2007", "000001", "train", "trainval", objects=[("cat", 0, (5, 6, 25, 36)), ("dog", 1, (2, 3, 9, 9))])
    add(kit / "VOC2007", "000002", "val", "trainval", objects=[("tvmonitor", 0, (1, 1, 50, 40))])
    add(kit / "VOC2007", "000003", "test", objects=[("dog", 1, (2, 3, 9, 9))])
    add(kit / "VOC2007", "000004", "test", objects=[("person", 0, (10.5, 3, 20.5, 9))])
    add(kit / "VOC2012", "2008_000001", "train", "trainval")
    add(kit / "VOC2012", "2008_000002", "val", "trainval")
    return kit


def listed(devkit: Path, year: str, **lists: list[str]) -> None:
    """Write VOC lists anew."""
    for name, ids in lists.items():
        text = "".join(f"{identity}\n" for identity in ids)
        (devkit / f"VOC{year}/ImageSets/Main/{name}.txt").write_text(text)


def holds(out: Path) -> set[str]:
    """Return the pictures of a converted folder, "split/id"; each has its label."""
    pictures = {f"{path.parent.name}/{path.stem}" for path in out.glob("images/*/*.jpg")}
    assert pictures <= {f"{path.parent.name}/{path.stem}" for path in out.glob("labels/*/*.txt")}
    return pictures


def times(folder: Path) -> dict[Path, int]:
    """Time of change of everything below a folder, links themselves rather than their targets."""
    return {path: path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def host_labels(devkit: Path, year: str, name: str, folder: Path) -> str:
    """The label text that the installed host's VOC.yaml makes of one picture."""
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None and spec.submodule_search_locations
    recipe = Path(spec.submodule_search_locations[0]) / "cfg/datasets/VOC.yaml"
    config = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    code = config["download"]
    scope: dict[str, Any] = {"ET": ElementTree, "yaml": config}
    exec(textwrap.dedent(code[code.index("def convert_label") : code.index("# Download")]), scope)
    target = folder / f"host-{name}.txt"
    scope["convert_label"](devkit, target, year, name)
    return target.read_text(encoding="utf-8")


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_labels_equal_the_hosts(devkit: Path, tmp_path: Path) -> None:
    """For sound boxes the files equal those of the host's own VOC.yaml, byte for byte."""
    convert_devkit(devkit, tmp_path / "out")
    for split, year, name in (
        ("train2007", "2007", "000001"),
        ("val2007", "2007", "000002"),
        ("test2007", "2007", "000003"),
        ("test2007", "2007", "000004"),
        ("train2012", "2012", "2008_000001"),
    ):
        made = (tmp_path / "out/labels" / split / f"{name}.txt").read_text()
        assert made == host_labels(devkit, year, name, tmp_path)
    assert (tmp_path / "out/labels/test2007/000003.txt").read_text() == ""  # its only object is difficult


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, voc.VocSummary]:
    """The real sample, unpacked and converted."""
    if not SAMPLE.is_file():
        pytest.skip("needs the VOC sample")
    folder = tmp_path_factory.mktemp("voc")
    with tarfile.open(SAMPLE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "VOCdevkit", folder / "out", convert_devkit(folder, folder / "out")


def test_sample_boxes_come_back(sample: tuple[Path, Path, voc.VocSummary]) -> None:
    """Every label line gives back the pixel corners that a plain text search finds in the XML, within 1e-6."""
    devkit, out, summary = sample
    boxes = 0
    for label in out.glob("labels/*/*.txt"):
        xml = (devkit / f"VOC{label.parent.name[-4:]}/Annotations/{label.stem}.xml").read_text()
        width, height = (int(re.findall(rf"<{side}>(\d+)<", xml)[0]) for side in ("width", "height"))
        wanted = []
        for item in re.findall(r"<object>(.*?)</object>", xml, re.DOTALL):
            if "<difficult>1<" not in item:
                name = re.findall(r"<name>(\w+)<", item)[0]
                wanted.append(
                    (name, *(int(re.findall(rf"<{edge}>(\d+)<", item)[0]) for edge in ("xmin", "ymin", "xmax", "ymax")))
                )
        lines = [line.split() for line in label.read_text().splitlines()]
        assert [class_names()[int(line[0])] for line in lines] == [want[0] for want in wanted]
        for line, want in zip(lines, wanted, strict=True):
            x, y, w, h = (float(value) for value in line[1:])
            corners = (
                (x - w / 2) * width + 1,
                (y - h / 2) * height + 1,
                (x + w / 2) * width + 1,
                (y + h / 2) * height + 1,
            )
            assert corners == pytest.approx(want[1:], abs=1e-6)
            boxes += 1
    assert (summary.written, summary.boxes, summary.problems) == (160, boxes, ())


def test_sample_lists_are_kept(sample: tuple[Path, Path, voc.VocSummary]) -> None:
    """Each folder holds the pictures of its ImageSets list, under the name that the host gives it."""
    devkit, out, summary = sample
    assert set(summary.splits) == {"train2007", "val2007", "test2007", "train2012", "val2012"}
    for split in summary.splits:
        ids = (devkit / f"VOC{split[-4:]}/ImageSets/Main/{split[:-4]}.txt").read_text().split()
        for kind in ("images", "labels"):
            assert sorted(path.stem for path in (out / kind / split).iterdir()) == sorted(ids)


def test_boxes_outside_are_clipped(tmp_path: Path) -> None:
    """A box that leaves its picture is cut at the edge, counted, and stays inside 0..1."""
    add(tmp_path / "VOC2007", "000001", "train", objects=[("dog", 0, (-9, 11, 21, 80))])
    summary = convert_devkit(tmp_path, tmp_path / "out")
    x, y, w, h = (float(v) for v in (tmp_path / "out/labels/train2007/000001.txt").read_text().split()[1:])
    assert summary.clipped == 1
    assert (x, y, w, h) == pytest.approx((0.2, 0.625, 0.4, 0.75))  # 0..20 of 50 and 10..40 of 40


def test_difficult_boxes_are_an_option(devkit: Path, tmp_path: Path) -> None:
    """Dropped by default, kept on request; a folder made one way is not changed to the other."""
    dropped = convert_devkit(devkit, tmp_path / "out")
    kept = convert_devkit(devkit, tmp_path / "all", difficult=True)
    assert (dropped.boxes, kept.boxes, dropped.difficult, kept.difficult) == (5, 7, 2, 2)
    assert (tmp_path / "all/labels/test2007/000003.txt").read_text().startswith("11 ")
    with pytest.raises(InputError, match=r"made with difficult=False.*name another folder"):
        convert_devkit(devkit, tmp_path / "out", difficult=True)


@pytest.mark.parametrize(
    ("word", "difficult"),
    [
        *((word, True) for word in ("1", "true", "Yes", "1.0", " 1\n")),
        *((word, False) for word in ("0", "False", "no", "0.0", "", "Unspecified")),
    ],
)
def test_difficult_is_a_word_too(tmp_path: Path, word: str, difficult: bool) -> None:
    """Annotation tools write it as a number or a word."""
    add(tmp_path / "VOC2007", "000001", "train")
    xml = tmp_path / "VOC2007/Annotations/000001.xml"
    xml.write_text(xml.read_text().replace("<difficult>0<", f"<difficult>{word}<"))
    summary = convert_devkit(tmp_path, tmp_path / "out")
    assert (summary.difficult, summary.boxes, summary.problems) == (difficult, not difficult, ())


# --- layout -----------------------------------------------------------------------------------------------------------


def test_names_are_the_projects_and_the_hosts(devkit: Path, tmp_path: Path) -> None:
    """data/voc.yaml, the written voc.yaml and the host's VOC.yaml agree on names and splits."""
    ours = yaml.safe_load(voc_yaml().read_text(encoding="utf-8"))
    made = yaml.safe_load(convert_devkit(devkit, tmp_path / "out").yaml.read_text(encoding="utf-8"))
    assert named_data("voc") == voc_yaml()
    assert ours["names"] == made["names"] == dict(enumerate(class_names()))
    assert set(ours["train"]) == set(made["train"]) and ours["val"] == made["val"] == ours["test"] == made["test"]
    assert made["path"] == str((tmp_path / "out").resolve())
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None and spec.submodule_search_locations
    recipe = Path(spec.submodule_search_locations[0]) / "cfg/datasets/VOC.yaml"
    host = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    assert (host["path"], set(host["train"]), host["val"], host["names"]) == (
        ours["path"],
        set(ours["train"]),
        [ours["val"]],
        ours["names"],
    )


@pytest.mark.parametrize("where", ["VOCdevkit", ".", "VOCdevkit/VOC2007"])
def test_devkit_parent_or_year_will_do(devkit: Path, where: str, tmp_path: Path) -> None:
    """The devkit is found from its parent, itself, or one year's folder (which then is all)."""
    summary = convert_devkit(devkit.parent / where, tmp_path / "out")
    assert summary.written == (4 if "2007" in where else 6)


@pytest.mark.parametrize(
    ("lists", "train", "val"),
    [
        (["train", "val", "trainval"], ["images/train2007"], "images/val2007"),
        (["trainval", "test"], ["images/trainval2007"], "images/test2007"),
        (["train", "trainval"], ["images/trainval2007"], "images/trainval2007"),
        (["test"], ["images/test2007"], "images/test2007"),
    ],
)
def test_partial_lists(tmp_path: Path, lists: list[str], train: list[str], val: str) -> None:
    """voc.yaml names what is there: trainval stands in where train or val is missing."""
    for number, name in enumerate(lists):
        add(tmp_path / "VOC2007", f"00000{number}", name)
    data = yaml.safe_load(convert_devkit(tmp_path, tmp_path / "out").yaml.read_text())
    assert (data["train"], data["val"], "test" in data) == (train, val, "test" in lists)


def test_devkits_can_come_one_by_one(devkit: Path, tmp_path: Path) -> None:
    """The years, converted one after the other into one folder, give the voc.yaml of both."""
    for year in ("VOC2012", "VOC2007"):
        made = convert_devkit(devkit / year, tmp_path / "parts").yaml.read_text()
    whole = convert_devkit(devkit, tmp_path / "whole").yaml.read_text()
    assert made.replace("parts", "whole") == whole


def test_pictures_are_links_or_copies(devkit: Path, tmp_path: Path) -> None:
    """Absolute links by default; `copy` makes files of them, also of links made before."""
    convert_devkit(devkit, tmp_path / "out")
    picture = tmp_path / "out/images/test2007/000004.jpg"
    assert picture.is_symlink() and picture.readlink() == (devkit / "VOC2007/JPEGImages/000004.jpg").resolve()
    convert_devkit(devkit, tmp_path / "out", copy=True)
    assert not picture.is_symlink() and picture.read_bytes().endswith(b"000004")


def test_copies_where_links_fail(devkit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without links gets files."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    convert_devkit(devkit, tmp_path / "out")
    picture = tmp_path / "out/images/test2007/000004.jpg"
    assert not picture.is_symlink() and picture.read_bytes().endswith(b"000004")


# --- running again ----------------------------------------------------------------------------------------------------


def test_second_run_does_nothing(devkit: Path, tmp_path: Path) -> None:
    """Not one file or folder is touched, and the summary says so."""
    first = convert_devkit(devkit, tmp_path / "out")
    before = times(tmp_path / "out")
    second = convert_devkit(devkit, tmp_path / "out")
    assert (first.written, first.up_to_date) == (6, False)
    assert (second.written, second.unchanged, second.up_to_date) == (0, 6, True)
    assert times(tmp_path / "out") == before


@pytest.mark.parametrize("at", range(1, 9))
def test_interrupted_run_is_resumed(devkit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """What was finished before Ctrl-C is kept; there is no voc.yaml till the end, and the end is that of one run."""
    whole = convert_devkit(devkit, tmp_path / "whole")
    out = tmp_path / "out"
    convert_devkit(devkit / "VOC2007", out)
    listed(devkit, "2007", train=["000002"], val=["000001", "000003"], test=["000004"])
    replace, calls = voc_folder._replace, 0

    def interrupted(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr(voc_folder, "_replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_devkit(devkit, out)
    assert not (out / "voc.yaml").exists()
    assert len(holds(out)) == len({picture.rpartition("/")[2] for picture in holds(out)})  # each in one split
    (out / "images/train2012/.2008_000001.jpg.1.part").write_bytes(b"")  # a kill leaves these
    summary = convert_devkit(devkit, out)
    assert summary.written + summary.unchanged == whole.written == 6
    assert holds(out) == {"train2007/000002", "val2007/000001", "val2007/000003", "test2007/000004"} | {
        "train2012/2008_000001", "val2012/2008_000002"
    }  # fmt: skip
    assert convert_devkit(devkit, out).up_to_date
    assert not list(out.rglob("*.part"))


def test_moved_devkit_is_linked_again(devkit: Path, tmp_path: Path) -> None:
    """Dangling links are not taken for finished work."""
    convert_devkit(devkit, tmp_path / "out")
    moved = devkit.rename(tmp_path / "elsewhere")
    assert convert_devkit(moved, tmp_path / "out").written == 6
    assert (tmp_path / "out/images/test2007/000004.jpg").read_bytes().endswith(b"000004")


def test_foreign_labels_are_left_alone(devkit: Path, tmp_path: Path) -> None:
    """A folder with labels of another origin is refused, unchanged."""
    label = tmp_path / "out/labels/train2007/mine.txt"
    label.parent.mkdir(parents=True)
    label.write_text("0 0.5 0.5 1 1\n")
    with pytest.raises(InputError, match="data that were not made here; name an empty folder"):
        convert_devkit(devkit, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [label]


# --- a devkit that changed --------------------------------------------------------------------------------------------

OLD = (1_300_000_000, 1_300_000_000)
"""A date before that of any label: unpacked archives and restored files have such."""


@pytest.mark.parametrize("copy", [False, True])
def test_the_folder_is_what_the_lists_say_now(
    devkit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], copy: bool
) -> None:
    """A picture that moved is in its new split alone, one that left all lists is gone, and the command counts both."""
    out = tmp_path / "out"
    convert_devkit(devkit, out, copy=copy)
    listed(devkit, "2007", train=["000002"], val=["000003"], test=["000004"])
    arguments = ["data", "voc", "--devkit", str(devkit), "--out", str(out), *(["--copy"] if copy else [])]
    assert main(arguments) == 0
    assert "2 pictures converted, 3 up to date, 3 removed" in capsys.readouterr().out
    assert holds(out) == {"train2007/000002", "val2007/000003", "test2007/000004"} | {
        "train2012/2008_000001", "val2012/2008_000002"
    }  # fmt: skip
    assert len(list(out.glob("labels/*/*.txt"))) == 5
    assert (out / "labels/train2007/000002.txt").read_text().startswith("19 ")
    assert main(arguments) == 0
    assert "0 pictures converted, 5 up to date, 0 removed" in capsys.readouterr().out


def test_a_list_that_is_gone_leaves_no_split(devkit: Path, tmp_path: Path) -> None:
    """Without val.txt trainval.txt is taken whole, and nothing of train2007 and val2007 stays."""
    out = tmp_path / "out"
    convert_devkit(devkit, out)
    (devkit / "VOC2007/ImageSets/Main/val.txt").unlink()
    data = yaml.safe_load(convert_devkit(devkit, out).yaml.read_text())
    assert {path.name for path in out.glob("*/*2007")} == {"trainval2007", "test2007"}
    assert data["train"] == ["images/train2012", "images/val2012", "images/trainval2007"]


def test_an_annotation_is_believed_whatever_its_date(devkit: Path, tmp_path: Path) -> None:
    """An XML that was replaced by an older one of equal size gives its label."""
    convert_devkit(devkit, tmp_path / "out")
    xml = devkit / "VOC2007/Annotations/000001.xml"
    xml.write_text(xml.read_text().replace(">cat<", ">cow<"))
    os.utime(xml, OLD)
    assert convert_devkit(devkit, tmp_path / "out").written == 1
    assert (tmp_path / "out/labels/train2007/000001.txt").read_text().startswith("9 ")


@pytest.mark.parametrize("copy", [False, True])
def test_a_picture_that_was_replaced_is_taken(devkit: Path, tmp_path: Path, copy: bool) -> None:
    """Also one of equal length and date, and no decoded copy of the host's (cache=disk) outlives the old one."""
    convert_devkit(devkit, tmp_path / "out", copy=copy)
    placed = tmp_path / "out/images/test2007/000004.jpg"
    placed.with_suffix(".npy").write_bytes(b"the old picture")
    source = devkit / "VOC2007/JPEGImages/000004.jpg"
    times = source.stat()
    source.write_bytes(jpeg((50, 40)) + b"other!")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert convert_devkit(devkit, tmp_path / "out", copy=copy).written == copy
    assert placed.read_bytes().endswith(b"other!") and placed.is_symlink() != copy
    assert not placed.with_suffix(".npy").exists()


def test_what_was_changed_in_the_folder_is_mended(devkit: Path, tmp_path: Path) -> None:
    """A label that was edited or emptied, a copy that was cut, and a picture without its label are made again."""
    out = tmp_path / "out"
    convert_devkit(devkit, out, copy=True)
    made = {path: path.read_bytes() for path in out.glob("*/*/*")}
    (out / "labels/train2007/000001.txt").write_text("")
    (out / "labels/val2007/000002.txt").unlink()
    (out / "images/test2007/000003.jpg").write_bytes(b"cut")
    (out / "images/test2007/000004.jpg").unlink()
    assert convert_devkit(devkit, out, copy=True).written == 4
    assert {path: path.read_bytes() for path in out.glob("*/*/*")} == made


def test_what_cannot_be_used_any_more_is_taken_out(devkit: Path, tmp_path: Path) -> None:
    """A picture whose annotation broke is not left with its old label, and is named."""
    convert_devkit(devkit, tmp_path / "out")
    (devkit / "VOC2007/Annotations/000001.xml").write_text("<annotation>")
    (devkit / "VOC2007/JPEGImages/000002.jpg").unlink()
    summary = convert_devkit(devkit, tmp_path / "out")
    assert (summary.written, summary.unchanged, summary.removed, len(summary.problems)) == (0, 4, 2, 2)
    assert not {"train2007/000001", "val2007/000002"} & holds(tmp_path / "out")


def test_a_devkit_without_its_pictures_takes_nothing_out(devkit: Path, tmp_path: Path) -> None:
    """Where nothing can be used, a disk that is not there perhaps, the folder stays as it is."""
    convert_devkit(devkit, tmp_path / "out", copy=True)
    before = times(tmp_path / "out")
    for picture in devkit.glob("*/JPEGImages/*"):
        picture.unlink()
    with pytest.raises(InputError, match="none of its pictures could be converted"):
        convert_devkit(devkit, tmp_path / "out", copy=True)
    assert times(tmp_path / "out") == before


def test_label_caches_go_with_their_labels(devkit: Path, tmp_path: Path) -> None:
    """The host's caches stay as long as nothing changes; some of its releases would not notice a change."""
    caches = [tmp_path / f"out/labels/{name}.cache" for name in ("train2012", "test2007")]
    convert_devkit(devkit, tmp_path / "out")
    for cached in caches:
        cached.write_bytes(b"labels")
    convert_devkit(devkit, tmp_path / "out")
    assert all(cached.exists() for cached in caches)
    xml = devkit / "VOC2007/Annotations/000004.xml"
    xml.write_text(xml.read_text().replace(">person<", ">horse<"))
    convert_devkit(devkit, tmp_path / "out")
    assert not any(cached.exists() for cached in caches)


def test_files_of_the_user_stay(devkit: Path, tmp_path: Path) -> None:
    """Pictures and labels that were added by hand are neither removed nor overwritten; a clash is named."""
    out = tmp_path / "out"
    convert_devkit(devkit, out)
    own = [out / "images/train2007/own.jpg", out / "labels/train2007/own.txt", out / "labels/val2007/000003.txt"]
    own += [out / "images/mine/a.jpg", out / "notes.txt"]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    listed(devkit, "2007", train=["000002"], val=["000003"], test=["000004"])
    summary = convert_devkit(devkit, out)
    assert [problem for problem in summary.problems if "000003.txt: was not made here; move it away" in problem]
    assert not (out / "images/val2007/000003.jpg").exists()
    assert all(path.read_text() == "mine" for path in own)
    own[2].unlink()
    assert convert_devkit(devkit, out).written == 1


def test_another_devkit_cannot_put_a_picture_into_two_splits(devkit: Path, tmp_path: Path) -> None:
    """What one devkit put into trainval2007, another cannot put into val2007."""
    other = tmp_path / "other"
    shutil.copytree(devkit / "VOC2007", other / "VOC2007")
    (other / "VOC2007/ImageSets/Main/val.txt").unlink()
    convert_devkit(other, tmp_path / "out")
    before = times(tmp_path / "out")
    with pytest.raises(InputError, match=r"another devkit gave it '000001' in trainval2007 .*name another folder"):
        convert_devkit(devkit, tmp_path / "out")
    assert times(tmp_path / "out") == before


@pytest.mark.parametrize("damage", ["", "{}", "[" * 9999, '{"format": 2}', "\0\xff"])
def test_a_damaged_record_is_one_line(devkit: Path, tmp_path: Path, damage: str) -> None:
    """Nobody knows then what may be removed, so nothing is."""
    convert_devkit(devkit, tmp_path / "out")
    (tmp_path / "out/.voc-conversion.json").write_text(damage, encoding="latin-1")
    before = times(tmp_path / "out")
    with pytest.raises(InputError, match=r"voc-conversion.json: damaged.*name another folder"):
        convert_devkit(devkit, tmp_path / "out")
    assert times(tmp_path / "out") == before


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [("train", "val"), ("train", "test"), ("val", "test")])
def test_lists_that_share_a_picture_are_refused(devkit: Path, tmp_path: Path, pair: tuple[str, str]) -> None:
    """A model would be validated on what it was trained on; both lists and a picture are named, nothing is made."""
    listed(devkit, "2007", **{"train": [], "val": [], "test": [], **{name: ["000001", "000002"] for name in pair}})
    (devkit / "VOC2007/ImageSets/Main/trainval.txt").unlink()
    with pytest.raises(InputError, match=rf"{pair[0]}\.txt and {pair[1]}\.txt both list '000001' \(2 in all\)"):
        convert_devkit(devkit, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists_of_windows_are_read(devkit: Path, tmp_path: Path, encoding: str) -> None:
    """A byte order mark is no part of the first name."""
    text = "000001\r\n000002\r\n"
    mark = "\ufeff" if encoding in {"utf-16-le", "utf-16-be"} else ""
    (devkit / "VOC2007/ImageSets/Main/train.txt").write_bytes((mark + text).encode(encoding))
    listed(devkit, "2007", val=["000003"], test=["000004"])
    assert convert_devkit(devkit, tmp_path / "out").problems == ()
    assert {"train2007/000001", "train2007/000002"} <= holds(tmp_path / "out")


def test_a_list_in_another_encoding_is_one_line(
    devkit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named with its line, and the status is 2."""
    (devkit / "VOC2007/ImageSets/Main/train.txt").write_bytes(b"000001\ncaf\xe9\n")
    assert main(["data", "voc", "--devkit", str(devkit), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith("train.txt: line 2 is not UTF-8; save the list as UTF-8\n")


def test_names_that_lead_elsewhere_are_skipped(devkit: Path, tmp_path: Path) -> None:
    """An id is the name of a file in JPEGImages, no path; one that is listed twice is taken once."""
    listed(devkit, "2007", train=["../../escape", "000001", "000001", ".hidden"])
    summary = convert_devkit(devkit, tmp_path / "out")
    assert [problem.rpartition(": ")[2] for problem in summary.problems] == [
        "'../../escape' is no picture's name",
        "'.hidden' is no picture's name",
    ]
    assert (summary.written, summary.boxes) == (6, 5)


def test_what_is_skipped_is_said_once(devkit: Path, tmp_path: Path) -> None:
    """On the terminal each problem is one line."""
    (devkit / "VOC2007/JPEGImages/000001.jpg").unlink()
    command = [sys.executable, "-m", "yolo_qreg", "data", "voc", "--devkit", str(devkit), "--out", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout + done.stderr).count("skipped: ") == 1


# --- problems ---------------------------------------------------------------------------------------------------------


def damage(devkit: Path, kind: str) -> str:
    """Break picture 000001 in one way; returns what the message must match."""
    home = devkit / "VOC2007"
    xml = home / "Annotations/000001.xml"
    if kind == "picture":
        (home / "JPEGImages/000001.jpg").unlink()
        return r"000001\.jpg: picture is missing"
    if kind == "turned":
        (home / "JPEGImages/000001.jpg").write_bytes(jpeg((50, 40), orientation=6))
        return r"000001\.xml: picture size 50 x 40, but the picture is 40 x 50"
    if kind == "header":
        (home / "JPEGImages/000001.jpg").write_bytes(b"\xff\xd8 and no more")
        return r"000001\.jpg: is no picture, or damaged"
    if kind == "annotation":
        xml.unlink()
        return r"000001\.xml: annotation is missing"
    texts = {
        "xml": ("<annotation><size>", "broken XML"),
        "size": (xml_text([], (0, 40)), "picture size 0 x 40, but the picture is 50 x 40"),
        "class": (
            xml_text([("dog", 0, (1, 1, 9, 9)), ("unicorn", 0, (1, 1, 9, 9))]),
            "object 2: unknown class 'unicorn'",
        ),
        "area": (xml_text([("dog", 0, (9, 1, 9, 9)), ("cat", 0, (1, 1, 9, 9))]), "object 1: box 9 1 9 9 has no area"),
        "encoding": ('<?xml version="1.0" encoding="utf8mb4"?>' + xml_text([]), "broken XML"),
        "swapped": (xml_text([], (40, 50)), "picture size 40 x 50, but the picture is 50 x 40"),
        "rescaled": (xml_text([], (25, 20)), "picture size 25 x 20, but the picture is 50 x 40"),
        "hard": (
            xml_text([("dog", "maybe", (1, 1, 9, 9)), ("cat", 0, (1, 1, 9, 9))]),  # type: ignore[list-item]
            "object 1: difficult is 'maybe', not a number",
        ),
        "number": (xml_text([("dog", 0, (9, 1, 19, float("nan"))), ("cat", 0, (1, 1, 9, 9))]), "object 1: bndbox/ymax"),
    }
    text, message = texts[kind]
    xml.write_text(text)
    return rf"000001\.xml: {message}"


WHOLE = ["picture", "annotation", "header", "turned", "xml", "encoding", "size", "swapped", "rescaled"]
KINDS = [*WHOLE, "class", "area", "number", "hard"]


@pytest.mark.parametrize("kind", KINDS)
def test_problems_are_named_and_skipped(devkit: Path, tmp_path: Path, kind: str) -> None:
    """The file and the reason are in the summary, then and in the next run; the rest is converted."""
    message = damage(devkit, kind)
    whole_picture = kind in WHOLE
    for _ in range(2):
        summary = convert_devkit(devkit, tmp_path / "out")
        assert len(summary.problems) == 1 and re.search(message, summary.problems[0])
    assert summary.unchanged == (5 if whole_picture else 6)
    label = tmp_path / "out/labels/train2007/000001.txt"
    assert label.exists() != whole_picture
    assert whole_picture or len(label.read_text().splitlines()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_strict_fails_at_a_problem(devkit: Path, tmp_path: Path, kind: str) -> None:
    """Under strict the same problem is an error, and a first run without strict does not hide it."""
    message = damage(devkit, kind)
    with pytest.raises(InputError, match=message):
        convert_devkit(devkit, tmp_path / "out", strict=True)
    convert_devkit(devkit, tmp_path / "out")
    with pytest.raises(InputError, match=message):
        convert_devkit(devkit, tmp_path / "out", strict=True)


def test_a_mended_annotation_is_converted(devkit: Path, tmp_path: Path) -> None:
    """An XML newer than its label is read again."""
    damage(devkit, "class")
    convert_devkit(devkit, tmp_path / "out")
    (devkit / "VOC2007/Annotations/000001.xml").write_text(xml_text([("cow", 0, (1, 1, 9, 9))]))
    summary = convert_devkit(devkit, tmp_path / "out")
    assert (summary.written, summary.problems) == (1, ())
    assert (tmp_path / "out/labels/train2007/000001.txt").read_text().startswith("9 ")


def test_folders_that_are_no_devkit(tmp_path: Path) -> None:
    """Each says what is missing and what to do, and makes nothing."""
    with pytest.raises(InputError, match="no VOC2007 or VOC2012 folder; unpack the VOC archives"):
        convert_devkit(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "VOC2007").mkdir()
    with pytest.raises(InputError, match="no JPEGImages in it; unpack the whole VOC archive"):
        convert_devkit(tmp_path, tmp_path / "out")
    add(tmp_path / "VOC2007", "000001")
    with pytest.raises(InputError, match="no picture lists in ImageSets/Main"):
        convert_devkit(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    """A devkit of which no picture can be converted fails with its first problem."""
    add(tmp_path / "VOC2007", "000001", "train")
    (tmp_path / "VOC2007/JPEGImages/000001.jpg").unlink()
    with pytest.raises(InputError, match=r"none of its pictures could be converted; the first problem: .*missing"):
        convert_devkit(tmp_path, tmp_path / "out")


# --- the host's first use ---------------------------------------------------------------------------------------------


def test_download_block_converts_what_it_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of data/voc.yaml, run as the host runs it with a stand-in for the network, builds its own folders."""
    config = yaml.safe_load(voc_yaml().read_text(encoding="utf-8"))
    fetched: list[str] = []

    def download(urls: list[str], dir: Path, **_: object) -> None:  # noqa: A002
        fetched.extend(urls)
        for number, split in enumerate(("train", "val", "test")):
            add(Path(dir) / "VOCdevkit/VOC2007", f"00000{number}", split)
        for number, split in enumerate(("train", "val")):
            add(Path(dir) / "VOCdevkit/VOC2012", f"2008_00000{number}", split)

    utils, downloads = types.ModuleType("ultralytics.utils"), types.ModuleType("ultralytics.utils.downloads")
    vars(utils)["ASSETS_URL"], vars(downloads)["download"] = "https://host", download
    for name, module in (
        ("ultralytics", types.ModuleType("ultralytics")),
        (utils.__name__, utils),
        (downloads.__name__, downloads),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    exec(config["download"], {"yaml": {**config, "path": tmp_path / "VOC"}})
    assert [url.rsplit("/", 1)[1][:7] for url in fetched] == ["VOCtrai", "VOCtest", "VOCtrai"]
    for folder in (*config["train"], config["val"]):
        assert len(list((tmp_path / "VOC" / folder).iterdir())) == 1
        assert len(list((tmp_path / "VOC" / folder.replace("images", "labels")).iterdir())) == 1
