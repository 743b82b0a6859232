"""A whole evaluation: what it measures, and that its work is done once, whatever interrupts it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_evaluations
import torch
from small_evaluations import CORRUPTIONS, KINDS, SEVERITIES, SMALL_PX, contents, run, settings
from ultralytics import YOLO

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation import damage as damage_module
from yolo_qreg.evaluation import evaluate as evaluate_module
from yolo_qreg.evaluation.models import subjects
from yolo_qreg.evaluation.result_files import load, save
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, Results
from yolo_qreg.host import predict
from yolo_qreg.host.validate import validate
from yolo_qreg.shipped import shipped


@pytest.fixture(scope="module")
def finished(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """An evaluation without worker processes; nothing of it may be changed."""
    out = tmp_path_factory.mktemp("finished")
    return out, run(shapes, out)


def test_there_is_a_score_for_everything(finished: tuple[Path, Results]) -> None:
    """Each model has one for clean pictures and one for each corruption and severity, and its classes too."""
    _, results = finished
    kinds = {(s.corruption, s.severity) for s in results.scores}
    assert kinds == {(CLEAN, 0), *((name, level) for name in CORRUPTIONS for level in SEVERITIES)}
    assert len(results.scores) == 2 * KINDS
    assert all(score.images == 12 for score in results.scores)
    assert results.score("shapes-fp32").map50_95 > 0.1
    assert results.score("shapes-fp32", "shot_noise", 5).map50_95 < results.score("shapes-fp32").map50_95
    known = [
        s.map50_95
        for s in results.class_scores
        if (s.model, s.corruption, s.severity) == ("shapes-fp32", "saturate", 1)
    ]
    assert np.mean([value for value in known if value is not None]) == pytest.approx(
        results.score("shapes-fp32", "saturate", 1).map50_95, abs=1e-12
    )


def test_deltas_are_differences_in_points(finished: tuple[Path, Results]) -> None:
    """Of cells, of means over severities, over all corruptions, and over those of the benchmark's 15."""
    _, results = finished
    names = "shapes-dorefa8", "shapes-fp32"
    ours, base = (results.score(model).map50_95 for model in names)
    assert results.delta(names[0], CLEAN).points == pytest.approx(100 * (ours - base), abs=1e-9)
    for group, members, severity, levels in [
        ("saturate", ["saturate"], 5, [5]),
        ("saturate", ["saturate"], 0, None),
        (ALL, CORRUPTIONS, 0, None),
        (ALL, CORRUPTIONS, 1, [1]),
        (BENCHMARK, ["shot_noise"], 0, None),
    ]:
        ours, base = (results.mean(model, members, levels) for model in names)
        found = results.delta(names[0], group, severity)
        assert found.points == pytest.approx(100 * (ours - base), abs=1e-9), group


def test_intervals_are_of_the_mean_over_all_its_cells(finished: tuple[Path, Results]) -> None:
    """1.96 standard deviations of the mean difference, resample by resample, from the files that are kept."""
    out, results = finished
    resampled: dict[str, dict[str, np.ndarray]] = {}
    for file in (out / "cells").rglob("*.npy"):
        kind = "-".join(file.name.split("-")[:2])
        resampled.setdefault(file.parent.name, {})[kind] = np.load(file)
    base, ours = (resampled[model.sha256[:16]] for model in results.models)
    kinds = [f"{name}-{level}" for name in CORRUPTIONS for level in SEVERITIES]
    differences = 100 * np.mean([ours[kind] - base[kind] for kind in kinds], axis=0)
    found = results.delta("shapes-dorefa8", ALL)
    half = 1.959963984540054 * np.std(differences, ddof=1)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=1e-9)
    assert found.low < found.high


def test_a_copy_of_the_baseline_has_no_delta_at_all(shapes: Path, tmp_path: Path) -> None:
    """Every resample sees the same pictures on both sides, so even the intervals are 0 wide."""
    checkpoint = torch.load(shipped("shapes-fp32"), weights_only=False)
    torch.save({**checkpoint, "note": "other bytes"}, tmp_path / "copy.pt")
    weights = [shipped("shapes-fp32"), tmp_path / "copy.pt"]
    results = run(shapes, tmp_path / "out", weights, corruptions=("shot_noise",), severities=(1,))
    assert len(results.models) == 2
    assert {(d.points, d.low, d.high) for d in results.deltas} == {(0.0, 0.0, 0.0)}
    assert not any(delta.decided for delta in results.deltas)


@pytest.mark.parametrize("name", ["shapes-fp32", "shapes-dorefa8"])
def test_clean_scores_agree_with_the_host(name: str, shapes: Path, finished: tuple[Path, Results]) -> None:
    """They are those of `YOLO.val`, but for the way that areas under curves are interpolated."""
    theirs = validate(shipped(name), shapes, imgsz=160, batch=4, device="cpu")
    ours = finished[1].score(name)
    assert ours.map50 == pytest.approx(theirs.map50, abs=0.02)  # 12 pictures; 1,143 agree to .005
    assert ours.map50_95 == pytest.approx(theirs.map50_95, abs=0.02)


def test_finished_work_is_not_repeated(
    shapes: Path, finished: tuple[Path, Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command again loads no model, and changes no file."""
    out, results = finished
    before = contents(out)
    monkeypatch.setattr(evaluate_module, "Detector", None)
    assert run(shapes, out) == results
    assert contents(out) == before
    assert load(out) == results


def test_changes_make_new_cells(shapes: Path, untrained: list[Path], tmp_path: Path) -> None:
    """Another seed keeps the clean cells alone, another size none; more corruptions keep all."""

    def made(**changes: Any) -> set[str]:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        run(shapes, out, untrained, **{"imgsz": SMALL_PX, **changes})
        return {name for name in contents(out) if name.startswith("cells") and name.endswith(".json")}

    cells = made()

    def shared(**changes: Any) -> int:
        return len(cells & made(**changes))

    assert len(cells) == 2 * KINDS
    assert shared(seed=1) == 2
    assert shared(imgsz=64) == 0
    assert shared(limit=6) == 0
    assert shared(batch=2) == 0
    assert shared(corruptions=("saturate", "contrast")) == 2 * (1 + len(SEVERITIES))


def test_the_first_evaluation_of_a_process_is_as_the_others() -> None:
    """The host takes another NMS, with another order of equal scores, until something imports torchvision."""
    assert vars(predict)["torchvision"] is sys.modules["torchvision"]  # as that module begins


def test_workers_change_nothing(shapes: Path, finished: tuple[Path, Results], tmp_path: Path) -> None:
    """Any number of processes gives the same bytes."""
    run(shapes, tmp_path, workers=3)
    assert contents(tmp_path) == contents(finished[0])


def test_processes_that_run_models_change_nothing(shapes: Path, untrained: list[Path], tmp_path: Path) -> None:
    """Kinds of pictures are divided among them, and all progress is told."""
    told: list[tuple[str, int]] = []
    small: dict[str, Any] = {"imgsz": SMALL_PX, "severities": (3,)}
    run(shapes, tmp_path / "one", untrained, **small)
    chosen = subjects(untrained)
    given = settings(shapes, tmp_path / "two", jobs=2, workers=1, **small)
    found = evaluate_module.evaluate(chosen, chosen[0].model.name, given, lambda _: lambda *word: told.append(word))
    save(found, tmp_path / "two")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert sum(done for _, done in told) == len(untrained) * 3 * 12
    assert len({label for label, done in told if done}) == 3


def test_a_killed_evaluation_continues(shapes: Path, finished: tuple[Path, Results], tmp_path: Path) -> None:
    """After SIGKILL no worker is left, and the rest makes the bytes of an uninterrupted run."""
    command = [sys.executable, small_evaluations.__file__, str(shapes), str(tmp_path), "60"]
    process = subprocess.Popen(command, start_new_session=True)
    assert process.wait(timeout=120) < 0
    deadline = time.monotonic() + 30
    while _group_exists(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _group_exists(process.pid), "worker processes outlive their parent"
    done = {name: data for name, data in contents(tmp_path).items() if ".part" not in name}
    assert 0 < len(done) < len(contents(finished[0]))
    run(shapes, tmp_path)
    after = {name: data for name, data in contents(tmp_path).items() if ".part" not in name}
    assert after == contents(finished[0])
    assert done.items() <= after.items()


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_cache_spares_the_damage(
    shapes: Path,
    finished: tuple[Path, Results],
    untrained: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With kept pictures a second sweep calls no corruption, and finds the same; another seed has its own pictures."""
    run(shapes, tmp_path / "first", untrained, imgsz=SMALL_PX, cache=tmp_path / "cache")
    kept = len(list((tmp_path / "cache").rglob("*.png")))
    assert kept == 12 * (KINDS - 1)
    monkeypatch.setattr(damage_module, "corrupt", None)
    run(shapes, tmp_path / "second", cache=tmp_path / "cache")
    assert contents(tmp_path / "second") == contents(finished[0])
    monkeypatch.undo()
    run(shapes, tmp_path / "third", untrained, imgsz=SMALL_PX, cache=tmp_path / "cache", seed=1)
    assert len(list((tmp_path / "cache").rglob("*.png"))) == 2 * kept


def test_a_limit_spreads_over_the_data(shapes: Path, untrained: list[Path], tmp_path: Path) -> None:
    """Half of the pictures are every second one, not the first half."""
    results = run(shapes, tmp_path, untrained, imgsz=SMALL_PX, limit=6, corruptions=())
    assert results.scores[0].images == 6
    everything = run(shapes, tmp_path, untrained, imgsz=SMALL_PX, limit=12, corruptions=())
    assert everything.scores[0].images == 12
    assert results.setup["data_sha256"] != everything.setup["data_sha256"]


def test_weights_of_other_classes_are_refused(shapes: Path, tmp_path: Path) -> None:
    """A model of other classes cannot be measured on these labels."""
    other = tmp_path / "other.yaml"
    other.write_text(shapes.read_text().replace("names:", "names_:") + "\nnames: {0: left, 1: right}\nnc: 2\n")
    with pytest.raises(InputError, match="classes"):
        run(other, tmp_path / "out")


def test_the_gallery_shows_every_corruption(finished: tuple[Path, Results]) -> None:
    """One picture for clean and each corruption, at one of the severities."""
    out, results = finished
    assert {path.stem for path in (out / "gallery").iterdir()} == {CLEAN, *CORRUPTIONS}
    assert results.setup["gallery"]["severity"] in SEVERITIES


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the host leaves the broken file open
def test_unusable_pictures_are_left_out_and_named(shapes: Path, untrained: list[Path], tmp_path: Path) -> None:
    """A broken file and one with wrong labels are no part of the evaluation, or an error where that is asked for."""
    shutil.copytree(shapes.parent, tmp_path / "data")
    data = tmp_path / "data" / shapes.name
    data.write_text(shapes.read_text().replace(str(shapes.parent), str(data.parent)))
    for cache_file in data.parent.rglob("*.cache"):
        cache_file.unlink()
    first, second, *_ = sorted((data.parent / "images" / "val").iterdir())
    first.write_bytes(first.read_bytes()[:200])
    (data.parent / "labels" / "val" / f"{second.stem}.txt").write_text("99 0.5 0.5 0.1 0.1\n")
    results = run(data, tmp_path / "out", untrained, imgsz=SMALL_PX, corruptions=())
    assert results.scores[0].images == 10
    assert results.setup["pictures left out"] == [str(first), str(second)]
    with pytest.raises(InputError, match=rf"{first.name} is not a whole picture .*\(2 in"):
        run(data, tmp_path / "out", untrained, imgsz=SMALL_PX, corruptions=(), strict=True)


@pytest.mark.filterwarnings("ignore")  # the exporters that the host uses warn a lot
def test_exports_see_the_same_pixels(shapes: Path, tmp_path: Path) -> None:
    """An ONNX model is its .pt, but for rounding, on pictures that are padded alike; its size is its own."""
    pytest.importorskip("onnxruntime")
    shutil.copy(shipped("shapes-fp32"), tmp_path / "model.pt")
    exported = Path(YOLO(tmp_path / "model.pt").export(format="onnx", imgsz=160, device="cpu"))
    results = run(shapes, tmp_path / "out", [tmp_path / "model.pt", exported])
    assert [model.name for model in results.models] == ["model", "model.onnx"]
    assert results.score("model.onnx").map50_95 > 0.1
    assert max(abs(delta.points) for delta in results.deltas) < 0.2
    with pytest.raises(InputError, match="exported for imgsz=160; pass --imgsz 160"):
        run(shapes, tmp_path / "out", [tmp_path / "model.pt", exported], imgsz=128)
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported)
    (args,) = (entry for entry in model.metadata_props if entry.key == "args")
    args.value = str({**ast.literal_eval(args.value), "nms": True})  # as an export with nms=True says
    onnx.save(model, tmp_path / "nms.onnx")
    with pytest.raises(InputError, match=r"nms.onnx was exported with nms=True: .*; export it without nms"):
        run(shapes, tmp_path / "out", [tmp_path / "model.pt", tmp_path / "nms.onnx"])
