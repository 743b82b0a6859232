from __future__ import annotations

import base64
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from report_parsing import Node, parse
from report_samples import VOC, sample, score, write_gallery

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.result_files import save
from yolo_qreg.evaluation.results import ALL, CLEAN, Delta, Results
from yolo_qreg.report import evaluation, gallery
from yolo_qreg.report.evaluation import write_report

SECTIONS = ["headline", "maps", "severity", "classes", "gallery", "losses", "paper", "numbers", "setup"]
HOSTILE = "<script>alert(1)</script>\"'&$\\frac$"
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


@pytest.fixture(scope="module")
def tree(report: Path) -> Node:
    """The full page."""
    return parse((report / "report.html").read_text(encoding="utf-8"))


def one(name: str = "dorefa-8bit") -> Results:
    """Return the results of one model, which is its own baseline."""
    full = sample()
    return replace(
        full,
        models=tuple(model for model in full.models if model.name == name),
        baseline=name,
        scores=tuple(s for s in full.scores if s.model == name),
        class_scores=tuple(s for s in full.class_scores if s.model == name),
        deltas=(),
    )


def few() -> Results:
    """Return the results of two corruptions, neither in the benchmark, at one severity."""
    full, kinds = sample(), {(CLEAN, 0), ("saturate", 3), ("spatter", 3)}
    deltas = (d for d in full.deltas if (d.corruption, d.severity) in {(CLEAN, 0), ("saturate", 0), (ALL, 0)})
    return replace(
        full,
        corruptions=("spatter", "saturate"),
        severities=(3,),
        scores=tuple(s for s in full.scores if (s.corruption, s.severity) in kinds),
        class_scores=tuple(s for s in full.class_scores if (s.corruption, s.severity) in kinds),
        deltas=tuple(deltas),
    )


def render(results: Results) -> Node:
    """Return the page of results that have nothing beside them."""
    return parse(evaluation.document(results, {}, (), "paper"))


def test_a_full_page_has_every_section(tree: Node) -> None:
    """Each once, in order, with pictures, charts, maps and tables in them."""
    assert [section.attributes["id"] for section in tree.all("section")] == SECTIONS
    counts = {name: len(list(tree.section(name).all("figure"))) for name in SECTIONS}
    assert counts == {
        "headline": 1,
        "maps": 3,
        "severity": 2 + 19,
        "classes": 3,
        "gallery": 20,
        "losses": 6,
        "paper": 6,
        "numbers": 0,
        "setup": 0,
    }


def test_the_page_loads_nothing(report: Path, tree: Node) -> None:
    """No script, no address but embedded pictures, no style that imports; a policy that forbids the rest."""
    for node in tree.all():
        assert node.tag not in {"script", "link", "iframe", "object", "embed", "base", "a"}
        for name, value in node.attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}:
                assert value.startswith("#" if node.tag == "use" else "data:image/jpeg;base64,")
    text = (report / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import", re.sub(r"base64,[\w+/=]+", "", text))
    (policy,) = (n for n in tree.all("meta") if n.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_figures_keep_apart_and_follow_the_page(tree: Node) -> None:
    """No identifier stands twice, no colour is fixed, each figure has its title, and text is text."""
    ids = [node.attributes["id"] for node in tree.all() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    figures = list(tree.all("svg"))
    assert len(figures) == 1 + 3 + 2 + 19 + 3 + 6 + 6
    assert all(next(node.all("title")).text and len(list(node.all("text"))) > 4 for node in figures)
    styles = {node.attributes.get("style", "") for figure in figures for node in figure.all()}
    assert not any(re.search(r"(fill|stroke): (#|rgb\()(?!var)", style.replace("rgb(var", "")) for style in styles)


def test_the_page_opens_with_the_answer() -> None:
    """One sentence with sign, interval and decision; a finer digit where an interval would seem to touch 0."""
    deltas = (
        Delta(model="dorefa-8bit", corruption=ALL, severity=0, value=0.9, low=0.5, high=1.3),
        Delta(model="dorefa-4bit", corruption=ALL, severity=0, value=-1.0, low=-1.98, high=-0.02),
    )
    opening = render(replace(few(), deltas=deltas)).section("headline")
    said, *rest = (node for node in opening.children if isinstance(node, Node))
    assert " ".join(said.text.split()) == (
        "Against FP32 on corrupted pictures, 8-bit DoReFa gains +0.9 points [0.5, 1.3], 4-bit DoReFa loses "
        f"{MINUS}1.00 points [{MINUS}1.98, {MINUS}0.02], and 2-bit DoReFa has no difference known."
    )
    assert [node.tag for node in rest] == ["p", "figure", "div", "p"]  # then the picture, then the table


def test_a_model_alone_has_a_page() -> None:
    """Its scores and curves, a sentence that says so, and no map or comparison."""
    tree = render(one())
    assert [section.attributes["id"] for section in tree.all("section")] == ["headline", "severity", "numbers", "setup"]
    assert "nothing to compare" in tree.section("headline").text
    assert len(list(tree.section("severity").all("figure"))) == 1 + 19
    assert "nan" not in tree.text.lower() and "None" not in tree.text


def test_deltas_may_be_missing() -> None:
    """Maps stay, with blank cells that say so; no chart of gains is drawn from nothing."""
    tree = render(replace(sample(), deltas=()))
    titles = [node.text for node in tree.section("maps").all("title") if node.text.endswith(": not evaluated")]
    assert len(titles) == 2 * 60
    assert f"{DASH} not evaluated" in tree.section("maps").text
    assert len(list(tree.section("severity").all("figure"))) == 1 + 19


def test_a_small_evaluation_has_a_page() -> None:
    """Blank cells for what was not evaluated, no severity curves for one severity, no mPC without its corruptions."""
    tree = render(few())
    assert tree.section("severity") is None
    blank = [n for n in next(tree.section("maps").all("svg")).all("title") if n.text.endswith(": not evaluated")]
    assert len(blank) == 2 * 18
    assert "2 of the 19 corruptions" in tree.text and "at severity 3" in tree.text
    assert "mean of 2" in tree.section("numbers").text
    row = [cell.text for cell in list(tree.section("headline").all("tr"))[2].all() if cell.tag in {"th", "td"}]
    assert row[7:9] == [DASH] * 2  # mPC and rPC


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    """Whatever models, classes and the setup are called, the page holds it as text, and figures are drawn."""
    plain = few()
    names = {"dorefa-8bit": HOSTILE, "fp32": f"{HOSTILE}2"}
    results = replace(
        plain,
        models=tuple(
            replace(m, name=names[m.name], file=HOSTILE, run=HOSTILE, method=HOSTILE)
            for m in plain.models
            if m.name in names
        ),
        baseline=names["fp32"],
        scores=tuple(replace(s, model=names[s.model]) for s in plain.scores if s.model in names),
        class_scores=tuple(
            replace(s, model=names[s.model], name=f"{s.name}{HOSTILE}") for s in plain.class_scores if s.model in names
        ),
        deltas=tuple(replace(d, model=names[d.model]) for d in plain.deltas if d.model in names),
        setup={HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}], "data": HOSTILE, "nothing": None},
    )
    tree = parse(write_report(tmp_path, results).read_text(encoding="utf-8"))
    assert not list(tree.all("script"))
    for section in ("headline", "maps", "classes", "numbers", "setup"):
        assert HOSTILE in tree.section(section).text
    assert [next(node.all("title")).text for node in tree.section("classes").all("svg")] == [HOSTILE]
    written = {path.name for path in (tmp_path / "figures").iterdir()}
    assert all(re.fullmatch(r"[\w.-]+", name) for name in written)
    assert any(name.startswith("heatmap-script-alert") for name in written)


def test_the_setup_is_shown_whole(tree: Node) -> None:
    """Every key and value, nested ones too, and each model's hash."""
    shown = tree.section("setup")
    assert {"imgsz", "320", "versions", "torch", "2.9.0+cpu", "frost"} <= {
        node.text for kind in ("dt", "dd") for node in shown.all(kind)
    }
    hashes = [node.attributes["title"] for node in shown.all("code") if "title" in node.attributes]
    assert hashes == [model.sha256 for model in sample().models]


def test_difficult_boxes_are_mentioned_where_there_are_any() -> None:
    """For Pascal VOC, unless the setup says what was done; not for other data."""
    results = few()
    sentence = "Boxes that Pascal VOC marks as difficult are in no label file"
    other = tuple(replace(s, name="circle") for s in results.class_scores if s.name == VOC[0])
    for changed, there in (
        ({}, True),
        ({"setup": {**results.setup, "difficult": "kept"}}, False),
        ({"class_scores": other, "setup": {"data": "shapes"}}, False),
    ):
        assert (sentence in render(replace(results, **changed)).section("setup").text) is there


def test_the_gallery_is_embedded(tmp_path: Path) -> None:
    """Modest JPEGs byte for byte; large and other pictures as smaller JPEGs; damaged and foreign files not at all."""
    folder = tmp_path / "gallery"
    write_gallery(folder)
    PIL.Image.new("RGB", (4000, 500), "navy").save(folder / "fog.jpg")
    PIL.Image.new("RGBA", (50, 40), "navy").save(folder / "frost.jpg", "PNG")
    (folder / "snow.jpg").write_bytes((folder / "clean.jpg").read_bytes()[:300])
    (folder / "contrast.jpg").unlink()
    (folder / "other.jpg").write_bytes(b"no corruption")
    found = gallery.read_gallery(tmp_path)
    by_name = {picture.corruption: picture for picture in found}
    assert [picture.corruption for picture in found][:3] == ["clean", "brightness", "defocus_blur"]
    assert len(found) == 18 and "snow" not in by_name and "other" not in by_name
    assert (by_name["fog"].width, by_name["fog"].height) == (gallery.WIDEST_PX, gallery.WIDEST_PX // 8)
    section = parse(evaluation.document(few(), {}, found, "paper")).section("gallery")
    figures = dict(zip(by_name, section.all("figure"), strict=True))
    for name, picture in by_name.items():
        (image,) = figures[name].all("img")
        raw = base64.b64decode(image.attributes["src"].partition(",")[2])
        assert raw == picture.jpeg and PIL.Image.open(BytesIO(raw)).format == "JPEG"
        assert ("strip" in figures[name].classes) == (picture.width > gallery.STRIP * picture.height)
    assert by_name["clean"].jpeg == (folder / "clean.jpg").read_bytes()
    assert gallery.read_gallery(tmp_path / "nowhere") == ()


def test_large_galleries_are_compressed(tmp_path: Path) -> None:
    """Eight panels under all corruptions, even of noise alone, leave a page below 3 MB, and keep a row of their own."""
    write_gallery(tmp_path / "gallery")
    noise = np.random.default_rng(0).integers(80, 175, (844, 1618, 3), np.uint8)
    for path in (tmp_path / "gallery").iterdir():
        PIL.Image.fromarray(noise).save(path, quality=85)
    found = gallery.read_gallery(tmp_path)
    assert len(found) == 20 and sum(len(picture.jpeg) for picture in found) <= gallery.MOST_BYTES
    assert all(picture.strip and picture.width > 600 for picture in found)


def test_a_failure_leaves_the_page_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is written whole, after everything that it needs; nothing half-written stays behind."""
    (tmp_path / "report.html").write_text("before")
    monkeypatch.setattr(evaluation, "write_figures", lambda *_: None)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_report(tmp_path, few())
    assert (tmp_path / "report.html").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    monkeypatch.undo()
    monkeypatch.setattr(evaluation, "write_figures", lambda *_: None)
    assert write_report(tmp_path, few()).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_unknown_palette_changes_nothing(tmp_path: Path) -> None:
    """It is refused by name before anything is written."""
    save(few(), tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="palette='rainbow' is not known; choose one of paper, accessible"):
        write_report(tmp_path, palette="rainbow")
    assert sorted(tmp_path.iterdir()) == before


def test_numbers_agree_with_the_scores(tree: Node) -> None:
    """The table of all means holds what the scores average to, by corruption and by severity."""
    results = sample()

    def cells(row: Node) -> list[str]:
        return [node.text.strip() for node in row.all() if node.tag in {"th", "td"}]

    fog = next(found for row in tree.section("numbers").all("tr") if (found := cells(row))[0] == "fog")
    means = [f"{100 * results.mean(model.name, ['fog']):.2f}" for model in results.models]
    assert [fog[index] for index in (1, 2, 4, 6)] == means
    ap50 = [cells(row) for row in tree.section("severity").all("tr") if "AP50" in row.text][1]
    values = [s.map50 for s in results.scores if s.model == "dorefa-8bit" and s.severity == 4]
    assert ap50[6] == f"{100 * sum(values) / 19:.2f}"
    assert score("m", "fog", 1, 0.2).map50 != 0.2  # or the line above could show the wrong column
