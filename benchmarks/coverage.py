"""How often a 95% interval for the difference of two models' mAP holds the difference it is about, by six methods.

    python benchmarks/coverage.py draw "rare classes" --out OUT
    python benchmarks/coverage.py draw shapes --weights fp32.pt dorefa.pt --data shapes/data.yaml --out OUT
    python benchmarks/coverage.py draw pictures --weights fp32.pt dorefa.pt --data voc.yaml --imgsz 160 --out OUT
    python benchmarks/coverage.py table --out OUT --write

`draw` takes a population of pictures, draws data sets of several sizes from it, and bootstraps each as an evaluation
does. Detections are those of `eval-corrupted` and are kept in its store; each picture is matched once. Draws go to
POPULATION.csv, one line each, and the same command continues where it was interrupted. `table` sums them up.

Two pairs of models: the two given, which differ in truth, and two between which a coin decides, picture by picture, who
is who: these differ as much in each data set and by nothing in truth. Two questions: is the difference on the whole
population in the interval (asked of a method), or what other data sets of the same size give on average (what bias of
mAP in small data sets does not count against)?

Data sets are drawn without replacement, as real ones hold no picture twice, which scatters less by
sqrt(1 - size / population) than data sets of an endless population; so targets are moved away from the estimate by the
inverse. With a coin there is nothing to correct: sums of numbers with random signs scatter as those of an endless one.

Letters: n pictures of a data set, B resamples, J parts left out in turn.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path).resolve() != HERE)]  # numba imports `coverage`

try:
    from numba import njit
except ImportError:  # the same numbers, many times slower
    njit = None

from yolo_qreg.evaluation.average_precision import RECALLS, _detections_before, _thresholds_reached  # noqa: E402
from yolo_qreg.evaluation.bootstrap import bootstrap_map, image_weights  # noqa: E402
from yolo_qreg.evaluation.matching import ClassMatches, Matches, match  # noqa: E402
from yolo_qreg.evaluation.results import CLEAN, FEW_PICTURES  # noqa: E402
from yolo_qreg.files import fill_block  # noqa: E402

PAGE = ROOT / "docs" / "evaluate.md"
LEVEL = 0.95
TAILS = (1 - LEVEL) / 2, (1 + LEVEL) / 2
LEAST_DRAWS = 150
"""Fewer say too little of a setting for the table."""
MOST_PARTS = 50
"""Of a jackknife: pictures are left out one by one, or in so many parts."""
ONE = "gaussian_noise"
"""The corruption that is looked at by itself."""
KINDS = (CLEAN, ONE, "mean")
"""Clean pictures, one corruption, and the mean over all that are evaluated."""
AS_GIVEN, COIN = "models", "coin"
PAIRS = (AS_GIVEN, COIN)
SIZES = {
    "one class": (12, 30, 100, 400),
    "rare classes": (12, 30, 100, 400),
    "shapes": (12, 30, 60, 200),
    "pictures": (100, 200, 400, 800),
}
EPSILON = float(np.spacing(1))
THRESHOLDS = len(RECALLS)
OBJECTS = {"one class": (3.0,), "rare classes": (1.5, 0.6, 0.3, 0.15, 0.08, 0.04, 0.02, 0.01)}
"""Of simulated populations: objects of each class in a picture, on average."""
Ends = tuple[float, float]


# --- methods: each is given the estimate, the resampled ones [B] and the jackknife's [J] ------------------------------


def percentile(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """Efron's: the quantiles of the resampled differences."""
    low, high = np.quantile(resampled, TAILS)
    return float(low), float(high)


def basic(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """The same, reflected at the estimate."""
    low, high = percentile(estimate, resampled, left_out)
    return 2 * estimate - high, 2 * estimate - low


def centred(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """The quantiles, shifted by the bias that the bootstrap sees in itself."""
    low, high = percentile(estimate, resampled, left_out)
    bias = float(resampled.mean()) - estimate
    return low - bias, high - bias


def normal(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """The estimate and 1.96 of the bootstrap's standard deviations."""
    half = float(ndtri(TAILS[1]) * resampled.std(ddof=1))
    return estimate - half, estimate + half


def bias_corrected(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """BC: quantiles moved as far as the estimate is from the median of the resampled (Efron 1981)."""
    return _corrected(estimate, resampled, 0.0)


def accelerated(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """BCa: and for skewness, from a jackknife (Efron 1987)."""
    influence = left_out.mean() - left_out
    spread = float((influence**2).sum())
    return _corrected(estimate, resampled, float((influence**3).sum()) / (6 * spread**1.5) if spread else 0.0)


def _corrected(estimate: float, resampled: NDArray[np.float64], acceleration: float) -> Ends:
    below = ((resampled < estimate).mean() + (resampled <= estimate).mean()) / 2
    half = 0.5 / len(resampled)
    shift = ndtri(np.clip(below, half, 1 - half))
    moved = shift + ndtri(TAILS)
    low, high = np.quantile(resampled, ndtr(shift + moved / (1 - acceleration * moved)))
    return float(low), float(high)


METHODS: Mapping[str, Callable[[float, NDArray[np.float64], NDArray[np.float64]], Ends]] = {
    "percentile": percentile,
    "basic": basic,
    "centred": centred,
    "normal": normal,
    "BC": bias_corrected,
    "BCa": accelerated,
}


# --- populations ------------------------------------------------------------------------------------------------------

Pair = tuple[Matches, Matches]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Detections of two models on pictures that are taken for a whole population.

    Attributes:
        kinds: What both models found on each kind of pictures, clean first.
    """

    kinds: Mapping[str, Pair]

    @property
    def images(self) -> int:
        """How many pictures there are."""
        return self.kinds[CLEAN][0].images

    def draw(self, pair: str, size: int, rng: np.random.Generator) -> dict[str, Pair]:
        """Return a data set of some of the pictures."""
        chosen = np.sort(rng.choice(self.images, size, replace=False))
        found = {kind: (taken(a, chosen), taken(b, chosen)) for kind, (a, b) in self.kinds.items()}
        if pair == AS_GIVEN:
            return found
        heads = rng.random(size) < 0.5
        return {kind: (mixed(a, b, heads), mixed(b, a, heads)) for kind, (a, b) in found.items()}

    def truth(self, pair: str) -> dict[str, float]:
        """Return the differences on the whole population."""
        if pair == COIN:
            return dict.fromkeys(KINDS[: len(self.kinds)], 0.0)
        ones = np.ones((1, self.images), np.int64)
        return {kind: float(values[0]) for kind, values in differences(self.kinds, ones).items()}

    def stretch(self, pair: str, size: int) -> float:
        """Return how much more data sets of an endless population would scatter."""
        return 1.0 if pair == COIN else (1 - size / self.images) ** -0.5


def taken(matches: Matches, images: NDArray[np.intp]) -> Matches:
    """Return what was found on some images, given in ascending order: the matches of a data set of these alone."""
    new = np.full(matches.images, -1, np.int32)
    new[images] = np.arange(len(images), dtype=np.int32)
    classes = []
    for found in matches.classes:
        kept = new[found.image] >= 0
        classes.append(
            ClassMatches(new[found.image[kept]], found.score[kept], found.true_positive[:, kept], found.truths[images])
        )
    return Matches(len(images), matches.names, tuple(classes))


def shortened(pair: Pair) -> Pair:
    """Return both models' matches without what scores below every true positive of a class, which changes no AP."""
    limits = [
        min(float(found.score[found.true_positive.any(axis=0)].min(initial=np.inf)) for found in both)
        for both in zip(*(matches.classes for matches in pair), strict=True)
    ]
    first, second = (
        Matches(matches.images, matches.names, tuple(map(_above, matches.classes, limits))) for matches in pair
    )
    return first, second


def _above(found: ClassMatches, limit: float) -> ClassMatches:
    kept = found.score >= limit
    return ClassMatches(found.image[kept], found.score[kept], found.true_positive[:, kept], found.truths)


def mixed(first: Matches, second: Matches, heads: NDArray[np.bool_]) -> Matches:
    """Return what the first model found on the images of `heads`, and the second on the others."""
    classes = []
    for one, other in zip(first.classes, second.classes, strict=True):
        mine, its = heads[one.image], ~heads[other.image]
        image = np.concatenate([one.image[mine], other.image[its]])
        score = np.concatenate([one.score[mine], other.score[its]])
        order = np.lexsort((image, -score))  # stable, so the detections of an image keep theirs
        true = np.concatenate([one.true_positive[:, mine], other.true_positive[:, its]], axis=1)
        classes.append(ClassMatches(image[order], score[order], true[:, order], one.truths))
    return Matches(first.images, first.names, tuple(classes))


@dataclass(frozen=True, slots=True)
class Simulated:
    """Two detectors that find objects at random, on pictures that never repeat.

    Attributes:
        objects: Mean number of objects of each class in a picture.
        skills: Of the two, the share of objects that they find where they differ in truth.
    """

    objects: tuple[float, ...]
    skills: tuple[float, float] = (0.6, 0.5)
    many: int = 5_000
    times: int = 12

    def draw(self, pair: str, size: int, rng: np.random.Generator) -> dict[str, Pair]:
        """Return a data set."""
        truths = rng.poisson(self.objects, (size, len(self.objects)))
        first, second = self.skills if pair == AS_GIVEN else (self.skills[0], self.skills[0])
        return {CLEAN: (random_detector(rng, truths, first), random_detector(rng, truths, second))}

    def truth(self, pair: str) -> dict[str, float]:
        """Return the mean difference of data sets so large that it hardly varies."""
        if pair == COIN:
            return {CLEAN: 0.0}
        rng, ones = np.random.default_rng(0), np.ones((1, self.many), np.uint16)
        found = [differences(self.draw(pair, self.many, rng), ones)[CLEAN] for _ in range(self.times)]
        return {CLEAN: float(np.mean(found))}

    def stretch(self, pair: str, size: int) -> float:
        """Return 1: the population is endless."""
        return 1.0


def random_detector(rng: np.random.Generator, truths: NDArray[np.integer[Any]], skill: float = 0.6) -> Matches:
    """Return what a detector would give that finds a share of the objects, and other things too.

    Args:
        rng: Source of random numbers.
        truths: Objects by picture and class, [n, classes].
        skill: The share; there are about as many false detections as objects that it finds.
    """
    classes = []
    for wanted in truths.T:
        hits = np.repeat(np.arange(len(wanted)), rng.binomial(wanted, skill))
        false = rng.integers(len(wanted), size=rng.poisson(2 / 3 * wanted.mean() * len(wanted)))
        score = np.concatenate([rng.beta(4, 2, len(hits)), rng.beta(2, 4, len(false))]).astype(np.float32)
        order = np.argsort(-score, kind="stable")
        image = np.concatenate([hits, false])[order].astype(np.int32)
        true = np.tile((np.arange(len(order)) < len(hits))[order], (10, 1))
        classes.append(ClassMatches(image, score[order], true, wanted.astype(np.int64)))
    return Matches(len(truths), tuple(map(str, range(truths.shape[1]))), tuple(classes))


def resampled_map(matches: Matches, weights: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return what `bootstrap_map` does, mAP@[.50:.95] for each weighting [B] of the images, by compiled code."""
    if njit is None:
        return bootstrap_map(matches, weights).map50_95
    counts = weights.astype(np.int32)
    by_class = np.zeros((len(counts), len(matches.classes), 10))
    for label, found in enumerate(matches.classes):
        truths = counts @ found.truths
        columns = np.flatnonzero(found.true_positive.any(axis=0))
        if len(columns):
            seen = counts.astype(np.float32) @ _detections_before(found.image, columns, counts).astype(np.float32)
            reached, start = _thresholds_reached(truths)
            level, column = np.nonzero(found.true_positive[:, columns])
            ends = np.searchsorted(level, np.arange(11))
            compiled(counts[:, found.image[columns]], column, ends, seen, reached, start, by_class[:, label])
        by_class[truths == 0, label] = np.nan
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(by_class.mean(axis=2), axis=1) / (~np.isnan(by_class[:, :, 0])).sum(axis=1))


def areas(
    counts: NDArray[np.int32],
    columns: NDArray[np.intp],
    ends: NDArray[np.intp],
    seen: NDArray[np.float32],
    reached: NDArray[np.int16],
    start: NDArray[np.intp],
    result: NDArray[np.float64],
) -> None:
    """Fill in the average precision of one class [B, 10]; see `average_precision._class_average_precision`."""
    precision, thresholds = np.empty(len(columns)), np.empty(len(columns), np.int64)
    for row in range(len(counts)):
        for level in range(len(ends) - 1):
            found = true = 0
            for column in columns[ends[level] : ends[level + 1]]:
                if counts[row, column]:
                    true += counts[row, column]
                    precision[found] = true / (np.float64(seen[row, column]) + EPSILON)
                    thresholds[found] = reached[start[row] + true]
                    found += 1
            area = best = 0.0
            for place in range(found - 1, -1, -1):
                best = max(best, precision[place])
                area += best * (thresholds[place] - (thresholds[place - 1] if place else 0))
            result[row, level] = area / THRESHOLDS


compiled = njit(cache=True)(areas) if njit else areas


def differences(kinds: Mapping[str, Pair], weights: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return second minus first in mAP for each weighting [B] of the pictures, of what `KINDS` names."""
    found = {
        kind: resampled_map(second, weights) - resampled_map(first, weights) for kind, (first, second) in kinds.items()
    }
    corrupted = [values for kind, values in found.items() if kind != CLEAN]
    if len(corrupted) > 1:
        found[KINDS[-1]] = np.mean(corrupted, axis=0)
    return {kind: found[kind] for kind in KINDS if kind in found}


# --- draws ------------------------------------------------------------------------------------------------------------

FIELDS = ("pair", "size", "draw", "kind", "truth", "stretch", "estimate", *(f"{m} {e}" for m in METHODS for e in "lh"))


def one_draw(
    population: Pictures | Simulated, pair: str, size: int, number: int, resamples: int
) -> Iterator[dict[str, Any]]:
    """Yield the estimate and all intervals of one data set, for each kind."""
    rng = np.random.default_rng([number, size, PAIRS.index(pair)])
    kinds = population.draw(pair, size, rng)
    parts = min(size, MOST_PARTS)
    without = (np.arange(size) % parts != np.arange(parts)[:, None]).astype(np.uint16)
    drawn = image_weights(size, resamples, seed=int(rng.integers(2**32)))
    found = differences(kinds, np.concatenate([np.ones((1, size), np.uint16), without, drawn]))
    for kind, values in found.items():
        known = np.nan_to_num(values[1 + parts :], nan=values[0])  # resamples without any object
        row: dict[str, Any] = {"pair": pair, "size": size, "draw": number, "kind": kind, "estimate": values[0]}
        for method, ends in METHODS.items():
            row[f"{method} l"], row[f"{method} h"] = ends(values[0], known, values[1 : 1 + parts])
        yield row


def draw_all(population: Pictures | Simulated, path: Path, sizes: Sequence[int], draws: int, resamples: int) -> None:
    """Append what is missing to a file of draws, a data set at a time."""
    done = {(row["pair"], int(row["size"]), int(row["draw"]), row["kind"]) for row in read(path)}
    truths = {pair: population.truth(pair) for pair in PAIRS}
    jobs = [
        (pair, size, number)
        for number, size, pair in product(draws, sizes, PAIRS)
        if any((pair, size, number, kind) not in done for kind in truths[pair])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file, click.progressbar(jobs, label=path.stem, show_pos=True) as bar:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        for pair, size, number in bar:
            rows = list(one_draw(population, pair, size, number, resamples))
            for row in rows:
                extra = {"truth": truths[pair][row["kind"]], "stretch": population.stretch(pair, size)}
                if (pair, size, number, row["kind"]) not in done:
                    writer.writerow(row | extra)
            file.flush()


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of draws; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def detected(weights: Sequence[Path], data: Path, imgsz: int, severity: int, out: Path, names: str) -> Pictures:
    """Return both models' matches on clean and on damaged pictures; what is not in the store is evaluated first."""
    from yolo_qreg.evaluation.tasks import Settings

    from corruptions import select
    from yolo_qreg.evaluation.evaluate import fill, prepare
    from yolo_qreg.evaluation.models import subjects

    settings = Settings(
        data=data,
        out=out,
        imgsz=imgsz,
        corruptions=select([*names.split(","), ONE]),
        severities=(severity,),
        workers=1,
    )
    ready = prepare(subjects(weights), settings)
    if not all(cell.detected() for task in ready.tasks for cell in task.cells.values()):
        with click.progressbar(length=ready.views(), label="evaluation") as bar:
            fill(ready, lambda _, seen: bar.update(seen))
    kinds = {}
    for task in ready.tasks:
        first, second = (match(ready.material.truth, cell.detections()) for cell in task.cells.values())
        kinds[task.damage.corruption] = shortened((first, second))
    return Pictures(kinds)


# --- tables -----------------------------------------------------------------------------------------------------------


COLUMNS = ("population", "pair", "pictures", "kind", "draws", "difference", "average_difference", "method")
COLUMNS += ("holds_population", "holds_average", "width")


@dataclass(frozen=True, slots=True)
class Setting:
    """What many data sets of one sort say of the methods.

    Attributes:
        draws: How many there are.
        truth: The difference on the population.
        average: The mean of the estimates.
        of_truth: By method, the share of intervals that hold the population's difference.
        of_average: The share that hold what data sets of this size give on average.
        width: Mean, in points of mAP.
    """

    population: str
    pair: str
    size: int
    kind: str
    draws: int
    truth: float
    average: float
    of_truth: Mapping[str, float]
    of_average: Mapping[str, float]
    width: Mapping[str, float]


def settings_of(folder: Path) -> list[Setting]:
    """Sum up the files of draws."""
    found = []
    for population in SIZES:
        groups: dict[tuple[str, int, str], list[dict[str, str]]] = {}
        for row in read(folder / f"{population}.csv"):
            groups.setdefault((row["pair"], int(row["size"]), row["kind"]), []).append(row)
        found += [_setting(population, *key, rows) for key, rows in sorted(groups.items(), key=_place)]
    return found


def _place(item: tuple[tuple[str, int, str], Any]) -> tuple[int, int, int]:
    pair, size, kind = item[0]
    return size, PAIRS.index(pair), KINDS.index(kind)


def _setting(population: str, pair: str, size: int, kind: str, rows: Sequence[Mapping[str, str]]) -> Setting:
    def column(name: str) -> NDArray[np.float64]:
        return np.array([float(row[name]) for row in rows])

    estimate, truth, stretch = column("estimate"), column("truth"), column("stretch")
    average = np.zeros(len(rows)) if pair == COIN else np.full(len(rows), np.nanmean(estimate))
    shares: list[dict[str, float]] = []
    for target in (truth, average):
        moved = estimate + (target - estimate) * stretch
        shares.append({m: float(((column(f"{m} l") <= moved) & (moved <= column(f"{m} h"))).mean()) for m in METHODS})
    width = {method: 100 * float((column(f"{method} h") - column(f"{method} l")).mean()) for method in METHODS}
    return Setting(
        population, pair, size, kind, len(rows), 100 * truth[0], 100 * float(np.nanmean(estimate)), *shares, width
    )


def write_csv(found: Sequence[Setting], path: Path) -> None:
    """Write a row for each setting and method."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in found:
            facts = (one.population, one.pair, one.size, one.kind, one.draws, f"{one.truth:.3f}", f"{one.average:.3f}")
            for method in METHODS:
                shares = (f"{share[method]:.4f}" for share in (one.of_truth, one.of_average))
                writer.writerow([*facts, method, *shares, f"{one.width[method]:.3f}"])


def table(found: Sequence[Setting]) -> str:
    """Return coverage in percent as Markdown: by population and size the worst and the mean, then over everything."""
    head = ["population", "pictures", *METHODS]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    groups: dict[tuple[str, int], list[Setting]] = {}
    for one in found:
        groups.setdefault((one.population, one.size), []).append(one)
    for (population, size), rows in groups.items():
        cells = (_span([one.of_truth[method] for one in rows]) for method in METHODS)
        lines.append(f"| {population} | {size} | {' | '.join(cells)} |")
    real = [one for one in found if one.population not in OBJECTS and one.size >= FEW_PICTURES] or found
    for name, shares in {
        "shapes, pictures: the population's difference": [one.of_truth for one in real],
        "shapes, pictures: that of such data sets on average": [one.of_average for one in real],
    }.items():
        cells = (_span([share[method] for share in shares]) for method in METHODS)
        lines.append(f"| {name} | {FEW_PICTURES} and more | {' | '.join(cells)} |")
    widths = (np.mean([one.width[method] / one.width["percentile"] for one in real]) for method in METHODS)
    lines.append(f"| width, by percentile's | {FEW_PICTURES} and more | {' | '.join(f'{w:.2f}' for w in widths)} |")
    return "\n".join(lines)


def _span(shares: Sequence[float]) -> str:
    return f"{100 * min(shares):.1f} ({100 * float(np.mean(shares)):.1f})"


# --- command line -----------------------------------------------------------------------------------------------------


@click.group(help=__doc__)
def main() -> None:
    """Draw data sets, or sum up what was drawn."""


@main.command()
@click.argument("population", type=click.Choice(list(SIZES)))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of draws and detections.")
@click.option("--weights", nargs=2, type=click.Path(path_type=Path), help="Of the two models.")
@click.option("--data", type=click.Path(path_type=Path), help="YAML file of the population's pictures.")
@click.option("--imgsz", default=160, show_default=True)
@click.option("--severity", default=3, show_default=True)
@click.option("--sizes", help="Of data sets, separated by commas.")
@click.option("--draws", default=400, show_default=True, help="Data sets of each size and pair of models.")
@click.option("--resamples", default=400, show_default=True)
@click.option("--corruptions", default="all", show_default=True, help="Names or groups; a mean over many takes long.")
@click.option(
    "--first", default=0, show_default=True, help="Number of the first data set: processes may share the work."
)
def draw(
    population: str,
    out: Path,
    weights: tuple[Path, Path] | None,
    data: Path | None,
    imgsz: int,
    severity: int,
    sizes: str | None,
    draws: int,
    resamples: int,
    corruptions: str,
    first: int,
) -> None:
    """Draw data sets from a population and write their intervals."""
    source: Pictures | Simulated
    if population in OBJECTS:
        source = Simulated(OBJECTS[population])
    else:
        if weights is None or data is None:
            raise click.UsageError(f"{population} needs --weights and --data")
        source = detected(weights, data, imgsz, severity, out / population, corruptions)
    chosen = tuple(map(int, sizes.split(","))) if sizes else SIZES[population]
    draw_all(source, out / f"{population}.csv", chosen, range(first, draws), resamples)


@main.command("table")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of draws.")
@click.option("--write", is_flag=True, help="Write the table into docs/evaluate.md.")
def print_table(out: Path, write: bool) -> None:
    """Print coverage as Markdown, and write every setting to coverage.csv."""
    found = [one for one in settings_of(out) if one.draws >= LEAST_DRAWS]
    write_csv(found, out / "coverage.csv")
    text = table(found)
    click.echo(text)
    if write:
        fill_block(PAGE, "coverage", text)


if __name__ == "__main__":
    main()
