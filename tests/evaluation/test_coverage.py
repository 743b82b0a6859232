"""benchmarks/coverage.py: its methods beside scipy's, and its quick data sets beside slow ones."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import bootstrap, norm
from small_evaluations import run
from synthetic_detections import data_set, repeated

from yolo_qreg.evaluation.bootstrap import bootstrap_map, image_weights, interval
from yolo_qreg.evaluation.detections import Detections
from yolo_qreg.evaluation.matching import Matches, match
from yolo_qreg.shipped import shipped

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def coverage() -> Iterator[SimpleNamespace]:
    """The modules of the benchmark, and its command line; its name is that of a package that others import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        command = runpy.run_path(str(BENCHMARKS / "coverage.py"))["main"]
        modules = {file.stem: import_module(file.stem) for file in (BENCHMARKS / "intervals").glob("*.py")}
        yield SimpleNamespace(command=command, **modules)


SAMPLE = np.random.default_rng(1).gamma(1.0, size=30)
LEFT_OUT = np.array([np.delete(SAMPLE, index).mean() for index in range(len(SAMPLE))])


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_methods_are_those_of_scipy(coverage: SimpleNamespace, method: str) -> None:
    """On a plain mean of a skewed sample, from the same resamples."""
    found = bootstrap((SAMPLE,), np.mean, n_resamples=999, method=method, random_state=0)
    ends = coverage.interval_methods.METHODS[method](SAMPLE.mean(), found.bootstrap_distribution, LEFT_OUT)
    assert ends == pytest.approx(tuple(found.confidence_interval), rel=1e-9)


def test_other_methods_are_shifts(coverage: SimpleNamespace) -> None:
    """Normal is the evaluation's own; centred is percentile's less the bias; BC moves its quantiles as Efron does."""
    resampled = np.random.default_rng(0).gamma(3.0, size=999) / 3
    ends = {name: method(0.9, resampled, LEFT_OUT) for name, method in coverage.interval_methods.METHODS.items()}
    assert ends["normal"] == pytest.approx(tuple(interval(0.9, resampled)))
    bias = resampled.mean() - 0.9
    assert ends["centred"] == pytest.approx(tuple(end - bias for end in ends["percentile"]))
    shift = 2 * norm.ppf((resampled < 0.9).mean())
    assert ends["BC"] == pytest.approx(np.quantile(resampled, norm.cdf(shift + norm.ppf([0.025, 0.975]))))


def same(one: Matches, other: Matches) -> bool:
    """Whether both give the same AP in each of some resamples, to rounding."""
    weights = image_weights(one.images, resamples=5)
    ours, theirs = (bootstrap_map(each, weights).class_ap50_95 for each in (one, other))
    return bool(np.allclose(ours, theirs, rtol=0, atol=1e-12, equal_nan=True))


def test_drawn_pictures_are_a_data_set(coverage: SimpleNamespace) -> None:
    """What was found on some pictures is what matching a data set of these alone gives."""
    truth, found = data_set(4)
    chosen = np.array([0, 2, 3, 9, 17, 18])
    alone = repeated(truth, found, np.isin(np.arange(25), chosen).astype(int))
    assert same(coverage.populations.taken(match(truth, found), chosen), match(*alone))


def test_models_swap_sides_by_picture(coverage: SimpleNamespace) -> None:
    """What two models found on their own pictures is what matching those detections gives; no tail is missed."""
    truth, first = data_set(4)
    _, other = data_set(5)
    heads = np.random.default_rng(0).random(25) < 0.5
    mine, its = heads[first.image], ~heads[other.image]
    parts = [
        np.concatenate([getattr(first, name)[mine], getattr(other, name)[its]])
        for name in ("image", "label", "score", "boxes")
    ]
    pair = match(truth, first), match(truth, other)
    shortened = coverage.populations.shortened(pair)
    assert same(coverage.populations.mixed(*shortened, heads), match(truth, Detections(*parts)))
    lengths = [sum(len(found.image) for matches in each for found in matches.classes) for each in (shortened, pair)]
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize("compiled", [False, True])
def test_the_quick_bootstrap_is_the_projects(
    coverage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    """With or without a compiler the mAP of resamples is that of an evaluation, to rounding."""
    monkeypatch.setattr(coverage.quick_map, "njit", compiled or None)
    monkeypatch.setattr(coverage.quick_map, "compiled", coverage.quick_map.areas)
    truth, found = data_set(1)
    weights, matches = image_weights(25, resamples=6), match(truth, found)
    expected = bootstrap_map(matches, weights).map50_95
    np.testing.assert_allclose(coverage.quick_map.resampled_map(matches, weights), expected, rtol=0, atol=1e-12)


def test_draws_continue_and_are_summed_up(coverage: SimpleNamespace, tmp_path: Path) -> None:
    """An interrupted file of draws is completed without repeating any, and each setting is counted."""
    truth, first = data_set(2)
    population = coverage.populations.Pictures({"clean": (match(truth, first), match(truth, data_set(3)[1]))})
    coverage.draws.draw_all(population, tmp_path / "pictures.csv", (8,), range(2), 20)
    coverage.draws.draw_all(population, tmp_path / "pictures.csv", (8, 12), range(3), 20)
    rows, found = coverage.draws.read(tmp_path / "pictures.csv"), coverage.coverage_table.settings_of(tmp_path)
    assert [(one.size, one.pair, one.draws) for one in found] == [
        (size, pair, 3) for size in (8, 12) for pair in ("models", "coin")
    ]
    assert float(rows[0]["stretch"]) == pytest.approx((1 - 8 / 25) ** -0.5)
    assert float(rows[0]["truth"]) == pytest.approx(population.truth("models")["clean"])
    assert all(float(row["truth"]) == 0 for row in rows if row["pair"] == "coin")
    coverage.coverage_table.write_csv(found, tmp_path / "coverage.csv")
    assert len((tmp_path / "coverage.csv").read_text().splitlines()) == 1 + 4 * 6
    assert "| pictures | 12 |" in coverage.coverage_table.table(found)


def test_detections_come_from_an_evaluation(coverage: SimpleNamespace, shapes: Path, tmp_path: Path) -> None:
    """The command shows what is missing to both models, once, and takes as truth their difference in mAP."""
    weights = [shipped("shapes-fp32"), shipped("shapes-dorefa8")]
    line = ["draw", "shapes", "--out", str(tmp_path), "--data", str(shapes), "--imgsz", "160", "--sizes", "6"]
    line += ["--weights", *map(str, weights), "--corruptions", "gaussian_noise", "--resamples", "10"]
    for draws in ("1", "2"):
        done = CliRunner().invoke(coverage.command, [*line, "--draws", draws], catch_exceptions=False)
        assert ("evaluation" in done.output) == (draws == "1")
    rows = [row for row in coverage.draws.read(tmp_path / "shapes.csv") if row["pair"] == "models"]
    assert [(row["draw"], row["kind"]) for row in rows] == [(n, k) for n in "01" for k in ("clean", "gaussian_noise")]
    again = {"batch": 16, "corruptions": ("gaussian_noise",), "severities": (3,)}
    found = run(shapes, tmp_path / "again", weights, cells=tmp_path / "shapes" / "cells", **again)
    points = {row["kind"]: 100 * float(row["truth"]) for row in rows}
    assert points == pytest.approx({kind: found.delta("shapes-dorefa8", kind).points for kind in points}, abs=1e-9)
    assert all(points.values())
