"""`yolo-qreg corrupt`: the command of the package `corruptions`, and corrupted copies of a whole data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from corruptions.cli import command as look_at_pictures
from corruptions.cli import make_job
from yolo_qreg.cli.options import DATA, PATH, WORKERS, trust
from yolo_qreg.errors import InputError

if TYPE_CHECKING:
    from yolo_qreg.evaluation.corrupted_copy import Copy

OWN = [
    click.Argument(["sources"], metavar="[SOURCE]...", nargs=-1, type=PATH),
    click.Option(["--data"], type=DATA, help="Copy the val split of voc, shapes or a data set's YAML file instead."),
    click.Option(
        ["--format", "form"],
        type=click.Choice(["png", "jpeg"]),
        default="png",
        help="Of the copy's pictures: png, lossless, or jpeg of quality 85 as ImageNet-C has.  [default: png]",
    ),
    click.Option(["--workers"], type=WORKERS, help="Processes that make the copy.  [default: all cores]"),
    click.Option(["--strict"], is_flag=True, help="Stop at a data set's unusable picture instead of leaving it out."),
]
HELP = f"""{look_at_pictures.help}

With --data, every corrupted picture of a data set is written in YOLO layout, with a YAML file for each corruption and
severity, for tools of your own. The same command continues an interrupted copy, and takes
over what has changed in the data set.

\b
--data voc --out voc-c --corruptions fog --severity 3
                                                voc-c/fog-3.yaml, images/, labels/
"""


def _corrupt(sources: tuple[Path, ...], data: str | None, **options: Any) -> None:
    if data is None:
        if not sources:
            raise InputError("there is nothing to corrupt; name pictures, folders, or a data set with --data")
        known = {param.name for param in look_at_pictures.params}
        shared = {name: value for name, value in options.items() if name in known}
        click.get_current_context().invoke(look_at_pictures, sources=sources, **shared)
        return
    if sources:
        raise InputError(f"--data {data} is copied whole; leave out {sources[0]}, or leave out --data")
    _copy(data, **options)


def _copy(data: str, form: Any, workers: int | None, strict: bool, **options: Any) -> None:
    try:
        job = make_job(*(options[name] for name in ("names", "severities", "seed", "parameters", "textures")))
    except ValueError as error:
        raise InputError(str(error)) from error
    if job.parameters != "imagenet-c":
        raise InputError(f"--parameters {job.parameters} are for tiny pictures; a data set's copy takes imagenet-c")

    from yolo_qreg.evaluation.corrupted_copy import CopySettings, write_copy
    from yolo_qreg.evaluation.workers import available_cores
    from yolo_qreg.host.datasets import resolve_data
    from yolo_qreg.progress import watched

    out: Path = options["out"]
    settings = CopySettings(
        data=resolve_data(data),
        out=out,
        corruptions=job.names,
        severities=job.severities,
        seed=job.seed,
        textures=None if job.textures is None else str(job.textures),
        format=form,
        workers=available_cores() if workers is None else workers,
        strict=strict,
    )
    try:
        with watched() as watch:
            copy = write_copy(settings, watch)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"interrupted; repeat the command to continue the copy in {out}") from stop
    for line in _left_out(copy):
        click.echo(line, err=True)
    first, *more = copy.files
    click.echo(f"{first} and {len(more)} more in {out}" if more else f"{first}")


def _left_out(copy: Copy) -> Iterator[str]:
    """Say what is not in a copy."""
    if copy.unusable:
        names = ", ".join(map(str, copy.unusable))
        yield f"left out, not whole pictures with right labels, or too small: {names} ({len(copy.unusable)})"
    if copy.corruptions:
        yield f"left out, as they need colour and the pictures are grey: {', '.join(copy.corruptions)}"
    if copy.outdated:
        names = ", ".join(path.stem for path in copy.outdated)
        yield f"removed, as the data set has changed: the YAML files of {names}; name these corruptions to renew them"


command = trust(
    click.Command(
        "corrupt",
        params=[*OWN, *(param for param in look_at_pictures.params if param.name != "sources")],
        callback=_corrupt,
        help=HELP,
        context_settings=look_at_pictures.context_settings,
    )
)
