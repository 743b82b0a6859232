"""Damages what is kept on disk, at random, and counts tracebacks and wrong numbers; both have to be 0.

    python benchmarks/damage.py --trials 10000

A trial damages one to three files, then does what the command would do next: the store of an evaluation is swept again
(the real sweep, with a detector that invents boxes), result files are read as `report` reads them, and a converted VOC
folder is converted again. Right outcomes are the very results and files of before, or one line that says what is wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from yolo_qreg.data.voc import convert_devkit  # noqa: E402
from yolo_qreg.errors import InputError  # noqa: E402
from yolo_qreg.evaluation.cells import Cell  # noqa: E402
from yolo_qreg.evaluation.damage import Damage  # noqa: E402
from yolo_qreg.evaluation.detections import GroundTruth  # noqa: E402
from yolo_qreg.evaluation.result_files import load, save  # noqa: E402
from yolo_qreg.evaluation.results import Delta, Model, Results, Score  # noqa: E402
from yolo_qreg.evaluation.sweep import Numbers, Sweep  # noqa: E402
from yolo_qreg.evaluation.workers import Workshop  # noqa: E402

PICTURES, SIDE, CLASSES, RESAMPLES = 6, 64, 3, 20
MODELS = ("fp32", "dorefa")
Contents = dict[str, bytes | None]
Outcome = str
"""made again, refused, or what went wrong."""


# --- damages: each is given a file, another one of the same kind, and a source of random numbers ----------------------


def flip(path: Path, _: Path, rng: random.Random) -> None:
    """Flip one to eight bits."""
    data = bytearray(path.read_bytes())
    for _number in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, _: Path, rng: random.Random) -> None:
    """Cut the end off, all of it at times."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def overwrite(path: Path, _: Path, rng: random.Random) -> None:
    """Replace a stretch by random bytes, zeros or text."""
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    size = rng.randint(1, 64)
    data[start : start + size] = rng.choice([rng.randbytes(size), bytes(size), b"9" * size, b"\n" * size])
    path.write_bytes(data)


def insert(path: Path, _: Path, rng: random.Random) -> None:
    """Put bytes in, or at the end."""
    data = path.read_bytes()
    at = rng.choice([len(data), rng.randrange(len(data))])
    path.write_bytes(data[:at] + rng.randbytes(rng.randint(1, 40)) + data[at:])


def drop(path: Path, _: Path, rng: random.Random) -> None:
    """Take a line out, or a stretch where there are no lines."""
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


def nest(path: Path, _: Path, rng: random.Random) -> None:
    """Nest it deeper than a parser follows."""
    path.write_bytes(rng.choice([b"[", b'{"key":', b'{"scores":{"a":']) * rng.randint(1_000, 100_000))


def retype(path: Path, _: Path, rng: random.Random) -> None:
    """Give one value of a JSON file another type, and write it whole; in other files, one field or number."""
    data = path.read_bytes()
    try:
        content = json.loads(data)
    except ValueError:
        fields = data.split(b",")
        fields[rng.randrange(len(fields))] = rng.choice([b"", b"nan", b"-1", b"1e999", b"text", b'"', b"\0", b"0.999"])
        path.write_bytes(b",".join(fields))
        return
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        place[key] = rng.choice([None, True, -1, 0.999, 10**400, "text", [], {}, float("nan"), [[0]], {"a": 1}])
        break
    path.write_text(json.dumps(content))


def swap(path: Path, other: Path, _: random.Random) -> None:
    """Put another file of the same kind there, whole as it is."""
    path.write_bytes(other.read_bytes())


def remove(path: Path, _: Path, rng: random.Random) -> None:
    """Leave nothing, a dangling link, a link to itself, a pipe or an empty folder there."""
    path.unlink()
    make: list[Callable[[], object]] = [
        lambda: None,
        lambda: path.symlink_to("nowhere"),
        lambda: path.symlink_to(path.name),
        lambda: os.mkfifo(path),
        path.mkdir,
    ]
    rng.choice(make)()


def folder(path: Path, _: Path, __: random.Random) -> None:
    """Put a folder with something in it there."""
    path.unlink()
    (path / "more").mkdir(parents=True)


DAMAGES = (flip, truncate, overwrite, insert, drop, nest, retype, swap, remove, folder)


# --- what is damaged --------------------------------------------------------------------------------------------------


class Inventor:
    """A detector that invents boxes from the pixels that it is shown."""

    batch = 4

    def __init__(self, name: str) -> None:
        self.name = name

    def detect(self, pictures: list[Any]) -> list[Any]:
        """Return boxes, scores and labels of each picture."""
        return [self._boxes(picture) for picture in pictures]

    def _boxes(self, picture: Any) -> Any:
        rng = np.random.default_rng([int(picture.sum()), len(self.name)])
        corners = rng.integers(0, SIDE // 2, (8, 2))
        boxes = np.concatenate([corners, corners + rng.integers(8, SIDE // 2, (8, 2))], axis=1)
        return boxes.astype(np.float32), rng.random(8, np.float32), rng.integers(0, CLASSES, 8).astype(np.int16)


class Store:
    """The cells of an evaluation of two models on clean pictures and one corruption."""

    def __init__(self, home: Path) -> None:
        rng = np.random.default_rng(0)
        self.home = home / "cells"
        self.paths = [home / f"{number}.png" for number in range(PICTURES)]
        for path in self.paths:
            Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
        corners = rng.integers(0, SIDE // 2, (4 * PICTURES, 2))
        self.truth = GroundTruth(
            image_ids=tuple(map(str, self.paths)),
            sizes=np.full((PICTURES, 2), SIDE, np.int32),
            image=np.repeat(np.arange(PICTURES, dtype=np.int32), 4),
            label=rng.integers(0, CLASSES, 4 * PICTURES).astype(np.int16),
            boxes=np.concatenate([corners, corners + SIDE // 2 - 1], axis=1).astype(np.float32),
            names=("a", "b", "c"),
        )
        self.cells = {}
        for corruption, severity in (("clean", 0), ("brightness", 3)):
            key = {"corruption": corruption, "severity": severity, "data": "0" * 64, "seed": 0}
            damage = Damage(corruption=corruption, severity=severity, seed=0)
            self.cells[damage] = {name: Cell(self.home / name, {**key, "weights": name}) for name in MODELS}
        self.right = self.outcome()

    def outcome(self) -> Any:
        """Do what `eval-corrupted` does with what is there, and return every number."""
        numbers = Numbers(self.truth, RESAMPLES, 0)
        cells = [cell for by_model in self.cells.values() for cell in by_model.values()]
        missing = {
            damage: {name: cell for name, cell in by_model.items() if not numbers.finished(cell)}
            for damage, by_model in self.cells.items()
        }
        with Workshop(0) as workshop:
            Sweep(
                detectors=lambda name, copy: Inventor(name),  # type: ignore[arg-type, return-value]
                paths=self.paths,
                numbers=numbers,
                workshop=workshop,
                watch=lambda *_: None,
            ).run({damage: by_model for damage, by_model in missing.items() if by_model})
        return repr([(cell.scores(), cell.resampled(RESAMPLES, 0).tobytes()) for cell in cells])


class Tables:
    """The result files of an evaluation."""

    def __init__(self, home: Path) -> None:
        self.home = home / "results"
        rng = random.Random(0)

        def score(model: str, corruption: str, severity: int) -> Score:
            numbers = [rng.random() for _ in range(8)]
            names = ("map50_95", "map50", "map75", "small", "medium", "large", "voc07_ap50", "voc_ap50")
            given = dict(zip(names, numbers, strict=True))
            return Score(model=model, corruption=corruption, severity=severity, images=9, **given)  # type: ignore[arg-type]

        models = [Model(name=n, file=f"{n}.pt", sha256="0" * 64, method=None, bits=8, size_mb=1.5) for n in MODELS]
        kinds = (("clean", 0), ("fog", 3), ("snow", 3))
        results = Results(
            models=tuple(models),
            baseline=MODELS[0],
            corruptions=("fog", "snow"),
            severities=(3,),
            scores=tuple(score(name, *kind) for name in MODELS for kind in kinds),
            deltas=tuple(
                Delta(model=MODELS[1], corruption=c, severity=s, value=1 / 3, low=-1.0, high=2.0) for c, s in kinds
            ),
            setup={"seed": 0, "versions": {"torch": "2"}},
        )
        save(results, self.home)
        self.right = self.outcome()

    def outcome(self) -> Any:
        """Read them."""
        return load(self.home)


class Converted:
    """A converted VOC folder; its devkit is not damaged."""

    def __init__(self, home: Path) -> None:
        self.devkit, self.home = home / "VOCdevkit", home / "converted"
        stream = io.BytesIO()
        Image.new("L", (9, 9)).save(stream, "jpeg")
        for place in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (self.devkit / "VOC2007" / place).mkdir(parents=True)
        for number, split in enumerate(("train", "val", "test")):
            (self.devkit / f"VOC2007/JPEGImages/{number}.jpg").write_bytes(stream.getvalue() + split.encode())
            edges = "".join(
                f"<{e}>{v}</{e}>" for e, v in zip(("xmin", "ymin", "xmax", "ymax"), (1, 2, 8, 9), strict=True)
            )
            (self.devkit / f"VOC2007/Annotations/{number}.xml").write_text(
                "<annotation><size><width>9</width><height>9</height></size>"
                f"<object><name>cat</name><bndbox>{edges}</bndbox></object></annotation>"
            )
            (self.devkit / f"VOC2007/ImageSets/Main/{split}.txt").write_text(f"{number}\n")
        self.right = self.outcome()

    def outcome(self) -> Any:
        """Convert, and return what is there then."""
        convert_devkit(self.devkit, self.home, copy=True, strict=True)
        return contents(self.home)


def contents(folder: Path) -> Contents:
    """Return the bytes of every file below a folder, by its place; None for what is no file."""
    found = (path for path in sorted(folder.rglob("*")) if not path.is_dir() or not any(path.iterdir()))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def trial(target: Any, intact: Path, rng: random.Random) -> tuple[str, Outcome]:
    """Damage a copy of what is intact, go on as the command would, and return what was done and what came of it."""
    shutil.rmtree(target.home, ignore_errors=True)
    shutil.copytree(intact, target.home)
    files = [path for path in sorted(target.home.rglob("*")) if path.is_file()]
    done = []
    for path in rng.sample(files, rng.randint(1, 3)):
        alike = [other for other in files if other.suffix == path.suffix and other.is_file()]
        damage = rng.choice(DAMAGES)
        damage(path, rng.choice(alike), rng)
        done.append(f"{damage.__name__} {path.relative_to(target.home)}")
    try:
        found = target.outcome()
    except InputError as error:
        return "; ".join(done), "refused" if "\n" not in str(error) else f"lines: {error}"
    except Exception as error:
        return "; ".join(done), f"traceback: {error!r}"
    return "; ".join(done), "made again" if found == target.right else "wrong numbers"


KINDS = {"store": Store, "tables": Tables, "converted": Converted}


def run(trials: int, seed: int = 0, kinds: Sequence[str] = tuple(KINDS)) -> dict[str, Counter[Outcome]]:
    """Do so many trials with each kind of folder; what went wrong is printed."""
    counts: dict[str, Counter[Outcome]] = {}
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in (KINDS[kind] for kind in kinds):
            home = Path(name) / kind.__name__
            home.mkdir()
            target: Any = kind(home)
            intact = Path(shutil.copytree(target.home, home / "intact"))
            rng, found = random.Random(seed), Counter[Outcome]()
            for number in range(trials):
                done, outcome = trial(target, intact, rng)
                found[outcome.partition(":")[0]] += 1
                if outcome not in {"made again", "refused"}:
                    print(f"{kind.__name__} {number}: {done}: {outcome}", flush=True)
            counts[kind.__name__] = found
    return counts


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help="of each kind of folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    for name, found in run(given.trials, given.seed, given.kinds).items():
        print(f"{name:<10}", ", ".join(f"{outcome} {count}" for outcome, count in sorted(found.items())))


if __name__ == "__main__":
    main()
