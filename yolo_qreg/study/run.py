"""A study from its plan to its results: trainings, then every finished model against the FP32 twin of its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.result_files import save
from yolo_qreg.evaluation.results import Results
from yolo_qreg.files import sweep
from yolo_qreg.progress import Tell, teller, watched
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.settings import DEFAULT_SIZE, check_settings
from yolo_qreg.study.plan import PLAN, Study, load_study, note_plan, study_from
from yolo_qreg.study.runs import Place, Progress, check_same, places, whereabouts
from yolo_qreg.study.sharing import check_shareable
from yolo_qreg.study.training import Machine, Site, Trainer, is_trained_in
from yolo_qreg.study.transfer import adopted, take_over, write_manifest

if TYPE_CHECKING:
    from yolo_qreg.progress import Watch

Part = Literal["all", "train", "evaluate"]
"""What of a study is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a study.

    Attributes:
        study: The study, as its folder has it.
        folder: Where it lies.
        places: Its trainings, by seed, the FP32 twin first; `progress()` of one says how it ended.
        page: The report; None where nothing was evaluated.
        results: Evaluations by seed; a seed without a finished FP32 twin has none.
    """

    study: Study
    folder: Path
    places: tuple[Place, ...]
    page: Path | None = None
    results: Mapping[int, Results] = field(default_factory=dict)

    @property
    def finished(self) -> tuple[Place, ...]:
        """The trainings that are."""
        return tuple(_finished(self.places))

    @property
    def complete(self) -> bool:
        """Whether every training is finished."""
        return len(self.finished) == len(self.places)


def known_places(study: Study, out: Path) -> list[Place]:
    """Return where the trainings of a study lie.

    Raises:
        InputError: The folder holds another study, of which something was trained.
    """
    if (out / PLAN).is_file() and _has_begun(out):
        check_same(study, load_study(str(out / PLAN)), out)
    return places(study, out)


def _has_begun(out: Path) -> bool:
    """Tell whether weights were saved in a study's folder, or are about to be."""
    return any(out.glob("runs/*/weights/*.pt")) or any(map(is_trained_in, out.glob("runs/*")))


def run_study(
    study: Study,
    out: Path,
    *,
    jobs: int = 1,
    device: str = "",
    ray: str | None = None,
    part: Part = "all",
    share_batches: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Do what is missing of a study, its report apart: see `yolo_qreg.run_study`."""
    study = replace(study, data=whereabouts(study.data), model=whereabouts(study.model))
    todo = known_places(study, out)
    if part != "evaluate":
        if share_batches:
            check_shareable(study, jobs, ray, device)
        check_values(study, "cpu" if ray else device)
        check(study, todo)
    elif not _finished(todo):
        raise InputError(f"{out} has no finished training to evaluate; train some, or bring some with --import")
    site = _site(ray, jobs, device or str(study.train.get("device") or ""), share_batches)
    note_plan(study, out / PLAN)
    sweep(out)
    tell = teller(quiet)
    found: dict[int, Results] = {}
    if part != "evaluate":
        _train(study, todo, site, tell)
    finished = _finished(todo)
    if part == "train":
        write_manifest(study, out)
    elif finished:
        _tell_left_out(todo, finished, tell)
        _tell_other_data(study, finished, tell)
        with watched(quiet) as watch:
            found = evaluate_study(study, finished, out, site, watch)
    return Outcome(study=study, folder=out, places=tuple(todo), results=found)


@contextmanager
def continuable() -> Iterator[None]:
    """Say, where somebody interrupts, how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("interrupted; repeat the command to continue the study") from stop


def requested(
    name: str | None,
    folder: Path,
    *,
    grid: Mapping[str, Any],
    settings: Mapping[str, Any],
    sources: Sequence[Path] = (),
) -> Study:
    """Return the study that is named, else the one in the folder, else that of what is imported, else the default.

    Args:
        name: A YAML file or a preset.
        folder: Of the study.
        grid: Fields of the study that are given beside it.
        settings: Training settings that are.
        sources: Of `import_trainings`.

    Raises:
        InputError: There is no such study, or something in it is wrong.
    """

    def changed(base: Study) -> Study:
        known = base.to_dict()
        return study_from({**known, **grid, "train": check_settings({**known["train"], **settings})})

    known = name or (str(folder / PLAN) if (folder / PLAN).is_file() else None)
    if sources:
        found = adopted(sources, changed(load_study(known)) if known else None, folder)
        return found if known else changed(found)
    return changed(load_study(known) if known else Study())


def import_trainings(sources: Sequence[Path], study: Study, out: Path, tell: Tell) -> None:
    """Take over trainings that were done elsewhere, and note the study that they belong to in its folder.

    Args:
        sources: Files of `study --export`, or folders that `study --train-only` filled.
        study: What `adopted` returned.
        out: Folder of the study.
        tell: Told of each source.

    Raises:
        InputError: A source is damaged, or the folder holds another study.
    """
    known_places(study, out)
    note_plan(study, out / PLAN)
    for source in sources:
        taken, kept = take_over(source, study, out)
        names = ", ".join(place.run.name for place in taken) or "nothing"
        also = f"; finished here before: {', '.join(place.run.name for place in kept)}" if kept else ""
        tell(f"taken over from {source}: {names}{also}")


def _finished(todo: Sequence[Place]) -> list[Place]:
    return [place for place in todo if place.progress().state == "finished"]


def _tell_left_out(todo: Sequence[Place], finished: Sequence[Place], tell: Tell) -> None:
    """Say which trainings an evaluation goes without, and which seeds have no twin to be compared with."""
    if missing := [place.run.name for place in todo if place not in finished]:
        tell(f"not finished, so not evaluated: {', '.join(missing)}")
    seeds = {place.run.seed for place in finished}
    twins = {place.run.seed for place in finished if place.run.quant.bits == FLOAT_BITS}
    for seed in sorted(seeds - twins):
        tell(f"seed {seed} has no finished FP32 twin: its models cannot be compared")


def _tell_other_data(study: Study, finished: Sequence[Place], tell: Tell) -> None:
    """Say where models that were trained elsewhere are evaluated on something else than they were trained on."""
    from yolo_qreg.host.datasets import resolve_data
    from yolo_qreg.host.history import origin_of
    from yolo_qreg.host.origin import identify_data

    here = identify_data(resolve_data(study.data))
    found = {origin.data.differences(here) for place in finished if (origin := origin_of(place.folder))}
    for differences in sorted(filter(None, found)):
        tell(f"trained on other data than {study.data}: {'; '.join(differences)} (then against now)")


def check(study: Study, todo: Sequence[Place] = ()) -> None:
    """Check what all trainings share before anything is begun; the data set is made or scanned here.

    Args:
        study: The study.
        todo: Its trainings; those that began tell what the data set was.

    Raises:
        InputError: Something cannot be used.
    """
    from yolo_qreg.evaluation.material import load_material, possible
    from yolo_qreg.host.datasets import prepare_for_trainings, resolve_data
    from yolo_qreg.host.history import origin_of
    from yolo_qreg.host.origin import confirm_data
    from yolo_qreg.host.run import check_model
    from yolo_qreg.study.runs import model_of

    check_settings(study.train)
    check_model(model_of(study))
    data = resolve_data(study.data)
    begun = [place for place in todo if any(place.folder.glob("weights/*.pt"))]
    known = next((origin for place in begun if (origin := origin_of(place.folder))), None)
    if known is not None:
        confirm_data(data, known.data, "this study")
    single = bool(study.train.get("single_cls"))
    material = load_material(data, study.evaluation.limit, single_class=single)
    possible(study.evaluation.corruptions, material.channels, data)
    prepare_for_trainings(data, single_class=single)


def check_values(study: Study, device: str) -> None:
    """Check the values of training settings and the device once, as the host does when a training begins.

    Args:
        study: The study.
        device: That of the command; "" for that of the study's settings, or the host's choice.

    Raises:
        InputError: One cannot be used.
    """
    from yolo_qreg.host.run import check_values as check_by_host

    check_by_host({**study.train, **({"device": device} if device else {})})


def _site(address: str | None, jobs: int, device: str, share: bool) -> Site:
    if address is None:
        return Machine(jobs, device, share=share)
    from yolo_qreg.study.ray.cluster import Cluster

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


def evaluate_study(
    study: Study,
    finished: Sequence[Place],
    out: Path,
    site: Site,
    watch: Callable[[int], Watch],
) -> dict[int, Results]:
    """Evaluate what is trained, and return the results by seed; OUT/seed-N gets those of a seed.

    A corrupted picture is made once for the models of all seeds. Seeds whose FP32 twin is not finished are left out.

    Args:
        study: The study.
        finished: Its finished trainings.
        out: Folder of the study.
        site: Where cells are filled.
        watch: Called with how many pictures models have to see; returns what is told of progress.
    """
    from yolo_qreg.evaluation.config import Settings
    from yolo_qreg.evaluation.evaluate import evaluate, prepare
    from yolo_qreg.evaluation.material import load_material
    from yolo_qreg.evaluation.models import single_class, subjects, training_size
    from yolo_qreg.evaluation.workers import default_workers
    from yolo_qreg.host.datasets import resolve_data
    from yolo_qreg.host.predict import device_type

    twins = {place.run.seed: place for place in finished if place.run.quant.bits == FLOAT_BITS}
    groups = {
        seed: subjects([twin.weights, *(p.weights for p in finished if p.run.seed == seed and p is not twin)])
        for seed, twin in twins.items()
    }
    if not groups:
        return {}
    everything = [subject for group in groups.values() for subject in group]
    data = resolve_data(study.data)
    material = load_material(data, study.evaluation.limit, single_class=single_class(everything))

    kind = site.kind or device_type(site.device)

    def settings(folder: Path) -> Settings:
        plan = study.evaluation
        return Settings(
            data=data,
            out=folder,
            cells=out / "cells",
            imgsz=plan.imgsz or training_size(everything) or DEFAULT_SIZE,
            corruptions=plan.corruptions,
            severities=plan.severities,
            batch=plan.batch,
            device=site.device,
            device_kind=site.kind,
            workers=default_workers(kind),
            jobs=1 if kind == "cpu" else site.at_once,
            limit=plan.limit,
            resamples=plan.resamples,
        )

    ready = prepare(everything, settings(out), material)
    site.fill(study.data)(ready, watch(ready.views()))
    found = {}
    for seed, group in groups.items():
        folder = out / f"seed-{seed}"
        found[seed] = evaluate(group, group[0].model.name, settings(folder), watch, material)
        save(found[seed], folder)
    return found
