"""Models compared on clean and corrupted pictures, alone and in studies, and their pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from yolo_qreg.progress import teller, watched

if TYPE_CHECKING:
    from yolo_qreg.evaluation.config import EvalConfig
    from yolo_qreg.evaluation.results import Results
    from yolo_qreg.study.plan import Study
    from yolo_qreg.study.run import Outcome

from yolo_qreg.api.interrupted import keeping


def evaluate(config: EvalConfig, *, quiet: bool = False) -> Results:
    """Measure models on clean and corrupted pictures, and what each gains or loses against its FP32 twin.

    `config.out` gets scores, differences, pictures and the page report.html. What was finished before is kept.

    Args:
        config: Models, pictures and damage.
        quiet: Whether to say nothing on the way.

    Returns:
        Scores (fractions) and differences (points, with 95% intervals); `results.delta(model, "all").points` is the
        mean gain over all corruptions.

    Raises:
        InputError: Weights or data cannot be used or do not fit each other, or a folder cannot be written.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.

    Example:
        `evaluate(EvalConfig(weights=["runs/detect/lsq-4bit"], corruptions=["fog"], severities=[3]))`
    """
    from yolo_qreg.evaluation import evaluate as work
    from yolo_qreg.evaluation.choice import choose, settle
    from yolo_qreg.evaluation.result_files import save
    from yolo_qreg.report.evaluation import write_report as write_page

    tell = teller(quiet)
    baseline = None if config.baseline is None else Path(config.baseline)
    chosen, base = choose([Path(path) for path in config.weights], baseline, tell)
    settings = settle(config, chosen, tell)
    with keeping(settings.out):
        with watched(quiet) as watch:
            results = work.evaluate(chosen, base, settings, watch)
        results = replace(results, setup={**results.setup, "command": config.command()})
        save(results, settings.out)
        write_page(settings.out, results, palette=config.palette)
    return results


def run_study(
    study: Study,
    out: str | Path,
    *,
    jobs: int = 1,
    device: str = "",
    ray: str | None = None,
    part: Literal["all", "train", "evaluate"] = "all",
    share_batches: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Train the FP32 twin and every method x bits x seed of a study, evaluate all of them, and report.

    Everything is resumable: the same call does what is missing, and the grid may have grown.

    Args:
        study: The grid and its schedule.
        out: Folder of the study.
        jobs: Trainings at a time; with `ray`, on each GPU. On a GPU, the evaluation has as many processes.
        device: As the host names it; "" lets the study's settings or the host choose.
        ray: Address of a Ray cluster ("local", "auto" or "HOST:PORT"); None works on this machine without Ray.
        part: "train" evaluates nothing, "evaluate" evaluates what is finished and trains nothing.
        share_batches: Whether trainings of a seed that work at once read the same augmented batches, made once; with
            `jobs` of 2 or more, on this machine. Results are those of trainings that load their own.
        quiet: Whether to say nothing on the way.

    Returns:
        How each training ended, the results by seed, and the page. A training that failed stops no other.

    Raises:
        InputError: The study, its data or its model cannot be used, or `out` holds another study.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.
    """
    from yolo_qreg.study.run import continuable
    from yolo_qreg.study.run import run_study as work

    with continuable():
        done = work(
            study, Path(out), jobs=jobs, device=device, ray=ray, part=part, share_batches=share_batches, quiet=quiet
        )
        if part == "train" or not done.finished:
            return done
        from yolo_qreg.report.evaluation import write_report as write_page
        from yolo_qreg.report.study import write_study_report

        for seed, results in done.results.items():
            write_page(done.folder / f"seed-{seed}", results)
        return replace(done, page=write_study_report(done.study, done.folder, by_seed=done.results))


def load_results(folder: str | Path) -> Results:
    """Read the results of an evaluation from its folder.

    Raises:
        InputError: It holds none, or damaged ones.
    """
    from yolo_qreg.evaluation import result_files

    return result_files.load(Path(folder))


def write_report(folder: str | Path, palette: str = "paper") -> Path:
    """Write the page and the figures of an evaluation or a study again, from its scores.

    Args:
        folder: What `evaluate`, `run_study` or `analyze` wrote.
        palette: "paper" (green and red) or "accessible" (blue and orange).

    Returns:
        The page.

    Raises:
        InputError: The folder holds no results, or there is no such palette.
    """
    from yolo_qreg.study.plan import PLAN, load_study

    folder = Path(folder)
    if (folder / PLAN).is_file():
        from yolo_qreg.report.study import write_study_report

        return write_study_report(load_study(str(folder / PLAN)), folder, palette)
    from yolo_qreg.analysis import run

    if (folder / run.FILE).is_file():
        from yolo_qreg.report.analysis import write_analysis_report

        return write_analysis_report(run.load(folder), folder, palette)
    from yolo_qreg.report.evaluation import write_report as write_page

    return write_page(folder, palette=palette)
