"""The losses of trainings: read from the host's results.csv, and kept in one file so that they outlive run folders."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from yolo_qreg.evaluation.results import Results
from yolo_qreg.files import write_text
from yolo_qreg.study.runs import RESULTS_CSV, Place, read_rows, seconds_of

LOSSES = {"box": "box", "cls": "class (cls)", "dfl": "distribution focal (dfl)"}
PARTS = {"val": "validation", "train": "training"}
Series = tuple[tuple[float, float], ...]
"""(epoch, value) in order."""
FILE = "losses.csv"
TIME, MAP = "time", "metrics/mAP50-95(B)"
"""Columns of the host: seconds since the start, and mAP@[.50:.95] of the validation after an epoch."""
NAMES = (TIME, *(f"{part}/{loss}_loss" for part in PARTS for loss in LOSSES), MAP)
"""The columns of the host's file that are read."""
SUM = "sum"
"""The sum of a training's losses, as the host minimizes it: they are weighted already."""


@dataclass(frozen=True, slots=True)
class History:
    """What a training's results.csv says of its epochs: columns by the host's names."""

    columns: Mapping[str, Series]

    @property
    def losses(self) -> tuple[str, ...]:
        """Those that the training and its validation both have."""
        return tuple(loss for loss in LOSSES if all(f"{part}/{loss}_loss" in self.columns for part in PARTS))

    @property
    def epochs(self) -> int:
        """The last one."""
        return int(max((epoch for series in self.columns.values() for epoch, _ in series), default=0))

    @property
    def seconds(self) -> float:
        """How long they took by the host's clock."""
        return seconds_of([value for _, value in self.columns.get(TIME, ())])

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the highest mAP in validation, the first of equals; None where no mAP is known."""
        series = self.columns.get(MAP)
        return int(max(series, key=lambda entry: entry[1])[0]) if series else None

    def series(self, part: str, loss: str) -> Series:
        """Return a loss over epochs, or the sum of all where each is known; empty where there is none."""
        if loss != SUM:
            return self.columns.get(f"{part}/{loss}_loss", ())
        found = [dict(self.columns[f"{part}/{name}_loss"]) for name in self.losses]
        shared = sorted(set.intersection(*map(set, found))) if found else []
        return tuple((epoch, math.fsum(values[epoch] for values in found)) for epoch in shared)

    def gap(self) -> Gap | None:
        """Return losses at the last epoch at which all are known; None where there is no such epoch."""
        known = {(part, loss): dict(self.series(part, loss)) for part in PARTS for loss in self.losses}
        shared = set.intersection(*map(set, known.values())) if known else set()
        if not shared:
            return None
        last = max(shared)
        lowest, turn = min((value, epoch) for epoch, value in self.series("val", SUM) if epoch <= last)
        return Gap(
            epoch=int(last),
            training={loss: known["train", loss][last] for loss in self.losses},
            validation={loss: known["val", loss][last] for loss in self.losses},
            lowest=lowest,
            turn=int(turn),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A training's losses at its end.

    Attributes:
        epoch: Which one that is.
        training: By loss.
        validation: By loss.
        lowest: The lowest sum of validation losses of all epochs until then.
        turn: The epoch that has it, after which that sum rises if the training overfits.
    """

    epoch: int
    training: Mapping[str, float]
    validation: Mapping[str, float]
    lowest: float
    turn: int

    def of(self, loss: str = SUM) -> float:
        """Return validation minus training, for one loss or for their sum."""
        if loss == SUM:
            return self.validation_sum - self.training_sum
        return self.validation[loss] - self.training[loss]

    @property
    def training_sum(self) -> float:
        """The sum of training losses."""
        return math.fsum(self.training.values())

    @property
    def validation_sum(self) -> float:
        """The sum of validation losses."""
        return math.fsum(self.validation.values())

    @property
    def rise(self) -> float:
        """How far the sum of validation losses ends above its lowest value."""
        return self.validation_sum - self.lowest


def read_histories(places: Iterable[Place], out: Path) -> dict[str, History]:
    """Return what is known of each training by its name: from its folder, or from OUT/losses.csv where that is gone."""
    kept = _read_kept(out)
    found = {place.run.name: read_history(place.folder) or kept.get(place.run.name) for place in places}
    return {name: history for name, history in found.items() if history}


def histories_of(results: Results, folder: Path) -> dict[str, History]:
    """Return the epochs of each model of an evaluation whose run folder still holds a results.csv.

    Args:
        results: The evaluation.
        folder: Where it lies; run folders may be given relative to it.
    """
    found = {
        model.name: read_history(folder / model.run) or read_history(Path(model.run))
        for model in results.models
        if model.run
    }
    return {name: history for name, history in found.items() if history}


def read_history(run: Path) -> History | None:
    """Return what the results.csv of a run folder says; None where there is none, or no number in it."""
    return _history(read_rows(run / RESULTS_CSV))


def write_histories(histories: Mapping[str, History], out: Path) -> None:
    """Write OUT/losses.csv: a row for each training and epoch; what is not known is empty.

    Trainings that the file has from before, of a larger grid, stay in it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "epoch", *NAMES))
    for name, history in {**_read_kept(out), **histories}.items():
        known = {column: dict(series) for column, series in history.columns.items()}
        for epoch in sorted({epoch for values in known.values() for epoch in values}):
            values = (known.get(column, {}).get(epoch) for column in NAMES)
            writer.writerow((name, f"{epoch:g}", *("" if v is None else repr(v) for v in values)))
    write_text(out / FILE, text.getvalue())


def _read_kept(out: Path) -> dict[str, History]:
    groups: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(out / FILE):
        groups.setdefault(row.get("run", ""), []).append(row)
    return {name: history for name, rows in groups.items() if (history := _history(rows))}


def _history(rows: Sequence[Mapping[str, str]]) -> History | None:
    """Return columns by name where there is a number; zeros and what is no number are left out."""
    columns: dict[str, list[tuple[float, float]]] = {}
    for index, row in enumerate(rows, start=1):
        epoch = _number(row.get("epoch")) or index
        for name in NAMES:
            if value := _number(row.get(name)):
                columns.setdefault(name, []).append((epoch, value))
    return History({name: tuple(values) for name, values in columns.items()}) if columns else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Curve:
    """A mean over trainings by epoch, and from lowest to highest of several."""

    epochs: tuple[float, ...]
    means: tuple[float, ...]
    band: tuple[tuple[float, float], ...] = ()

    @property
    def low(self) -> tuple[float, float]:
        """The epoch with the lowest mean, the first of equals, and that mean."""
        return min(zip(self.epochs, self.means, strict=True), key=lambda point: point[1])


def mean_curve(runs: Iterable[History], part: str, loss: str) -> Curve | None:
    """Return the mean of trainings over the epochs that all have; None without such epochs."""
    found = [dict(series) for series in (run.series(part, loss) for run in runs) if series]
    shared = sorted(set.intersection(*map(set, found))) if found else []
    if not shared:
        return None
    values = [[series[epoch] for series in found] for epoch in shared]
    band = tuple((min(column), max(column)) for column in values) if len(found) > 1 else ()
    return Curve(tuple(shared), tuple(map(fmean, values)), band)
