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

import sys
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OTHERS = [path for path in sys.path if Path(path).resolve() != HERE]  # numba imports `coverage`
sys.path[:] = [str(ROOT), str(HERE / "intervals"), *OTHERS]

from coverage_table import settings_of, table, write_csv  # noqa: E402
from draws import detected, draw_all  # noqa: E402
from populations import OBJECTS, SIZES, Pictures, Simulated  # noqa: E402

from yolo_qreg.files import fill_block  # noqa: E402

PAGE = ROOT / "docs" / "evaluate.md"
LEAST_DRAWS = 150
"""Fewer say too little of a setting for the table."""


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
