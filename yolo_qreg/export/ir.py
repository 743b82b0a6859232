"""OpenVINO folders as the host reads them: written whole or not at all, and read without OpenVINO.

Letters: O output channels, I input channels, K kernel side.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from numpy.typing import NDArray

from yolo_qreg.errors import InputError
from yolo_qreg.export import graph, notes
from yolo_qreg.export.graph import Held
from yolo_qreg.files import check_writable
from yolo_qreg.openvino_import import import_openvino
from yolo_qreg.processes import undisturbed

FOLDER = "_openvino_model"
"""Ending by which the host knows a folder as OpenVINO's."""
METADATA = "metadata.yaml"
LITERALS = frozenset({"stride", "batch", "imgsz", "names", "channels", "end2end", "args"})
"""Entries that the host writes to YAML as numbers, lists and mappings instead of their text."""
FLOATS = {"f32": 4, "f16": 2}


def folder_to_write(out: Path) -> Path:
    """Return a folder that an export may write, or replace.

    Raises:
        InputError: It has another ending, cannot be written, or holds something else.
    """
    if not out.name.endswith(FOLDER) or out.name == FOLDER:
        raise InputError(f"--out {out} must end in {FOLDER}, by which Ultralytics knows such a folder: NAME{FOLDER}")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist; create it first")
    check_writable(out.parent, f"name a folder elsewhere with --out, such as --out {out.name}")
    if (out.exists() or out.is_symlink()) and not (out / notes.IN_FOLDER).is_file():
        raise InputError(f"--out {out} holds something else; name another folder")
    return out


def convert(file: Path, made: Path) -> Path:
    """Write an ONNX model as an OpenVINO folder, without the note.

    Args:
        file: The model.
        made: The folder; it must not exist.

    Returns:
        The graph in it, an .xml.
    """
    openvino = import_openvino()
    made.mkdir()
    written = made / f"{made.name.removesuffix(FOLDER)}.xml"
    openvino.save_model(openvino.convert_model(str(file)), str(written), compress_to_fp16=False)
    metadata = {key: _literal(key, value) for key, value in graph.metadata_of(file).items()}
    (made / METADATA).write_text(yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True), "utf-8")
    return written


def move(made: Path, target: Path) -> None:
    """Put a folder in place of another, which takes a place beside it, or of none; both lie on one disk."""
    with undisturbed():
        if target.exists():
            target.rename(made.parent / "old")
        made.rename(target)


def is_ours(folder: Path) -> bool:
    """Tell whether a folder is one that we exported for OpenVINO."""
    try:
        return graph.NOTE in _metadata(folder)
    except InputError:
        return False


def read(folder: Path) -> Held:
    """Read the integers of a folder; nothing is run.

    Raises:
        InputError: It is no OpenVINO folder, not one of ours, damaged or of a newer release.
    """
    metadata = {key: value if isinstance(value, str) else repr(value) for key, value in _metadata(folder).items()}
    if graph.NOTE not in metadata:
        raise InputError(f"{folder} was not exported by yolo-qreg (no {graph.NOTE!r} in its {METADATA})")
    constants = _Constants(folder)

    def integers(name: str, bits: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
        return constants.integers(name + graph.INT8, shape)

    return graph.interpret(folder, metadata, integers, constants.floats)


def graph_of(folder: Path) -> Path:
    """Return the .xml of an OpenVINO folder.

    Raises:
        InputError: There is none, or several.
    """
    found = sorted(folder.glob("*.xml"))
    if len(found) != 1:
        raise InputError(f"{folder} holds {len(found)} files that end in .xml, not one; export it again")
    return found[0]


class _Constants:
    """The constants of a graph, by name, and the bytes that they are views of."""

    def __init__(self, folder: Path) -> None:
        path = graph_of(folder)
        try:
            root = ElementTree.parse(path).getroot()
            self._bytes = path.with_suffix(".bin").read_bytes()
        except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
            raise InputError(f"{folder} is damaged ({type(error).__name__}: {error}); export it again") from error
        constants = [layer for layer in root.iter("layer") if layer.get("type") == "Const"]
        self._facts = {str(layer.get("name")): dict(_child(layer, "data").attrib) for layer in constants}

    @property
    def floats(self) -> int:
        """Number of floating point values."""
        return sum(
            int(facts["size"]) // FLOATS[facts["element_type"]]
            for facts in self._facts.values()
            if facts.get("element_type") in FLOATS
        )

    def integers(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Read int8 [O, I, K, K]."""
        facts = self._facts.get(name, {})
        sides = tuple(int(side) for side in facts.get("shape", "").split(",") if side.strip())
        if facts.get("element_type") != "i8" or sides != shape:
            raise ValueError(f"tensor {name} is missing, or of another shape")
        begin, size = int(facts["offset"]), int(facts["size"])
        if size != math.prod(shape) or begin < 0 or begin + size > len(self._bytes):
            raise ValueError(f"tensor {name} lies outside of the file")
        return np.frombuffer(self._bytes, np.int8, size, begin).reshape(shape)


def _child(layer: ElementTree.Element, name: str) -> ElementTree.Element:
    found = layer.find(name)
    return ElementTree.Element(name) if found is None else found


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}); export the folder again") from error
    if not isinstance(found, Mapping):
        raise InputError(f"{path} is damaged (it holds no entries); export the folder again")
    return {str(key): value for key, value in found.items()}


def _literal(key: str, text: str) -> Any:
    return ast.literal_eval(text) if key in LITERALS else text
