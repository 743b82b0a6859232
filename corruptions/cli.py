"""The command that shows pictures under corruptions: contact sheets, severity strips, or every corrupted picture."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import PIL.Image
import PIL.ImageOps

from corruptions.pixels import PICTURE_SUFFIXES, Image
from corruptions.registry import SEVERITIES, SMALLEST_SIDE, corrupt, rng_for, select, textures_for
from corruptions.sheet import Damage, contact_sheet, severity_strip
from corruptions.tables import parameter_set

JPEG_QUALITY = 90
MOST_PATHS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do to every picture."""

    names: tuple[str, ...]
    severities: tuple[int, ...]
    seed: int = 0
    parameters: str = "imagenet-c"
    textures: Path | None = None

    def damage(self, image: Image, image_id: str) -> Damage:
        """Return what draws its random numbers from the seed, the picture's name, the corruption and the severity."""

        def damaged(name: str, severity: int) -> Image:
            rng = rng_for(self.seed, image_id, name, severity)
            return corrupt(image, name, severity, rng, parameters=self.parameters, textures=self.textures)

        return damaged

    def notes(self) -> list[str]:
        """Return the lines that say how a page came about."""
        return [f"parameters {self.parameters}, seed {self.seed}", *self.textures_note()]

    def textures_note(self) -> list[str]:
        """Return the line that says where frost's textures come from, where frost is among the corruptions."""
        textures = textures_for(self.names, self.textures)
        return [f"frost textures: {textures.source}"] if textures else []


@dataclass(frozen=True, slots=True)
class Source:
    """One picture."""

    path: Path
    stem: Path
    """Its place below the output folder: without a suffix, except where pictures differ in nothing else."""


def find_sources(given: Iterable[Path], out: Path) -> list[Source]:
    """Return the pictures that files and folders name, each once; what lies in `out` is left out of folders.

    Raises:
        ValueError: Something does not exist, a folder has no picture or is `out`, or two would be written to one place.
    """
    stems: dict[Path, tuple[Path, Path]] = {}
    for place in given:
        if place.is_dir() and place.resolve() == out.resolve():
            raise ValueError(f"--out {out} is a folder to read from; choose another")
        for path in _pictures(place, out):
            stem = path.relative_to(place) if place.is_dir() else Path(path.name)
            stems.setdefault(path.resolve(), (path, stem))
    shared = Counter(os.path.normcase(stem.with_suffix("")) for _, stem in stems.values())
    found = [
        Source(path, stem if shared[os.path.normcase(stem.with_suffix(""))] > 1 else stem.with_suffix(""))
        for path, stem in stems.values()
    ]
    taken: dict[str, Source] = {}
    for source in found:
        other = taken.setdefault(os.path.normcase(source.stem), source)
        if other is not source:
            raise ValueError(
                f"{other.path} and {source.path} would both be written to {out / source.stem}; rename one, or give "
                "them in separate runs with their own --out"
            )
    return found


def _pictures(place: Path, out: Path) -> list[Path]:
    if not place.exists():
        raise ValueError(f"{place} does not exist; name a picture or a folder of pictures")
    if not place.is_dir():
        return [place]
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    pictures = [path for path in files if out.resolve() not in path.resolve().parents]
    if not pictures:
        raise ValueError(f"{place} holds no picture; name a folder with one of {', '.join(sorted(PICTURE_SUFFIXES))}")
    return pictures


def read_picture(path: Path) -> Image:
    """Return a picture upright, as its EXIF data say: grey [H, W] where the file is grey, else RGB without alpha.

    Raises:
        ValueError: It is animated, is a PNG or TIFF with more than 8 bits a value, or is too small for corruptions.
        Exception: It cannot be decoded, or has more than twice `PIL.Image.MAX_IMAGE_PIXELS`, 179 million pixels; Pillow
            raises what its decoders raise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # of half the size that Pillow refuses
        opened = PIL.Image.open(path)
    with opened as picture:
        if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":  # a camera's JPEG with its preview
            raise ValueError("it has more than one frame; save one of them as a picture")
        if picture.mode.startswith(("I", "F")):
            raise ValueError(f"its mode {picture.mode} is not 8 bits a value; convert it to 8 bits")
        if _DEEP.search(f"{picture.tile}"):  # Pillow would drop the lower bits in silence
            raise ValueError(f"its {picture.mode} values have 16 bits; convert it to 8 bits")
        if min(picture.size) < SMALLEST_SIDE:
            size = f"{picture.width}x{picture.height}"
            raise ValueError(f"it is {size} px; corruptions need {SMALLEST_SIDE} px a side, enlarge it first")
        upright = PIL.ImageOps.exif_transpose(picture)
        if upright.mode in ("1", "L", "LA"):
            return np.array(upright.convert("L"))
        return np.array(upright.convert("RGBA").convert("RGB"))  # by way of RGBA: a palette may be transparent


_DEEP = re.compile("[A-Z];16[BLN]")
"""In the raw mode of a file whose values have 16 bits, such as RGB;16B; BGR;16 is a pixel of 16 bits."""


_SHORT = 50
"""Characters of a name to which something is put: at most 200 of the 255 bytes that a file's name may have."""
_LONGEST = 240
"""Bytes of a name to which the ending of a sheet is put."""


def _sheet_of(place: Path) -> Path:
    """Return the file of a picture's sheet; a name too long for the ending is cut, with a hash of it in place."""
    name = place.name
    if len(os.fsencode(name)) > _LONGEST:
        name = f"{name[:_SHORT]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    return place.with_name(f"{name}-sheet.jpg")


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file by way of a temporary one beside it, so that it is whole or as it was; return its path.

    Raises:
        OSError: It cannot be written; `filename` is `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:_SHORT]}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        return part.replace(path)
    except OSError as error:
        raise OSError(error.errno, reason(error), f"{path}") from error
    finally:
        part.unlink(missing_ok=True)


def reason(error: BaseException) -> str:
    """Return what an error says, on one line; of an error of the operating system without number and path."""
    return " ".join(f"{getattr(error, 'strerror', None) or error}".split())


def encode(picture: PIL.Image.Image, kind: str, quality: int = JPEG_QUALITY) -> bytes:
    """Return a picture as a file of a kind, JPEG or PNG; `quality` is JPEG's."""
    stream = BytesIO()
    picture.save(stream, kind, **({"quality": quality, "optimize": True} if kind == "JPEG" else {}))
    return stream.getvalue()


Show = Callable[[Path, str, Image, Job, Damage], Iterator[Path]]
"""Called with the place to write to, the picture's name, the picture, the job and the damage; yields paths written."""


def show_sheet(place: Path, title: str, image: Image, job: Job, damage: Damage) -> Iterator[Path]:
    """Write one page with everything."""
    page = contact_sheet(image, job.names, job.severities, damage, title, job.notes())
    yield write_whole(_sheet_of(place), encode(page, "JPEG"))


def show_strips(place: Path, title: str, image: Image, job: Job, damage: Damage) -> Iterator[Path]:
    """Write one strip per corruption into a folder of the picture's name."""
    for name in job.names:
        strip = severity_strip(image, name, job.severities, damage)
        yield write_whole(place / f"{name}.jpg", encode(strip, "JPEG"))


def show_pictures(place: Path, title: str, image: Image, job: Job, damage: Damage) -> Iterator[Path]:
    """Write every corrupted picture, losslessly, into a folder of the picture's name."""
    for name, severity in product(job.names, job.severities):
        data = encode(PIL.Image.fromarray(damage(name, severity)), "PNG")
        yield write_whole(place / f"{name}-{severity}.png", data)


SHOWS: dict[str, Show] = {"sheet": show_sheet, "strips": show_strips, "pictures": show_pictures}


def show_all(sources: Sequence[Source], out: Path, job: Job, show: Show) -> tuple[list[Path], int]:
    """Write what `show` makes of every picture; progress and the names of unusable pictures go to standard error.

    Returns:
        The paths written, and how many pictures were skipped.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    each = len(job.names) * len(job.severities)
    written: list[Path] = []
    skipped = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=each * len(sources))
        for number, source in enumerate(sources):
            progress.update(task, description=source.path.name, completed=number * each)
            try:
                image = read_picture(source.path)
            except Exception as error:  # decoders raise whatever their parsers do
                click.echo(f"skipped {source.path}: {reason(error)}", err=True)
                skipped += 1
                continue
            damage = _counted(job.damage(image, source.path.name), lambda: progress.advance(task))
            written += show(out / source.stem, source.path.name, image, job, damage)
    return written, skipped


def _counted(damage: Damage, count: Callable[[], None]) -> Damage:
    def counted(name: str, severity: int) -> Image:
        damaged = damage(name, severity)
        count()
        return damaged

    return counted


def split_names(values: Iterable[str]) -> list[str]:
    """Return the parts between commas of an option that may be repeated.

    Raises:
        ValueError: A value has none.
    """
    names = []
    for value in values:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not parts:
            raise ValueError(f"{value!r} names nothing; give values separated by commas, or leave the option out")
        names += parts
    return names


def severity_levels(values: Iterable[str]) -> tuple[int, ...]:
    """Read severities such as "1,3"; none means all five.

    Raises:
        ValueError: One is not 1 to 5, or a value is empty.
    """
    wanted = split_names(values)
    for value in wanted:
        if value not in map(str, SEVERITIES):
            raise ValueError(f"severity {value!r} is not one of 1, 2, 3, 4, 5; give one or more of these")
    return tuple(level for level in SEVERITIES if not wanted or str(level) in wanted)


def make_job(names: Sequence[str], severities: Sequence[str], seed: int, parameters: str, textures: Path | None) -> Job:
    """Return the job, with everything checked that could fail later; warnings become lines on standard error."""
    job = Job(
        names=select(split_names(names) or ["all"]),
        severities=severity_levels(severities),
        seed=seed,
        parameters=parameters,
        textures=textures,
    )
    parameter_set(parameters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        textures_for(job.names, textures)
    for warning in caught:
        click.echo(f"warning: {warning.message}", err=True)
    return job


def _report(written: Sequence[Path], skipped: int, out: Path, job: Job) -> None:
    for path in written[:MOST_PATHS]:
        click.echo(f"{path}")
    if len(written) > MOST_PATHS:
        click.echo(f"and {len(written) - MOST_PATHS} more in {out}")
    for note in job.textures_note():
        click.echo(note)
    if skipped:
        click.echo(f"{skipped} skipped", err=True)


class NamedPath(click.Path):
    """A path that is not empty; click would take an empty one for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("an empty path names nothing; write . for the current folder", param, ctx)
        return super().convert(value, param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=NamedPath(path_type=Path))
@click.option(
    "--out", type=NamedPath(file_okay=False, path_type=Path), default=Path("corrupted"), help="Folder to write to."
)
@click.option(
    "--as",
    "kind",
    type=click.Choice(list(SHOWS)),
    default="sheet",
    help="One page a picture, one strip a corruption, or every corrupted picture at full size.",
)
@click.option("--corruptions", "names", metavar="NAMES", multiple=True, help="Names or groups; all by default.")
@click.option("--severity", "severities", metavar="LIST", multiple=True, help="Such as 1,3,5; all five by default.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the random numbers.")
@click.option(
    "--parameters", default="imagenet-c", metavar="SET", help="imagenet-c (default), cifar-c or tiny-imagenet-c."
)
@click.option("--textures", type=NamedPath(path_type=Path), help="Folder of pictures for frost.")
def command(
    sources: tuple[Path, ...],
    out: Path,
    kind: str,
    names: tuple[str, ...],
    severities: tuple[str, ...],
    seed: int,
    parameters: str,
    textures: Path | None,
) -> None:
    """Look at pictures, or folders of them, under the 19 corruptions.

    The same picture, by file name, gets the same damage in every run.

    \b
    street.jpg                                      corrupted/street-sheet.jpg
    street.jpg --as strips                          corrupted/street/fog.jpg, ...
    photos/ --as pictures --corruptions fog,noise --severity 3
                                                    corrupted/NAME/fog-3.png, ...
    """  # noqa: D301
    try:
        job = make_job(names, severities, seed, parameters, textures)
        found = find_sources(sources, out)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    written, skipped = show_all(found, out, job, SHOWS[kind])
    if skipped == len(found):
        raise click.UsageError(f"none of {skipped} pictures could be read; name whole JPEG, PNG or similar files")
    _report(written, skipped, out, job)
