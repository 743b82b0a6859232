"""`shapes`: a detection data set that is generated on first use, so that everything runs with no download.

1,000 pictures of 320 x 320 px with 1 to 9 objects of eight classes that differ in outline, never in colour: small ones,
low contrast, occlusion and cut edges keep a good YOLOv5n below a perfect score. Picture i of a split depends on
(split, i) alone, so a smaller set is a prefix of a larger one, and all machines make the same pixels.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from yolo_qreg.data.shapes_spec import CLASS_NAMES, VERSION
from yolo_qreg.errors import InputError

if TYPE_CHECKING:
    from yolo_qreg.data.shapes_render import Box, Picture

LOG = logging.getLogger(__name__)

TRAIN_COUNT, VAL_COUNT = 800, 200

_MANIFEST = "manifest.json"
_SIDE = 320 * 4  # quarter pixels, the unit of the boxes
_PNG_LEVEL = 3  # level 6 saves a tenth of the size and takes four times as long
_STALE_SECONDS = 24 * 3600


def cache_folder() -> Path:
    """Where generated data is kept: `$YOLO_QREG_CACHE`, else `$XDG_CACHE_HOME/yolo-qreg`, else `~/.cache/yolo-qreg`."""
    own = os.environ.get("YOLO_QREG_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "yolo-qreg"


def ensure_shapes(root: Path | None = None, *, train: int = TRAIN_COUNT, val: int = VAL_COUNT) -> Path:
    """Generate the set unless a finished one is there, and return its `data.yaml` (absolute).

    The set lies in `ROOT/shapes-v1`, or `ROOT/shapes-v1-TRAIN-VAL` for other counts than the default, so that sets of
    different sizes never displace each other. It appears there complete or not at all, also when two processes
    generate it at once or one is interrupted.

    Args:
        root: The folder that holds the set; None stands for `cache_folder()`.
        train: Number of training pictures, 1 or more.
        val: Number of validation pictures, 1 or more.

    Raises:
        InputError: For a count below 1, or a folder that cannot be written.
    """
    counts = {"train": train, "val": val}
    for split, count in counts.items():
        if count < 1:
            raise InputError(f"{split}={count}: shapes needs at least 1 picture in each split")
    suffix = "" if (train, val) == (TRAIN_COUNT, VAL_COUNT) else f"-{train}-{val}"
    home = (cache_folder() if root is None else root).expanduser().resolve() / f"shapes-v{VERSION}{suffix}"
    try:
        if not _finished(home, counts):
            home.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(home)
            _generate(home, counts)
        return _yaml_for(home)
    except OSError as error:  # no permission, a full disk, a file where a folder should be
        raise InputError(
            f"{home}: cannot write the shapes data set ({error.strerror or error}); "
            "free some space (0.1 GB), or set YOLO_QREG_CACHE to another folder"
        ) from error


def shapes_digest(split: str, count: int) -> str:
    """SHA-256 of the first `count` pictures of `split`: their pixels and labels, not the files' bytes.

    Raises:
        ValueError: For a split other than "train" and "val".
    """
    from yolo_qreg.data.shapes_render import render

    digest = hashlib.sha256()
    for index in range(count):
        _feed(digest, render(split, index))
    return digest.hexdigest()


def label_text(boxes: tuple[Box, ...]) -> str:
    """The YOLO label file: a line "class x_center y_center width height", in fractions of the side, for each box."""
    return "".join(
        f"{box.label} {(box.x0 + box.x1) / 2 / _SIDE:.6f} {(box.y0 + box.y1) / 2 / _SIDE:.6f} "
        f"{(box.x1 - box.x0) / _SIDE:.6f} {(box.y1 - box.y0) / _SIDE:.6f}\n"
        for box in boxes
    )


def _feed(digest: hashlib._Hash, picture: Picture) -> None:
    digest.update(picture.pixels.tobytes())
    digest.update(json.dumps(picture.boxes).encode())


def _finished(home: Path, counts: Mapping[str, int]) -> bool:
    """Whether the folder holds a whole set of these counts: by its manifest and by the number of files."""
    try:
        manifest = json.loads((home / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(manifest, dict) or (manifest.get("version"), manifest.get("counts")) != (VERSION, dict(counts)):
        return False
    return all(
        sum(1 for _ in (home / kind / split).glob(f"*{ending}")) == count
        for kind, ending in (("images", ".png"), ("labels", ".txt"))
        for split, count in counts.items()
    )


def _generate(home: Path, counts: Mapping[str, int]) -> None:
    """Make the set in a folder beside `home` and rename it."""
    part = Path(tempfile.mkdtemp(prefix=f".{home.name}.", suffix=".part", dir=home.parent))
    try:
        LOG.info("generating the shapes data set in %s", home)
        digest = _write_pictures(part, counts)
        manifest = {"version": VERSION, "counts": dict(counts), "sha256": digest}
        (part / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        part.chmod(0o755)  # mkdtemp makes private folders; a shared cache is read by others
        _put(part, home, counts)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_pictures(folder: Path, counts: Mapping[str, int]) -> str:
    """Render and save every picture and label below `folder`; returns the digest over all of them."""
    from PIL import Image
    from rich.console import Console
    from rich.progress import track

    from yolo_qreg.data.shapes_render import render

    digest = hashlib.sha256()
    todo = [(split, index) for split, count in counts.items() for index in range(count)]
    for split in counts:
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
    console = Console(stderr=True)
    for split, index in track(todo, "Generating shapes", console=console, disable=not console.is_terminal):
        picture = render(split, index)
        _feed(digest, picture)
        Image.fromarray(picture.pixels).save(folder / "images" / split / f"{index:05d}.png", compress_level=_PNG_LEVEL)
        (folder / "labels" / split / f"{index:05d}.txt").write_text(label_text(picture.boxes), encoding="utf-8")
    return digest.hexdigest()


def _put(part: Path, home: Path, counts: Mapping[str, int]) -> None:
    """Rename `part` to `home`, unless another process was first; an unfinished folder makes way."""
    try:
        part.rename(home)
        return
    except OSError:
        if not home.is_dir():
            raise
    if _finished(home, counts):
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{home.name}.", suffix=".part", dir=home.parent))
    try:
        home.rename(retired / "old")
        part.rename(home)
    except OSError:  # lost a race against a process that does the same
        if not _finished(home, counts):
            raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)


def _remove_stale(home: Path) -> None:
    """Remove what killed processes left a day or more ago; a living one touches its folder far more often."""
    for part in home.parent.glob(f".{home.name}.*.part"):
        with contextlib.suppress(OSError):  # another process was faster
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(part, ignore_errors=True)


def _yaml_for(home: Path) -> Path:
    """Write `data.yaml` in the host's format if it is absent or names another place (the folder was moved)."""
    from yolo_qreg.files import write_atomic

    content = {
        "path": str(home),
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(CLASS_NAMES)),
    }
    text = "# Generated; see yolo_qreg.data.shapes.\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    path = home / "data.yaml"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, lambda file: file.write(text.encode()))
    return path
