"""`yolo-qreg study`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolo_qreg.cli.train import parse_setting
from yolo_qreg.errors import InputError
from yolo_qreg.quant.registry import METHODS

if TYPE_CHECKING:
    from yolo_qreg.study.plan import Study
    from yolo_qreg.study.runs import Place, Progress
    from yolo_qreg.study.training import Site

SEVERAL: dict[str, Callable[[str], bool]] = {
    "--methods": METHODS.__contains__,
    "--bits": str.isdigit,
    "--seeds": str.isdigit,
}
"""Options with more than one value, and what such a value looks like."""
PLAN = "study.yaml"


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
@click.option("--data", help="voc, shapes or a data set's YAML file.")
@click.option("--model", help="Model YAML (from scratch) or .pt (fine-tune).")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Trainings at a time.")
@click.option("--device", default="", help="cpu, 0, mps, ...  [default: the host's choice]")
@click.option(
    "--ray", metavar="ADDRESS", help="Work on a Ray cluster: local, auto or HOST:PORT; --jobs is per GPU then."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the study.  [default: runs/study/NAME]")
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
    from yolo_qreg.study.plan import load_study, note_plan
    from yolo_qreg.study.runs import check_same, places

    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise InputError(f"{names[1]} is one word too many; a study has one name, and settings are KEY=VALUE")
    study = _study(names, dict(parse_setting(word) for word in words if "=" in word), grid)
    folder = out or Path("runs/study") / (Path(names[0]).stem if names else "study")
    if (folder / PLAN).is_file():
        check_same(study, load_study(str(folder / PLAN)), folder)
    todo = places(study, folder)
    if status:
        _show(todo, study, jobs)
        return
    _check(study)
    site = _site(ray, jobs, device or str(study.train.get("device") or ""))
    note_plan(study, folder / PLAN)
    _train(study, todo, site)
    _evaluate(study, [place for place in todo if place.progress().state == "finished"], folder, site)
    _show(todo, study, jobs)
    if any(place.progress().state != "finished" for place in todo):
        click.get_current_context().exit(1)


def _study(names: list[str], settings: dict[str, Any], grid: dict[str, Any]) -> Study:
    from yolo_qreg.study.plan import Study, load_study, study_from

    base = (load_study(names[0]) if names else Study()).to_dict()
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in grid.items() if value}
    return study_from({**base, **given, "train": {**base["train"], **settings}})


def _check(study: Study) -> None:
    """Check what all trainings share before anything is begun; the data set is made or scanned here."""
    from yolo_qreg.host.datasets import resolve_data, validation_pictures
    from yolo_qreg.host.run import check_model, check_settings
    from yolo_qreg.study.runs import model_of

    check_settings(study.train)
    check_model(model_of(study))
    data = resolve_data(study.data)
    for split in ("train", "val"):  # the host keeps what it found; trainings side by side must not write that at once
        validation_pictures(data, split=split)


def _site(address: str | None, jobs: int, device: str) -> Site:
    if address is None:
        from yolo_qreg.study.training import Machine

        return Machine(jobs, device)
    from yolo_qreg.study.cluster import Cluster

    return Cluster.connect(address, jobs, device)


def _train(study: Study, todo: list[Place], site: Site) -> None:
    from yolo_qreg.study.training import Trainer

    missing = [place for place in todo if place.progress().state != "finished"]
    if not missing:
        return

    def told(place: Place, progress: Progress) -> None:
        note = f": {progress.reason}" if progress.reason else ""
        click.echo(f"{place.run.name}: {progress.state} after {progress.epochs} epochs{note}", err=True)

    click.echo(f"training {', '.join(place.run.name for place in missing)}; logs lie in {missing[0].runs}", err=True)
    settings = {key: value for key, value in study.train.items() if key != "device"}
    settings |= {"device": site.device} if site.device else {}
    try:
        Trainer(replace(study, train=settings), site).run(missing, told)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("interrupted; repeat the command to continue the study") from stop


def _evaluate(study: Study, finished: list[Place], folder: Path, site: Site) -> None:
    from yolo_qreg.cli.progress import watched
    from yolo_qreg.report import write_report
    from yolo_qreg.study.evaluation import evaluate_study
    from yolo_qreg.study.report import print_study_summary, write_study_report

    try:
        with watched() as watch:
            found = evaluate_study(study, finished, folder, site, watch)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("interrupted; repeat the command to continue the study") from stop
    for seed, results in found.items():
        write_report(folder / f"seed-{seed}", results)
    page = write_study_report(study, folder, by_seed=found)
    print_study_summary(study, folder, by_seed=found)
    click.echo(f"\nReport: {page}; those of the seeds: {', '.join(f'seed-{seed}' for seed in found) or 'none'}")


def _show(todo: list[Place], study: Study, jobs: int) -> None:
    from yolo_qreg.study.runs import time_left

    progress = [place.progress() for place in todo]
    for place, entry in zip(todo, progress, strict=True):
        note = f"  {entry.reason}" if entry.reason else ""
        click.echo(f"{place.run.name:24} {entry.state:9} {entry.epochs:4}/{study.epochs} epochs{note}")
    if seconds := time_left(progress, study.epochs, jobs):
        click.echo(f"about {timedelta(seconds=round(seconds))} of training left with {jobs} at a time")
