"""`yolo-qreg analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yolo_qreg.analysis.config import AnalysisConfig
from yolo_qreg.cli.options import ANALYZED, DATA, FOLDER, Variadic, listed, trust
from yolo_qreg.evaluation.config import PALETTES


@click.command(cls=Variadic, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("sources", nargs=-1, required=True, type=ANALYZED, metavar="RUN|WEIGHTS|STUDY...")
@click.option("--data", type=DATA, help="voc, shapes or a YAML file.  [default: what the models were trained on]")
@click.option("--images", default=64, show_default=True, type=int, help="Training pictures, and validation pictures.")
@click.option("--layer-images", default=16, show_default=True, type=int, help="Training pictures for single layers.")
@click.option("--imgsz", type=int, help="Sides in pixels; less is faster.  [default: those of the training]")
@click.option("--bits", multiple=True, callback=listed(int), metavar="LIST", help="Widths of noise.  [default: 8,4,2]")
@click.option(
    "--methods", multiple=True, callback=listed(), metavar="LIST", help="In float weights.  [default: dorefa,lsq]"
)
@click.option("--probes", default=8, show_default=True, type=int, help="Random vectors for each trace and norm.")
@click.option("--directions", default=3, show_default=True, type=int, help="Random directions to take the loss along.")
@click.option("--seed", default=0, show_default=True, type=int, help="Of everything random.")
@click.option("--device", default="cpu", show_default=True, help="cpu, 0, mps, ...")
@click.option("--out", type=FOLDER, help="Folder of the results.  [default: runs/analysis, or STUDY/analysis]")
@click.option("--palette", default="paper", show_default=True, type=click.Choice(PALETTES))
@trust
def command(sources: tuple[Path, ...], out: Path | None, **options: Any) -> None:
    """Measure what quantization does to trained models: is it regularization?

    Noise of the weights at each width, the terms of the paper's Theorem 3.1 against what noise and quantization really
    do, and how sharp the loss is around quantized weights. Of a STUDY, all finished models, and how each measure goes
    with the gaps to corrupted and to unseen pictures. Finished parts are kept: the same command goes on.

    \b
    yolo-qreg analyze runs/detect/dorefa-4bit
    yolo-qreg analyze fp32.pt --bits 8,4,2 --imgsz 320
    yolo-qreg analyze runs/study/paper --images 128
    """
    given = {name: value for name, value in options.items() if value not in ((), None)}
    study = sources[0] if len(sources) == 1 and (sources[0] / "study.yaml").is_file() else None
    folder = out or (study / "analysis" if study else Path("runs/analysis"))
    config = AnalysisConfig(sources=sources, out=folder, **given)
    from yolo_qreg.api import analyze
    from yolo_qreg.report.analysis import print_analysis_summary
    from yolo_qreg.report.page import PAGE

    print_analysis_summary(analyze(config))
    click.echo(f"Report: {folder / PAGE}")
