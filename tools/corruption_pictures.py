"""Draw the page of the documentation that shows every corruption, docs/corruptions, from a picture of scikit-image's.

pip install "yolo-qreg[frost]"
python tools/corruption_pictures.py
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path

import numpy as np
import PIL.Image

from corruptions import CORRUPTIONS, SEVERITIES, select
from corruptions.cli import Job, encode, write_whole
from corruptions.pixels import Image
from corruptions.sheet import STRIP_CELL, contact_sheet, fitted, group_label, label, severity_strip

FOLDER = Path(__file__).parents[1] / "docs" / "corruptions"
PICTURE = "chelsea.png"
QUALITY = 75

PAGE = """\
# The 19 corruptions

The corruptions of Hendrycks & Dietterich (arXiv:1903.12261), as `corruptions` makes them: 15 over which the published
benchmarks average, and four held out for tuning. This page and its pictures are written by
`python tools/corruption_pictures.py`; `yolo-qreg corrupt PICTURE` draws the same for a picture of yours.

[![Every corruption at every severity](sheet.jpg)](sheet.jpg)

Lengths are in pixels and do not grow with the picture, so a small picture suffers more. This one is {size} px, near
the 224 px of ImageNet-C; the strips below show every pixel. Parameters are those of the set `imagenet-c`, random
numbers those of seed 0. Where nothing else is said, values are relative to a range of 0 to 1.

{entries}
## The picture

`{picture}` comes with scikit-image: a photograph by Stefan van der Walt, CC0, here reduced to {size} px. The frost is
from the photographs that come with imagecorruptions (Apache-2.0).
"""


def read_cat() -> Image:
    """Return scikit-image's cat, reduced so that strips show every pixel; scikit-image is not imported."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError('scikit-image is not installed; pip install "yolo-qreg[frost]"')
    with PIL.Image.open(Path(spec.submodule_search_locations[0]) / "data" / PICTURE) as picture:
        size = fitted(picture.width, picture.height, STRIP_CELL)
        return np.array(picture.convert("RGB").resize(size, PIL.Image.Resampling.LANCZOS))


def meanings(level: type) -> dict[str, str]:
    """Return the docstring of each field of a tuple of parameters; '' where there is none."""
    (definition,) = ast.parse(inspect.getsource(level)).body
    assert isinstance(definition, ast.ClassDef)
    found, field = {}, ""
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            field = node.target.id
            found[field] = ""
        elif field and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[field] = inspect.cleandoc(str(node.value.value)).replace("\n", " ")
    return found


def entry(name: str) -> str:
    """Return the section of one corruption: its strip, what it does, its parameters."""
    corruption = CORRUPTIONS[name]
    levels = corruption.levels()
    summary, about = (
        inspect.cleandoc(inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
        for thing in (corruption.function, type(levels[0]))
    )
    rows = [
        f"| `{field}` | {' | '.join(format(getattr(level, field)) for level in levels)} | {meaning} |"
        for field, meaning in meanings(type(levels[0])).items()
    ]
    heads = " | ".join(map(str, SEVERITIES))
    return "\n".join(
        (
            f"## {label(name)}\n",
            f"`{name}`, {group_label(corruption.group)}. {summary}\n",
            f"![{label(name)}, clean and severities 1 to 5]({name}.jpg)\n",
            f"| {type(levels[0]).__name__} | {heads} | {about} |",
            "| --- |" + " ---: |" * len(levels) + " --- |",
            *rows,
            "",
        )
    )


def page(size: str) -> str:
    """Return the page in Markdown."""
    return PAGE.format(size=size, picture=PICTURE, entries="\n".join(map(entry, CORRUPTIONS)))


def main() -> None:
    """Write the sheet, the strips and the page."""
    image = read_cat()
    job = Job(names=select(), severities=SEVERITIES)
    if "frost textures: published" not in job.notes():
        raise FileNotFoundError('the published frost textures are missing; pip install "yolo-qreg[frost]"')
    damage = job.damage(image, PICTURE)
    sheet = contact_sheet(image, job.names, job.severities, damage, PICTURE, job.notes())
    write_whole(FOLDER / "sheet.jpg", encode(sheet, "JPEG", QUALITY))
    for name in job.names:
        strip = severity_strip(image, name, job.severities, damage)
        write_whole(FOLDER / f"{name}.jpg", encode(strip, "JPEG", QUALITY))
    write_whole(FOLDER / "README.md", page(f"{image.shape[1]} x {image.shape[0]}").encode())


if __name__ == "__main__":
    main()
