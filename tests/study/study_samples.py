"""A made-up study of the size of a real one: FP32 and six quantized models, three seeds, VOC's classes."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import yaml
from report_samples import VOC, score, with_deltas

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.result_files import save
from yolo_qreg.evaluation.results import CLEAN, ClassScore, Model, Results
from yolo_qreg.study.plan import Evaluation, Run, Study
from yolo_qreg.study.runs import Place, places

EFFECT = {
    "fp32": 0.0,
    "dorefa-8bit": 1.6,
    "dorefa-4bit": -3.6,
    "dorefa-2bit": -13.0,
    "lsq-8bit": 0.2,
    "lsq-4bit": -1.1,
    "lsq-2bit": -5.0,
}
"""Mean gain over the baseline in points, roughly."""
OVERFIT = {"fp32": 0.02, "dorefa-8bit": 0.004, "dorefa-4bit": 0.001, "lsq-8bit": 0.012, "lsq-4bit": 0.005}
"""How much a validation loss rises in an epoch."""
EPOCHS = 30


def sample_study(seeds: tuple[int, ...] = (0, 1, 2), severities: tuple[int, ...] = (1, 3, 5)) -> Study:
    """Return the plan."""
    plan = Evaluation(severities=severities)
    return Study(data="voc-lite.yaml", seeds=seeds, train={"epochs": EPOCHS, "imgsz": 320}, evaluation=plan)


def sample_results(study: Study, seed: int, without: tuple[str, ...] = (), classes: tuple[str, ...] = VOC) -> Results:
    """Return the evaluation of one seed; the same for the same seed.

    Args:
        study: The study.
        seed: One of its seeds.
        without: Names of runs that are not in it.
        classes: Of its pictures.
    """
    rng = random.Random(seed)
    runs = [run for run in study.runs() if run.seed == seed]
    base = {name: rng.uniform(0.05, 0.17) for name in CORRUPTIONS}
    levels = study.evaluation.severities
    cells = [(CLEAN, 0), *((name, level) for name in study.evaluation.corruptions for level in levels)]
    luck = {run.name: rng.gauss(0, 0.25) for run in runs}
    lean = random.Random(7)  # what a corruption does to a model is the same for all seeds
    leans = {(label, name): lean.gauss(0, 0.8) for label in EFFECT for name in (CLEAN, *CORRUPTIONS)}
    scores, class_scores = [], []
    for run in runs:
        label = run.quant.label
        for corruption, severity in cells:
            plain = 0.448 * math.exp(-base.get(corruption, 0) * severity)
            gain = EFFECT[label] * (0.4 + plain) + leans[label, corruption] * (label != "fp32") + luck[run.name]
            value = max(plain + gain / 100, 0.01)
            scores.append(score(run.name, corruption, severity, value))
        class_scores += [
            ClassScore(model=run.name, corruption=CLEAN, severity=0, name=name, map50_95=0.4, map50=0.6)
            for name in classes
        ]
    results = Results(
        models=tuple(_model(run) for run in runs),
        baseline=f"fp32-seed{seed}",
        corruptions=study.evaluation.corruptions,
        severities=levels,
        scores=tuple(scores),
        class_scores=tuple(class_scores),
        setup={"data": study.data, "imgsz": 320, "command": f"of seed {seed}", "versions": {"torch": "2.9.0"}},
    )
    return _without(with_deltas(results, rng), without)


def _without(results: Results, names: tuple[str, ...]) -> Results:
    kept = {
        kind: tuple(row for row in getattr(results, kind) if row.model not in names)
        for kind in ("scores", "class_scores", "deltas")
    }
    models = tuple(model for model in results.models if model.name not in names)
    return Results(
        models=models,
        baseline=results.baseline,
        corruptions=results.corruptions,
        severities=results.severities,
        setup=results.setup,
        **kept,
    )


def _model(run: Run) -> Model:
    bits = run.quant.bits
    return Model(
        name=run.name,
        file="best.pt",
        sha256=f"{run.seed}f3a7" * 12,
        method=None if bits == 32 else run.quant.method,
        bits=bits,
        size_mb=10.6 * bits / 32,
        run=f"runs/{run.name}",
    )


def write_training(place: Place, epochs: int = EPOCHS, status: int | None = 0, reason: str = "") -> None:
    """Write what a training leaves: a results.csv as the host's, its mark, and weights."""
    rng = random.Random(place.run.name)
    lines = [
        "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,metrics/mAP50(B),metrics/mAP50-95(B),"
        "val/box_loss,val/cls_loss,val/dfl_loss"
    ]
    weak = (32 - place.run.quant.bits) / 100 if place.run.quant.bits < 8 else 0.0
    luck = rng.gauss(0, 0.02)
    for epoch in range(1, epochs + 1):
        train = [a + weak + luck + b * math.exp(-epoch / 6) for a, b in ((0.9, 1.6), (0.7, 2.4), (1.0, 0.9))]
        rise = OVERFIT.get(place.run.quant.label, 0.001) * max(epoch - 12, 0)
        val = [t * 1.1 + rise + rng.gauss(0, 0.004) for t in train]
        mean = 0.45 * (1 - math.exp(-epoch / 6)) - rise / 10
        row = (epoch, 60.0 * epoch, *train, 1.5 * mean, mean, *val)
        lines.append(",".join(f"{value:.5g}" for value in row))
    (place.folder / "weights").mkdir(parents=True, exist_ok=True)
    (place.folder / "results.csv").write_text("\n".join(lines) + "\n")
    if status is None:
        return
    if status == 0:
        place.weights.touch()
    command = f"yolo-qreg train --bits {place.run.quant.bits} --data voc-lite.yaml project={place.runs}"
    mark = {"status": status, "reason": reason, "seconds": 1.0, "command": command}
    (place.folder / "run.json").write_text(json.dumps(mark))


def write_sample(out: Path, study: Study, without: tuple[str, ...] = ()) -> dict[int, Results]:
    """Write a study's folder without its report, and return its evaluations; `without` names runs that never began."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "study.yaml").write_text(yaml.safe_dump(study.to_dict()))
    for place in places(study, out):
        if place.run.name not in without:
            write_training(place)
    found = {seed: sample_results(study, seed, without) for seed in study.seeds}
    for seed, results in found.items():
        save(results, out / f"seed-{seed}")
    return found
