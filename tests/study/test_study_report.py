"""The report of a study: its page, tables and figures, from files and from memory."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from report_parsing import Node, parse
from study_samples import sample_results, sample_study, write_sample, write_training

from corruptions import CORRUPTIONS
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.result_files import save
from yolo_qreg.evaluation.results import ALL, CLEAN, Results
from yolo_qreg.findings.claims import judge
from yolo_qreg.findings.gather import gather
from yolo_qreg.findings.names import title_of
from yolo_qreg.findings.paper import printed
from yolo_qreg.report import study as report
from yolo_qreg.report.study import document
from yolo_qreg.report.text import signed, with_interval
from yolo_qreg.study.plan import Study
from yolo_qreg.study.runs import places

STUDY = sample_study()
FAILED, LEFT = "lsq-2bit-seed2", "lsq-4bit-seed1"
MINUS, PLUS_MINUS, DASH = "\N{MINUS SIGN}", "\N{PLUS-MINUS SIGN}", "\N{EN DASH}"
SECTIONS = ["headline", "table1", "claims", "maps", "losses", "gaps", "runs", "setup"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder with a failed training and one that is under way. Not to be changed."""
    folder = tmp_path_factory.mktemp("study")
    write_sample(folder, STUDY, without=(FAILED, LEFT))
    where = {place.run.name: place for place in places(STUDY, folder)}
    write_training(where[FAILED], 7, status=1, reason="CUDA out of <memory>")
    write_training(where[LEFT], 12, status=None)
    return folder


def render(study: Study, folder: Path, by_seed: Mapping[int, Results] | None = None) -> Node:
    """Return a study's page."""
    findings = gather(study, folder, by_seed)
    return parse(document(findings, judge(findings), "paper"))


@pytest.fixture(scope="module")
def tree(out: Path) -> Node:
    """The page of that folder."""
    return render(STUDY, out)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes long."""
    monkeypatch.setattr(report, "write_figures", lambda *_: None)


def rows(section: Node | None) -> dict[str, list[str]]:
    """Return the cells of the section's first table by the name of its row."""
    assert section is not None
    table = next(section.all("tbody"))
    cells = ([cell.text.strip() for cell in row.all() if cell.tag in {"th", "td"}] for row in table.all("tr"))
    return {name.removesuffix(" baseline"): row for name, *row in cells}


def test_the_sections_stand_in_order(tree: Node) -> None:
    """The answer first, what was run last."""
    assert [section.attributes["id"] for section in tree.all("section")] == SECTIONS


def test_the_page_asks_the_network_for_nothing(tree: Node) -> None:
    """No scripts, no sources; links lead to the pages of the seeds beside it."""
    for node in tree.all():
        assert node.tag not in {"script", "link", "iframe", "object", "embed", "base", "img"}
        assert not any(name.startswith("on") or name == "src" for name in node.attributes)
    links = [node.attributes["href"] for node in tree.all("a")]
    assert links == [f"seed-{seed}/report.html" for seed in (0, 1, 2)]
    (policy,) = (n for n in tree.all("meta") if n.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_table_1_holds_means_over_seeds(tree: Node) -> None:
    """Of mAP with the standard deviation over seeds, of Eq. 5 per seed, beside the paper's."""
    by_seed = {seed: sample_results(STUDY, seed) for seed in STUDY.seeds}
    names = {seed: f"dorefa-8bit-seed{seed}" for seed in STUDY.seeds}
    ours = [100 * r.mean(names[s], CORRUPTIONS) for s, r in by_seed.items()]
    twins = [100 * r.mean(r.baseline, CORRUPTIONS) for r in by_seed.values()]
    clean = [100 * r.score(names[s]).map50_95 for s, r in by_seed.items()]
    eq5 = statistics.mean(100 * math.log10((100 - t) / (100 - o)) for o, t in zip(ours, twins, strict=True))
    found = rows(tree.section("table1"))
    assert list(found) == ["FP32", *(f"{b}-bit {m}" for m in ("DoReFa", "LSQ") for b in (8, 4, 2))]
    row = found["8-bit DoReFa"]
    assert row[:2] == ["3", f"{statistics.mean(ours):.2f} {PLUS_MINUS} {statistics.stdev(ours):.2f}"]
    gains = [o - t for o, t in zip(ours, twins, strict=True)]
    assert row[2].startswith(f"+{statistics.mean(gains):.1f} [")
    assert row[3:5] == [f"{eq5:.2f}", f"{statistics.mean(clean):.2f} {PLUS_MINUS} {statistics.stdev(clean):.2f}"]
    assert row[6:] == ["30.34", "+1.56", "0.96"]
    assert found["FP32"][6:] == ["28.78", DASH, DASH] and found["2-bit LSQ"][6:] == [DASH] * 3
    assert [found[f"{bits}-bit LSQ"][0] for bits in (8, 4, 2)] == ["3", "2", "2"]


def test_heat_maps_stand_above_the_papers(tree: Node) -> None:
    """Six of ours with colour only where decided, six of the paper's."""
    section = tree.section("maps")
    assert section is not None
    figures = list(section.all("figure"))
    captions = [next(figure.all("figcaption")).text for figure in figures]
    assert captions[:2] == ["8-bit DoReFa 3 seeds", "8-bit DoReFa paper, Fig. 6 right"] and len(figures) == 12
    findings = gather(STUDY, Path("nowhere"), {seed: sample_results(STUDY, seed) for seed in STUDY.seeds})
    assert findings.pool is not None
    ours, theirs = (
        dict(node.text.split(": ") for node in figure.all("title") if ": " in node.text) for figure in figures[:2]
    )
    assert len(ours) == len(theirs) == 20
    for name in (CLEAN, *sorted(CORRUPTIONS)):
        gain, title = findings.pool.gain("dorefa-8bit", name), title_of(name)
        assert gain is not None and ours[title].startswith(f"{with_interval(gain)} points")
        assert ours[title].endswith("undecided") != gain.decided
        assert theirs[title] == signed(printed("dorefa", 8).cells[name])
    numbers = rows(section)
    assert list(numbers) == [title_of(name) for name in (CLEAN, *sorted(CORRUPTIONS))]
    assert numbers["fog"][0] == with_interval(findings.pool.gain("dorefa-8bit", "fog"))


def test_what_is_missing_is_named_with_its_reason(tree: Node) -> None:
    """In the headline and in the table of trainings; reasons are text, whatever they hold."""
    headline = tree.section("headline")
    assert headline is not None
    (box,) = headline.all("div", "missing")
    assert "19 of 21 trainings" in box.text
    lines = [item.text for item in box.all("li")]
    assert lines == [
        f"{LEFT}: not finished, 12 epochs done",
        f"{FAILED}: failed after 7 epochs (CUDA out of <memory>)",
    ]
    found = rows(tree.section("runs"))
    assert len(found) == 21
    assert found[FAILED] == ["failed", "7", "0:07:00", "7", "failed after 7 epochs (CUDA out of <memory>)"]
    assert found["fp32-seed0"][:3] == ["finished", "30", "0:30:00"] and found["fp32-seed0"][4] == ""


def test_losses_of_unfinished_trainings_do_not_count(tree: Node) -> None:
    """Neither in means nor in the table of gaps."""
    assert "statistics of all models are estimated anew on 256 training pictures" in tree.section("gaps").text
    found = rows(tree.section("gaps"))
    assert [found[f"{bits}-bit LSQ"][0] for bits in (8, 4, 2)] == ["3", "2", "2"]
    charts = [next(figure.all("figcaption")).text for figure in tree.section("losses").all("figure")]
    assert charts[:2] == ["validation: sum of all", "training: sum of all"] and len(charts) == 16
    bands = [figure for figure in tree.section("losses").all("svg") if "fill-opacity: 0.18" in str(figure)]
    assert len(bands) == 16


def test_commands_are_those_of_the_marks_without_the_folder(tree: Node, out: Path) -> None:
    """So that the report does not tell where it was made."""
    assert "yolo-qreg train --bits 8 --data voc-lite.yaml project=runs" in tree.section("runs").text
    assert str(out) not in tree.text


@pytest.mark.parametrize(
    ("noted", "shown"),
    [
        ("train project=/somewhere/else/runs name=fp32-seed0", "train project=runs name=fp32-seed0"),
        ("train --resume /a/runs/fp32-seed0", "train --resume runs/fp32-seed0"),
        ("train --data /data/voc.yaml", "train --data /data/voc.yaml"),
        (None, ""),
    ],
)
def test_a_folder_that_was_moved_does_not_tell_where_it_was(tmp_path: Path, noted: str | None, shown: str) -> None:
    """Only paths that are not the study's own stay; a mark without a command shows none."""
    place = places(STUDY, tmp_path)[0]
    write_training(place, epochs=2)
    (place.folder / "run.json").write_text(json.dumps({"status": 0, "reason": "", "command": noted or ""}))
    assert gather(STUDY, tmp_path).trainings[0].command == shown


def test_one_seed_is_said_wherever_intervals_are_read(tmp_path: Path) -> None:
    """They cover pictures only."""
    study = sample_study(seeds=(4,))
    page = render(study, tmp_path, {4: sample_results(study, 4)})
    assert "There is one seed only" in page.section("headline").text
    assert "for these trainings (one seed)" in page.section("claims").text
    for name in ("claims", "table1", "maps"):
        assert "Intervals cover other pictures only" in page.section(name).text
    assert PLUS_MINUS not in page.section("table1").text


def test_several_seeds_with_a_unit_of_one(tmp_path: Path) -> None:
    """The page says where intervals are of pictures alone."""
    study = sample_study(seeds=(0, 1))
    found = {seed: sample_results(study, seed, without=("lsq-8bit-seed1",)) for seed in (0, 1)}
    text = render(study, tmp_path, found).section("table1").text
    assert "other seeds" in text and "Where there is one seed" in text


def test_a_study_without_results_has_a_page(tmp_path: Path) -> None:
    """It says that nothing was evaluated, and shows the trainings; no claim is tested."""
    page = render(STUDY, tmp_path)
    assert "Nothing was evaluated yet" in page.text and "20 not tested" in page.text
    assert [section.attributes["id"] for section in page.all("section")] == ["headline", "claims", "runs", "setup"]


def test_a_twin_alone_has_a_page(tmp_path: Path) -> None:
    """A table of one row, and no maps."""
    study = replace(sample_study(seeds=(0,)), bits=(32,))
    page = render(study, tmp_path, {0: sample_results(study, 0)})
    assert list(rows(page.section("table1"))) == ["FP32"] and page.section("maps") is None
    assert "nan" not in page.text.lower() and "None" not in page.text


def test_a_small_evaluation_of_other_data_has_a_page(tmp_path: Path) -> None:
    """Blank cells, no numbers of the paper, and a word about the data."""
    plan = replace(STUDY.evaluation, corruptions=("fog", "snow"), severities=(3,))
    study = replace(STUDY, seeds=(0,), evaluation=plan)
    page = render(study, tmp_path, {0: sample_results(study, 0, classes=("circle",))})
    assert not list(page.all(name="from-paper")) and not list(page.all(name="tag"))
    assert "All is judged on voc-lite.yaml" in page.section("claims").text
    blank = [node for node in page.section("maps").all("title") if node.text.endswith(": not evaluated")]
    assert len(blank) == 2 * 6 * 17


def test_seeds_that_saw_other_pictures_are_not_put_together(tmp_path: Path) -> None:
    """The settings of a study may change between its seeds; means over seeds want the same pictures for all."""
    write_sample(tmp_path, STUDY)
    other = sample_results(STUDY, 1)
    save(replace(other, setup={**other.setup, "data_sha256": "another"}), tmp_path / "seed-1")
    findings = gather(STUDY, tmp_path)
    assert findings.pool is not None and findings.pool.seeds["fp32"] == (0, 2)
    (note,) = findings.unusable
    assert note.startswith("seed 1 was evaluated under other settings")
    smaller = replace(STUDY, evaluation=replace(STUDY.evaluation, limit=10))
    assert gather(smaller, tmp_path).pool is None


def test_a_training_that_began_again_is_not_at_its_end(tmp_path: Path) -> None:
    """Its seed was evaluated before, its folder was removed since: its losses are not those of the evaluation."""
    write_sample(tmp_path, STUDY)
    place = next(place for place in places(STUDY, tmp_path) if place.run.name == "lsq-8bit-seed1")
    shutil.rmtree(place.folder)
    write_training(place, epochs=3, status=None)
    assert set(gather(STUDY, tmp_path).gaps("lsq-8bit")) == {0, 2}


@pytest.mark.usefixtures("no_figures")
def test_losses_of_a_larger_grid_are_kept(tmp_path: Path) -> None:
    """A report over fewer seeds does not throw away what is known of the others."""
    write_sample(tmp_path, STUDY)
    report.write_study_report(STUDY, tmp_path)
    shutil.rmtree(tmp_path / "runs")
    before = (tmp_path / "losses.csv").read_text()
    report.write_study_report(replace(STUDY, seeds=(0,)), tmp_path)
    assert (tmp_path / "losses.csv").read_text() == before


def test_evaluations_that_do_not_fit_are_named(tmp_path: Path) -> None:
    """Of other severities, or damaged."""
    write_sample(tmp_path, STUDY)
    save(sample_results(sample_study(severities=(2,)), 1), tmp_path / "seed-1")
    (tmp_path / "seed-2" / "scores.csv").write_text("model\n")
    findings = gather(STUDY, tmp_path)
    assert findings.pool is not None and findings.pool.seeds["fp32"] == (0,)
    assert [note.split(";")[0] for note in findings.unusable] == [
        "seed 1 was evaluated under other settings than the study's or other seeds",
        "the evaluation of seed 2 is damaged",
    ]
    assert findings.unusable[0] in render(STUDY, tmp_path).section("headline").text


@pytest.mark.usefixtures("no_figures")
def test_files_say_what_memory_says(tmp_path: Path) -> None:
    """The page and every table are the same bytes, in another folder, and after run folders are gone but for states."""
    kept = sample_study(seeds=(0, 1))
    found = write_sample(tmp_path / "a", kept)
    write_sample(tmp_path / "b", kept)
    report.write_study_report(kept, tmp_path / "a", by_seed=found)
    report.write_study_report(kept, tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "b").iterdir() if path.is_file())
    tables = ["claims.csv", "gaps.csv", "losses.csv", "maps.csv", "table1.csv"]
    assert names == sorted([*tables, "report.html", "study.yaml"])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    before = {name: (tmp_path / "b" / name).read_bytes() for name in tables}
    shutil.rmtree(tmp_path / "b" / "runs")
    report.write_study_report(kept, tmp_path / "b")
    assert before == {name: (tmp_path / "b" / name).read_bytes() for name in tables}
    assert rows(render(kept, tmp_path / "b").section("runs"))["fp32-seed0"][0] == "finished, folder not kept"


@pytest.mark.usefixtures("no_figures")
def test_tables_hold_every_number(out: Path, tmp_path: Path) -> None:
    """A row for each cell of each map, with the paper's; for each training that ended; for each number of a claim."""
    shutil.copytree(out, tmp_path / "copy")
    report.write_study_report(STUDY, tmp_path / "copy")

    def read(name: str) -> list[dict[str, str]]:
        with (tmp_path / "copy" / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    cells = read("maps.csv")
    assert len(cells) == 6 * 20 and [row["cell"] for row in cells[:20]] == [str(index) for index in range(20)]
    row = next(r for r in cells if (r["method"], r["bits"], r["corruption"]) == ("lsq", "4", "zoom_blur"))
    points = [sample_results(STUDY, seed).delta(f"lsq-4bit-seed{seed}", "zoom_blur").points for seed in (0, 2)]
    assert float(row["mean"]) == pytest.approx(statistics.mean(points)) and row["seeds"] == "2"
    assert float(row["sd"]) == pytest.approx(statistics.stdev(points)) and float(row["paper"]) == 1.0
    gaps = read("gaps.csv")
    assert len(gaps) == 19 and {FAILED, LEFT}.isdisjoint(r["run"] for r in gaps)
    for entry in gaps:
        assert float(entry["gap_sum"]) == pytest.approx(float(entry["validation_sum"]) - float(entry["training_sum"]))
    assert {row["verdict"] for row in read("claims.csv")} <= {"supported", "not supported", "undecided", "not tested"}
    table = read("table1.csv")
    assert len(table) == 7 and table[0]["method"] == "" and table[0]["paper_map"] == "28.78"
    assert len([r for r in read("losses.csv") if r["run"] == FAILED]) == 7


def test_figures_are_the_same_bytes_for_the_same_study(tmp_path: Path) -> None:
    """As PNG and PDF: a map for each quantizer and width, losses for each quantizer; those of no unit are removed."""
    study = replace(sample_study(seeds=(0, 1)), methods=("lsq",), bits=(4,))
    for name in ("a", "b"):
        write_sample(tmp_path / name, study)
        (tmp_path / name / "figures").mkdir()
        (tmp_path / name / "figures" / "heatmap-old.png").touch()
        assert report.write_study_report(study, tmp_path / name) == tmp_path / name / "report.html"
    names = sorted(path.name for path in (tmp_path / "a" / "figures").iterdir())
    kinds = ("gains", "heatmap-lsq-4bit", "heatmaps", "losses-lsq")
    assert names == [f"{kind}.{ending}" for kind in kinds for ending in ("pdf", "png")]
    for name in names:
        one, other = ((tmp_path / folder / "figures" / name).read_bytes() for folder in ("a", "b"))
        assert one == other and len(one) > 5000


def test_an_unknown_palette_changes_nothing(tmp_path: Path) -> None:
    """It is refused before anything is written."""
    with pytest.raises(InputError, match="rainbow"):
        report.write_study_report(STUDY, tmp_path / "none", palette="rainbow")
    assert not (tmp_path / "none").exists()


def test_the_summary_is_ascii(out: Path) -> None:
    """Table 1, a line for each claim, and what is missing."""
    lines: list[object] = []
    report.print_study_summary(STUDY, out, echo=lines.append)
    text = "\n".join(map(str, lines))
    assert text.isascii()
    (row,) = (line for line in text.splitlines() if line.startswith("8-bit DoReFa  "))
    findings = gather(STUDY, out)
    assert findings.pool is not None
    gain = findings.pool.gain("dorefa-8bit", ALL)
    assert gain is not None and with_interval(gain).replace(MINUS, "-") in row
    assert len(re.findall(r"^(?:SUPPORTED|NOT SUPPORTED|UNDECIDED|NOT TESTED) ", text, re.MULTILINE)) == 20
    assert f"{FAILED}: failed after 7 epochs" in text
    assert "(paper: +1.56)" in text
