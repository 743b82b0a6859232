"""Exports side by side: size, speed, mAP, and how many convolutions compute in int8.

    python benchmarks/deployment.py --set shapes shapes 320 FOLDER --work WORK --write

FOLDER holds fp32.pt, and where they are to be compared 8bit.pt, 4bit.pt and 2bit.pt. Exports are made once into WORK,
so that a run which was stopped goes on. Speed is process CPU time in one thread: each round runs every model once, so
that a busy machine slows all alike; the ratio is the median over rounds of ONNX Runtime's float time to the model's.
mAP is that of `yolo-qreg eval-corrupted` on clean pictures, padded to squares. Ultralytics' and NNCF's rows are of the
float weights, where the name says nothing else.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # before this folder, which has a corruptions.py of its own

from deployment_models import Job, Picture, integers_kept, kernels, runner, size_of  # noqa: E402

from yolo_qreg import __version__  # noqa: E402
from yolo_qreg.evaluation.config import Settings  # noqa: E402
from yolo_qreg.evaluation.evaluate import evaluate  # noqa: E402
from yolo_qreg.evaluation.models import subjects  # noqa: E402
from yolo_qreg.evaluation.results import CLEAN, OVER_SEVERITIES  # noqa: E402
from yolo_qreg.export import notes  # noqa: E402
from yolo_qreg.files import fill_block, write_text  # noqa: E402
from yolo_qreg.host import checkpoint  # noqa: E402
from yolo_qreg.host.datasets import resolve_data  # noqa: E402

PAGE, RESULTS = ROOT / "docs" / "deploy.md", ROOT / "docs" / "results" / "deployment.json"
WARM_UP = 3
BASE = "FP32, ONNX Runtime"
WIDTH = "4bit"
"""The weights whose speed is measured at all sizes."""
FEW, FEW_SHARE = 8, 0.05
HOST_SHARE = 0.5
RUN_BY_HOST = {".pt": ("torch",), ".onnx": ("ort",), "": ("f32",)}
"""What Ultralytics, by which mAP is measured, runs a file or folder in."""
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm")
PACKAGES = ("ultralytics", "torch", "onnx", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What it is.
        weights: Name of the weight file, without ending.
        make: Makes it.
        kind: What runs it, as `deployment_models.runner` has it.
    """

    name: str
    weights: str
    make: Callable[[Job], Path]
    kind: str


ROWS = (
    Row("FP32, torch", "fp32", lambda job: job.source, "torch"),
    Row(BASE, "fp32", Job.float_onnx, "ort"),
    Row("FP32, OpenVINO in float32", "fp32", Job.float_onnx, "f32"),
    Row("FP32, OpenVINO by default", "fp32", Job.float_onnx, "default"),
    *(Row(f"packed {bits} bits, ONNX Runtime", f"{bits}bit", Job.packed, "ort") for bits in (8, 4, 2)),
    *(Row(f"int8 of {bits} bits, OpenVINO", f"{bits}bit", Job.int8_openvino, "f32") for bits in (8, 4, 2)),
    *(Row(f"int8 of {bits} bits, ONNX Runtime", f"{bits}bit", Job.int8_ort, "ort") for bits in (8, 4, 2)),
    Row("Ultralytics quantize=8, ONNX Runtime", "fp32", Job.host_onnx, "ort"),
    Row("Ultralytics quantize=8, OpenVINO", "fp32", Job.host_openvino, "f32"),
    Row("NNCF, OpenVINO", "fp32", Job.nncf, "f32"),
    Row("Ultralytics quantize=8 of our 4 bits, ONNX Runtime", "4bit", Job.host_onnx, "ort"),
    Row("Ultralytics quantize=8 of our 4 bits, OpenVINO", "4bit", Job.host_openvino, "f32"),
    Row("NNCF of our 4 bits, OpenVINO", "4bit", Job.nncf, "f32"),
)


@dataclass(frozen=True)
class Models:
    """A data set and the weights that were trained on it.

    Attributes:
        name: For the table.
        data: As `yolo-qreg train --data` takes it.
        imgsz: Sides of the pictures.
        folder: Of the weights.
        makes: Whether exports that are not there are made.
    """

    name: str
    data: str
    imgsz: int
    folder: Path
    makes: bool = True

    def weights(self) -> dict[str, str]:
        """Return how the weights were made, by the name of their file."""
        found = {}
        for name in dict.fromkeys(row.weights for row in ROWS):
            path = self.folder / f"{name}.pt"
            if path.is_file():
                state = checkpoint.state_of(checkpoint.load(path)[1], path)
                found[name] = state.config.label + ("" if state.trained else " without training")
        return found

    def job(self, row: Row, place: Path, images: int, imgsz: int) -> Job | None:
        """Return how a row is made; None without its weights.

        At other sizes than the set's own only speed is measured, which depends neither on the width of the weights nor
        on ranges: one width is enough there, and few pictures to calibrate on.
        """
        source = self.folder / f"{row.weights}.pt"
        own = imgsz == self.imgsz
        if not source.is_file() or (not own and row.weights not in ("fp32", WIDTH)):
            return None
        place = place / self.name / f"{row.weights}-{imgsz}"
        return Job(
            source, self.data, images if own else FEW, imgsz, place, HOST_SHARE if own else FEW_SHARE, self.makes
        )

    def made(self, rows: Sequence[Row], place: Path, images: int, imgsz: int) -> dict[Row, tuple[Job, Path]]:
        """Return how rows are made, and what was; those without weights or that are not to be made are left out."""
        found = {}
        for row in rows:
            job = self.job(row, place, images, imgsz)
            with suppress(FileNotFoundError):
                if job is not None:
                    found[row] = job, row.make(job)
        return found


@click.command()
@click.option("--set", "sets", nargs=4, multiple=True, metavar="NAME DATA IMGSZ FOLDER", required=True)
@click.option("--work", "place", type=click.Path(path_type=Path), required=True, help="Folder of the exports.")
@click.option("--sizes", default="320,640", show_default=True, help="At which speed is measured, on the first set.")
@click.option("--rounds", default=15, show_default=True)
@click.option("--images", default=64, show_default=True, help="Pictures to calibrate on.")
@click.option("--limit", default=200, show_default=True, help="Pictures of val.")
@click.option("--write", is_flag=True, help="Write docs/results/deployment.json and the table in docs/deploy.md.")
@click.option("--only-made", is_flag=True, help="Leave out exports that are not in WORK.")
def main(
    sets: tuple[tuple[str, str, str, str], ...],
    place: Path,
    sizes: str,
    rounds: int,
    images: int,
    limit: int,
    write: bool,
    only_made: bool,
) -> None:
    """Make, measure and print everything."""
    known = [Models(name, data, int(imgsz), Path(folder), not only_made) for name, data, imgsz, folder in sets]
    found: dict[str, dict[str, Any]] = {row.name: {} for row in ROWS}
    for imgsz in map(int, sizes.split(",")):
        made = known[0].made(ROWS, place, images, imgsz)
        for name, entries in speeds(
            {row.name: (path, row.kind) for row, (_, path) in made.items()}, imgsz, rounds
        ).items():
            found[name][f"speed at {imgsz}"] = entries
        if imgsz == known[0].imgsz:
            for row, (job, path) in made.items():
                found[row.name] |= facts(row, path, job)
    for models in known:
        made = models.made(ROWS, place, images, models.imgsz)
        seen = {row.name: path for row, (_, path) in made.items() if row.kind in RUN_BY_HOST[path.suffix]}
        for name, score in scores(models, seen, place, limit).items():
            found[name][f"mAP on {models.name}"] = score
    found = {name: row for name, row in found.items() if row}
    results = {"machine": machine(), "versions": versions(), "rounds": rounds}
    results |= {
        "sets": {m.name: {"imgsz": m.imgsz, "pictures": limit, "weights": m.weights()} for m in known},
        "rows": found,
    }
    print(table(results))
    if write:
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
        fill_block(PAGE, "deployment", table(results))


def speeds(models: dict[str, tuple[Path, str]], imgsz: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return each model's CPU time in ms and its ratio to the base, by interleaved rounds in one thread."""
    picture = np.random.default_rng(0).random((1, 3, imgsz, imgsz), dtype=np.float32)
    runs = {name: runner(path, kind, picture) for name, (path, kind) in models.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(WARM_UP + rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if round_ >= WARM_UP:
                times[name].append(time.process_time() - start)
    return {
        name: {
            "ms": 1e3 * statistics.median(taken),
            "ratio": statistics.median(base / own for base, own in zip(times[BASE], taken, strict=True)),
        }
        for name, taken in times.items()
    }


def facts(row: Row, path: Path, job: Job) -> dict[str, Any]:
    """Return size, kernels, and how many of the trained integers a model keeps."""
    picture: Picture = np.zeros((1, 3, job.imgsz, job.imgsz), np.float32)
    ran = kernels(path, row.kind, picture)
    made: dict[str, Any] = {"MB": size_of(path), "codes": None}
    made |= {"convolutions": ran.all, "int8": ran.int8} if ran else {}
    if row.weights != "fp32":
        ours = row.make not in (Job.host_onnx, Job.host_openvino, Job.nncf)
        if ours:
            codes = notes.read(path)["codes"]
            made["codes"] = codes["read back"] and 1.0
            made["nearest levels"] = codes.get("layers at nearest levels", 0)
        else:
            made["codes"] = integers_kept(path, job.int8_ort())
    return made


def scores(models: Models, paths: dict[str, Path], place: Path, limit: int) -> dict[str, float]:
    """Return mAP@[.50:.95] of each model on clean pictures, 0..1; what runs one file alike has one."""
    once = {path: name for name, path in reversed(paths.items())}
    chosen = {path: subjects([path])[0] for path in once}
    named = subjects(once)
    settings = Settings(
        data=resolve_data(models.data),
        out=place / f"scores-{models.name}",
        imgsz=models.imgsz,
        corruptions=(),
        severities=(),
        device="cpu",
        limit=limit,
        resamples=200,
        workers=0,
    )
    results = evaluate(named, named[0].model.name, settings, lambda _: lambda *_: None)
    by_hash = {subject.model.sha256: subject.model.name for subject in named}
    return {
        name: results.score(by_hash[chosen[path].model.sha256], CLEAN, OVER_SEVERITIES).map50_95
        for name, path in paths.items()
    }


def machine() -> dict[str, Any]:
    """Return what the processor is, and which of the instruction sets that matter it has."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    name = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    return {"processor": name, "instruction sets": [flag for flag in FEATURES if flag in flags]}


def versions() -> dict[str, str]:
    """Return the releases that the numbers depend on."""
    return {"yolo-qreg": __version__} | {name: version(name) for name in PACKAGES}


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows: dict[str, dict[str, Any]] = results["rows"]
    speed_keys = list(dict.fromkeys(key for row in rows.values() for key in row if key.startswith("speed")))
    map_keys = [f"mAP on {name}" for name in results["sets"]]
    titles = ["model", "MB", *(f"ratio{key.removeprefix('speed')} px" for key in speed_keys)]
    titles += [*map_keys, "trained codes kept", "int8 convolutions"]
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    for name, row in rows.items():
        cells = [name, _number(row.get("MB"))]
        cells += [_number(row.get(key, {}).get("ratio")) for key in speed_keys]
        cells += [_number(None if row.get(key) is None else 100 * row[key]) for key in map_keys]
        cells += [_codes(row), f"{row['int8']} of {row['convolutions']}" if "int8" in row else "-"]
        lines.append(f"| {' | '.join(cells)} |")
    about = results["machine"]
    sets = ", ".join(f"{name} {facts['imgsz']} px" for name, facts in results["sets"].items())
    weights = "; ".join(f"{name} {', '.join(facts['weights'].values())}" for name, facts in results["sets"].items())
    pictures = next(iter(results["sets"].values()))["pictures"]
    releases = ", ".join(f"{name} {text}" for name, text in results["versions"].items())
    note = (
        f"{about['processor']} with {', '.join(about['instruction sets'])}; one thread, process CPU time, median of "
        f"{results['rounds']} interleaved rounds; ratios are speeds against ONNX Runtime's FP32. mAP50-95 on at most "
        f"{pictures} pictures of val ({sets}). Weights: {weights}. {releases}."
    )
    return "\n".join([*lines, "", note])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _codes(row: dict[str, Any]) -> str:
    if row.get("codes") is None:
        return "-"
    nearest = row.get("nearest levels", 0)
    return f"nearest of 255 levels in {nearest} layers" if nearest else f"{100 * row['codes']:.0f}%"


if __name__ == "__main__":
    main()
