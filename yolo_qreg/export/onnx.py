"""Packed ONNX: the trained integers at their own width in a model that any ONNX runtime runs, with float activations.

The host exports the float model; then each quantized weight gives way to its codes and the operators that decode them
(`export.graph`). Nothing is written unless the codes read back from the file are those of the checkpoint and ONNX
Runtime's outputs are PyTorch's.

Letters: O output channels.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from yolo_qreg import __version__
from yolo_qreg.errors import InputError
from yolo_qreg.export import graph
from yolo_qreg.export.folding import FloatModel, float_model, read_source
from yolo_qreg.export.graph import PackedWeight, stored_bytes
from yolo_qreg.export.notes import check_note, check_size, contents, note_file, to_text, versions
from yolo_qreg.export.plain import output_path
from yolo_qreg.export.runtimes import Picture, run
from yolo_qreg.export.softmax import write_out_softmax
from yolo_qreg.export.weights import Weights
from yolo_qreg.files import write_atomic, write_text
from yolo_qreg.host import exporting
from yolo_qreg.inputs import checkpoint_of

MOST_PX, MOST_SCORE = 5e-3, 5e-5
"""Largest differences from PyTorch of boxes in pixels and of scores."""
SEEN = 0.05
"""Least score of the boxes that are compared where a head has sorted them."""


def to_onnx(source: Path, out: Path | None = None, *, imgsz: int | None = None, dynamic: bool = False) -> Path:
    """Write a run's detector as an ONNX model that holds integer codes, and `NAME.export.json` with its proofs.

    An FP32 twin has no codes: its model is the float one, under the same checks.

    Args:
        source: A run folder (its weights/best.pt is taken), a checkpoint of ours or a plain export.
        out: File to write, ending in .onnx; by default beside the checkpoint, named after method and bits.
        imgsz: Sides of its pictures in pixels; that of the training by default.
        dynamic: Whether batch and sides may vary.

    Returns:
        The file written.

    Raises:
        InputError: The source is not one of ours or was changed, the host cannot export it, a check fails, a package
            is missing or `out` cannot be written to.
    """
    opened = read_source(checkpoint_of(Path(source)))
    out = output_path(opened.path, out, opened.weights.config.label, ".onnx")
    check_note(out)
    with tempfile.TemporaryDirectory(prefix="yolo-qreg-") as folder:
        exact = float_model(opened, Path(folder), imgsz=imgsz, dynamic=dynamic)
        found = exact.graph()
        packed = exact.integers(found)
        graph.replace_weights(found, {f"{layer}.weight": weight for layer, weight in packed.items()})
        write_out_softmax(found)
        _note(found, exact.weights, packed)
        written = Path(folder) / "packed.onnx"
        onnx.save(found, str(written))
        stored = {layer: stored_bytes(made.codes.size, made.bits) for layer, made in packed.items()}
        checks = {
            "codes": _check_codes(written, exact.weights, packed),
            "parity with torch float32": _parity(exact, written),
            "size": check_size(written.stat().st_size, exact.promised_bytes(stored), len(packed)),
        }
        settings = {"imgsz": exact.size, "dynamic": dynamic, "source": opened.path.name}
        facts = _facts(exact.weights, packed, settings | checks) | contents([written])
        data = written.read_bytes()
    write_atomic(out, lambda file: file.write(data))
    write_text(note_file(out), to_text(facts))
    return out


def _note(found: ModelProto, weights: Weights, packed: Mapping[str, PackedWeight]) -> None:
    """Write into the model's metadata what its codes mean, beside what the host reads there."""
    layers = {layer: [made.bits, list(made.codes.shape), f"{layer}.weight"] for layer, made in packed.items()}
    held = {"format": graph.FORMAT, "version": __version__, "config": weights.config.to_dict(), "layers": layers}
    graph.note(found, {graph.NOTE: json.dumps(held, separators=(",", ":"))})


def _check_codes(file: Path, weights: Weights, packed: Mapping[str, PackedWeight]) -> dict[str, Any]:
    """Read all codes back from a file and compare them with those of the checkpoint.

    Returns:
        How many there are, and a hash of them.

    Raises:
        InputError: One differs.
    """
    held = graph.read(file).codes
    for layer in packed:
        if not np.array_equal(held[layer], weights.coded[layer].codes.numpy()):
            raise InputError(f"codes of {layer} do not read back as they were written; please report this")
    every = b"".join(held[layer].tobytes() for layer in sorted(held))
    return {"read back": sum(codes.size for codes in held.values()), "sha256": hashlib.sha256(every).hexdigest()}


def _parity(exact: FloatModel, packed: Path) -> dict[str, float]:
    """Compare a packed model in ONNX Runtime with the float32 one in PyTorch.

    A detector whose activations are large turns the rounding of float32 itself into more than the rule allows. So much
    as the host's own float model differs, and as much again, is therefore accepted.

    Returns:
        The largest differences: "boxes" in pixels, "scores".

    Raises:
        InputError: One is too large, or the runtime cannot run the model.
    """
    pictures = list(exact.pictures())
    wanted = exporting.raw_outputs(exact.plain, pictures)
    boxes, scores = _largest(wanted, run(packed, pictures))
    if not (boxes <= MOST_PX and scores <= MOST_SCORE):
        noise = _largest(wanted, run(exact.file, pictures))
        if not (boxes <= max(MOST_PX, 2 * noise[0]) and scores <= max(MOST_SCORE, 2 * noise[1])):
            raise InputError(
                f"the exported model differs from PyTorch by {boxes:.2g} px and {scores:.2g} in scores (rule: at most "
                f"{MOST_PX} and {MOST_SCORE}); export it --to packed instead, and please report this"
            )
    return {"pictures": len(pictures), "boxes": boxes, "scores": scores}


def _largest(wanted: Sequence[Picture], found: Sequence[Picture]) -> tuple[float, float]:
    pairs = [_difference(ours, theirs) for ours, theirs in zip(wanted, found, strict=True)]
    return max(boxes for boxes, _ in pairs), max(scores for _, scores in pairs)


def _difference(ours: Picture, theirs: Picture) -> tuple[float, float]:
    """Return the largest differences of boxes and scores between two raw outputs of one picture."""
    if ours.shape[2] == 6 and ours.shape[1] != 6:  # sorted by score: near ties may change places
        return _sorted_difference(ours[0], theirs[0])
    apart = np.abs(ours - theirs)
    return float(apart[:, :4].max()), float(apart[:, 4:].max())


def _sorted_difference(ours: Picture, theirs: Picture) -> tuple[float, float]:
    """Compare rows of box, score and class; a row's counterpart is the nearest of its class."""
    boxes, scores = 0.0, float(np.abs(np.sort(ours[:, 4]) - np.sort(theirs[:, 4])).max())
    for row in ours[ours[:, 4] > SEEN]:
        alike = theirs[theirs[:, 5] == row[5]]
        boxes = max(boxes, float(np.abs(alike[:, :4] - row[:4]).max(1).min()) if len(alike) else np.inf)
    return boxes, scores


def _facts(weights: Weights, packed: Mapping[str, PackedWeight], further: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was exported and how it was checked, as plain data."""
    return {
        "format": "packed ONNX",
        "label": weights.config.label,
        **further,
        "layers": {layer: {"bits": made.bits, "container bits": made.container} for layer, made in packed.items()},
        "left out": sorted(set(weights.coded) - set(packed)),
        "versions": versions(),
    }
