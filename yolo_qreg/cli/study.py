"""`yolo-qreg study`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolo_qreg.cli.options import DATA, MODEL, PATH, Variadic, listed, trust
from yolo_qreg.errors import InputError
from yolo_qreg.inputs import check_data, check_model_file
from yolo_qreg.progress import teller
from yolo_qreg.settings import parse_settings

if TYPE_CHECKING:
    from yolo_qreg.study.plan import Study
    from yolo_qreg.study.run import Part
    from yolo_qreg.study.runs import Place


@click.command(cls=Variadic, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("words", nargs=-1, metavar="[STUDY] [KEY=VALUE]...")
@click.option("--methods", multiple=True, callback=listed(), metavar="LIST", help="Quantizers, such as dorefa,lsq.")
@click.option("--bits", multiple=True, callback=listed(int), metavar="LIST", help="Widths, such as 8,4,2.")
@click.option("--seeds", multiple=True, callback=listed(int), metavar="LIST", help="Everything is trained for each.")
@click.option("--data", type=DATA, help="voc, shapes or a data set's YAML file.")
@click.option("--model", type=MODEL, help="Model YAML (from scratch) or .pt (fine-tune).")
@click.option(
    "--bn-images", type=int, help="Images to re-estimate BatchNorm of all models on, FP32 too; 0: off.  [default: 256]"
)
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Trainings at a time; on a GPU evaluations, too.",
)
@click.option("--share-batches", is_flag=True, help="Make the pictures of a seed once for all trainings at work.")
@click.option("--device", default="", help="cpu, 0, mps, ...  [default: the host's choice]")
@click.option(
    "--ray", metavar="ADDRESS", help="Work on a Ray cluster: local, auto or HOST:PORT; --jobs is per GPU then."
)
@click.option("--out", type=PATH, help="Folder of the study.  [default: runs/study/NAME]")
@click.option("--status", is_flag=True, help="Show what is done, and end.")
@click.option("--train-only", is_flag=True, help="Evaluate nothing.")
@click.option("--evaluate-only", is_flag=True, help="Evaluate what is finished, and train nothing.")
@click.option("--export", "target", type=PATH, help="Write what is finished to a .tar to take elsewhere.")
@click.option(
    "--import",
    "sources",
    multiple=True,
    type=PATH,
    help="Take over what was trained elsewhere: a file of --export, or a copied folder; repeat.",
)
@trust
def command(
    words: tuple[str, ...],
    jobs: int,
    share_batches: bool,
    device: str,
    ray: str | None,
    out: Path | None,
    status: bool,
    train_only: bool,
    evaluate_only: bool,
    target: Path | None,
    sources: tuple[Path, ...],
    **grid: Any,
) -> None:
    """Train the FP32 twin and every method x bits x seed under one schedule, evaluate all, and report.

    STUDY is a YAML file or a preset: paper, quick or demo. Everything is resumable: the same command does what is
    missing, and a grid may grow. Without STUDY, the one that lies in --out goes on. With --ray, trainings and pictures
    are tasks of a Ray cluster.

    \b
    yolo-qreg study demo
    yolo-qreg study --methods dorefa,lsq --bits 8,4,2 --seeds 0,1,2 --data voc epochs=100 imgsz=320
    yolo-qreg study quick --jobs 4 --status
    \b
    yolo-qreg study paper --train-only --export paper.tar          # on a machine with a GPU
    yolo-qreg study --import paper.tar --evaluate-only --out paper  # at home
    """
    if train_only and evaluate_only:
        raise InputError("--train-only and --evaluate-only exclude each other; leave both out to do all")
    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise InputError(f"{names[1]} is one word too many; a study has one name, and settings are KEY=VALUE")
    folder = out or Path("runs/study") / (Path(names[0]).stem if names else "study")
    from yolo_qreg.study.run import requested

    study = requested(
        names[0] if names else None,
        folder,
        grid={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in grid.items()
            if value not in ((), None, "")
        },
        settings=parse_settings(word for word in words if "=" in word),
        sources=sources,
    )
    at_work = not (status or (target and not train_only))
    if sources or at_work:
        check_data(study.data)
    if sources:
        from yolo_qreg.study.run import import_trainings

        import_trainings(sources, study, folder, teller())
    if at_work:
        if not evaluate_only:
            check_model_file(study.model)
        part: Part = "train" if train_only else "evaluate" if evaluate_only else "all"
        whole = _run(study, folder, part, jobs=jobs, device=device, ray=ray, share_batches=share_batches)
    else:
        from yolo_qreg.study.run import known_places

        _show(known_places(study, folder), study, jobs)
        whole = True
    if target:
        from yolo_qreg.study.transfer import export

        sent = export(study, folder, target)
        click.echo(f"{target}: {', '.join(place.run.name for place in sent)}; elsewhere: study --import {target.name}")
    if not whole:
        click.get_current_context().exit(1)


def _run(study: Study, folder: Path, part: Part, *, jobs: int, **how: Any) -> bool:
    """Do a part of a study, show what came of it, and tell whether all that was to be done is done."""
    from yolo_qreg.api import run_study
    from yolo_qreg.report.study import print_study_summary

    done = run_study(study, folder, jobs=jobs, part=part, **how)
    if done.page:
        print_study_summary(done.study, folder, by_seed=done.results)
        seeds = ", ".join(f"seed-{seed}" for seed in done.results) or "none"
        click.echo(f"\nReport: {done.page}; those of the seeds: {seeds}")
    _show(done.places, study, jobs)
    return part == "evaluate" or done.complete


def _show(todo: Sequence[Place], study: Study, jobs: int) -> None:
    from yolo_qreg.study.runs import time_left

    progress = [place.progress() for place in todo]
    for place, entry in zip(todo, progress, strict=True):
        note = f"  {entry.reason}" if entry.reason else ""
        click.echo(f"{place.run.name:24} {entry.state:9} {entry.epochs:4}/{study.epochs} epochs{note}")
    if seconds := time_left(progress, study.epochs, jobs):
        click.echo(f"about {timedelta(seconds=round(seconds))} of training left with {jobs} at a time")
