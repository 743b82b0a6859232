"""Speed of `eval-corrupted` beside the plain alternative, on the same pictures in one go, and its peak memory.

    python benchmarks/evaluation.py --data voc.yaml --weights fp32.pt dorefa-8bit.pt --imgsz 320 --pictures 60
    python benchmarks/evaluation.py --data voc.yaml --weights fp32.pt --imgsz 320 --memory 100 1000

The plain alternative is what people write: imagecorruptions makes every damaged picture, in an environment of its own
because it needs old packages (built on first use, as by benchmarks/corruptions.py), and `YOLO.val` runs each model on
them. Both sides take all cores as they please. A picture is one picture under one corruption, shown to all models.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
WORKER = "benchmarks.evaluation_worker"
MEMORY_CORRUPTIONS = ("fog", "glass_blur")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="YAML file of a data set")
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="the baseline first")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--corruptions", nargs="+", default=["all"])
    parser.add_argument(
        "--environment", type=Path, default=Path(".reference"), help="of imagecorruptions; built if absent"
    )
    parser.add_argument("--python", default="python3.10", help="to build the environment with")
    parser.add_argument("--memory", type=int, nargs="*", metavar="PICTURES", help="measure peak memory instead")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a process of `--memory`
    given = parser.parse_args()
    if given.one:
        print(_sweep(given, Path(given.one), given.pictures, MEMORY_CORRUPTIONS))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if given.memory is not None:
        _memory(given)
    else:
        _speed(given)


def _speed(given: argparse.Namespace) -> None:
    from reference_environment import reference_python

    from corruptions import select

    names = select(given.corruptions)
    interpreter = reference_python(given.environment, given.python)
    with tempfile.TemporaryDirectory() as folder:
        seconds = _sweep(given, Path(folder) / "ours", given.pictures, names)
        damage, inference = _loop(given, Path(folder) / "plain", interpreter, names)
    made = given.pictures * len(names)
    print(
        f"{given.pictures} pictures, {len(names)} corruptions, severity {given.severity}, {len(given.weights)} models"
    )
    print(f"eval-corrupted            {made / seconds:8.2f} pictures/s   {seconds:8.1f} s (clean pictures, scores too)")
    plain = damage + inference
    print(f"imagecorruptions + val    {made / plain:8.2f} pictures/s   {plain:8.1f} s ({damage:.1f} + {inference:.1f})")
    print(f"ratio                     {plain / seconds:8.2f}")


def _sweep(given: argparse.Namespace, out: Path, pictures: int, names: tuple[str, ...]) -> float:
    """Evaluate as the command does, and return its seconds."""
    from yolo_qreg.evaluation.config import Settings
    from yolo_qreg.evaluation.evaluate import evaluate
    from yolo_qreg.evaluation.models import subjects
    from yolo_qreg.evaluation.workers import default_workers

    start = time.perf_counter()
    chosen = subjects(given.weights)
    settings = Settings(
        data=given.data,
        out=out,
        imgsz=given.imgsz,
        corruptions=names,
        severities=(given.severity,),
        batch=given.batch,
        workers=default_workers(),
        limit=pictures,
    )
    evaluate(chosen, chosen[0].model.name, settings, lambda total: lambda *_: None)
    return time.perf_counter() - start


def _loop(given: argparse.Namespace, folder: Path, interpreter: Path, names: tuple[str, ...]) -> tuple[float, float]:
    """Return the seconds that the reference takes to damage the pictures, and `YOLO.val` to run on them."""
    from yolo_qreg.evaluation.corrupted_copy import CopySettings, _label, _write_labels, _write_yaml
    from yolo_qreg.host.datasets import spread, validation_pictures
    from yolo_qreg.host.validate import validate

    found = validation_pictures(given.data)
    pictures = spread(found.pictures, given.pictures)
    copy = CopySettings(data=given.data, out=folder, corruptions=names, severities=(given.severity,))
    damage = inference = 0.0
    for name in names:
        target = folder / "images" / f"{name}-{given.severity}"
        target.mkdir(parents=True)
        command = [interpreter, "-W", "ignore", "-m", WORKER, name, str(given.severity), target]
        start = time.perf_counter()
        subprocess.run([*command, *(picture.path.resolve() for picture in pictures)], check=True, cwd=ROOT)
        damage += time.perf_counter() - start
        for picture in pictures:
            _write_labels(_label(copy, (name, given.severity), picture), picture)
        data = _write_yaml(copy, (name, given.severity), found)
        start = time.perf_counter()
        for weights in given.weights:
            validate(weights, data, imgsz=given.imgsz, batch=given.batch)
        inference += time.perf_counter() - start
    return damage, inference


def _memory(given: argparse.Namespace) -> None:
    """Print the peak of resident memory of sweeps over different numbers of pictures, each in a process of its own."""
    for pictures in given.memory or (100, 1000):
        with tempfile.TemporaryDirectory() as folder:
            arguments = [*sys.argv[1:], "--pictures", str(pictures), "--one", folder]
            subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.DEVNULL)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{pictures:6} pictures: at most {peak:.0f} MiB in one process")


if __name__ == "__main__":
    main()
