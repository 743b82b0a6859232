"""The environment of the reference, imagecorruptions 1.1.2, and its forks; they need Python 3.10 and old packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REFERENCE = (
    "numpy==1.23.5",
    "scipy==1.10.1",
    "scikit-image==0.19.3",
    "opencv-python==4.8.1.78",
    "Pillow==10.4.0",
    "numba==0.57.1",
    "setuptools==80.9.0",  # imagecorruptions imports pkg_resources
    "imagecorruptions==1.1.2",
)
FORKS = ("imgcorr==1.1.3", "imagecorruptions-imaug==1.1.5")
"""Faster in places; the second is imported by the name of the first package, so both lie in a folder of their own."""
REFERENCE_PYTHON = "3.10"
UNFINISHED = ".unfinished"


class SetupError(Exception):
    """The reference's environment cannot be used or built."""


def reference_python(environment: Path, python: str) -> Path:
    """Return the interpreter of the reference's environment, which is built where it is absent.

    Raises:
        SetupError: The folder holds something else, there is no Python 3.10, or the build failed.
    """
    interpreter = environment.absolute() / "bin" / "python"
    unfinished = (environment / UNFINISHED).exists()
    if not unfinished and _imports(interpreter):
        return interpreter
    if not unfinished and environment.exists() and any(environment.iterdir()):
        raise SetupError(
            f"{environment} is not empty, and imagecorruptions does not import there; remove it or name another folder"
        )
    _build(environment, _find_python(python), interpreter)
    return interpreter


def _imports(interpreter: Path) -> bool:
    command = [interpreter, "-W", "ignore", "-c", "import imagecorruptions"]
    return interpreter.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _find_python(python: str) -> str:
    found = shutil.which(python)
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [found or "", "-c", script]
    has = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() if found else ""
    if not found or has != REFERENCE_PYTHON:
        raise SetupError(
            f"{python} is {f'Python {has}' if has else 'not there or does not run'}, and imagecorruptions needs Python "
            f"{REFERENCE_PYTHON}: get one by `apt install python{REFERENCE_PYTHON}-venv`, `pyenv install "
            f"{REFERENCE_PYTHON}` or `uv python install {REFERENCE_PYTHON}`, and name it by --python, or name a ready "
            "environment by --environment"
        )
    return found


def _build(environment: Path, python: str, interpreter: Path) -> None:
    """Build the environment; a mark in it says so until it is whole, so that an interrupted build starts over."""
    print(f"building {environment} ({', '.join(REFERENCE)})", file=sys.stderr)
    shutil.rmtree(environment, ignore_errors=True)
    environment.mkdir(parents=True)
    (environment / UNFINISHED).touch()
    (environment / ".gitignore").write_text("*\n")
    for command in (
        [python, "-m", "venv", environment],
        [interpreter, "-m", "pip", "install", "--disable-pip-version-check", "-q", *REFERENCE],
    ):
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            raise SetupError(f"`{' '.join(map(str, command))}` failed; see above")
    if not _imports(interpreter):
        raise SetupError(f"imagecorruptions is installed in {environment} but does not import")
    (environment / UNFINISHED).unlink()


def forks_folder(interpreter: Path) -> Path:
    """Return the folder of the forks in the reference's environment, to which they are added where they are absent.

    Raises:
        SetupError: They cannot be installed.
    """
    folder = interpreter.parents[1] / "forks"
    if not all((folder / name).is_dir() for name in ("imgcorr", "imagecorruptions")):
        shutil.rmtree(folder, ignore_errors=True)
        pip = [interpreter, "-m", "pip", "install", "--disable-pip-version-check", "-q", "--no-deps"]
        command = [*pip, "--target", folder, *FORKS]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise SetupError(f"`{' '.join(map(str, command))}` failed; see above")
    return folder


def frost_folder(interpreter: Path) -> Path:
    """Return the folder of the published frost textures."""
    script = "import importlib.util as u; print(u.find_spec('imagecorruptions').submodule_search_locations[0])"
    found = subprocess.run([interpreter, "-c", script], capture_output=True, text=True, check=True)
    return Path(found.stdout.strip()) / "frost"
