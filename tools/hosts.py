"""Run the tests that depend on Ultralytics against other releases of it, in the environment that is there.

    python tools/hosts.py [--others] [--all] oldest 8.4.150 newest

A release is installed alone into .hosts/, with those of its requirements that are missing, and put before the installed
one on the path: torch and all else stay as they are. With --others the installed release is left out, because the whole
suite runs on it. What runs is what calls the host by itself: trainings, checkpoints, its readers and scans, its
exporter; with --all it is every test of exports and evaluations as well.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import click
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
HOSTS = ROOT / ".hosts"
TESTS = (
    "tests/host",
    "tests/export/test_onnx.py",
    "tests/export/test_packed.py",
    "tests/evaluation/test_models.py",
    "tests/evaluation/test_strange_pictures.py",
    "tests/cli/test_unknown_files.py",
)
ALL = ("tests/host", "tests/export", "tests/evaluation", "tests/cli/test_unknown_files.py")
SHARED = {"numpy", "opencv-python", "torch", "torchvision"}
"""Requirements of the host that are never installed again: they are there, in a release of our own choice."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@click.command(help=__doc__)
@click.argument("names", nargs=-1, required=True)
@click.option("--others", is_flag=True, help="Leave out the installed release.")
@click.option("--all", "everything", is_flag=True, help="Run every test of exports and evaluations.")
def main(names: tuple[str, ...], others: bool, everything: bool) -> None:
    """Test each release, print how it went, and end with status 1 if one failed."""
    installed = metadata.version("ultralytics")
    releases = dict.fromkeys(resolve(name, installed) for name in names)
    if others and installed in releases:
        click.echo(f"ultralytics {installed} is installed: the suite runs on it")
        del releases[installed]
    results = []
    for release in releases:
        path = "" if release == installed else str(overlay(release))
        click.echo(f"\n== ultralytics {release}{'' if path else ' (installed)'}")
        started = time.monotonic()
        passed = run_tests(release, path, ALL if everything else TESTS) == 0
        results.append((release, passed, time.monotonic() - started))
    for release, passed, seconds in results:
        click.echo(f"ultralytics {release}: {'passed' if passed else 'FAILED'} in {seconds:.0f} s")
    sys.exit(not all(passed for _, passed, _ in results))


def resolve(name: str, installed: str) -> str:
    """Return the release that `oldest`, `newest` or a number names; without a network the newest is the installed."""
    if name == "oldest":
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        return re.findall(r'"ultralytics>=([\d.]+)', project)[0]
    if name != "newest":
        return name
    found = subprocess.run([*PIP, "index", "versions", "ultralytics"], capture_output=True, text=True, check=False)
    newest = re.match(r"ultralytics \(([\d.]+)\)", found.stdout)
    if newest is None:
        click.echo(f"the registry does not answer: the newest release is taken to be the installed one, {installed}")
    return newest[1] if newest else installed


def overlay(release: str) -> Path:
    """Return a folder that holds a release and what it needs beyond the environment, installed on first use."""
    folder = HOSTS / release
    if not folder.is_dir():
        part = HOSTS / f"{release}.part"
        install(part, f"ultralytics=={release}")
        (found,) = metadata.distributions(name="ultralytics", path=[str(part)])
        for requirement in map(Requirement, found.requires or ()):
            if is_missing(requirement):
                install(part, f"{requirement.name}{requirement.specifier}")
        part.rename(folder)
    return folder


def install(folder: Path, requirement: str) -> None:
    """Install one package into a folder, without what it requires."""
    command = [*PIP, "install", "-q", "--no-deps", "--upgrade", "--target", str(folder), requirement]
    subprocess.run(command, check=True)


def is_missing(requirement: Requirement) -> bool:
    """Tell whether a requirement holds here, is not shared, and is not met by what is installed."""
    if requirement.name in SHARED or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
        return False
    try:
        return not requirement.specifier.contains(metadata.version(requirement.name))
    except metadata.PackageNotFoundError:
        return True


def run_tests(release: str, path: str, tests: tuple[str, ...]) -> int:
    """Run the tests with a folder before the installed packages, and return pytest's status."""
    env = {**os.environ, "PYTHONPATH": path} if path else {**os.environ}
    check = f"import ultralytics; assert ultralytics.__version__ == {release!r}, ultralytics.__version__"
    subprocess.run([sys.executable, "-c", check], env=env, check=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "auto",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
        *tests,
    ]
    return subprocess.run(command, env=env, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    main()
