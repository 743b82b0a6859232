"""`yolo-qreg train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yolo_qreg.cli.options import BITS_PLAN, DATA, MODEL, RUN, SEED, listed, pairs, trust
from yolo_qreg.config import QuantConfig, TrainConfig
from yolo_qreg.errors import InputError
from yolo_qreg.settings import check_settings, parse_settings


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--method",
    default="dorefa",
    show_default=True,
    help="dorefa, lsq, noise, binaryconnect, ternary, fixed, dynamic-fixed, or one of another package.",
)
@click.option("--bits", default="8", show_default=True, help="1-8 (lsq: 2-8), or 32 for the FP32 twin.")
@click.option("--bits-plan", type=BITS_PLAN, help="YAML file with a width for each layer, as allocate writes.")
@click.option("--progressive", is_flag=True, help="With --bits 8,4,2: train each from the one before.")
@click.option("--option", "options", multiple=True, callback=pairs, metavar="KEY=VALUE", help="Setting of the method.")
@click.option("--data", type=DATA, default="voc", show_default=True, help="voc, shapes or a data set's YAML file.")
@click.option(
    "--model",
    type=MODEL,
    default="yolov5n.yaml",
    show_default=True,
    help="Model YAML (from scratch) or .pt (fine-tune).",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of every random draw.")
@click.option("--skip", multiple=True, callback=listed(), metavar="GLOBS", help="Blocks left in float: 'model.24.*'.")
@click.option("--first-bits", type=int, help="Bits of the first convolution; 32 leaves it in float.")
@click.option("--last-bits", type=int, help="Quantize the head's output convolutions too (lsq).")
@click.option("--per-channel", is_flag=True, help="One scale per output channel (lsq, dorefa, ternary).")
@click.option("--init", default="", metavar="[paper|mse]", help="How steps start (lsq).")
@click.option("--bn-images", type=int, help="Images to re-estimate BatchNorm on; 0: off.  [default: 256 at 1-4 bits]")
@click.option("--bn-tune", type=int, default=0, metavar="N", help="Train only BatchNorm's scales in the last N epochs.")
@click.option("--activations", type=int, metavar="BITS", help="Quantize what convolutions read, 2-8.  [default: float]")
@click.option(
    "--activation-method", default="", metavar="[lsq|pact|observer|dynamic-fixed]", help="How.  [default: lsq]"
)
@click.option(
    "--activation-grid",
    default="",
    metavar="[symmetric|affine|unsigned]",
    help="Signed, with a zero point, or without negative values.  [default: symmetric at 8 bits, affine below]",
)
@click.option(
    "--grad-l1",
    type=float,
    default=0.0,
    metavar="LAMBDA",
    help="With --bits 32: add LAMBDA times the l1 norm of the gradient to the loss, so that rounding costs less later.",
)
@click.option(
    "--resume",
    type=RUN,
    help="Continue this run (folder or last.pt); --data says where its data set is now, if it was moved.",
)
@trust
def command(settings: tuple[str, ...], resume: Path | None, **options: Any) -> None:
    """Train YOLOv5n with quantized weights.

    Every Ultralytics training setting passes through as KEY=VALUE: epochs=50 imgsz=320 batch=64 device=0 ...

    \b
    yolo-qreg train --bits 8 --method dorefa
    yolo-qreg train --bits 4 --method lsq --data shapes epochs=20 imgsz=320
    yolo-qreg train --bits 8,4,2 --progressive --method lsq --data shapes epochs=20
    yolo-qreg train --bits-plan plan.yaml --method lsq --data shapes epochs=20
    yolo-qreg train --resume runs/detect/dorefa-8bit
    yolo-qreg train --resume runs/detect/dorefa-8bit --data moved/data.yaml device=1
    """
    passed = check_settings(parse_settings(settings))
    context = click.get_current_context()
    if resume is not None:
        given = [
            name for name in options if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        ]
        data = options["data"] if "data" in given else None
        if given := [name for name in given if name != "data"]:
            names = ", ".join("--" + name.replace("_", "-") for name in given)
            raise InputError(f"--resume takes these from the run: {names}; drop them, or start a new run")
        from yolo_qreg import api

        folders = [api.resume(resume, passed, data)]
    else:
        data, model, seed = options.pop("data"), options.pop("model"), options.pop("seed")
        if options["bits_plan"] is not None:
            for name in ("bits", "progressive"):
                if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                    raise InputError(f"--{name} and --bits-plan both say widths; drop one of them")
        quants = _quants(**options)
        config = TrainConfig(quant=quants[0], data=data, model=model, seed=seed, settings=passed)
        from yolo_qreg.api import train, train_in_turn

        folders = train_in_turn(config, quants) if len(quants) > 1 else [train(config)]
    for folder in folders:
        click.echo(f"\nResults: {folder}\nWeights: {folder / 'weights' / 'best.pt'} (loads in plain Ultralytics)")


def _quants(*, bits: str, bits_plan: dict[str, Any] | None, progressive: bool, **options: Any) -> list[QuantConfig]:
    """Return what is trained, all of it checked before anything is."""
    if bits_plan is not None:
        return [QuantConfig(widths=bits_plan, **options)]
    try:
        widths = [int(word) for word in bits.split(",")]
    except ValueError as error:
        raise InputError(f"--bits {bits!r} is no width; write 8, or 8,4,2 with --progressive") from error
    if progressive and len(widths) == 1:
        raise InputError(f"--progressive takes several widths, not {bits}; write --bits 8,4,2")
    if not progressive and len(widths) > 1:
        raise InputError(f"--bits {bits} are several trainings; add --progressive, or use the study command")
    if len(set(widths)) < len(widths):
        raise InputError(f"--bits {bits} has a width twice; give each once")
    return [QuantConfig(bits=width, **options) for width in widths]
