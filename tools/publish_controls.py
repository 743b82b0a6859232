"""Put into the documentation what quantization did to losses, and weight decay to those of FP32 where that was tried.

    python tools/publish_controls.py 0=runs/study/decay-0 0.5=runs/study/decay-0.5

takes the losses of studies that train FP32 alone (`bits: [32]`), in all else as the published one with another
`weight_decay`, and fills the block "controls" of the pages in `PAGES`. Without arguments the tables are made again from
what is published. Losses are means over the last `WINDOW` epochs of each, as neighbouring ones differ by chance, and
changes are from the study's FP32 in the same epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import click

from yolo_qreg.files import fill_block
from yolo_qreg.findings.gather import gather
from yolo_qreg.findings.losses import SUM, History, read_histories, write_histories
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.spread import over_seeds
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.report.render import to_markdown
from yolo_qreg.report.study_tables import LOSS_DIGITS
from yolo_qreg.report.table import GAIN, Column, Row, Table, gain_cell, number_cell, table, text_cell
from yolo_qreg.study.plan import PLAN, load_study
from yolo_qreg.study.runs import places

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PAGES = {RESULTS / "regularization": RESULTS / "README.md", RESULTS / "overfitting": RESULTS / "overfitting.md"}
"""Studies, and the pages that show them."""
TRIED = RESULTS / "overfitting"
"""The study that has controls."""
DEFAULT_DECAY = 0.0005
"""The host's."""
OWN = " (the study's)"
WINDOW = 5
SHARED = ("training", "validation", "gap")


def twins(study: Path, losses: Path) -> dict[int, History]:
    """Return the epochs of a study's FP32 models by seed, from run folders below a folder or what was kept there."""
    found = [place for place in places(load_study(str(study / PLAN)), losses) if place.run.quant.bits == FLOAT_BITS]
    known = read_histories(found, losses)
    return {place.run.seed: known[place.run.name] for place in found if place.run.name in known}


def keep(decay: str, source: Path) -> None:
    """Copy the losses of a control into the documentation."""
    folder = TRIED / "controls" / f"decay-{decay}"
    folder.mkdir(parents=True, exist_ok=True)
    names = {f"fp32-seed{seed}": history for seed, history in twins(source, source).items()}
    write_histories(names, folder)


def controls(shown: Path) -> Table:
    """Return losses of FP32 by weight decay and of quantized weights, and their changes from the study's FP32."""
    findings = gather(load_study(str(shown / PLAN)), shown)
    own = float(findings.study.train.get("weight_decay", DEFAULT_DECAY))
    decays = {own: twins(shown, shown)}
    decays |= {float(f.name.removeprefix("decay-")): twins(shown, f) for f in (shown / "controls").glob("decay-*")}
    found = {_name(decay, own, tried=len(decays) > 1): decays[decay] for decay in sorted(decays)}
    for unit in findings.quantized:
        done = {t.run.seed: t.history for t in findings.trainings if t.run.quant.label == unit.label and t.history}
        found |= {kind_of(unit.method, unit.bits): done} if done else {}
    columns = (
        Column("model", "weights", words=True),
        Column("epochs", "epochs"),
        *(Column(name, f"{name} loss" if name != "gap" else name) for name in SHARED),
        *(Column(f"change_{name}", f"change of {name}, {GAIN.removeprefix('gain ')}") for name in SHARED),
    )
    return table(columns, (_row(name, by_seed, decays[own]) for name, by_seed in found.items()))


def _name(decay: float, own: float, *, tried: bool) -> str:
    return f"FP32, weight decay {decay:g}" + f"{OWN * (decay == own)}" if tried else "FP32"


def _row(name: str, by_seed: Mapping[int, History], twins: Mapping[int, History]) -> Row:
    last = min(history.epochs for history in by_seed.values())
    epochs = range(max(1, last - WINDOW + 1), last + 1)
    means, base = _means(by_seed, epochs), _means(twins, epochs)
    changes = ({seed: value - base[loss][seed] for seed, value in means[loss].items()} for loss in SHARED)
    own = by_seed is twins
    cells = (
        text_cell(name),
        text_cell(f"{epochs[0]} to {last}"),
        *(number_cell(over_seeds(means[loss]).value, LOSS_DIGITS) for loss in SHARED),
        *(gain_cell(None if own else over_seeds(change), LOSS_DIGITS, less_is_better=True) for change in changes),
    )
    return Row(cells, "base" if own else "")


def _means(by_seed: Mapping[int, History], epochs: range) -> dict[str, dict[int, float]]:
    """Return means over epochs, by loss and seed."""
    found: dict[str, dict[int, float]] = {name: {} for name in SHARED}
    for seed, history in by_seed.items():
        training, validation = (dict(history.series(part, SUM)) for part in ("train", "val"))
        found["training"][seed] = fmean(training[epoch] for epoch in epochs)
        found["validation"][seed] = fmean(validation[epoch] for epoch in epochs)
        found["gap"][seed] = found["validation"][seed] - found["training"][seed]
    return found


@click.command()
@click.argument("studies", nargs=-1, metavar="[DECAY=STUDY]...")
def main(studies: tuple[str, ...]) -> None:
    """Keep the losses of controls, and fill the page with their table."""
    for word in studies:
        decay, _, folder = word.partition("=")
        keep(decay, Path(folder))
    for shown, page in PAGES.items():
        fill_block(page, "controls", to_markdown(controls(shown)))


if __name__ == "__main__":
    main()
