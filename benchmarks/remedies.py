"""What each remedy for few bits gains: methods and widths on one data set, each remedy alone and some together.

    python benchmarks/remedies.py --data voc-lite.yaml --model coco-backbone.pt --out remedies imgsz=320 batch=16

For each seed an FP32 model is trained first, or found where it lies already (OUT/seed-N/fp32); every quantized
training begins with it, and has as many epochs (those that BatchNorm alone is tuned in are among them; `progressive`
has them once for each width). What is finished is kept: the same command goes on. Each remedy is held against the same
method, width and seed without one, on clean and on corrupted pictures; 95% intervals are over pictures, and over seeds
where there are several.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # before this folder, whose corruptions.py is another

from yolo_qreg import EvalConfig, QuantConfig, Results, TrainConfig, evaluate, resume, train  # noqa: E402
from yolo_qreg.evaluation.results import ALL, CLEAN, Delta  # noqa: E402
from yolo_qreg.files import fill_block  # noqa: E402
from yolo_qreg.findings.spread import SeedMean, of_deltas, over_seeds  # noqa: E402
from yolo_qreg.host.history import read_run  # noqa: E402
from yolo_qreg.settings import parse_settings  # noqa: E402

PAGE = ROOT / "docs" / "train.md"
METHODS = ("lsq", "dorefa")
WIDTHS = (4, 2)
STEPS = (8, 4, 2)
"""Widths in turn, of `progressive`."""
PLAIN = "plain"
FP32 = "fp32"
FINE_TUNING = {"optimizer": "AdamW", "lr0": 0.0005, "warmup_epochs": 0}
"""Of the quantized trainings, unless settings say otherwise."""


@dataclass(frozen=True)
class Remedy:
    """What is done beside quantizing.

    Attributes:
        quant: Fields of `QuantConfig`.
        distill: Whether the FP32 model teaches.
        progressive: Whether training begins with the next width above instead of with the FP32 model.
        methods: Those that have it.
    """

    quant: Mapping[str, Any] = field(default_factory=dict)
    distill: bool = False
    progressive: bool = False
    methods: tuple[str, ...] = METHODS


def words(known: Collection[str]) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """Return a callback for an option that takes some of `known`, joined by commas."""

    def parse(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
        found = tuple(filter(None, value.split(",")))
        if wrong := [word for word in found if word not in known]:
            raise click.BadParameter(f"{wrong[0]!r} is not one of {', '.join(known)}")
        return found

    return parse


def remedies(tune: int) -> dict[str, Remedy]:
    """Return the remedies by name; BatchNorm is tuned in the last `tune` epochs."""
    return {
        PLAIN: Remedy(),
        "dampen": Remedy({"options": {"oscillations": "dampen"}}, methods=("lsq",)),
        "freeze": Remedy({"options": {"oscillations": "freeze"}}, methods=("lsq",)),
        "bn-tune": Remedy({"bn_tune": tune}),
        "distill": Remedy(distill=True),
        "progressive": Remedy(progressive=True),
        "bn-tune+distill": Remedy({"bn_tune": tune}, distill=True),
    }


@dataclass(frozen=True)
class Plan:
    """What is common to all trainings.

    Attributes:
        out: Folder of all results.
        data: The data set.
        test: The data set whose `val` split is evaluated on.
        model: What the FP32 models begin with.
        settings: Of the host, for all trainings.
        epochs: Of each quantized training.
        fp32_epochs: Of the FP32 ones.
    """

    out: Path
    data: str
    test: str
    model: str
    settings: Mapping[str, Any]
    epochs: int
    fp32_epochs: int

    def run(self, seed: int, name: str, quant: QuantConfig, model: str | Path, **settings: Any) -> Path:
        """Return a finished run folder: train it, go on with it, or find it."""
        folder = self.out / f"seed-{seed}" / name
        if (found := read_run(folder)) is not None:
            return folder if found.finished else resume(folder)
        place = {"project": str(folder.parent.resolve()), "name": name, "exist_ok": True}
        given = {"plots": False, **settings, **self.settings, **place}
        return train(TrainConfig(quant=quant, data=self.data, model=model, seed=seed, settings=given))

    def fp32(self, seed: int) -> Path:
        """Return the FP32 run of a seed."""
        return self.run(seed, FP32, QuantConfig(bits=32), self.model, epochs=self.fp32_epochs)

    def quantized(self, seed: int, method: str, bits: int, name: str, remedy: Remedy) -> Path:
        """Return a quantized run."""
        teacher = self.fp32(seed) / "weights" / "best.pt"
        start = teacher
        if remedy.progressive and bits < STEPS[0]:
            above = min(width for width in STEPS if width > bits)
            start = self.quantized(seed, method, above, name, remedy) / "weights" / "best.pt"
        init = {"init": "mse"} if method == "lsq" else {}
        quant = QuantConfig(method=method, bits=bits, **init, **remedy.quant)
        taught = {"distill_model": str(teacher)} if remedy.distill else {}
        return self.run(seed, f"{method}-{bits}-{name}", quant, start, epochs=self.epochs, **FINE_TUNING, **taught)


def blocks(tune: int, only: tuple[str, ...]) -> Iterator[tuple[str, int, dict[str, Remedy]]]:
    """Yield method, width and remedies, the plain training first."""
    for method in METHODS:
        for bits in WIDTHS:
            found = {name: r for name, r in remedies(tune).items() if method in r.methods}
            chosen = {name: r for name, r in found.items() if name == PLAIN or not only or name in only}
            yield method, bits, chosen


def measure(plan: Plan, folder: Path, runs: Mapping[str, Path], settings: Mapping[str, Any]) -> Results:
    """Evaluate runs by name against the plain one; what was evaluated is read."""
    others = [run for name, run in runs.items() if name != PLAIN]
    return evaluate(EvalConfig(weights=others, baseline=runs[PLAIN], data=plan.test, out=folder, **settings))


def table(title: str, by_name: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> str:
    """Return the lines of one method and width."""
    head = [f"{title}; gains on plain in points of mAP@[.50:.95], 95% intervals", ""]
    head += ["| remedy | clean mAP | gain, clean | gain, corrupted |", "| --- | ---: | ---: | ---: |"]
    return "\n".join([*head, *(row(name, found) for name, found in by_name.items())])


def row(name: str, by_seed: Mapping[int, Mapping[str, Any]]) -> str:
    """Return one line of a table, from mAP and gains in points of each seed."""
    level = over_seeds({seed: found["level"] for seed, found in by_seed.items()}).value
    cells = [f"{level:.2f}"]
    for kind in (CLEAN, ALL):
        deltas: dict[int, Delta] = {seed: found[kind] for seed, found in by_seed.items() if kind in found}
        cells.append(shown(of_deltas(deltas)) if deltas else "")
    return f"| {name} | {' | '.join(cells)} |"


def shown(mean: SeedMean) -> str:
    """Return a gain with its interval, bold where it excludes 0."""
    text = f"{mean.value:+.2f}" + (f" ({mean.interval[0]:+.2f} to {mean.interval[1]:+.2f})" if mean.interval else "")
    return f"**{text}**" if mean.decided else text


def found_in(results: Results, runs: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Return mAP on clean pictures and gains on the plain run by remedy, in points."""
    named = {Path(model.run).name: model.name for model in results.models if model.run}
    found: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        model = named[run.name]
        found[name] = {"level": 100 * results.score(model).map50_95}
        if name != PLAIN:
            found[name] |= {kind: results.delta(model, kind) for kind in (CLEAN, ALL)}
    return found


@click.command(help=__doc__, context_settings={"ignore_unknown_options": False})
@click.option("--data", required=True, help="voc, shapes or a YAML file.")
@click.option("--test", help="Data set whose `val` split is evaluated on; by default --data.")
@click.option("--model", required=True, help="What the FP32 models begin with.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("remedies"), show_default=True)
@click.option("--seeds", default="0,1", show_default=True)
@click.option("--epochs", default=10, show_default=True, help="Of each quantized training.")
@click.option("--fp32-epochs", default=30, show_default=True)
@click.option("--tune", default=1, show_default=True, help="Epochs of BatchNorm alone.")
@click.option(
    "--only",
    default="",
    callback=words(remedies(1)),
    help="Remedies to measure beside the plain training, joined by commas; by default all.",
)
@click.option("--methods", default=",".join(METHODS), callback=words(METHODS), show_default=True)
@click.option("--bits", default=",".join(map(str, WIDTHS)), callback=words([*map(str, WIDTHS)]), show_default=True)
@click.option("--corruptions", default="gaussian_noise,motion_blur,fog,jpeg_compression", show_default=True)
@click.option("--limit", type=int, help="Of the pictures that are evaluated.")
@click.option("--write", is_flag=True, help="Write the tables into docs/train.md.")
@click.argument("settings", nargs=-1)
def main(
    data: str,
    test: str | None,
    model: str,
    out: Path,
    seeds: str,
    epochs: int,
    fp32_epochs: int,
    tune: int,
    only: tuple[str, ...],
    methods: tuple[str, ...],
    bits: tuple[str, ...],
    corruptions: str,
    limit: int | None,
    write: bool,
    settings: tuple[str, ...],
) -> None:
    """Train, evaluate and print."""
    plan = Plan(out, data, test or data, model, parse_settings(settings), epochs, fp32_epochs)
    seen = {
        "corruptions": corruptions.split(","),
        "severities": (3,),
        "limit": limit,
        "imgsz": plan.settings.get("imgsz"),
        "workers": plan.settings.get("workers"),
        "device": str(plan.settings.get("device", "")),
    }
    numbers = [int(word) for word in seeds.split(",")]
    tables: list[str] = []
    for method, width, chosen in blocks(tune, only):
        if method not in methods or str(width) not in bits:
            continue
        by_name: dict[str, dict[int, Mapping[str, Any]]] = {}
        for seed in numbers:
            runs = {name: plan.quantized(seed, method, width, name, remedy) for name, remedy in chosen.items()}
            runs[FP32] = plan.fp32(seed)
            results = measure(plan, out / f"seed-{seed}" / f"{method}-{width}-evaluation", runs, seen)
            for name, found in found_in(results, runs).items():
                by_name.setdefault(name, {})[seed] = found
        tables.append(table(f"{method}, {width} bits, seeds {seeds}", by_name))
        print(f"\n{tables[-1]}", flush=True)
    if write:
        fill_block(PAGE, "remedies", "\n\n".join(tables))


if __name__ == "__main__":
    main()
