"""`yolo-qreg study`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolo_qreg.cli.options import DATA, MODEL, PATH
from yolo_qreg.errors import InputError
from yolo_qreg.inputs import check_data, check_model_file
from yolo_qreg.quant.registry import METHODS
from yolo_qreg.settings import check_settings, parse_settings

if TYPE_CHECKING:
    from yolo_qreg.study.plan import Study
    from yolo_qreg.study.runs import Place

SEVERAL: dict[str, Callable[[str], bool]] = {
    "--methods": METHODS.__contains__,
    "--bits": str.isdigit,
    "--seeds": str.isdigit,
}
"""Options with more than one value, and what such a value looks like."""


class Variadic(click.Command):
    """Lets options of `SEVERAL` take more than one value: --bits 8 4 2."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its values."""
        spread: list[str] = []
        option, values = "", 0
        for word in args:
            if word in SEVERAL:
                option, values = word, 0
            elif option and (not values or all(map(SEVERAL[option], word.split(",")))):
                spread += [part for value in word.split(",") for part in (option, value)]
                values += 1
            else:
                option = ""
                spread.append(word)
        return super().parse_args(ctx, spread)


@click.command(cls=Variadic, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("words", nargs=-1, metavar="[STUDY] [KEY=VALUE]...")
@click.option("--methods", multiple=True, metavar="M...", help="Quantizers, such as dorefa lsq.")
@click.option("--bits", multiple=True, type=int, metavar="B...", help="Widths, such as 8 4 2.")
@click.option("--seeds", multiple=True, type=int, metavar="S...", help="Seeds; everything is trained once for each.")
@click.option("--data", type=DATA, help="voc, shapes or a data set's YAML file.")
@click.option("--model", type=MODEL, help="Model YAML (from scratch) or .pt (fine-tune).")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Trainings at a time.")
@click.option("--device", default="", help="cpu, 0, mps, ...  [default: the host's choice]")
@click.option(
    "--ray", metavar="ADDRESS", help="Work on a Ray cluster: local, auto or HOST:PORT; --jobs is per GPU then."
)
@click.option("--out", type=PATH, help="Folder of the study.  [default: runs/study/NAME]")
@click.option("--status", is_flag=True, help="Show what is done, and end.")
def command(
    words: tuple[str, ...], jobs: int, device: str, ray: str | None, out: Path | None, status: bool, **grid: Any
) -> None:
    """Train the FP32 twin and every method x bits x seed under one schedule, evaluate all, and report.

    STUDY is a YAML file or a preset: paper, quick or demo. Everything is resumable: the same command does what is
    missing, and a grid may grow. With --ray, trainings and pictures are tasks of a Ray cluster.

    \b
    yolo-qreg study demo
    yolo-qreg study --methods dorefa lsq --bits 2 4 8 --seeds 0 1 2 --data voc epochs=100 imgsz=320
    yolo-qreg study quick --jobs 4 --status
    """
    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise InputError(f"{names[1]} is one word too many; a study has one name, and settings are KEY=VALUE")
    study = _study(names, parse_settings(word for word in words if "=" in word), grid)
    folder = out or Path("runs/study") / (Path(names[0]).stem if names else "study")
    if status:
        from yolo_qreg.study.run import known_places

        _show(known_places(study, folder), study, jobs)
        return
    from yolo_qreg.api import run_study
    from yolo_qreg.study.report import print_study_summary

    done = run_study(study, folder, jobs=jobs, device=device, ray=ray)
    print_study_summary(study, folder, by_seed=done.results)
    seeds = ", ".join(f"seed-{seed}" for seed in done.results) or "none"
    click.echo(f"\nReport: {done.page}; those of the seeds: {seeds}")
    _show(done.places, study, jobs)
    if not done.complete:
        click.get_current_context().exit(1)


def _study(names: list[str], settings: dict[str, Any], grid: dict[str, Any]) -> Study:
    from yolo_qreg.study.plan import Study, load_study, study_from

    base = (load_study(names[0]) if names else Study()).to_dict()
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in grid.items() if value}
    study = study_from({**base, **given, "train": check_settings({**base["train"], **settings})})
    check_data(study.data)
    check_model_file(study.model)
    return study


def _show(todo: Sequence[Place], study: Study, jobs: int) -> None:
    from yolo_qreg.study.runs import time_left

    progress = [place.progress() for place in todo]
    for place, entry in zip(todo, progress, strict=True):
        note = f"  {entry.reason}" if entry.reason else ""
        click.echo(f"{place.run.name:24} {entry.state:9} {entry.epochs:4}/{study.epochs} epochs{note}")
    if seconds := time_left(progress, study.epochs, jobs):
        click.echo(f"about {timedelta(seconds=round(seconds))} of training left with {jobs} at a time")
