"""Every finished model of a study on clean and corrupted pictures, each held against the FP32 twin of its seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from yolo_qreg.evaluation.damage import default_workers
from yolo_qreg.evaluation.evaluate import evaluate, load_material, prepare
from yolo_qreg.evaluation.models import single_class, subjects, training_size
from yolo_qreg.evaluation.results import Results, save
from yolo_qreg.evaluation.sweep import Watch
from yolo_qreg.evaluation.tasks import Settings
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.predict import device_type
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.study.plan import Study
from yolo_qreg.study.runs import Place
from yolo_qreg.study.training import Site

DEFAULT_SIZE = 640


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
            workers=default_workers(site.kind or device_type(site.device)),
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
