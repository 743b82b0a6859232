"""Results as files, and the paper's figures from them."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from yolo_qreg.cli import main
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.result_files import load, save
from yolo_qreg.evaluation.results import ALL, CLEAN, ClassScore, Delta, Model, Results, Score
from yolo_qreg.evaluation.summary import equation5, summarize

POINTS = {
    "fp32": {"clean": 50.0, "fog": 40.0, "saturate": 44.0},
    "lsq": {"clean": 49.0, "fog": 41.0, "saturate": 40.0},
}


def score(model: str, corruption: str, severity: int, value: float) -> Score:
    """Return a score of which only one number matters."""
    return Score(
        model=model,
        corruption=corruption,
        severity=severity,
        images=10,
        map50_95=value,
        map50=1 / 3,
        map75=0.1,
        small=None,
        medium=0.2,
        large=math.nextafter(0.3, 1),
        voc07_ap50=0.5,
        voc_ap50=0.5,
    )


def model(name: str, bits: int) -> Model:
    """Return a model of a name."""
    return Model(name=name, file=f"{name}.pt", sha256="0" * 64, method=None, bits=bits, size_mb=1.5)


RESULTS = Results(
    models=(model("fp32", 32), model("lsq", 4)),
    baseline="fp32",
    corruptions=("fog", "saturate"),
    severities=(3,),
    scores=tuple(
        score(name, corruption, 0 if corruption == CLEAN else 3, points / 100)
        for name, row in POINTS.items()
        for corruption, points in row.items()
    ),
    class_scores=(ClassScore(model="lsq", corruption="fog", severity=3, name='a "b", c', map50_95=None, map50=0.1),),
    deltas=(Delta(model="lsq", corruption="fog", severity=3, value=1.0, low=-0.5, high=2.5),),
    setup={"seed": 1, "data": "größe.yaml"},
)


def test_files_hold_everything(tmp_path: Path) -> None:
    """What is read equals what was written, to the last bit."""
    save(RESULTS, tmp_path)
    assert load(tmp_path) == RESULTS
    assert (
        tmp_path / "deltas.csv"
    ).read_text() == "model,corruption,severity,points,low,high\nlsq,fog,3,1.0,-0.5,2.5\n"


def test_an_unknown_interval_is_left_empty(tmp_path: Path) -> None:
    """Few resamples of few pictures may all lack ground truth."""
    results = replace(RESULTS, deltas=(Delta(model="lsq", corruption="fog", severity=3, value=1.0),))
    save(results, tmp_path)
    assert (tmp_path / "deltas.csv").read_text().endswith(",1.0,,\n") and load(tmp_path) == results


def swap_lines(text: str) -> str:
    """Put a row of scores in the place of another, which is doubled."""
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:2], *lines[1:-1]])


EDITS: dict[str, tuple[str, Callable[[str], str], str]] = {
    "cut": ("run.json", lambda text: text[:50], "cannot be read"),
    "empty": ("run.json", lambda _: "", "cannot be read"),
    "nested": ("run.json", lambda _: "[" * 100_000, "cannot be read"),
    "list": ("run.json", lambda _: "[]", "cannot be read"),
    "entry": ("run.json", lambda text: text.replace('"baseline"', '"basis"'), "run.json has no 'baseline'"),
    "baseline": (
        "run.json",
        lambda text: text.replace('"baseline": "fp32"', '"baseline": "x"'),
        "baseline 'x' is none",
    ),
    "type": ("run.json", lambda text: text.replace('"bits": 4', '"bits": "4"'), "run.json has bits '4' for a model"),
    "severity": ("run.json", lambda text: text.replace("    3\n", "    9\n"), "do not exist"),
    "setup": ("run.json", lambda text: text.replace('"seed": 1', '"seed": 2'), "changed after they were written"),
    "header alone": ("scores.csv", lambda text: text.splitlines()[0] + "\n", "no row of fp32, clean, severity 0"),
    "no clean row": ("scores.csv", lambda text: text.replace("lsq,clean", "lsq,snow"), "no row of lsq, clean"),
    "no model": ("scores.csv", lambda text: text.partition("lsq")[0], "no row of lsq, clean"),
    "doubled": ("scores.csv", swap_lines, "no row of lsq, saturate"),
    "more": ("scores.csv", lambda text: text + text.splitlines()[-1] + "\n", "more than one row of lsq, saturate"),
    "column": ("scores.csv", lambda text: text.replace("map75", "map76"), "not of 12 fields"),
    "torn": ("scores.csv", lambda text: text[:-20], "not of 12 fields"),
    "text": ("scores.csv", lambda text: text.replace("0.5", "much"), "much"),
    "nan": ("scores.csv", lambda text: text.replace("0.41", "nan"), "outside 0..1 for lsq, fog"),
    "points": ("scores.csv", lambda text: text.replace("0.41", "41.0"), "outside 0..1 for lsq, fog"),
    "digit": ("scores.csv", lambda text: text.replace("0.41", "0.42"), "changed after they were written"),
    "zero byte": ("class_scores.csv", lambda text: text + "\0", "cannot be read"),
    "no classes": ("class_scores.csv", lambda text: text.splitlines()[0] + "\n", "changed after they were written"),
    "interval": ("deltas.csv", lambda text: text.replace("-0.5", "4.5"), "no difference of mAP for lsq, fog"),
    "no deltas": ("deltas.csv", lambda text: text.splitlines()[0] + "\n", "changed after they were written"),
}


@pytest.mark.parametrize("kind", EDITS)
def test_damaged_files_are_one_line(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`report` takes no results that are broken, incomplete or edited, and says which and what to do."""
    save(RESULTS, tmp_path)
    name, edit, message = EDITS[kind]
    before = (tmp_path / name).read_text()
    (tmp_path / name).write_text(edit(before))
    assert (tmp_path / name).read_text() != before
    assert main(["report", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and "run eval-corrupted again" in line
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_results_is_one_line(tmp_path: Path) -> None:
    """It may be another one that was meant."""
    with pytest.raises(InputError, match="holds no results"):
        load(tmp_path)
    for damage in (
        Path.unlink,
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ):
        save(RESULTS, tmp_path)
        damage(tmp_path / "scores.csv")
        with pytest.raises(InputError, match=r"scores\.csv is missing"):
            load(tmp_path)


def test_other_programs_may_write_the_files_again(tmp_path: Path) -> None:
    """Line ends, quotes and indentation are not the content; without the hash everything is read as it is."""
    save(RESULTS, tmp_path)
    for path in tmp_path.glob("*.csv"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    run = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert load(tmp_path) == RESULTS
    del run["sha256"]
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "scores.csv").write_text((tmp_path / "scores.csv").read_text().replace("0.41", "0.42"))
    assert load(tmp_path).score("lsq", "fog", 3).map50_95 == 0.42


def test_random_damage_is_no_traceback_and_no_wrong_number() -> None:
    """A few trials of benchmarks/damage.py, which does ten thousand: cells, results and converted folders."""
    spec = importlib.util.spec_from_file_location("damage", Path(__file__).parents[2] / "benchmarks" / "damage.py")
    assert spec and spec.loader
    campaign = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(campaign)
    for name, found in campaign.run(20, seed=1).items():
        assert found.keys() <= {"made again", "refused"}, name


def test_the_files_are_plain_tables(tmp_path: Path) -> None:
    """Other tools read them: a header, a row each, an empty field for what is unknown."""
    save(RESULTS, tmp_path)
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0].startswith("model,corruption,severity,images,map50_95,map50,")
    assert lines[1] == "fp32,clean,0,10,0.5,0.3333333333333333,0.1,,0.2,0.30000000000000004,0.5,0.5"
    assert json.loads((tmp_path / "run.json").read_text())["baseline"] == "fp32"


def test_the_summary_is_that_of_the_paper() -> None:
    """The mean over all is the headline; saturate is not among the benchmark's 15, so mPC is that of fog."""
    base, ours = summarize(RESULTS)
    assert (base.clean, base.corrupted, base.mpc) == pytest.approx((0.5, 0.42, 0.4))
    assert base.rpc == pytest.approx(0.8)
    assert base.equation5 is None
    assert (ours.corrupted, ours.mpc) == pytest.approx((0.405, 0.41))
    assert ours.equation5 == pytest.approx(100 * math.log10(58 / 59.5))


def test_a_model_that_finds_nothing_has_no_relative_performance() -> None:
    """0 by 0 is not a number of ours."""
    nothing = replace(RESULTS, scores=tuple(replace(s, map50_95=0.0) for s in RESULTS.scores))
    assert [row.rpc for row in summarize(nothing)] == [None, None]


@pytest.mark.parametrize(("points", "printed"), [(30.34, 0.96), (24.90, -2.30), (14.66, -7.86)])
def test_equation_5_gives_the_table_of_the_paper(points: float, printed: float) -> None:
    """Table 1, YOLOv5n on VOC: FP32 has 28.78; -2.30 is printed as -2.31."""
    assert equation5(28.78, points) == pytest.approx(printed, abs=0.006)


def test_perfect_models_do_not_divide_by_zero() -> None:
    """Nothing is left to gain on 100 points."""
    assert equation5(50, 100) == math.inf
    assert equation5(100, 50) == -math.inf
    assert equation5(100, 100) == 0


def test_what_is_absent_has_no_number() -> None:
    """Asking for it is an error of the caller."""
    for ask in (
        lambda: RESULTS.score("lsq", "snow", 3),
        lambda: RESULTS.delta("lsq", ALL),
        lambda: RESULTS.mean("lsq", ["snow"]),
        lambda: RESULTS.mean("lsq", ["fog"], [5]),
    ):
        with pytest.raises(KeyError):
            ask()
