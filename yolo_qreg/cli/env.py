"""`yolo-qreg env`."""

from __future__ import annotations

import os
import platform
import warnings
from importlib import metadata

import click

from yolo_qreg import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "ultralytics",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "albumentations",
    "pillow",
    "polars",
    "pycocotools",
    "safetensors",
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Print versions and hardware, to paste into a bug report. No path and no name of yours is in it.

    \b
    yolo-qreg env
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for label, text in environment().items():
        table.add_row(label, text)
    Console(highlight=False, soft_wrap=True).print(table)


def environment() -> dict[str, str]:
    """Return what this process runs on, by label; a missing package is said to be missing."""
    found = {
        "yolo-qreg": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    found |= {name: _version(name) for name in PACKAGES}
    found["cv2"] = _cv2()
    found |= {"cpus": str(os.cpu_count() or "unknown"), "memory": _memory(), "frost textures": _frost()}
    return found | _torch()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cv2() -> str:
    """Return the release of the module itself: the distributions of OpenCV share one folder, the last one has it."""
    try:
        import cv2
    except ImportError as error:
        return f"does not import ({type(error).__name__})"
    return str(cv2.__version__)


def _frost() -> str:
    """Return which textures the frost corruption takes: `published`, `generated`, or a folder, whose name stays out."""
    from corruptions.frost import frost_textures

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return frost_textures().source.partition(":")[0]
        except (ValueError, OSError):
            return "unusable folder"


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return "unknown"


def _torch() -> dict[str, str]:
    """Return what torch sees; torch may be missing or broken, which is what a bug report has to say."""
    try:
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        threads = str(torch.get_num_threads())
    except (ImportError, OSError, RuntimeError) as error:
        return {"cuda": f"unknown: torch does not work here ({type(error).__name__})"}
    return {"threads": threads, "cuda": torch.version.cuda or "none", "gpus": ", ".join(gpus) or "none"}
