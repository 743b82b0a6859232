"""How much of a difference in validation losses is one of BatchNorm statistics: models as they are, and with new ones.

    python benchmarks/batchnorm.py runs/study/overfitting --data voc-lite.yaml --write

Statistics at few bits are estimated anew on training pictures before each validation, those of FP32 and 8 bits are
running ones. Here the best weights of each training of a study are validated both ways, on the same pictures. `--write`
keeps the losses beside the controls in docs/results/overfitting, and fills the block "batchnorm" of
docs/results/overfitting.md.
"""

from __future__ import annotations

import copy
import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import torch
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # before this folder, whose corruptions.py is another

from yolo_qreg.files import fill_block  # noqa: E402
from yolo_qreg.findings.names import kind_of  # noqa: E402
from yolo_qreg.findings.spread import over_seeds  # noqa: E402
from yolo_qreg.host import checkpoint  # noqa: E402
from yolo_qreg.host.batchnorm import reestimate  # noqa: E402
from yolo_qreg.quant.registry import FLOAT_BITS  # noqa: E402
from yolo_qreg.report.render import to_markdown  # noqa: E402
from yolo_qreg.report.table import GAIN, Column, Row, Table, gain_cell, number_cell, table, text_cell  # noqa: E402
from yolo_qreg.study.plan import PLAN, load_study  # noqa: E402
from yolo_qreg.study.runs import places  # noqa: E402

RESULTS = ROOT / "docs" / "results"
KEPT = RESULTS / "overfitting" / "controls" / "batchnorm.csv"
BATCH = 32
WAYS = ("as saved", "estimated anew")
COLUMNS = ("weights", "bits", "seed", *WAYS)


def batches(dataset: Any, images: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield batches of a data set, or of so many of its pictures, evenly spread; pixels are 0 to 1."""
    chosen = np.linspace(0, len(dataset) - 1, images or len(dataset)).astype(int).tolist()
    for start in range(0, len(chosen), BATCH):
        batch = dataset.collate_fn([dataset[index] for index in chosen[start : start + BATCH]])
        yield {**batch, "img": batch["img"].float() / 255}


@torch.no_grad()
def validation_loss(model: Any, dataset: Any) -> float:
    """Return the mean over pictures of box + cls + dfl, as the host's validation has it."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches(dataset):
        loss, _ = model.loss(batch)  # times the pictures of the batch
        total += float(loss.sum())
        count += len(batch["img"])
    return total / count


def measure(weights: Path, validation: Any, training: Any, images: int) -> tuple[float, float]:
    """Return the validation loss of a model as it is, and with BatchNorm statistics of training pictures."""
    model: nn.Module = checkpoint.load(weights)[0].float()
    model.args = SimpleNamespace(**vars(get_cfg()))  # type: ignore[assignment]
    anew = copy.deepcopy(model)
    reestimate(anew, (batch["img"] for batch in batches(training, images)))
    return validation_loss(model, validation), validation_loss(anew, validation)


def summary(rows: list[Mapping[str, str]]) -> Table:
    """Return means over seeds both ways, and changes from the FP32 models of the same seeds with intervals."""
    found: dict[tuple[str, str], dict[int, Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault((row["weights"], row["bits"]), {})[int(row["seed"])] = row
    base = next(by_seed for (_, bits), by_seed in found.items() if int(bits) == FLOAT_BITS)
    columns = [Column("weights", "weights", words=True)]
    columns += [Column(way, f"{way}: validation loss") for way in WAYS]
    columns += [Column(f"{way} change", f"{way}: change from FP32, {GAIN.removeprefix('gain ')}") for way in WAYS]
    lines = []
    for (method, bits), by_seed in found.items():
        own = by_seed is base
        changes = ({s: float(row[way]) - float(base[s][way]) for s, row in by_seed.items()} for way in WAYS)
        cells = (
            text_cell(kind_of(None if own else method, int(bits))),
            *(number_cell(fmean(float(row[way]) for row in by_seed.values()), 3) for way in WAYS),
            *(gain_cell(None if own else over_seeds(change), 3, less_is_better=True) for change in changes),
        )
        lines.append(Row(cells, "base" if own else ""))
    return table(columns, lines)


def read_kept() -> list[Mapping[str, str]]:
    """Return the losses in the documentation."""
    with KEPT.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@click.command()
@click.argument("study", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path), help="As the trainings had it.")
@click.option("--images", default=256, show_default=True, help="Training pictures for new statistics.")
@click.option("--write", is_flag=True, help="Keep the losses, and fill the page.")
def main(study: Path, data: Path, images: int, write: bool) -> None:
    """Validate the models of STUDY as they are and with new statistics."""
    torch.set_num_threads(1)
    plan = load_study(str(study / PLAN))
    args = get_cfg(overrides={"imgsz": plan.train["imgsz"], "data": str(data), "task": "detect"})
    found = check_det_dataset(str(data))
    make = {rect: build_yolo_dataset(args, found[s], BATCH, found, "val", rect, 32) for rect, s in SPLITS.items()}
    rows = []
    for place in places(plan, study):
        quant = place.run.quant
        losses = measure(place.weights, make[True], make[False], images)
        rows.append(dict(zip(COLUMNS, (quant.method, quant.bits, place.run.seed, *losses), strict=True)))
        click.echo(f"{place.run.name}: " + ", ".join(f"{w} {x:.3f}" for w, x in zip(WAYS, losses, strict=True)))
    text = [{key: str(value) for key, value in row.items()} for row in rows]
    if write:
        with KEPT.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(text)
        fill_block(RESULTS / "overfitting.md", "batchnorm", to_markdown(summary(read_kept())))
    else:
        click.echo(to_markdown(summary(text)))


SPLITS = {True: "val", False: "train"}
"""Validation pictures are padded as little as a batch allows, training pictures to squares, as the host does."""

if __name__ == "__main__":
    main()
