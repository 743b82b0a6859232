"""The VOC converter against independent readings of the XML, and against the host's own conversion."""

from __future__ import annotations

import importlib.util
import re
import sys
import tarfile
import textwrap
import types
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from yolo_qreg.data import voc
from yolo_qreg.data.registry import named_data, voc_yaml
from yolo_qreg.data.voc import convert_devkit
from yolo_qreg.data.voc_xml import CLASS_NAMES, read_annotation
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


def add(home: Path, name: str, *lists: str, objects: Objects | None = None) -> None:
    """Add a picture (any bytes do) with its annotation to VOC lists."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "JPEGImages" / f"{name}.jpg").write_bytes(name.encode())
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
        assert [CLASS_NAMES[int(line[0])] for line in lines] == [want[0] for want in wanted]
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


# --- layout -----------------------------------------------------------------------------------------------------------


def test_names_are_the_projects_and_the_hosts(devkit: Path, tmp_path: Path) -> None:
    """data/voc.yaml, the written voc.yaml and the host's VOC.yaml agree on names and splits."""
    ours = yaml.safe_load(voc_yaml().read_text(encoding="utf-8"))
    made = yaml.safe_load(convert_devkit(devkit, tmp_path / "out").yaml.read_text(encoding="utf-8"))
    assert named_data("voc") == voc_yaml()
    assert ours["names"] == made["names"] == dict(enumerate(CLASS_NAMES))
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
    assert not picture.is_symlink() and picture.read_bytes() == b"000004"


def test_copies_where_links_fail(devkit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without links gets files."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    convert_devkit(devkit, tmp_path / "out")
    picture = tmp_path / "out/images/test2007/000004.jpg"
    assert not picture.is_symlink() and picture.read_bytes() == b"000004"


# --- running again ----------------------------------------------------------------------------------------------------


def test_second_run_does_nothing(devkit: Path, tmp_path: Path) -> None:
    """Not one file or folder is touched, and the summary says so."""
    first = convert_devkit(devkit, tmp_path / "out")
    before = times(tmp_path / "out")
    second = convert_devkit(devkit, tmp_path / "out")
    assert (first.written, first.up_to_date) == (6, False)
    assert (second.written, second.unchanged, second.up_to_date) == (0, 6, True)
    assert times(tmp_path / "out") == before


def test_interrupted_run_is_resumed(devkit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was finished before Ctrl-C is kept; the end state is that of one run."""
    calls = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return read_annotation(*arguments, **options)

    monkeypatch.setattr(voc, "read_annotation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_devkit(devkit, tmp_path / "out")
    summary = convert_devkit(devkit, tmp_path / "out")
    assert (summary.written, summary.unchanged) == (3, 3)
    assert not list((tmp_path / "out").rglob("*.part"))
    assert len(list((tmp_path / "out").glob("labels/*/*.txt"))) == 6


def test_moved_devkit_is_linked_again(devkit: Path, tmp_path: Path) -> None:
    """Dangling links are not taken for finished work."""
    convert_devkit(devkit, tmp_path / "out")
    moved = devkit.rename(tmp_path / "elsewhere")
    assert convert_devkit(moved, tmp_path / "out").written == 6
    assert (tmp_path / "out/images/test2007/000004.jpg").read_bytes() == b"000004"


def test_foreign_labels_are_left_alone(devkit: Path, tmp_path: Path) -> None:
    """A folder with labels of another origin is refused, unchanged."""
    label = tmp_path / "out/labels/train2007/mine.txt"
    label.parent.mkdir(parents=True)
    label.write_text("0 0.5 0.5 1 1\n")
    with pytest.raises(InputError, match="labels that were not made here; name an empty folder"):
        convert_devkit(devkit, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [label]


# --- problems ---------------------------------------------------------------------------------------------------------


def damage(devkit: Path, kind: str) -> str:
    """Break picture 000001 in one way; returns what the message must match."""
    home = devkit / "VOC2007"
    xml = home / "Annotations/000001.xml"
    if kind == "picture":
        (home / "JPEGImages/000001.jpg").unlink()
        return r"000001\.jpg: picture is missing"
    if kind == "annotation":
        xml.unlink()
        return r"000001\.xml: annotation is missing"
    texts = {
        "xml": ("<annotation><size>", "broken XML"),
        "size": (xml_text([], (0, 40)), "picture size 0 x 40"),
        "class": (
            xml_text([("dog", 0, (1, 1, 9, 9)), ("unicorn", 0, (1, 1, 9, 9))]),
            "object 2: unknown class 'unicorn'",
        ),
        "area": (xml_text([("dog", 0, (9, 1, 9, 9)), ("cat", 0, (1, 1, 9, 9))]), "object 1: box 9 1 9 9 has no area"),
        "number": (xml_text([("dog", 0, (9, 1, 19, float("nan"))), ("cat", 0, (1, 1, 9, 9))]), "object 1: bndbox/ymax"),
    }
    text, message = texts[kind]
    xml.write_text(text)
    return rf"000001\.xml: {message}"


KINDS = ["picture", "annotation", "xml", "size", "class", "area", "number"]


@pytest.mark.parametrize("kind", KINDS)
def test_problems_are_named_and_skipped(devkit: Path, tmp_path: Path, kind: str) -> None:
    """The file and the reason are in the summary, then and in the next run; the rest is converted."""
    message = damage(devkit, kind)
    whole_picture = kind in {"picture", "annotation", "xml", "size"}
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
        add(Path(dir) / "VOCdevkit/VOC2007", "000001", "train", "val", "test")
        add(Path(dir) / "VOCdevkit/VOC2012", "2008_000001", "train", "val")

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
