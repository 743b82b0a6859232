"""Quantization health over a run: a CSV that grows by one block an epoch, and one picture drawn from it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from yolo_qreg.activations import ActivationHealth
from yolo_qreg.files import write_atomic
from yolo_qreg.health import LayerHealth

COLUMNS = ("epoch", "layer", "bits", "weights", "levels_used", "levels", "sqnr_db", "flipped", "oscillating")


def append(path: Path, epoch: int, rows: Sequence[LayerHealth]) -> None:
    """Add one epoch's rows to the CSV at `path`; epochs count from 1."""
    held = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] if path.exists() else ""
    columns = held.split(",") if held else COLUMNS  # a run of an earlier release goes on with those that it has
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not held:
            writer.writerow(COLUMNS)
        for r in rows:
            shares = ["" if share is None else f"{share:.6f}" for share in (r.flipped, r.oscillating)]
            row = [epoch, r.layer, r.bits, r.weights, r.levels_used, r.levels, f"{r.sqnr_db:.4f}", *shares]
            writer.writerow(row[: len(columns)])


def append_activations(path: Path, epoch: int, rows: Sequence[ActivationHealth]) -> None:
    """Add one epoch's rows of activations to the CSV at `path`; epochs count from 1."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(("epoch", *(f.name for f in fields(ActivationHealth))))
        for row in rows:
            numbers = (f"{row.scale:.9g}", row.zero_point, f"{row.sqnr_db:.4f}", f"{row.clipped:.6f}")
            writer.writerow((epoch, row.tensor, row.bits, *numbers))


def keep_epochs(path: Path, last: int) -> None:
    """Drop rows after epoch `last` from a CSV whose first column is the epoch: a resumed run writes them again.

    A row that a killed run left torn is dropped too, and so is a file without a header.
    """
    header, *rows = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""] if path.exists() else [""]
    if not header:
        path.unlink(missing_ok=True)
        return
    whole = [row for row in rows if row.count(",") == header.count(",")]
    kept = [row for row in whole if row.partition(",")[0].strip().isdecimal() and int(row.partition(",")[0]) <= last]
    text = "\n".join([header, *kept]) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def draw(path: Path, picture: Path) -> None:
    """Draw the CSV at `path` as three panels over layers and epochs; a file without rows draws nothing.

    Rows that a killed run left torn, or that somebody changed to no numbers, are left out.
    """
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = [row for row in csv.DictReader(file) if _is_whole(row)]
    if not rows:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = sorted({int(r["epoch"]) for r in rows})
    layers = list(dict.fromkeys(r["layer"] for r in rows))
    at = {(int(r["epoch"]), r["layer"]): r for r in rows}

    def table(column: str) -> np.ndarray:
        cells = [[at.get((e, n), {}).get(column, "") for e in epochs] for n in layers]
        return np.array([[float(c) if c else np.nan for c in row] for row in cells])

    figure = Figure(figsize=(13, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (
        ("levels used (%)", 100 * table("levels_used") / table("levels"), "viridis"),
        ("SQNR (dB)", table("sqnr_db"), "viridis"),
        ("codes flipped since the last epoch (%)", 100 * table("flipped"), "magma"),
    )
    for axes, (title, values, colours) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        extent = (epochs[0] - 0.5, epochs[-1] + 0.5, len(layers) - 0.5, -0.5)
        # an epoch missing from the file would shift the columns: draw each epoch where it belongs
        image = axes.imshow(values, aspect="auto", interpolation="nearest", cmap=colours, extent=extent)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        figure.colorbar(image, ax=axes)
        axes.set_ylabel(f"layer (0 = {layers[0]})" if axes.get_subplotspec().is_first_col() else "")
    write_atomic(picture, lambda file: figure.savefig(file, format="png", dpi=110))


def _is_whole(row: dict[str, str]) -> bool:
    try:
        return int(row["epoch"]) > 0 and bool([float(row.get(name) or 0) for name in COLUMNS[2:]])
    except (KeyError, TypeError, ValueError):
        return False
