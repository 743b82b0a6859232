"""`yolo-qreg allocate`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from yolo_qreg.analysis.sensitivity_record import load_sensitivity
from yolo_qreg.cli.options import PATH
from yolo_qreg.errors import InputError

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


class Amount(click.ParamType):  # type: ignore[type-arg]
    """A number with a unit, such as 1.0MB or 40G."""

    name = "amount"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)b?", str(value).strip().lower())
        if found is None:
            raise InputError(
                f"{param.opts[0] if param else 'amount'} {value!r} is no amount; write 1.0MB, 800kB or 40G"
            )
        return float(found[1]) * _UNITS[found[2]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="SENSITIVITY", type=PATH)
@click.option("--size", type=Amount(), help="Most bytes of the packed file, such as 1.0MB.")
@click.option("--mean-bits", type=float, help="Most bits of a weight on average: 3 for the size of uniform 3 bits.")
@click.option("--bit-ops", type=Amount(), help="Most multiply-accumulates x bits of weights for a picture, such as 4G.")
@click.option(
    "--by",
    type=click.Choice(["loss", "map", "estimate"]),
    default="loss",
    show_default=True,
    help="Cost of a layer: measured rise of the loss, measured drop of mAP, or estimated rise of the loss.",
)
@click.option("--out", type=PATH, default=Path("plan.yaml"), show_default=True, help="File of the plan.")
def command(
    source: Path, size: float | None, mean_bits: float | None, bit_ops: float | None, by: str, out: Path
) -> None:
    """Choose a width for each layer under a budget, from what `yolo-qreg sensitivity` measured.

    The sum of what single layers cost is as small as can be. The plan is what `train` and `quantize` take.

    \b
    yolo-qreg allocate runs/sensitivity --size 1.0MB
    yolo-qreg allocate runs/sensitivity --mean-bits 3 --by estimate --out plan3.yaml
    yolo-qreg train --bits-plan plan.yaml --method lsq --data shapes
    """
    budgets = {"size": size, "mean-bits": mean_bits, "bit-ops": bit_ops}
    given = {kind: most for kind, most in budgets.items() if most is not None}
    if len(given) != 1:
        raise InputError("allocate takes one budget; give one of --size 1.0MB, --mean-bits 3 and --bit-ops 4G")
    found = load_sensitivity(source)
    from yolo_qreg.analysis.allocation import Budget
    from yolo_qreg.api import allocate
    from yolo_qreg.report.allocation import summary

    ((kind, most),) = given.items()
    budget = Budget(kind=kind, most=most)  # type: ignore[arg-type]
    for line in summary(found, allocate(found, budget, by, out), budget):  # type: ignore[arg-type]
        click.echo(line)
    click.echo(f"Plan: {out}")
