"""`yolo-qreg eval-corrupted`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from yolo_qreg.cli.options import DATA, FOLDER, PATH, WEIGHTS, WORKERS, trust
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.config import PALETTES, EvalConfig

if TYPE_CHECKING:
    from yolo_qreg.evaluation.results import Results


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("weights", nargs=-1, type=WEIGHTS, metavar="[WEIGHTS]...")
@click.option("--baseline", type=WEIGHTS, help="FP32 weights to compare with.")
@click.option("--data", type=DATA, help="voc, shapes or a YAML file.  [default: what the models were trained on]")
@click.option("--corruptions", "names", multiple=True, metavar="NAMES", help="Names or groups.  [default: all]")
@click.option("--severity", "severities", multiple=True, metavar="LIST", help="Such as 1,3,5.  [default: all five]")
@click.option("--imgsz", type=click.IntRange(32, 8192), help="Longer side in pixels.  [default: that of the training]")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Pictures at a time.")
@click.option("--device", default="", help="cpu, 0, mps, ...  [default: the host's choice]")
@click.option("--workers", type=WORKERS, help="Processes that damage pictures.  [default: by cores]")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that run models.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take N pictures, spread over the data set.")
@click.option("--seed", default=0, type=click.IntRange(min=0), help="Of corruptions and bootstrap.  [default: 0]")
@click.option("--resamples", default=1000, show_default=True, type=int, help="Of the bootstrap, 200 to 20,000.")
@click.option("--textures", type=PATH, help="Folder of pictures for frost.")
@click.option("--cache", type=FOLDER, help="Folder to keep corrupted pictures in.")
@click.option("--strict", is_flag=True, help="Stop at a picture that cannot be used instead of leaving it out.")
@click.option("--out", type=FOLDER, default=Path("runs/corrupted"), show_default=True)
@click.option("--palette", default="paper", show_default=True, type=click.Choice(PALETTES))
@trust
def command(
    weights: tuple[Path, ...],
    baseline: Path | None,
    data: str | None,
    names: tuple[str, ...],
    severities: tuple[str, ...],
    imgsz: int | None,
    batch: int,
    device: str,
    workers: int | None,
    jobs: int,
    limit: int | None,
    seed: int,
    resamples: int,
    textures: Path | None,
    cache: Path | None,
    strict: bool,
    out: Path,
    palette: str,
) -> None:
    """Measure models on clean and corrupted pictures, and what each gains or loses against its FP32 twin.

    WEIGHTS are run folders, .pt, .onnx or exported folders: anything that Ultralytics runs. Without any, the newest
    quantized run is compared with its FP32 twin. Finished work is kept: the same command continues an interrupted one.

    \b
    yolo-qreg eval-corrupted
    yolo-qreg eval-corrupted runs/detect/dorefa-4bit runs/detect/lsq-4bit --baseline runs/detect/fp32
    yolo-qreg eval-corrupted model.onnx --baseline fp32.pt --data voc --corruptions noise,fog --severity 3
    """
    from corruptions.cli import severity_levels, split_names

    try:
        kinds, levels = split_names(names) or ["all"], severity_levels(severities)
    except ValueError as error:
        raise InputError(str(error)) from error
    config = EvalConfig(
        weights=weights,
        baseline=baseline,
        data=data,
        out=out,
        corruptions=kinds,
        severities=levels,
        imgsz=imgsz,
        batch=batch,
        device=device,
        workers=workers,
        jobs=jobs,
        limit=limit,
        seed=seed,
        resamples=resamples,
        textures=textures,
        cache=cache,
        strict=strict,
        palette=palette,
    )
    from yolo_qreg.api import evaluate

    show(evaluate(config), out)


def show(results: Results, out: Path) -> None:
    """Print what an evaluation found, and where it lies."""
    from yolo_qreg.evaluation.results import FEW_PICTURES
    from yolo_qreg.report.evaluation import print_summary
    from yolo_qreg.report.page import PAGE

    if left_out := results.setup.get("pictures left out"):
        click.echo(
            f"left out, not whole pictures with right labels, or too small: {', '.join(left_out)} ({len(left_out)})",
            err=True,
        )
    for model, count in results.setup.get("detections left out", {}).items():
        click.echo(f"{model}: {count} detections left out, their boxes are not finite numbers", err=True)
    if without := results.setup.get("corruptions left out"):
        click.echo(f"left out, as they need colour and the pictures are grey: {', '.join(without)}", err=True)
    if results.setup["pictures"] < FEW_PICTURES:
        click.echo(f"only {results.setup['pictures']} pictures: do not rely on these intervals", err=True)
    print_summary(results)
    click.echo(f"Scores: {out / 'scores.csv'}\nReport: {out / PAGE}")
