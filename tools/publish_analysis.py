"""Put the tables and pictures of an analysis into docs/analysis.md, between the marks that bear its name.

    python tools/publish_analysis.py runs/study/shapes/analysis shapes

Blocks are NAME-terms (noise and the theorem, all layers at once) and NAME-sharpness. Pictures, in few colours, and CSV
files go to docs/results/analysis/NAME-FILE, those that the page names.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import click
from PIL import Image

from yolo_qreg.analysis.run import load
from yolo_qreg.files import fill_block
from yolo_qreg.report import analysis_tables
from yolo_qreg.report.render import to_markdown
from yolo_qreg.report.table import Table, text_cell

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "analysis.md"
OUT = DOCS / "results" / "analysis"
SHARPNESS = ("model", "training_loss", "asam/0.1", "relative_trace", "eigenvalue", "corrupted", "overfit")
"""Columns that the page shows."""
COLOURS = 64
"""Of a picture: flat ones look the same and take a third of the room."""


def publish(folder: Path, name: str) -> None:
    """Fill the page's blocks, and copy what it shows."""
    found = load(folder)
    fill_block(PAGE, f"{name}-terms", to_markdown(analysis_tables.rises(found).without("first_order")))
    sharpness = _titled(analysis_tables.sharpness(found).only(*SHARPNESS), analysis_tables.titles(found))
    fill_block(PAGE, f"{name}-sharpness", to_markdown(sharpness))
    page = PAGE.read_text(encoding="utf-8")
    for file in (*folder.glob("*.csv"), *folder.glob("figures/*.png")):
        target = OUT / f"{name}-{file.name}"
        if target.name not in page:
            continue
        if file.suffix == ".csv":
            shutil.copy(file, target)
            continue
        with Image.open(file) as image:
            few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(target, optimize=True)


def _titled(table: Table, titles: dict[str, str]) -> Table:
    """Call the models of rows what figures call them."""
    rows = (replace(row, cells=(text_cell(titles[row.cells[0].text]), *row.cells[1:])) for row in table.rows)
    return replace(table, rows=tuple(rows))


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("name")
def main(folder: Path, name: str) -> None:
    """Publish what was asked for."""
    publish(folder, name)


if __name__ == "__main__":
    main()
