"""Put the numbers and pictures of a study into the documentation, and its tables into the pages that show them.

    python tools/publish_study.py runs/study/regularization docs/results/regularization

takes from a finished study what its report is computed from, without weights and without pictures of the data set, so
that `yolo-qreg report docs/results/regularization` writes the report again; and fills the marked blocks of the pages
that show it. Without arguments tables and pictures are made again from what is published.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.result_files import RUN, load, save
from yolo_qreg.files import fill_block
from yolo_qreg.findings.claims import VERDICTS, judge
from yolo_qreg.findings.gather import gather
from yolo_qreg.findings.losses import read_histories, write_histories
from yolo_qreg.report import study_tables
from yolo_qreg.report.render import to_markdown
from yolo_qreg.report.study import write_study_report
from yolo_qreg.study.plan import PLAN, load_study
from yolo_qreg.study.runs import places

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = {
    RESULTS / "regularization": (RESULTS / "README.md", ROOT / "README.md"),
    RESULTS / "overfitting": (RESULTS / "overfitting.md",),
    RESULTS / "voc-lite": (RESULTS / "widths.md",),
}
"""What is published, and the pages that show it."""
PICTURES = ("heatmaps.png", "losses-dorefa.png", "losses-lsq.png")


def publish(study_folder: Path, out: Path) -> None:
    """Write what the report of a study is computed from, its tables, and its pictures, in place of what lay there."""
    study = load_study(str(study_folder / PLAN))
    with TemporaryDirectory() as name:  # figures and tables from the copy alone
        copy = Path(name) / "study"
        copy.mkdir()
        shutil.copy(study_folder / PLAN, copy / PLAN)
        for seed in study.seeds:
            if (study_folder / f"seed-{seed}" / RUN).is_file():
                results = load(study_folder / f"seed-{seed}")
                models = tuple(replace(model, run=None) for model in results.models)  # folders of one machine
                save(replace(results, models=models), copy / f"seed-{seed}")
        write_histories(read_histories(places(study, study_folder), study_folder), copy)
        write_study_report(study, copy)
        (copy / "report.html").unlink()
        for picture in (copy / "figures").iterdir():
            if picture.name not in PICTURES:
                picture.unlink()
        for old in (*out.glob("seed-*"), out / "figures"):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(copy, out, dirs_exist_ok=True)


def blocks(folder: Path) -> dict[str, str]:
    """Return what stands between the marks of the pages, by the name of the mark."""
    findings = gather(load_study(str(folder / PLAN)), folder)
    if findings.pool is None:
        raise InputError(f"{folder} holds no evaluation")
    judged = judge(findings)
    tally = ", ".join(f"{sum(claim.verdict == verdict for claim in judged)} {verdict}" for verdict in VERDICTS)
    table1 = study_tables.table1(findings.pool)
    said = f"Of {len(judged)} claims of the paper about detection: {tally}."
    return {
        "table1": to_markdown(table1.without("seeds", "equation5", "paper_equation5")),
        "claims": f"{said}\n\n{to_markdown(study_tables.claims(judged))}",
        "losses": to_markdown(study_tables.losses_by_unit(findings)),
        "gaps": to_markdown(study_tables.losses_by_run(findings).only(*study_tables.SHOWN_OF_RUNS)),
    }


@click.command()
@click.argument("study", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", required=False, type=click.Path(file_okay=False, path_type=Path))
def main(study: Path | None, out: Path | None) -> None:
    """Publish STUDY in OUT, or all that is published again, and fill the pages that show it."""
    try:
        for folder in [out.resolve()] if out else PAGES:
            publish(study or folder, folder)
            for page in PAGES.get(folder, ()):
                for name, text in blocks(folder).items():
                    fill_block(page, name, text)
    except InputError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
