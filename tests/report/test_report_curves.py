from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from report_parsing import parse
from report_samples import VOC, models, sample, write_runs

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import ALL, CLEAN, Results
from yolo_qreg.findings.evaluation import Comparison
from yolo_qreg.findings.losses import LOSSES, History, _read_kept, histories_of, read_history
from yolo_qreg.report import evaluation_tables, gain_panels, panels
from yolo_qreg.report.drawing import one_style
from yolo_qreg.report.loss_panels import loss_charts
from yolo_qreg.report.svg import svg
from yolo_qreg.report.text import with_interval


@pytest.fixture(scope="module")
def results() -> Results:
    """The sample."""
    return sample()


def test_severity_curves_are_means_of_the_scores(results: Results) -> None:
    """Clean at 0, then the mean over the corruptions at each severity, in points; all charts share their axis."""
    found = Comparison(results)
    chart = gain_panels.severity_chart(found, results.corruptions, "mean")
    for line in chart.lines:
        assert line.y[0] == 100 * results.score(line.name, CLEAN).map50_95
        values = [s.map50_95 for s in results.scores if s.model == line.name and s.severity == 5]
        assert line.y[5] == pytest.approx(100 * sum(values) / 19)
    each = gain_panels.corruption_charts(found)
    assert {entry.y_range for entry in each} == {chart.y_range} and each[10].title == "JPEG compression"
    fog = next(entry for entry in each if entry.title == "fog")
    assert fog.lines[1].y[3] == 100 * results.score("dorefa-8bit", "fog", 3).map50_95


def test_gains_have_their_intervals(results: Results) -> None:
    """Each point is the delta of the mean over corruptions with its interval, and the axis holds 0 and all of them."""
    chart = gain_panels.gain_chart(Comparison(results))
    assert chart is not None and chart.y_range is not None
    assert [line.name for line in chart.lines] == ["dorefa-8bit", "dorefa-4bit", "dorefa-2bit"]
    for line in chart.lines:
        for level in range(6):
            delta = results.delta(line.name, ALL if level else CLEAN, level)
            assert (line.y[level], *line.bars[level]) == (delta.value, delta.low, delta.high)
            assert round(line.x[level]) == level
    low, high = chart.y_range
    assert low < min(bar[0] for line in chart.lines for bar in line.bars) and high > 0
    assert gain_panels.gain_chart(Comparison(replace(results, deltas=()))) is None


def test_models_that_find_nothing_have_a_chart(results: Results) -> None:
    """Where every gain is 0, as after one epoch of training, the axis has a length all the same."""
    nothing = tuple(replace(delta, value=0.0, low=0.0, high=0.0) for delta in results.deltas)
    chart = gain_panels.gain_chart(Comparison(replace(results, deltas=nothing)))
    assert chart is not None and chart.y_range is not None
    assert chart.y_range[0] < 0 < chart.y_range[1]
    with warnings.catch_warnings(), one_style():
        warnings.simplefilter("error")
        assert "nan" not in svg(chart, "f1", "paper")


def test_a_name_of_several_lines_takes_one() -> None:
    """A class name may hold whatever a YAML file holds."""
    row = panels.Dot("a\nb\tc", 1, Estimate(value=1.0), None)
    with one_style():
        assert ">a b c</text>" in svg(panels.Dots("t", (row,), (0.0, 2.0)), "f1", "paper")


def test_the_overview_has_the_answer(results: Results) -> None:
    """A row for each model, with what it gains on corrupted and on clean pictures, and room for all intervals."""
    plot = gain_panels.overview(Comparison(results))
    assert [row.name for row in plot.rows] == ["8-bit DoReFa", "4-bit DoReFa", "2-bit DoReFa"]
    for row, model in zip(plot.rows, results.models[1:], strict=True):
        assert row.corrupted == results.delta(model.name, ALL) and row.clean == results.delta(model.name, CLEAN)
        assert all(plot.span[0] < end < plot.span[1] for gain in (row.corrupted, row.clean) for end in gain.interval)
    with one_style():
        titles = [node.text for node in parse(str(svg(plot, "f1", "paper"))).all("title")]
    gain = with_interval(plot.rows[0].corrupted)
    assert titles[0] == plot.title and f"8-bit DoReFa, corrupted pictures: {gain} points" in titles


def test_higher_is_better_and_a_line_has_its_name() -> None:
    """The y axis of SVG points down; a line says in a page whose it is, and marks have true minus signs."""
    line = panels.Line("m & n", 1, (0.0, 10.0), (-2.0, 4.0))
    with one_style():
        tree = parse(str(svg(panels.Chart("c", (line,), "x", y_range=(-2.5, 5.0)), "f1", "paper")))
    group = next(g for g in tree.all("g") if any(not isinstance(c, str) and c.text == "m & n" for c in g.children[:1]))
    path = next(node for node in group.all("path") if "--s1" in node.attributes["style"])
    _, x0, y0, _, x1, y1 = path.attributes["d"].split()[:6]
    assert float(x0) < float(x1) and float(y0) > float(y1)
    assert "\N{MINUS SIGN}2" in {node.text for node in tree.all("text")}


def test_losses_are_read_from_run_folders(tmp_path: Path, results: Results) -> None:
    """Relative to the results too; epochs without validation are gaps, and runs that are gone are left out."""
    write_runs(tmp_path / "runs")
    known = replace(results, models=models(Path("runs")))
    losses = histories_of(known, tmp_path)
    assert list(losses) == ["fp32", "dorefa-8bit"]
    assert [len(run.series("val", "box")) for run in losses.values()] == [40, 37]
    assert losses["dorefa-8bit"].series("val", "box")[0][0] == 4
    runs = {name: (run,) for name, run in losses.items()}
    titles = [chart.title.split(":")[0] for chart in loss_charts(runs, LOSSES)]
    assert titles == ["validation"] * 3 + ["training"] * 3
    short = History({"val/box_loss": ((1, 2.0), (2, 1.5), (3, 1.4)), "val/cls_loss": ((3, 1.0),)})
    (only,) = loss_charts({"fp32": (short,)}, LOSSES)  # one epoch is no curve
    assert only.title == "validation: box"
    with one_style():
        words = {node.text for node in parse(str(svg(only, "f1", "paper"))).all("text")}
    assert {"1", "2", "3", "epoch"} <= words and "2.5" not in words
    (tmp_path / "runs" / "fp32" / "results.csv").write_text("epoch,val/box_loss\n1,nan\n2,x\n3,0\n")
    assert list(histories_of(known, tmp_path)) == ["dorefa-8bit"]
    assert histories_of(known, tmp_path / "elsewhere") == {}
    assert loss_charts({"fp32": ()}, LOSSES) == ()


def test_a_curve_says_where_it_turns_and_first_epochs_do_not_hide_it() -> None:
    """The dot is the lowest mean of a validation loss; what is three times all later losses is above the axis."""

    def history(first: float) -> History:
        values = {"val": (first, 5.0, 4.0, 4.5, 6.0), "train": (4.0, 3.0, 2.5, 2.0, 1.5)}
        return History({f"{part}/box_loss": tuple(enumerate(found, start=1)) for part, found in values.items()})

    titles = {"box": "box"}
    validation, training = loss_charts({"FP32": (history(90.0), history(70.0))}, titles)
    assert validation.lines[0].low == (3, 4.0) and training.lines[0].low is None
    low, high = validation.y_range or (0, 0)
    assert high == 6.0 and 3.5 < low < 4.0 and training.y_range is None  # the dot is whole
    (validation, _) = loss_charts({"FP32": (history(17.0),)}, titles)
    assert validation.y_range is None
    flat = History({f"{part}/box_loss": ((1, 9.0), (2, 1.0), (3, 1.0), (4, 1.0)) for part in ("val", "train")})
    assert loss_charts({"FP32": (flat,)}, titles)[0].y_range is None
    with one_style():
        assert "FP32: lowest at 3" in svg(validation, "curves", "paper")


def test_class_gains_are_means_over_pictures_that_both_have(results: Results) -> None:
    """Sorted by the first model's gain; a class without boxes in some cells is compared on the others."""
    found = Comparison(results).class_gains()
    assert set(found) == {"dorefa-8bit", "dorefa-4bit", "dorefa-2bit"}
    for rows in found.values():
        assert {row.name for row in rows} == set(VOC)
        assert [row.name for row in rows] == [row.name for row in found["dorefa-8bit"]]
    gains = [row.corrupted for row in found["dorefa-8bit"]]
    assert gains == sorted(gains, reverse=True)
    scores = {(s.model, s.corruption, s.severity): s.map50_95 for s in results.class_scores if s.name == "tvmonitor"}
    kinds = [(c, level) for c in results.corruptions for level in (1, 2, 3, 4)]
    pairs = [(scores["dorefa-4bit", c, level], scores["fp32", c, level]) for c, level in kinds]
    (row,) = (row for row in found["dorefa-4bit"] if row.name == "tvmonitor")
    assert row.corrupted == pytest.approx(sum(100 * (ours - theirs) for ours, theirs in pairs) / len(pairs))
    few = tuple(replace(s, map50_95=None) if s.name == "sofa" else s for s in results.class_scores)
    kept = Comparison(replace(results, class_scores=few)).class_gains()["dorefa-2bit"]
    assert {row.name for row in kept} == set(VOC) - {"sofa"}
    none = replace(results, class_scores=tuple(replace(s, map50_95=None) for s in results.class_scores))
    assert Comparison(none).class_gains() == {}
    table = evaluation_tables.classes({"m": (replace(row, corrupted=None),)})
    assert table.rows[0].cells[2].text == "\N{EN DASH}"


@pytest.mark.parametrize("content", [b"[" * 200_000, b"run,epoch\n\xff,1\n", b"epoch\0,\n1,2,3\n", b""])
def test_losses_that_are_no_table_have_no_curves(content: bytes, tmp_path: Path) -> None:
    """A damaged file of one training ends no report."""
    for name in ("results.csv", "losses.csv"):
        (tmp_path / name).write_bytes(content)
    assert read_history(tmp_path) is None and not _read_kept(tmp_path)
