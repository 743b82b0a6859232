"""Made-up results of the size of a real evaluation: FP32 and three quantized models, 19 corruptions, 5 severities."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import PIL.Image

from corruptions import CORRUPTIONS, select
from yolo_qreg.data.voc_classes import class_names
from yolo_qreg.evaluation.results import ALL, BENCHMARK, CLEAN, ClassScore, Delta, Model, Results, Score

VOC = class_names()
SEVERITIES = (1, 2, 3, 4, 5)
EFFECT = {"fp32": 0.0, "dorefa-8bit": 0.9, "dorefa-4bit": -2.6, "dorefa-2bit": -9.5}
"""Mean gain over the baseline in points."""
CLEAN_MAP = 0.448


def models(runs: Path | None = None) -> tuple[Model, ...]:
    """Return the four; the first two have run folders where `runs` is given."""
    sizes = {"fp32": 10.1, "dorefa-8bit": 2.6, "dorefa-4bit": 1.4, "dorefa-2bit": 0.75}
    return tuple(
        Model(
            name=name,
            file=f"{name}.pt",
            sha256=f"{index + 1:x}f3a7" * 12 + "beef",
            method=None if name == "fp32" else "dorefa",
            bits=32 if name == "fp32" else int(name.split("-")[1].removesuffix("bit")),
            size_mb=size,
            run=str(runs / name) if runs and index < 2 else None,
        )
        for index, (name, size) in enumerate(sizes.items())
    )


def score(model: str, corruption: str, severity: int, value: float, images: int = 1143) -> Score:
    """Return a score whose other numbers follow from its mAP."""
    return Score(
        model=model,
        corruption=corruption,
        severity=severity,
        images=images,
        map50_95=value,
        map50=1.5 * value,
        map75=value,
        small=None,
        medium=0.8 * value,
        large=min(1.0, 1.2 * value),
        voc07_ap50=1.45 * value,
        voc_ap50=1.5 * value,
    )


def sample(runs: Path | None = None, seed: int = 0) -> Results:
    """Return the results; the same for the same seed."""
    rng = random.Random(seed)
    cells = [(CLEAN, 0), *((name, level) for name in CORRUPTIONS for level in SEVERITIES)]
    weight = {name: rng.uniform(0.05, 0.17) for name in CORRUPTIONS}
    lean = {(m, c): rng.gauss(0, 0.9) for m in EFFECT for c in (CLEAN, *CORRUPTIONS)}
    scores, class_scores = [], []
    for name, effect in EFFECT.items():
        for corruption, severity in cells:
            base = CLEAN_MAP * math.exp(-weight.get(corruption, 0) * severity * 1.6)
            gain = (effect * (0.4 + base) + lean[name, corruption] + rng.gauss(0, 0.15)) / 100 if effect else 0.0
            value = max(base + gain, 0.01)
            scores.append(score(name, corruption, severity, value))
            class_scores += [
                ClassScore(
                    model=name,
                    corruption=corruption,
                    severity=severity,
                    name=label,
                    map50_95=None if label == "tvmonitor" and severity == 5 else value * (0.5 + index / 19),
                    map50=min(1.0, 1.5 * value * (0.5 + index / 19)),
                )
                for index, label in enumerate(VOC)
            ]
    results = Results(
        models=models(runs),
        baseline="fp32",
        corruptions=tuple(CORRUPTIONS),
        severities=SEVERITIES,
        scores=tuple(scores),
        class_scores=tuple(class_scores),
        setup={
            "data": "voc-lite.yaml",
            "imgsz": 320,
            "seed": 0,
            "bootstrap": 1000,
            "frost": "folder:frost",
            "versions": {"yolo-qreg": "0.1.0", "ultralytics": "8.4.190", "torch": "2.9.0+cpu", "pycocotools": "2.0.10"},
            "commands": [
                "yolo-qreg eval-corrupted fp32.pt dorefa-8bit.pt dorefa-4bit.pt dorefa-2bit.pt --data voc.yaml"
            ],
        },
    )
    return with_deltas(results, rng)


def with_deltas(results: Results, rng: random.Random) -> Results:
    """Return the results with their deltas, about a point of interval on either side."""
    deltas = []

    def add(model: str, corruption: str, severity: int, points: float, half: float) -> None:
        low, high = points - half * rng.uniform(0.8, 1.2), points + half * rng.uniform(0.8, 1.2)
        deltas.append(Delta(model=model, corruption=corruption, severity=severity, value=points, low=low, high=high))

    def points(model: str, names: tuple[str, ...], levels: tuple[int, ...]) -> float:
        return 100 * (results.mean(model, names, levels) - results.mean(results.baseline, names, levels))

    groups = {ALL: results.corruptions, BENCHMARK: select(["benchmark"])}
    for model in results.models:
        if model.name == results.baseline:
            continue
        add(model.name, CLEAN, 0, points(model.name, (CLEAN,), (0,)), 1.0)
        for name, members in {**{c: (c,) for c in results.corruptions}, **groups}.items():
            half = 0.4 if name in groups else 0.7
            add(model.name, name, 0, points(model.name, members, results.severities), half)
            for level in results.severities:
                add(model.name, name, level, points(model.name, members, (level,)), 1.4 * half)
    return Results(
        **{name: getattr(results, name) for name in ("models", "baseline", "corruptions", "severities", "scores")},
        class_scores=results.class_scores,
        deltas=tuple(deltas),
        setup=results.setup,
    )


def write_runs(folder: Path, epochs: int = 40) -> None:
    """Write a results.csv for FP32, which overfits, and one for 8 bits, whose first epochs were not validated."""
    for name, overfit in (("fp32", 0.012), ("dorefa-8bit", 0.002)):
        lines = ["epoch,time," + ",".join(f"{s}/{p}_loss" for s in ("train", "val") for p in ("box", "cls", "dfl"))]
        for epoch in range(1, epochs + 1):
            train = [a + b * math.exp(-epoch / 9) for a, b in ((0.9, 1.6), (0.7, 2.4), (1.0, 0.9))]
            val = [t * 1.12 + 0.05 + overfit * max(epoch - 14, 0) for t in train]
            if name == "dorefa-8bit" and epoch < 4:
                val = [0.0] * 3
            lines.append(f"{epoch},{epoch * 60}," + ",".join(f"{v:.5f}" for v in (*train, *val)))
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "results.csv").write_text("\n".join(lines) + "\n")


def write_gallery(folder: Path, width: int = 320, height: int = 120) -> None:
    """Write a picture of a size in pixels for every corruption."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.indices((height, width))
    for index, name in enumerate((CLEAN, *CORRUPTIONS)):
        grey = (127 + 90 * np.sin(x / (7 + index)) * np.cos(y / 9)).astype(np.uint8)
        PIL.Image.fromarray(np.stack([grey, grey[::-1], 255 - grey], axis=-1)).save(folder / f"{name}.jpg", quality=70)
