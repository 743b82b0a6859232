"""Time of the 19 corruptions beside that of the fastest public implementation, on the same pictures in one go.

    python benchmarks/corruptions.py photo.jpg --sizes 500x375 640x640 --severities 1 3 5 --rounds 5
    python benchmarks/corruptions.py --memory

Public are imagecorruptions 1.1.2 and its forks imgcorr 1.1.3 and imagecorruptions-imaug 1.1.5, which compile a loop
with numba; for each corruption the fastest of the three counts. All run on one thread, for each size in processes of
their own, and take turns call by call. Tables show medians of processor time, which other work on the machine changes
little, after one warm-up call. A call of more than three seconds is made once; where all sides take less than 20 ms,
there are five times as many rounds. The packages need Python 3.10 and old ones: their environment is built on first
use. `--memory` measures by how much a call of this package raises the peak of resident memory instead.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from reference_environment import REFERENCE_PYTHON, SetupError, forks_folder, frost_folder, reference_python
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # before this folder, whose corruptions.py is this file

from corruptions import CORRUPTIONS  # noqa: E402

WORKER = "benchmarks.corruptions_worker"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SIZES = ((500, 375), (640, 640))
MEMORY_SIZES = ((3840, 2160),)
MEMORY_SEVERITY = 3
WIDE_KERNELS = ("defocus_blur", "motion_blur")
"""Measured at severity 5 too, where their kernels are largest."""
LONG_SECONDS = 3.0
SHORT_SECONDS = 0.02
SHORT_ROUNDS = 5
"""How many times as many rounds there are where the calls of all sides are short, and so noisy."""
PUBLIC = ("imagecorruptions", "imgcorr", "imaug")
FORKS = ("imgcorr", "imaug")

Size = tuple[int, int]


# The sides


class Side:
    """A process that makes calls of one side, one at a time; see `corruptions_worker`."""

    def __init__(
        self, name: str, interpreter: str | Path, *, frost: Path | None = None, first: Path | None = None
    ) -> None:
        self.name = name
        environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONWARNINGS": "ignore"}
        if first:  # where its package is looked for first
            environment["PYTHONPATH"] = str(first)
        if frost:
            environment["CORRUPTIONS_FROST"] = str(frost)
        self._process = subprocess.Popen(
            [interpreter, "-m", WORKER, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            RuntimeError: The process ended instead; it has printed why.
        """
        assert self._process.stdin and self._process.stdout
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the process of {self.name} ended at {request}; see above")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def side(name: str, interpreter: str | Path, **places: Path | None) -> Iterator[Side]:
    """Start a side and end it."""
    running = Side(name, interpreter, **places)
    try:
        yield running
    finally:
        running.close()


# Pictures


def synthetic(size: Size) -> np.ndarray:
    """Return a picture of gradients, edges and mild texture, uint8 RGB [H, W, 3]."""
    width, height = size
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    waves = [np.sin(5 * columns + 1), np.cos(4 * rows), np.sin(3 * (rows + columns))]
    image = 127 + 80 * np.stack(waves, axis=-1)
    for index in range(12):
        x, y = (index * 5 % 12 + 0.5) / 12 * width, (index + 0.5) / 12 * height
        colour = [index * step % 256 for step in (37, 83, 151)]
        cv2.circle(image, (round(x), round(y)), max(min(size) // 10, 2), colour, cv2.FILLED)
    image += np.random.default_rng(0).normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def sized(path: Path, size: Size) -> np.ndarray:
    """Return a picture file at a size, uint8 RGB [H, W, 3].

    Raises:
        SetupError: It is not a picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SetupError(f"{path} is not a picture; name JPEG or PNG files")
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), size, interpolation=cv2.INTER_AREA)


def write_pictures(paths: Sequence[Path], sizes: Iterable[Size], folder: Path) -> dict[Size, list[str]]:
    """Write the pictures at each size as arrays that both sides read; a synthetic one where none is named."""
    written: dict[Size, list[str]] = {}
    for size in sizes:
        images = [sized(path, size) for path in paths] or [synthetic(size)]
        files = [folder / f"{label(size)}-{index}.npy" for index in range(len(images))]
        for file, image in zip(files, images, strict=True):
            np.save(file, image)
        written[size] = [str(file) for file in files]
    return written


def label(size: Size) -> str:
    """Return a size as it is written on the command line."""
    return f"{size[0]}x{size[1]}"


# Times


@dataclass
class Times:
    """Seconds of the calls of each side for one corruption, severity and size, over all pictures."""

    size: Size
    name: str
    severity: int
    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in (*PUBLIC, "ours")})

    @property
    def fastest(self) -> str:
        """The fastest public package."""
        return min(PUBLIC, key=lambda name: statistics.median(self.seconds[name]))

    @property
    def medians(self) -> tuple[float, float]:
        """Median milliseconds of the fastest public package and of this one."""
        return tuple(1e3 * statistics.median(self.seconds[name]) for name in (self.fastest, "ours"))

    @property
    def ratio(self) -> float:
        """How many times faster this package is."""
        public, own = self.medians
        return public / own


def measure(sides: dict[str, Side], times: Times, picture: str, rounds: int) -> None:
    """Let all sides take turns on one picture and add their seconds; the first call of each is a warm-up."""

    def call(name: str, seed: int) -> float:
        request = {"picture": picture, "name": times.name, "severity": times.severity, "seed": seed}
        return sides[name].ask(**request)["seconds"]

    first = {name: call(name, 0) for name in sides}
    if max(first.values()) < SHORT_SECONDS:
        rounds *= SHORT_ROUNDS
    for name, seconds in first.items():
        if seconds > LONG_SECONDS and name not in FORKS:  # their first call compiles
            times.seconds[name].append(seconds)
    for seed in range(1, rounds + 1):
        for name, seconds in first.items():
            if seconds <= LONG_SECONDS or name in FORKS:
                times.seconds[name].append(call(name, seed))


def measure_all(
    sides: dict[str, Side], names: Sequence[str], pictures: dict[Size, list[str]], args: argparse.Namespace
) -> list[Times]:
    """Measure every corruption at every size and severity."""
    results = [Times(size, name, level) for size in pictures for name in names for level in args.severities]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(results))
        for times in results:
            progress.update(task, description=f"{label(times.size)} {times.name} {times.severity}")
            for picture in pictures[times.size]:
                measure(sides, times, picture, args.rounds)
            progress.advance(task)
    return results


def time_table(results: Sequence[Times], size: Size, names: Sequence[str], severities: Sequence[int]) -> list[str]:
    """Return the lines of the table of one size."""
    columns = {
        level: [times for times in results if (times.size, times.severity) == (size, level)] for level in severities
    }
    head = "".join(f" {level}: public ms | ours ms | times faster |" for level in severities)
    lines = [f"{label(size)} px, by severity", "", f"| corruption |{head}", "| --- |" + " ---: |" * 3 * len(severities)]
    for index, name in enumerate(names):
        lines.append(f"| {name} |" + "".join(_cells(*column[index].medians) for column in columns.values()))
    sums = [map(sum, zip(*(times.medians for times in column), strict=True)) for column in columns.values()]
    lines.append("| **sum** |" + "".join(_cells(*pair) for pair in sums))
    means = [math.exp(statistics.fmean(math.log(times.ratio) for times in column)) for column in columns.values()]
    lines.append("| **geometric mean** |" + "".join(f" | | {mean:.2f} |" for mean in means))
    slower = [[times for times in column if times.ratio < 1] for column in columns.values()]
    lines.append("| **slower** |" + "".join(f" | | {len(column)} |" for column in slower))
    forks = {name: [times.name for times in results if times.size == size and times.fastest == name] for name in FORKS}
    for fork, found in forks.items():
        if found:
            lines += ["", f"Fastest in public is {fork} for {', '.join(dict.fromkeys(found))}."]
    for level, column in zip(severities, slower, strict=True):
        if column:
            which = ", ".join(f"{times.name} {times.ratio:.3f}" for times in column)
            lines += ["", f"Slower at severity {level}: {which}."]
    return [*lines, ""]


def _cells(public: float, own: float) -> str:
    return f" {public:.2f} | {own:.2f} | {public / own:.2f} |"


# Memory


def measure_memory(pictures: dict[Size, list[str]], names: Sequence[str]) -> list[tuple[Size, str, int, int]]:
    """Return size, corruption, severity and bytes by which a call raises the peak, each in a fresh process."""
    cases = [(name, MEMORY_SEVERITY) for name in names] + [(name, 5) for name in WIDE_KERNELS if name in names]
    jobs = [(size, name, level) for size in pictures for name, level in cases]
    results = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(jobs))
        for size, name, level in jobs:
            progress.update(task, description=f"{label(size)} {name} {level}")
            with side("ours", sys.executable) as own:
                request = {"picture": pictures[size][0], "name": name, "severity": level, "seed": 0, "memory": True}
                results.append((size, name, level, own.ask(**request)["bytes"]))
            progress.advance(task)
    return results


def memory_table(results: Sequence[tuple[Size, str, int, int]]) -> list[str]:
    """Return the lines of the table; one copy is the picture in float32."""
    lines = ["| size | corruption | severity | peak MB | float32 copies |", "| --- | --- | ---: | ---: | ---: |"]
    for size, name, level, peak in results:
        copies = peak / (size[0] * size[1] * 3 * 4)
        lines.append(f"| {label(size)} | {name} | {level} | {peak / 1e6:.0f} | {copies:.2f} |")
    return [*lines, ""]


# Command line


def machine() -> str:
    """Return the processor and the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(models, platform.processor())}, {os.cpu_count()} cores; {platform.platform()}"


def describe(versions: dict[str, str]) -> str:
    """Return versions as one phrase."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def size_argument(text: str) -> Size:
    """Return WIDTHxHEIGHT as numbers."""
    width, height = map(int, text.split("x"))
    if min(width, height) < 64:
        raise argparse.ArgumentTypeError(f"{text} is too small; the measured pictures have 64 px a side or more")
    return width, height


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", type=Path, help="resized to each size; by default a synthetic one")
    parser.add_argument("--sizes", nargs="+", type=size_argument, metavar="WxH", help="default: 500x375 640x640")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="corruptions to measure; by default all")
    parser.add_argument("--severities", nargs="+", type=int, choices=range(1, 6), default=[1, 3, 5])
    parser.add_argument("--rounds", type=int, default=5, help="calls after the warm-up")
    parser.add_argument("--python", default=f"python{REFERENCE_PYTHON}", help="builds the reference's environment")
    parser.add_argument("--environment", type=Path, default=Path(".reference"), help="the reference's; built if absent")
    parser.add_argument("--reference-only", action="store_true", help="build the environment and stop")
    parser.add_argument("--memory", action="store_true", help="measure peak memory of this package, 3840x2160")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement")
    args = parser.parse_intermixed_args(argv)
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds} is no measurement; pass 1 or more")
    if wrong := [name for name in args.only or () if name not in CORRUPTIONS]:
        parser.error(f"--only {wrong[0]} is no corruption; name some of {', '.join(CORRUPTIONS)}")
    args.only = args.only or list(CORRUPTIONS)
    args.sizes = args.sizes or (MEMORY_SIZES if args.memory else SIZES)
    return args


def public(forks: Path) -> Iterator[tuple[str, Path | None]]:
    """Yield the public packages, and where each is looked for before the reference's environment."""
    for name in PUBLIC:
        yield name, forks if name in FORKS else None


def run_times(args: argparse.Namespace, interpreter: Path, folder: Path) -> dict[str, Any]:
    """Measure and print times; return them."""
    pictures = write_pictures(args.pictures, args.sizes, folder)
    results: list[Times] = []
    frost, forks = frost_folder(interpreter), forks_folder(interpreter)
    for size in args.sizes:  # what the allocator learns at one size would change the times at the next
        with ExitStack() as stack:
            sides = {name: stack.enter_context(side(name, interpreter, first=place)) for name, place in public(forks)}
            sides["ours"] = stack.enter_context(side("ours", sys.executable, frost=frost))
            about = {name: running.ask() for name, running in sides.items()}
            results += measure_all(sides, args.only, {size: pictures[size]}, args)
    what = f"pictures: {len(args.pictures)}" if args.pictures else "a synthetic picture"
    print(f"{machine()}\n")
    for name, one in about.items():
        print(f"- {name}: {describe(one['versions'])}")
    rounds = (
        f"{args.rounds} interleaved rounds ({args.rounds * SHORT_ROUNDS} where all take less than 20 ms, 1 over 3 s)"
    )
    print(f"- {what}; one thread; medians of processor time over {rounds}")
    print()
    for size in args.sizes:
        print("\n".join(time_table(results, size, args.only, args.severities)))
    return {"versions": {name: one["versions"] for name, one in about.items()}, "times": [asdict(t) for t in results]}


def run_memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure and print memory; return it."""
    pictures = write_pictures(args.pictures[:1], args.sizes, folder)
    with side("ours", sys.executable) as own:
        about = own.ask()
    results = measure_memory(pictures, args.only)
    print(f"{machine()}\n\n- {describe(about['versions'])}")
    print("- peak of resident memory over what it was before the call, result included; one thread\n")
    print("\n".join(memory_table(results)))
    keys = ("size", "name", "severity", "bytes")
    return {"versions": {"ours": about["versions"]}, "memory": [dict(zip(keys, r, strict=True)) for r in results]}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit status."""
    args = parse(argv)
    try:
        interpreter = None if args.memory else reference_python(args.environment, args.python)
        if args.reference_only:
            return 0
        with tempfile.TemporaryDirectory() as folder:
            found = run_times(args, interpreter, Path(folder)) if interpreter else run_memory(args, Path(folder))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
