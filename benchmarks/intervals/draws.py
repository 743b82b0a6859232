"""Data sets drawn from a population, each bootstrapped as an evaluation does; one line of a file for each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
from interval_methods import METHODS
from populations import ONE, PAIRS, Pictures, Simulated, differences, shortened

from corruptions import select
from yolo_qreg.evaluation.bootstrap import image_weights
from yolo_qreg.evaluation.config import Settings
from yolo_qreg.evaluation.evaluate import fill, prepare
from yolo_qreg.evaluation.matching import match
from yolo_qreg.evaluation.models import subjects

MOST_PARTS = 50
"""Of a jackknife: pictures are left out one by one, or in so many parts."""
FIELDS = ("pair", "size", "draw", "kind", "truth", "stretch", "estimate", *(f"{m} {e}" for m in METHODS for e in "lh"))


def one_draw(
    population: Pictures | Simulated, pair: str, size: int, number: int, resamples: int
) -> Iterator[dict[str, Any]]:
    """Yield the estimate and all intervals of one data set, for each kind."""
    rng = np.random.default_rng([number, size, PAIRS.index(pair)])
    kinds = population.draw(pair, size, rng)
    parts = min(size, MOST_PARTS)
    without = (np.arange(size) % parts != np.arange(parts)[:, None]).astype(np.uint16)
    drawn = image_weights(size, resamples, seed=int(rng.integers(2**32)))
    found = differences(kinds, np.concatenate([np.ones((1, size), np.uint16), without, drawn]))
    for kind, values in found.items():
        known = np.nan_to_num(values[1 + parts :], nan=values[0])  # resamples without any object
        row: dict[str, Any] = {"pair": pair, "size": size, "draw": number, "kind": kind, "estimate": values[0]}
        for method, ends in METHODS.items():
            row[f"{method} l"], row[f"{method} h"] = ends(values[0], known, values[1 : 1 + parts])
        yield row


def draw_all(population: Pictures | Simulated, path: Path, sizes: Sequence[int], draws: int, resamples: int) -> None:
    """Append what is missing to a file of draws, a data set at a time."""
    done = {(row["pair"], int(row["size"]), int(row["draw"]), row["kind"]) for row in read(path)}
    truths = {pair: population.truth(pair) for pair in PAIRS}
    jobs = [
        (pair, size, number)
        for number, size, pair in product(draws, sizes, PAIRS)
        if any((pair, size, number, kind) not in done for kind in truths[pair])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file, click.progressbar(jobs, label=path.stem, show_pos=True) as bar:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        for pair, size, number in bar:
            rows = list(one_draw(population, pair, size, number, resamples))
            for row in rows:
                extra = {"truth": truths[pair][row["kind"]], "stretch": population.stretch(pair, size)}
                if (pair, size, number, row["kind"]) not in done:
                    writer.writerow(row | extra)
            file.flush()


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of draws; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def detected(weights: Sequence[Path], data: Path, imgsz: int, severity: int, out: Path, names: str) -> Pictures:
    """Return both models' matches on clean and on damaged pictures; what is not in the store is evaluated first."""
    settings = Settings(
        data=data,
        out=out,
        imgsz=imgsz,
        corruptions=select([*names.split(","), ONE]),
        severities=(severity,),
        workers=1,
    )
    ready = prepare(subjects(weights), settings)
    if not all(cell.detected() for by_model in ready.cells.values() for cell in by_model.values()):
        with click.progressbar(length=ready.views(), label="evaluation") as bar:
            fill(ready, lambda _, seen: bar.update(seen))
    kinds = {}
    for damage, by_model in ready.cells.items():
        first, second = (match(ready.material.truth, cell.detections()) for cell in by_model.values())
        kinds[damage.corruption] = shortened((first, second))
    return Pictures(kinds)
