"""Imports point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "yolo_qreg"

ORDER: tuple[set[str], ...] = (
    {"errors", "openvino_import", "processes"},
    {"files", "fonts", "pictures", "progress", "quant.registry", "settings", "trust"},
    {"bits_plan", "sealed"},
    {"config"},
    {"quant"},
    {"together"},
    {"patch"},
    {"activations"},
    {"health"},
    {"health_log"},
    {"data", "shipped"},
    {"inputs"},
    {"host"},
    {"export"},
    {"evaluation"},
    {"analysis"},
    {"study"},
    {"findings"},
    {"report"},
    {"api"},
    {"cli"},
    {"__main__"},
)
"""Parts of the package, lowest first. A part may import parts of earlier rows and itself, no others."""

LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}


def modules(folder: Path) -> dict[str, Path]:
    """Return the modules below a package folder by their dotted name within it; the package itself is ''."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Return every dotted name that a file imports anywhere, inside functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(module: str) -> str:
    """Return the entry of `ORDER` that a module (or a name in it) belongs to: the longest that begins it."""
    fits = [part for part in LEVEL if f"{module}.".startswith(f"{part}.")]
    assert fits, f"{module!r} is in no row of ORDER; say where it belongs"
    return max(fits, key=len)


NAMED = {"quant.activations.ActivationQuantizer", "quant.base.WeightQuantizer"}
"""What the registry names for type checkers."""

MODULES = {name: path for name, path in modules(PACKAGE).items() if name}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_lies_below_it(name: str) -> None:
    """Each import within the package leads to an earlier row of `ORDER` or stays within its part.

    The registry and what is beside it know the quantizers by name only, for type checkers.
    """
    own = part_of(name)
    for target in imports(MODULES[name]):
        package, _, inner = target.partition(".")
        if package != "yolo_qreg" or not inner or inner == "__version__":
            continue
        if name == "quant.registry" and inner in NAMED:
            continue  # under TYPE_CHECKING
        other = part_of(inner)
        assert other == own or LEVEL[other] < LEVEL[own], f"{name} ({own}) imports {target} ({other})"


@pytest.mark.parametrize("name", MODULES)
def test_only_the_host_folder_imports_the_host(name: str) -> None:
    """Ultralytics is imported in `host` and nowhere else."""
    if part_of(name) != "host":
        assert not {t for t in imports(MODULES[name]) if t.split(".")[0] == "ultralytics"}


SCRIPTS = sorted(path for folder in ("benchmarks", "tools") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_import_what_is_there(path: Path) -> None:
    """Scripts that take hours follow the package: what they import from it, within functions too, has that name."""
    for target in imports(path):
        if target.split(".")[0] in {"yolo_qreg", "corruptions"} and "." in target:
            module, _, name = target.rpartition(".")
            assert hasattr(import_module(module), name) or find_spec(target), target


def test_the_package_itself_imports_nothing_heavy() -> None:
    """`yolo_qreg/__init__.py` imports from the standard library; its public names are looked up on first use."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    runtime = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in runtime}
    assert names <= {"__future__", "importlib", "typing"}


def test_public_names_are_found_on_first_use() -> None:
    """Every name of `__all__` leads somewhere, and others raise the usual error."""
    import yolo_qreg

    for name in yolo_qreg.__all__:
        assert getattr(yolo_qreg, name).__class__ is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        yolo_qreg.nothing  # noqa: B018


def test_corruptions_stand_alone() -> None:
    """`corruptions` knows neither torch, nor the host, nor this package."""
    for path in (ROOT / "corruptions").rglob("*.py"):
        roots = {target.split(".")[0] for target in imports(path)}
        assert not roots & {"torch", "torchvision", "ultralytics", "yolo_qreg"}, path


def test_worker_processes_load_neither_torch_nor_the_host() -> None:
    """What they are given to do lies in modules that each of them has in a moment."""
    code = "import sys, yolo_qreg.evaluation.copied_picture, yolo_qreg.evaluation.sweep; "
    code += "sys.exit(' '.join({'torch', 'ultralytics'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
