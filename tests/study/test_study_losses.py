"""The losses of trainings: read, kept, and what they say at the end."""

from __future__ import annotations

import shutil
from pathlib import Path

from study_samples import sample_study, write_training

from yolo_qreg.findings.losses import SUM, History, mean_curve, read_histories, write_histories
from yolo_qreg.study.runs import places

TRAIN = {"train/box_loss": (3.0, 2.0, 1.0), "train/cls_loss": (1.0, 0.5, 0.25), "train/dfl_loss": (1.0, 1.0, 1.0)}
VAL = {"val/box_loss": (3.0, 1.5, 2.0), "val/cls_loss": (1.0, 1.0, 1.5), "val/dfl_loss": (1.0, 1.0, 1.0)}


def history(**changes: tuple[float, ...]) -> History:
    """Return a training of three epochs."""
    columns = {**TRAIN, **VAL, **{name.replace("_", "/", 1): values for name, values in changes.items()}}
    return History({name: tuple(enumerate(values, start=1)) for name, values in columns.items()})


def test_the_gap_is_validation_minus_training() -> None:
    """At the last epoch, by loss and in sum; the rise counts from the lowest sum, 3.5 at epoch 2."""
    gap = history().gap()
    assert gap is not None and gap.epoch == 3
    assert (gap.training_sum, gap.validation_sum, gap.of()) == (2.25, 4.5, 2.25)
    assert (gap.of("box"), gap.of("cls"), gap.of("dfl")) == (1.0, 1.25, 0.0)
    assert (gap.rise, gap.turn) == (1.0, 2)


def test_the_last_epoch_is_one_that_was_validated() -> None:
    """The host may leave a validation out; without any there is no gap."""
    shorter = history(val_box_loss=(3.0, 1.5))
    gap = shorter.gap()
    assert gap is not None and (gap.epoch, gap.validation_sum, gap.rise) == (2, 3.5, 0.0)
    assert shorter.series("val", SUM) == ((1, 5.0), (2, 3.5))
    assert History({"train/box_loss": ((1, 1.0),)}).gap() is None


def test_the_best_epoch_is_the_first_with_the_highest_map() -> None:
    """Not known without its column."""
    columns = {"metrics/mAP50-95(B)": ((1, 0.1), (2, 0.3), (3, 0.3)), "time": ((1, 10.0), (3, 31.0))}
    found = History(columns)
    assert (found.best_epoch, found.epochs, found.seconds) == (2, 3, 31.0)
    assert history().best_epoch is None


def test_time_goes_on_where_a_training_was_continued() -> None:
    """The host's clock begins anew then: 20 s, and 15 s more."""
    assert History({"time": ((1, 10.0), (2, 20.0), (3, 9.0), (4, 15.0))}).seconds == 35.0


def test_a_mean_curve_has_the_band_of_its_runs() -> None:
    """Over the epochs that all runs have; a run alone has no band."""
    line = mean_curve([history(), history(val_box_loss=(5.0, 2.5))], "val", "box")
    assert line is not None and (line.epochs, line.means, line.band) == ((1, 2), (4.0, 2.0), ((3.0, 5.0), (1.5, 2.5)))
    alone = mean_curve([history()], "train", SUM)
    assert alone is not None and (alone.means, alone.band) == ((5.0, 3.5, 2.25), ())
    assert mean_curve([], "train", SUM) is None


def test_losses_outlive_their_run_folders(tmp_path: Path) -> None:
    """What OUT/losses.csv holds is what the folders held, to the last digit; a folder that is there goes first."""
    where = places(sample_study(seeds=(0,)), tmp_path)
    for place in where[:2]:
        write_training(place, epochs=5)
    found = read_histories(where, tmp_path)
    assert list(found) == ["fp32-seed0", "dorefa-8bit-seed0"]
    write_histories(found, tmp_path)
    kept = (tmp_path / "losses.csv").read_bytes()
    shutil.rmtree(tmp_path / "runs")
    write_training(where[1], epochs=2)
    again = read_histories(where, tmp_path)
    assert again["fp32-seed0"] == found["fp32-seed0"]
    assert (found["dorefa-8bit-seed0"].epochs, again["dorefa-8bit-seed0"].epochs) == (5, 2)
    write_histories(found, tmp_path)
    assert (tmp_path / "losses.csv").read_bytes() == kept
    assert kept.decode().splitlines()[1].startswith("fp32-seed0,1,60.0,")
    assert found["fp32-seed0"].gap() == again["fp32-seed0"].gap()
