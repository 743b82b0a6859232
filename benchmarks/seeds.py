"""How often a study's 95% interval, over pictures and seeds, holds the gain that it is about.

    python benchmarks/seeds.py --write

Gains of seeds are the true gain, plus what the pictures do to all of them, plus what each training does. The interval
is made from their mean, their scatter and the bootstrap's half for the pictures, as a study makes it. Three ways to
join the two: that of the study (`findings.spread.joined`); the halves in quadrature, Student's t for the seeds; and
Welch and Satterthwaite's degrees of freedom. The scatter of seeds is 0 to 16 times that of the pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from yolo_qreg.evaluation.estimate import LEVEL, critical  # noqa: E402
from yolo_qreg.files import fill_block  # noqa: E402
from yolo_qreg.findings.spread import joined  # noqa: E402

PAGE = ROOT / "docs" / "study.md"
SEEDS = (2, 3, 5, 8)
SCATTER = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviation of trainings, by that of pictures, which is 1."""


def quadrature(half: float, error: float, seeds: int) -> tuple[float, float]:
    """Join the two halves as independent ones."""
    return float(np.hypot(half, critical(seeds - 1) * error)), seeds - 1


def welch(half: float, error: float, seeds: int) -> tuple[float, float]:
    """Join variances, with the degrees of freedom of Welch and Satterthwaite; those of the pictures are many."""
    variance = (half / critical()) ** 2 + error**2
    freedom = min((seeds - 1) * variance**2 / max(error**4, 1e-12), 1e9)
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) * variance**0.5, freedom


WAYS: dict[str, Callable[[float, float, int], tuple[float, float]]] = {
    "study": joined,
    "quadrature": quadrature,
    "Welch-Satterthwaite": welch,
}


def covered(seeds: int, scatter: float, trials: int, rng: np.random.Generator) -> dict[str, float]:
    """Return the share of intervals that hold the true gain, by way of joining."""
    gains = rng.normal(0, 1, (trials, 1)) + rng.normal(0, scatter, (trials, seeds))
    off, errors = np.abs(gains.mean(axis=1)), gains.std(axis=1, ddof=1) / seeds**0.5
    return {name: float((off <= _halves(way, errors, seeds)).mean()) for name, way in WAYS.items()}


def _halves(
    way: Callable[[float, float, int], tuple[float, float]], errors: NDArray[np.float64], seeds: int
) -> NDArray[np.float64]:
    return np.array([way(critical(), error, seeds)[0] for error in errors.tolist()])


def table(trials: int) -> str:
    """Return the least and the most coverage in percent as Markdown."""
    rng = np.random.default_rng(0)
    lines = [f"| seeds | {' | '.join(WAYS)} |", f"| --- |{' --- |' * len(WAYS)}"]
    for seeds in SEEDS:
        found = [covered(seeds, scatter, trials, rng) for scatter in SCATTER]
        spans = ((min(one[name] for one in found), max(one[name] for one in found)) for name in WAYS)
        lines.append(f"| {seeds} | {' | '.join(f'{100 * low:.1f} to {100 * high:.1f}' for low, high in spans)} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--trials", default=40_000, show_default=True, help="Studies for each number of seeds and each scatter.")
@click.option("--write", is_flag=True, help="Write the table into docs/study.md.")
def main(trials: int, write: bool) -> None:
    """Print coverage by number of seeds."""
    text = table(trials)
    click.echo(text)
    if write:
        fill_block(PAGE, "seeds", text)


if __name__ == "__main__":
    main()
