"""The blocks of README and docs, and how a shell line is run or parsed without a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from yolo_qreg.cli import cli, main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ONLY_PARSED = re.compile(r"<!-- only parsed: (?P<reason>[^\n]+) -->\n$")
"""Stands before a block that needs a network, a GPU or an hour."""
MAKEFILE = ROOT / "Makefile"


def only_parsed(text: str, start: int) -> bool:
    """Tell whether the block that begins there is marked."""
    return ONLY_PARSED.search(text[:start]) is not None


def shell_lines(block: str) -> Iterator[list[str]]:
    """Yield the words of each command, without comments."""
    for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def parse(words: list[str]) -> None:
    """Check a command as far as that goes without running it."""
    program, *rest = words
    if program == "yolo-qreg":
        _parse_options(rest)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", MAKEFILE.read_text(), re.M)
        assert {word for word in rest if "=" not in word} <= set(targets), words
    elif program == "pip":
        extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M))
        asked = {extra for word in rest for part in re.findall(r"\[(.+)\]", word) for extra in part.split(",")}
        assert rest[0] == "install" and asked <= extras, words
    elif program == "yolo":
        _parse_host(rest)
    elif program in {"python", "ruff", "pre-commit", "git", "cd"}:
        scripts = [word for word in rest if word.endswith(".py")]
        assert all((ROOT / script).is_file() for script in scripts), words
    else:
        raise AssertionError(f"{program} is no command that the documents use")


def run(words: list[str]) -> None:
    """Run a command in the current folder; it must succeed."""
    parse(words)
    program, *rest = words
    if program == "yolo-qreg":
        assert main(rest) == 0, shlex.join(words)
    elif program == "yolo":
        from ultralytics.cfg import entrypoint

        entrypoint(shlex.join(words))
    else:
        raise AssertionError(f"{shlex.join(words)} is not run; mark the block: <!-- only parsed: WHY -->")


def _parse_options(words: list[str]) -> None:
    """Have click read the words of a command, down to its sub-command."""
    command: click.Command = cli
    context = click.Context(cli, info_name="yolo-qreg")
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
        if not isinstance(command, click.Group):
            break
        context = click.Context(command, info_name=name, parent=context)
    with command.make_context(str(command.name), list(words), parent=context):
        pass


def _parse_host(words: list[str]) -> None:
    """Check the settings of a command of the host by name."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    keys = {word.split("=")[0] for word in words if "=" in word}
    assert keys <= set(DEFAULT_CFG_DICT), words
