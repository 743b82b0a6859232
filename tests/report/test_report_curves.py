from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_parsing import parse
from report_samples import VOC, models, sample, write_runs

from yolo_qreg.evaluation.results import ALL, CLEAN, Results
from yolo_qreg.findings.losses import NAMES, History, _read_kept, histories_of, read_columns
from yolo_qreg.report import charts, classes, curves


@pytest.fixture(scope="module")
def results() -> Results:
    """The sample."""
    return sample()


def test_severity_curves_are_means_of_the_scores(results: Results) -> None:
    """Clean at 0, then the mean over the corruptions at each severity, in points; all charts share their axis."""
    chart = curves.severity_chart(results, results.corruptions, "mean")
    for line in chart.lines:
        assert line.y[0] == 100 * results.score(line.name, CLEAN).map50_95
        values = [s.map50_95 for s in results.scores if s.model == line.name and s.severity == 5]
        assert line.y[5] == pytest.approx(100 * sum(values) / 19)
    assert {chart.spans()[1] for chart in curves.corruption_charts(results)} == {chart.spans()[1]}
    assert [c.title for c in curves.corruption_charts(results)][10] == "JPEG compression"


def test_gains_have_their_intervals(results: Results) -> None:
    """Each point is the delta of the mean over corruptions with its interval, and the axis holds 0 and all of them."""
    chart = curves.gain_chart(results, "gain")
    assert [line.name for line in chart.lines] == ["dorefa-8bit", "dorefa-4bit", "dorefa-2bit"]
    for line in chart.lines:
        for level in range(6):
            delta = results.delta(line.name, ALL if level else CLEAN, level)
            assert (line.y[level], *line.bars[level]) == (delta.points, delta.low, delta.high)
            assert round(line.x[level]) == level
    low, high = chart.spans()[1]
    assert low < min(bar[0] for line in chart.lines for bar in line.bars) and high > 0
    bars = list(parse(charts.svg(chart, charts.LARGE)).all("line", "bar"))
    assert len(bars) == 18 and len(list(parse(charts.svg(chart, charts.LARGE)).all("circle"))) == 18


def test_charts_keep_to_their_frame(results: Results) -> None:
    """Higher is better: y grows downwards in SVG, and no point leaves the axes."""
    line = charts.Line("m", 1, (0.0, 10.0), (2.0, 4.0))
    frame = charts.SMALL
    (path,) = parse(charts.svg(charts.Chart("c", (line,)), frame)).all("polyline")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in path.attributes["points"].split())
    assert (x0, x1) == (frame.left, frame.width - frame.right)
    assert (y0, y1) == (frame.height - frame.bottom, frame.top)


def test_losses_are_read_from_run_folders(tmp_path: Path, results: Results) -> None:
    """Relative to the results too; epochs without validation are gaps, and runs that are gone are left out."""
    write_runs(tmp_path / "runs")
    known = replace(results, models=models(Path("runs")))
    losses = histories_of(known, tmp_path)
    assert list(losses) == ["fp32", "dorefa-8bit"]
    assert [len(run.series("val", "box")) for run in losses.values()] == [40, 37]
    assert losses["dorefa-8bit"].series("val", "box")[0][0] == 4
    assert [chart.title.split(":")[0] for chart in curves.loss_charts(known, losses)] == ["validation"] * 3 + [
        "training"
    ] * 3
    short = History({"val/box_loss": ((1, 2.0), (2, 1.5), (3, 1.4)), "val/cls_loss": ((3, 1.0),)})
    (only,) = curves.loss_charts(known, {"fp32": short})  # one epoch is no curve
    assert only.title == "validation: box" and only.x_ticks == ((1, "1"), (2, "2"), (3, "3"))
    (tmp_path / "runs" / "fp32" / "results.csv").write_text("epoch,val/box_loss\n1,nan\n2,x\n3,0\n")
    assert list(histories_of(known, tmp_path)) == ["dorefa-8bit"]
    assert histories_of(known, tmp_path / "elsewhere") == {}
    assert curves.loss_charts(known, {}) == ()


def test_class_gains_are_means_over_cells_that_both_have(results: Results) -> None:
    """Sorted by the first model's gain; a class without boxes in some cells is compared on the others."""
    found = classes.by_model(results)
    assert set(found) == {"dorefa-8bit", "dorefa-4bit", "dorefa-2bit"}
    for rows in found.values():
        assert {row.name for row in rows} == set(VOC)
        assert [row.name for row in rows] == [row.name for row in found["dorefa-8bit"]]
    gains = [row.corrupted for row in found["dorefa-8bit"]]
    assert gains == sorted(gains, reverse=True)
    scores = {(s.model, s.corruption, s.severity): s.map50_95 for s in results.class_scores if s.name == "tvmonitor"}
    cells = [(c, level) for c in results.corruptions for level in (1, 2, 3, 4)]
    expected = sum(100 * (scores["dorefa-4bit", c, level] - scores["fp32", c, level]) for c, level in cells) / len(
        cells
    )
    (row,) = (row for row in found["dorefa-4bit"] if row.name == "tvmonitor")
    assert row.corrupted == pytest.approx(expected)
    few = tuple(replace(s, map50_95=None) if s.name == "sofa" else s for s in results.class_scores)
    assert {row.name for row in classes.by_model(replace(results, class_scores=few))["dorefa-2bit"]} == set(VOC) - {
        "sofa"
    }
    none = replace(results, class_scores=tuple(replace(s, map50_95=None) for s in results.class_scores))
    assert {row.corrupted for row in classes.class_deltas(none, "dorefa-4bit")} == {None}
    assert "\N{EN DASH}" in classes.number_table({"m": classes.class_deltas(none, "dorefa-4bit")})


@pytest.mark.parametrize("content", [b"[" * 200_000, b"run,epoch\n\xff,1\n", b"epoch\0,\n1,2,3\n", b""])
def test_losses_that_are_no_table_have_no_curves(content: bytes, tmp_path: Path) -> None:
    """A damaged file of one training ends no report."""
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    assert not any(read_columns(path, NAMES).values())
    assert not any(columns for columns in _read_kept(path).values())
