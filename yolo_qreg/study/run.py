"""A study from its plan to its page: trainings, evaluation, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from yolo_qreg.evaluation.results import Results
from yolo_qreg.progress import Tell, teller, watched
from yolo_qreg.settings import check_settings
from yolo_qreg.study.plan import PLAN, Study, load_study, note_plan
from yolo_qreg.study.runs import Place, Progress, check_same, places
from yolo_qreg.study.training import Machine, Site, Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a study.

    Attributes:
        folder: Where it lies.
        places: Its trainings, by seed, the FP32 twin first; `progress()` of one says how it ended.
        results: Evaluations by seed; a seed without a finished FP32 twin has none.
        page: The report.
    """

    folder: Path
    places: tuple[Place, ...]
    page: Path
    results: Mapping[int, Results] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every training is finished."""
        return all(place.progress().state == "finished" for place in self.places)


def known_places(study: Study, out: Path) -> list[Place]:
    """Return where the trainings of a study lie.

    Raises:
        InputError: The folder holds another study.
    """
    if (out / PLAN).is_file():
        check_same(study, load_study(str(out / PLAN)), out)
    return places(study, out)


def run_study(
    study: Study, out: Path, *, jobs: int = 1, device: str = "", ray: str | None = None, quiet: bool = False
) -> Outcome:
    """Do what is missing of a study: see `yolo_qreg.run_study`."""
    todo = known_places(study, out)
    check(study)
    site = _site(ray, jobs, device or str(study.train.get("device") or ""))
    note_plan(study, out / PLAN)
    try:
        _train(study, todo, site, teller(quiet))
        finished = [place for place in todo if place.progress().state == "finished"]
        page, found = _evaluate(study, finished, out, site, quiet)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("interrupted; repeat the command to continue the study") from stop
    return Outcome(folder=out, places=tuple(todo), page=page, results=found)


def check(study: Study) -> None:
    """Check what all trainings share before anything is begun; the data set is made or scanned here.

    Raises:
        InputError: Something cannot be used.
    """
    from yolo_qreg.evaluation.evaluate import load_material, possible
    from yolo_qreg.host.datasets import prepare_for_trainings, resolve_data
    from yolo_qreg.host.run import check_model
    from yolo_qreg.study.runs import model_of

    check_settings(study.train)
    check_model(model_of(study))
    data = resolve_data(study.data)
    possible(study.evaluation.corruptions, load_material(data, study.evaluation.limit).channels, data)
    prepare_for_trainings(data)


def _site(address: str | None, jobs: int, device: str) -> Site:
    if address is None:
        return Machine(jobs, device)
    from yolo_qreg.study.cluster import Cluster

    return Cluster.connect(address, jobs, device)


def _train(study: Study, todo: Sequence[Place], site: Site, tell: Tell) -> None:
    missing = [place for place in todo if place.progress().state != "finished"]
    if not missing:
        return

    def told(place: Place, progress: Progress) -> None:
        note = f": {progress.reason}" if progress.reason else ""
        tell(f"{place.run.name}: {progress.state} after {progress.epochs} epochs{note}")

    tell(f"training {', '.join(place.run.name for place in missing)}; logs lie in {missing[0].runs}")
    settings = {key: value for key, value in study.train.items() if key != "device"}
    settings |= {"device": site.device} if site.device else {}
    Trainer(replace(study, train=settings), site).run(missing, told)


def _evaluate(
    study: Study, finished: Sequence[Place], out: Path, site: Site, quiet: bool
) -> tuple[Path, dict[int, Results]]:
    from yolo_qreg.report import write_report
    from yolo_qreg.study.evaluation import evaluate_study
    from yolo_qreg.study.report import write_study_report

    with watched(quiet) as watch:
        found = evaluate_study(study, finished, out, site, watch)
    for seed, results in found.items():
        write_report(out / f"seed-{seed}", results)
    return write_study_report(study, out, by_seed=found), found
