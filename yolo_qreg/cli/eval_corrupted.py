"""`yolo-qreg eval-corrupted`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yolo_qreg.errors import InputError

if TYPE_CHECKING:
    from yolo_qreg.evaluation.models import Subject
    from yolo_qreg.evaluation.tasks import Settings

RUNS = Path("runs/detect")
DEFAULT_SIZE = 640


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("weights", nargs=-1, type=click.Path(path_type=Path), metavar="[WEIGHTS]...")
@click.option("--baseline", type=click.Path(path_type=Path), help="FP32 weights to compare with.")
@click.option("--data", help="voc, shapes or a YAML file.  [default: what the models were trained on]")
@click.option("--corruptions", "names", multiple=True, metavar="NAMES", help="Names or groups.  [default: all]")
@click.option("--severity", "severities", multiple=True, metavar="LIST", help="Such as 1,3,5.  [default: all five]")
@click.option("--imgsz", type=click.IntRange(32, 8192), help="Longer side in pixels.  [default: that of the training]")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Pictures at a time.")
@click.option("--device", default="", help="cpu, 0, mps, ...  [default: the host's choice]")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that damage pictures.  [default: by cores]")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take N pictures, spread over the data set.")
@click.option("--seed", default=0, type=click.IntRange(min=0), help="Of corruptions and bootstrap.  [default: 0]")
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(min=200), help="Of the bootstrap.")
@click.option("--textures", type=click.Path(path_type=Path), help="Folder of pictures for frost.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder to keep corrupted pictures in.")
@click.option("--strict", is_flag=True, help="Stop at a picture that cannot be used instead of leaving it out.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/corrupted"), show_default=True)
@click.option("--palette", default="paper", show_default=True, type=click.Choice(["paper", "accessible"]))
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
    from corruptions import select
    from corruptions.cli import severity_levels, split_names
    from corruptions.registry import textures_for

    try:
        kinds, levels = select(split_names(names) or ["all"]), severity_levels(severities)
        textures_for(kinds, textures)
    except ValueError as error:
        raise InputError(str(error)) from error

    from yolo_qreg.evaluation.damage import default_workers
    from yolo_qreg.evaluation.models import training_data, training_size
    from yolo_qreg.evaluation.tasks import Settings
    from yolo_qreg.host.datasets import resolve_data
    from yolo_qreg.host.predict import device_type

    chosen, base = _choose(weights, baseline)
    named = data or training_data(chosen)
    if named is None:
        raise InputError("the weights name no data set that is on this machine; name one with --data")
    size = imgsz or training_size(chosen)
    if size is None:
        click.echo(f"the weights do not agree on an image size: taking {DEFAULT_SIZE} (--imgsz)", err=True)
    settings = Settings(
        data=resolve_data(named),
        out=out,
        imgsz=size or DEFAULT_SIZE,
        corruptions=kinds,
        severities=levels,
        batch=batch,
        device=device,
        workers=default_workers(device_type(device)) if workers is None else workers,
        limit=limit,
        seed=seed,
        resamples=resamples,
        cache=cache,
        textures=None if textures is None else str(textures),
        strict=strict,
    )
    run_evaluation(chosen, base, settings, palette)


def _choose(weights: tuple[Path, ...], baseline: Path | None) -> tuple[list[Subject], str]:
    """Return the models, the baseline first, and the baseline's name; say what was taken unasked."""
    from yolo_qreg.evaluation.models import find_twin, newest_quantized, subjects
    from yolo_qreg.quant.registry import FLOAT_BITS

    found = subjects(weights or [newest_quantized(RUNS)])
    if baseline is not None:
        both = subjects([baseline, *(subject.path for subject in found)])
        return both, both[0].model.name
    floats = [subject for subject in found if subject.model.bits == FLOAT_BITS]
    if len(floats) == 1:
        return [*floats, *(subject for subject in found if subject is not floats[0])], floats[0].model.name
    twin = next((path for subject in found if (path := find_twin(subject))), None)
    if twin is None:
        raise InputError(f"{found[0].path} has no FP32 twin beside it; train one with --bits 32, or name --baseline")
    both = subjects([twin, *(subject.path for subject in found)])
    click.echo(f"models: {', '.join(str(s.path) for s in both[1:])}; FP32 twin: {both[0].path}", err=True)
    return both, both[0].model.name


def run_evaluation(chosen: list[Subject], base: str, settings: Settings, palette: str = "paper") -> None:
    """Evaluate with progress, write scores, pictures and page, and print the tables.

    Args:
        chosen: The models.
        base: Name of the baseline.
        settings: What to evaluate.
        palette: "paper" or "accessible".
    """
    from dataclasses import replace

    from yolo_qreg.cli.progress import watched
    from yolo_qreg.evaluation.evaluate import evaluate
    from yolo_qreg.evaluation.results import FEW_PICTURES, save
    from yolo_qreg.report import write_report
    from yolo_qreg.report.terminal import print_summary

    try:
        with watched() as watch:
            results = evaluate(chosen, base, settings, watch)
        line = shlex.join(["yolo-qreg", *click.get_current_context().obj])
        results = replace(results, setup={**results.setup, "command": line})
        save(results, settings.out)
        page = write_report(settings.out, results, palette=palette)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"interrupted; what was finished is kept in {settings.out}: repeat the command to continue"
        ) from stop
    if left_out := results.setup.get("pictures left out"):
        click.echo(
            f"left out, not whole pictures with right labels, or too small: {', '.join(left_out)} ({len(left_out)})",
            err=True,
        )
    if results.setup["pictures"] < FEW_PICTURES:
        click.echo(f"only {results.setup['pictures']} pictures: do not rely on these intervals", err=True)
    print_summary(results)
    click.echo(f"Scores: {settings.out / 'scores.csv'}\nReport: {page}")
