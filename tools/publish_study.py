"""Put the numbers and pictures of a study into the documentation, and its tables into the pages that show them.

    python tools/publish_study.py runs/study/voc-lite docs/results/voc-lite

takes from a finished study what its report is computed from, without weights and without pictures of the data set, so
that `yolo-qreg report docs/results/voc-lite` writes the report again; and fills the marked blocks of
docs/results/README.md and README.md. Without a study it only fills the blocks again.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.results import CLEAN, RUN, load, save
from yolo_qreg.files import fill_block, write_atomic
from yolo_qreg.findings import paper
from yolo_qreg.findings.claims import VERDICTS, judge
from yolo_qreg.findings.gather import Findings, gather
from yolo_qreg.findings.losses import read_histories, write_histories
from yolo_qreg.findings.names import kind_of
from yolo_qreg.findings.pool import Pool
from yolo_qreg.report.study_report import write_study_report
from yolo_qreg.report.study_wording import claim_numbers, claim_paper, duration, points_text, spread_text
from yolo_qreg.report.text import DASH, number, signed
from yolo_qreg.study.plan import load_study
from yolo_qreg.study.runs import places

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SHOWN = RESULTS / "voc-lite"
PLAN = "study.yaml"
PICTURES = ("heatmaps.png", "losses-dorefa.png", "losses-lsq.png")


def publish(study_folder: Path, out: Path) -> None:
    """Copy what the report of a study is computed from, and draw its figures again.

    Args:
        study_folder: What `yolo-qreg study` wrote.
        out: Folder of the documentation; numbers and figures that it held are replaced.
    """
    study = load_study(str(study_folder / PLAN))
    for old in (*out.glob("seed-*"), out / "figures"):
        shutil.rmtree(old, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(study_folder / PLAN, out / PLAN)
    for seed in study.seeds:
        if not (study_folder / f"seed-{seed}" / RUN).is_file():
            continue
        results = load(study_folder / f"seed-{seed}")
        models = tuple(replace(model, run=None) for model in results.models)  # folders of the machine that trained them
        (out / f"seed-{seed}").mkdir()
        save(replace(results, models=models), out / f"seed-{seed}")
    write_histories(read_histories(places(study, study_folder), study_folder), out)
    with TemporaryDirectory() as name:  # figures and tables from the copy alone
        again = Path(name) / "study"
        shutil.copytree(out, again)
        write_study_report(study, again)
        for path in again.glob("*.csv"):
            shutil.copy(path, out / path.name)
        (out / "figures").mkdir()
        for picture in PICTURES:
            if (again / "figures" / picture).is_file():
                shutil.copy(again / "figures" / picture, out / "figures" / picture)


def table1(found: Pool, findings: Findings) -> str:
    """Return Table 1 in Markdown, the paper's numbers in its last two columns."""
    printed = {(row.method, row.bits): row.points for row in paper.table1()} if findings.comparable() else {}
    lines = [
        "| weights | MB | corrupted mAP | gain [95% interval] | clean mAP | gain [95% interval] | paper's mAP | gain |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    sizes = {model.name: model.size_mb for model in found.results.models}
    for unit in found.units:
        theirs = printed.get((unit.method, unit.bits))
        gains = [found.gain(unit.label), found.gain(unit.label, CLEAN)]
        gain, clean_gain = (points_text(gain) if gain else DASH for gain in gains)
        difference = signed(theirs - printed[None, 32], 2) if theirs is not None and unit.method else DASH
        cells = (
            kind_of(unit.method, unit.bits),
            number(sizes[unit.label], 2),
            spread_text(found.level(unit.label)),
            gain,
            spread_text(found.level(unit.label, CLEAN)),
            clean_gain,
            number(theirs, 2),
            difference,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def claims(findings: Findings) -> str:
    """Return what the study says to each claim of the paper, in Markdown."""
    judged = judge(findings)
    tally = ", ".join(f"{sum(entry.verdict == verdict for entry in judged)} {verdict}" for verdict in VERDICTS)
    lines = [f"Of {len(judged)} claims of the paper about detection: {tally}.", ""]
    lines += ["| claim | source | verdict | here | paper |", "| --- | --- | --- | --- | --- |"]
    for entry in judged:
        cells = (entry.claim.text, entry.claim.source, f"**{entry.verdict}**", claim_numbers(entry), claim_paper(entry))
        lines.append(f"| {' | '.join(cell or DASH for cell in cells)} |")
    return "\n".join(lines)


def gaps(findings: Findings) -> str:
    """Return losses at the end of each training, in Markdown."""
    lines = [
        "| training | epoch | training loss | validation loss | gap | gap minus the twin's | best epoch | time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for training in findings.trainings:
        gap, history = training.gap, training.history
        if gap is None or history is None:
            continue
        change = findings.gap_change(training)
        cells = (
            training.run.name,
            str(gap.epoch),
            *(number(value, 3) for value in (gap.training_sum, gap.validation_sum, gap.of())),
            signed(change, 3),
            str(history.best_epoch or DASH),
            duration(history.seconds),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def blocks(folder: Path) -> dict[str, str]:
    """Return what stands between the marks of the pages, by the name of the mark."""
    findings = gather(load_study(str(folder / PLAN)), folder)
    if findings.pool is None:
        raise InputError(f"{folder} holds no evaluation")
    return {"table1": table1(findings.pool, findings), "claims": claims(findings), "gaps": gaps(findings)}


def fill(page: Path, texts: dict[str, str]) -> None:
    """Put texts between their marks, such as <!-- table1:begin --> and <!-- table1:end -->, where a page has them."""
    for name, block in texts.items():
        fill_block(page, name, block)


def _write(path: Path, text: str) -> None:
    write_atomic(path, lambda file: file.write(text.encode()))


@click.command()
@click.argument("study", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", required=False, type=click.Path(file_okay=False, path_type=Path))
def main(study: Path | None, out: Path | None) -> None:
    """Publish STUDY in OUT, by default docs/results/voc-lite, and fill the pages with the tables of that folder."""
    try:
        if study is not None:
            publish(study, out or SHOWN)
        texts = blocks(SHOWN)
    except InputError as error:
        raise click.ClickException(str(error)) from error
    for page in (RESULTS / "README.md", ROOT / "README.md"):
        fill(page, texts)


if __name__ == "__main__":
    main()
