"""Everything that a study found, gathered from its folder: what its report is made of."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation import result_files
from yolo_qreg.evaluation.results import Results
from yolo_qreg.evaluation.summary import summarize
from yolo_qreg.findings.gains import Unit
from yolo_qreg.findings.losses import Gap, History, read_histories
from yolo_qreg.findings.pool import Pool, pool, units_of
from yolo_qreg.findings.spread import SeedMean, over_seeds
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.study.plan import Run, Study
from yolo_qreg.study.runs import Place, Progress, places, read_mark

CIRCUMSTANCES = (
    *("data_sha256", "pictures", "imgsz", "batch", "padding", "device", "seed", "resamples", "frost textures"),
    "versions",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of a study.

    Attributes:
        run: Which.
        progress: Its state by the files of its folder.
        evaluated: Whether the evaluation of its seed holds it.
        command: How it was begun, with its folder as seen from the study's; empty where nobody noted it.
        history: Its epochs; None where nothing is known of them.
    """

    run: Run
    progress: Progress
    evaluated: bool
    command: str = ""
    history: History | None = None

    @property
    def done(self) -> bool:
        """Whether it was trained to its end: one that was evaluated was, if its folder was not kept."""
        return self.progress.state == "finished" or (self.evaluated and self.progress.state == "missing")

    @property
    def gap(self) -> Gap | None:
        """Its losses at its end; None where it has not come to it."""
        return self.history.gap() if self.history and self.done else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A study's outcome so far.

    Attributes:
        study: The study.
        trainings: All, in the order of its runs.
        pool: The evaluations; None before there is one.
        unusable: Why evaluations that lie in the folder are left out.
    """

    study: Study
    trainings: tuple[Training, ...]
    pool: Pool | None = None
    unusable: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[Unit, ...]:
        """All of the study, FP32 first, with results or without."""
        return units_of(self.study)

    @property
    def quantized(self) -> tuple[Unit, ...]:
        """The units that are held against FP32."""
        return tuple(unit for unit in self.units if unit.bits != FLOAT_BITS)

    def label(self, method: str, bits: int) -> str:
        """Return the label of a quantizer's unit at a width; that of no unit where the study has none."""
        return next((unit.label for unit in self.units if (unit.method, unit.bits) == (method, bits)), "")

    def histories(self, unit: str) -> tuple[History, ...]:
        """Return the epochs of a unit's trainings that came to their end."""
        return tuple(t.history for t in self.trainings if t.run.quant.label == unit and t.done and t.history)

    def gaps(self, unit: str) -> dict[int, Gap]:
        """Return a unit's losses at the end, by seed."""
        found = ((t.run.seed, t.gap) for t in self.trainings if t.run.quant.label == unit)
        return {seed: gap for seed, gap in found if gap}

    def gap_change(self, training: Training) -> float | None:
        """Return how much wider a training's gap is than its twin's; None for the twin, and where one is not known."""
        gap, twin = training.gap, self.gaps(self.units[0].label).get(training.run.seed)
        return gap.of() - twin.of() if gap and twin and training.run.quant.bits != FLOAT_BITS else None

    def loss_change(self, unit: str, measure: Callable[[Gap], float]) -> SeedMean | None:
        """Return by how much a measure of losses differs from the twin's of the same seed; None without such a pair."""
        ours, twins = self.gaps(unit), self.gaps(self.units[0].label)
        changes = {seed: measure(gap) - measure(twins[seed]) for seed, gap in ours.items() if seed in twins}
        return over_seeds(changes) if changes else None


def gather(study: Study, out: Path, by_seed: Mapping[int, Results] | None = None) -> Findings:
    """Return what a study found.

    Args:
        study: The study.
        out: Its folder.
        by_seed: Its evaluations; by default those in OUT/seed-N.
    """
    found, unusable = _evaluations(study, out) if by_seed is None else (dict(by_seed), [])
    planned = {seed: results for seed, results in sorted(found.items()) if _is_of(study, results)}
    last = _circumstances(next(reversed(planned.values()))) if planned else {}
    fits = {seed: results for seed, results in planned.items() if _circumstances(results) == last}
    unusable += [
        f"seed {seed} was evaluated under other settings than the study's or other seeds; run the study again"
        for seed in found.keys() - fits
    ]
    where = places(study, out)
    histories = read_histories(where, out)
    evaluated = {model.name for results in fits.values() for model in results.models}
    return Findings(
        study=study,
        trainings=tuple(
            Training(
                run=place.run,
                progress=place.progress(),
                evaluated=place.run.name in evaluated,
                command=_command(place),
                history=histories.get(place.run.name),
            )
            for place in where
        ),
        pool=pool(study, fits),
        unusable=tuple(sorted(unusable)),
    )


def _evaluations(study: Study, out: Path) -> tuple[dict[int, Results], list[str]]:
    found, unusable = {}, []
    for seed in study.seeds:
        folder = out / f"seed-{seed}"
        if not (folder / result_files.RUN).is_file():
            continue
        try:
            results = result_files.load(folder)
            summarize(results)
        except (InputError, KeyError):  # unreadable, or scores are missing
            unusable.append(f"the evaluation of seed {seed} is damaged; delete {folder.name} and run the study again")
        else:
            found[seed] = results
    return found, unusable


def _is_of(study: Study, results: Results) -> bool:
    plan = study.evaluation
    asked = {"imgsz": plan.imgsz, "resamples": plan.resamples, "batch": plan.batch}
    return (
        set(results.corruptions) == set(plan.corruptions)
        and set(results.severities) == set(plan.severities)
        and all(results.setup.get(name, value) == value for name, value in asked.items() if value is not None)
        and (plan.limit is None or results.score(results.baseline).images <= plan.limit)
    )


def _circumstances(results: Results) -> dict[str, object]:
    """Return what has to be the same for seeds to have seen the same pictures in the same way."""
    return {name: results.setup.get(name) for name in CIRCUMSTANCES}


def _command(place: Place) -> str:
    """Return the command of a training with its folder as seen from the study's, wherever that lay then."""
    try:
        words = shlex.split(read_mark(place.folder).get("command", ""))
    except (ValueError, AttributeError):
        return ""
    folder = re.compile(rf"(^|=)/(?:.*/)?(runs(?:/{re.escape(place.run.name)})?)$")
    return shlex.join(folder.sub(r"\1\2", word) for word in words)
