"""What `--grad-l1` gains where weights are rounded without training, beside training with quantized weights.

    python benchmarks/grad_l1.py --data voc-lite.yaml --model fp32.pt --out grad-l1 epochs=2 imgsz=160 batch=32

From one FP32 model three kinds of trainings begin, alike but for their weights: in float, in float with the penalty,
and quantized (LSQ) at each width. Both float models are then quantized to each width without training, with BatchNorm
statistics kept and estimated anew. What is finished is kept: the same command goes on. Changes are from the model in
float without penalty that was quantized in the same way, with 95% intervals over pictures; all are of one seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from paired import ROOT, gain, paired

from yolo_qreg import QuantConfig, TrainConfig, quantize, resume, train
from yolo_qreg.config import BN_IMAGES
from yolo_qreg.files import fill_block
from yolo_qreg.host.history import read_run
from yolo_qreg.settings import parse_settings

PAGE = ROOT / "docs" / "mixed-widths.md"
WIDTHS = (8, 4, 3, 2)
FINE_TUNING = {"optimizer": "AdamW", "lr0": 0.0005, "warmup_epochs": 0, "plots": False}
"""Unless settings say otherwise."""
PLAIN, PENALTY = "float", "float, --grad-l1"
STATISTICS = {0: "statistics kept", BN_IMAGES: f"--bn-images {BN_IMAGES}"}


@dataclass(frozen=True)
class Trial:
    """What all trainings and evaluations share.

    Attributes:
        out: Folder of all results.
        data: The data set.
        model: What all trainings begin with.
        penalty: Weight of the gradient's l1 norm.
        settings: Of the host.
        limit: Of the pictures that are evaluated.
    """

    out: Path
    data: str
    model: str
    penalty: float
    settings: dict[str, Any]
    limit: int | None

    def run(self, name: str, quant: QuantConfig) -> Path:
        """Return weights of a finished training: do it, go on with it, or find it."""
        folder = self.out / name
        found = read_run(folder)
        if found is not None and not found.finished:
            resume(folder)
        elif found is None:
            place = {"project": str(self.out.resolve()), "name": name, "exist_ok": True}
            settings = {**FINE_TUNING, **self.settings, **place}
            train(TrainConfig(quant=quant, data=self.data, model=self.model, seed=0, settings=settings))
        return folder / "weights" / "best.pt"

    def rounded(self, weights: Path, bits: int, images: int) -> Path:
        """Return float weights that were quantized without training."""
        out = weights.parent / f"{bits}-{images}"
        out.mkdir(exist_ok=True)
        if not (found := sorted(out.glob("*.pt"))):
            found = quantize(weights, QuantConfig(method="lsq", bits=bits, bn_images=images), out, self.data)
        return found[0]

    def compare(self, models: dict[str, Path], baseline: str) -> dict[str, str]:
        """Return the mAP of models by name, in points, and what each gains on one of them."""
        others = [name for name in models if name != baseline]
        base, *found = paired(
            models[baseline],
            [models[name] for name in others],
            self.data,
            self.out / "scores",
            imgsz=int(self.settings["imgsz"]),
            limit=self.limit,
        )
        cells = {name: f"{entry['mAP']:.2f}, {gain(entry)}" for name, entry in zip(others, found, strict=True)}
        return {baseline: f"{base['mAP']:.2f}", **cells}


def measure(trial: Trial) -> str:
    """Train, quantize and evaluate what is missing; return the table."""
    plain = trial.run("float", QuantConfig(bits=32))
    penalty = trial.run("grad-l1", QuantConfig(bits=32, grad_l1=trial.penalty))
    columns = {"float": trial.compare({PLAIN: plain, PENALTY: penalty}, PLAIN)}
    trained = "trained with quantized weights"
    for bits in WIDTHS:
        cells: dict[str, str] = {}
        for images, how in STATISTICS.items():
            models = {f"{PLAIN}, {how}": trial.rounded(plain, bits, images)}
            models[f"{PENALTY}, {how}"] = trial.rounded(penalty, bits, images)
            if images:
                models[trained] = trial.run(
                    f"lsq-{bits}", QuantConfig(method="lsq", bits=bits, init="mse", bn_images=images)
                )
            cells |= trial.compare(models, f"{PLAIN}, {how}")
        columns[f"{bits} bits"] = cells
    rows = [PLAIN, PENALTY, *(f"{kind}, {how}" for how in STATISTICS.values() for kind in (PLAIN, PENALTY)), trained]
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    lines += [f"| {row} | " + " | ".join(cells.get(row, "") for cells in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--data", required=True, help="A data set's YAML file.")
@click.option("--model", required=True, help="FP32 weights.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("grad-l1"), show_default=True)
@click.option("--penalty", default=1e-4, show_default=True)
@click.option("--limit", type=int, help="Of the pictures that are evaluated.")
@click.option("--write", is_flag=True, help=f"Put the table into {PAGE.name}.")
@click.argument("settings", nargs=-1)
def main(
    data: str, model: str, out: Path, penalty: float, limit: int | None, write: bool, settings: tuple[str, ...]
) -> None:
    """Print the table."""
    table = measure(Trial(out, data, model, penalty, dict(parse_settings(settings)), limit))
    print(table)
    if write:
        fill_block(PAGE, "grad-l1", table)


if __name__ == "__main__":
    main()
