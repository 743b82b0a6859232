"""`yolo-qreg quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yolo_qreg.cli.options import BITS_PLAN, CHECKPOINT, DATA, FOLDER, Variadic, listed, pairs, trust
from yolo_qreg.config import BN_IMAGES, QuantConfig
from yolo_qreg.errors import InputError


@click.command(cls=Variadic, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="RUN_OR_PT", type=CHECKPOINT)
@click.option("--bits", multiple=True, callback=listed(int), metavar="LIST", help="Such as 8,4,2.")
@click.option("--bits-plan", type=BITS_PLAN, help="YAML file with a width for each layer, as allocate writes.")
@click.option("--method", default="lsq", show_default=True, help="Weight quantizer.")
@click.option("--option", "options", multiple=True, callback=pairs, metavar="KEY=VALUE", help="Setting of the method.")
@click.option("--skip", multiple=True, callback=listed(), metavar="GLOBS", help="Blocks left in float: 'model.24.*'.")
@click.option("--first-bits", type=int, help="Bits of the first convolution; 32 leaves it in float.")
@click.option("--last-bits", type=int, help="Quantize the head's output convolutions too (lsq).")
@click.option("--per-channel", is_flag=True, help="One scale per output channel (lsq, dorefa, ternary).")
@click.option("--activations", type=int, metavar="BITS", help="Quantize activations too, 2-8.  [default: float]")
@click.option(
    "--activation-method", default="", metavar="[lsq|pact|observer|dynamic-fixed]", help="How.  [default: lsq]"
)
@click.option("--activation-grid", default="", metavar="[symmetric|affine|unsigned]", help="As in yolo-qreg train.")
@click.option(
    "--bn-images", type=int, default=BN_IMAGES, show_default=True, help="Images to re-estimate BatchNorm on; 0: off."
)
@click.option("--adaround", is_flag=True, help="Learn layer by layer which way weights are rounded (lsq); minutes.")
@click.option("--data", type=DATA, help="Data whose training pictures are looked at.  [default: of training]")
@click.option("--out", type=FOLDER, help="Folder of the files; beside the weights by default.")
@trust
def command(
    source: Path,
    bits: tuple[int, ...],
    bits_plan: dict[str, Any] | None,
    adaround: bool,
    data: str | None,
    out: Path | None,
    **options: Any,
) -> None:
    """Quantize float weights without training: what quantization-aware training has to beat.

    The quantizers are those of `yolo-qreg train`, and the files those of a run: eval-corrupted and export take them.
    Steps have the least squared error, and BatchNorm is estimated anew on training pictures.

    \b
    yolo-qreg quantize runs/detect/fp32 --bits 8,4,2
    yolo-qreg quantize runs/detect/fp32 --bits 8 --activations 8 --method dorefa
    """
    configs = [QuantConfig(bits=width, **options) for width in bits]
    if bits_plan is not None:
        configs.append(QuantConfig(widths=bits_plan, **options))
    if not configs:
        raise InputError("no width is given; name some with --bits 8,4,2, or a file with --bits-plan")
    from yolo_qreg.api import quantize

    for file in quantize(source, configs, out, data, adaround=adaround, quiet=False):
        click.echo(file)
