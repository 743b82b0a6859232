"""The models of an evaluation: found, named and described before anything is run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from yolo_qreg.config import QuantConfig
from yolo_qreg.data import shapes_spec
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.results import Model
from yolo_qreg.export.describe import describe, says_what_it_is
from yolo_qreg.host.history import PastRun, past_runs, read_run
from yolo_qreg.host.origin import Training, identify_data
from yolo_qreg.inputs import weights_to_run
from yolo_qreg.quant.registry import FLOAT_BITS
from yolo_qreg.shipped import shipped, weights_folder


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with the place of its weights, and how it was trained where the file says.

    Attributes:
        model: What it is.
        path: The weight file, or folder of an export.
        imgsz: Image size of its training, in pixels.
        data: Data set of its training.
        names: Class names, in class order.
        training: How it was trained, as trainings are compared; None where nothing tells.
    """

    model: Model
    path: Path
    imgsz: int | None = None
    data: str | None = None
    names: tuple[str, ...] = ()
    training: Training | None = None

    @property
    def single_class(self) -> bool:
        """Whether it was trained with all classes taken for one."""
        return bool(self.training and self.training.settings.get("single_cls"))


def subjects(weights: Iterable[Path]) -> list[Subject]:
    """Return the models that weights hold, each once, under names that differ.

    Args:
        weights: Files or exported folders that the host runs, or run folders, of which weights/best.pt is taken.

    Raises:
        InputError: One does not exist or is damaged.
    """
    found: dict[str, Subject] = {}
    for given in weights:
        path = weights_to_run(given)
        digest = _sha256(path)
        if digest not in found:
            name = _unused(_name(path), {subject.model.name for subject in found.values()})
            found[digest] = _subject(path, name, digest)
    return list(found.values())


def _name(path: Path) -> str:
    """Name a run by its folder, other checkpoints by their file, exports by file or folder with the ending.

    Files that say best or last are of the run that they lie in; others there were made of its weights.
    """
    run = _run_of(path)
    own = run.name if run is not None and path.stem.partition("-")[0] in {"best", "last"} else path.stem
    name = own if path.suffix == ".pt" else path.name
    return os.fsencode(name).decode(errors="replace")  # it goes into tables and figures, which take no other bytes


def _run_of(path: Path) -> Path | None:
    """Return the run folder that weights lie in."""
    run = path.resolve().parent.parent
    return run if path.parent.name == "weights" and (run / "args.yaml").is_file() else None


def _unused(name: str, taken: set[str]) -> str:
    number = 2
    unused = name
    while unused in taken:
        unused, number = f"{name}-{number}", number + 1
    return unused


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(file.relative_to(path).as_posix().encode() if path.is_dir() else b"")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _subject(path: Path, name: str, digest: str) -> Subject:
    run = _run_of(path)
    folder = None if run is None else str(run)
    if not says_what_it_is(path):
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        size_mb = sum(file.stat().st_size for file in files) / 1e6
        exported = Model(name=name, file=path.name, sha256=digest, method=None, bits=None, size_mb=size_mb, run=folder)
        return Subject(exported, path)
    found = describe(path)
    widths = [layer.bits for layer in found.layers]
    trained = None if found.config is None or found.twin else found.config  # a control has float weights, so no layers
    size = found.totals.packed_bytes if widths else found.totals.float32_bytes
    if path.suffix != ".pt":  # what is to be carried is the file
        size = found.size_bytes
    model = Model(
        name=name,
        file=path.name,
        sha256=digest,
        method=trained.method if trained else None,
        bits=_width(widths, trained),
        size_mb=size / 1e6,
        run=folder,
    )
    past = read_run(run) if run is not None else None
    own = found.past if path.suffix == ".pt" else None  # a graph says nothing of its training
    training = past.training if past and found.past.origin is None else own  # an export beside its run
    data = _place_of_data(training, past) or found.training.data
    return Subject(model, path, found.training.imgsz, data, found.names, training)


def _place_of_data(training: Training | None, past: PastRun | None) -> str | None:
    """Return where the data of a training are: its run knows of moves that weights of earlier epochs do not."""
    known = [past.training, training] if past else [training]
    origins = [each.origin for each in known if each and each.origin]
    places = [origin.data.path for origin in origins if not origin.data.differences(origins[-1].data)]
    return next((place for place in places if Path(place).is_file()), places[0] if places else None)


def _width(widths: list[int], trained: QuantConfig | None) -> int | None:
    """Return the width of most layers; None where a plan gave them several."""
    if trained is not None and trained.mixed:
        return None
    if widths:
        return max(set(widths), key=widths.count)
    return trained.bits if trained else FLOAT_BITS


def training_size(chosen: Iterable[Subject]) -> int | None:
    """Return the image size that all models which say one were trained at; None where they differ or none says."""
    sizes = {subject.imgsz for subject in chosen} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def training_data(chosen: Iterable[Subject]) -> tuple[str, tuple[str, ...]]:
    """Return the data set of the models' training, and in what its `val` split has changed since, "now against then".

    Raises:
        InputError: They were trained on different ones, or theirs is not on this machine.
    """
    known = [subject for subject in chosen if subject.data]
    here = [subject for subject in known if Path(str(subject.data)).is_absolute() and Path(str(subject.data)).is_file()]
    if not here and any(map(_knows_shapes, known)):
        return "shapes", ()
    if not here:
        if known:
            what = f"{known[0].path} was trained on {known[0].data}, which is not on this machine"
        else:
            what = "the weights name no data set"
        raise InputError(f"{what}; name one with --data")
    first = here[0]
    other = next((s for s in known if not _same_data(s, first)), None) if len(known) > 1 else None
    if other is not None:
        raise InputError(
            f"{first.path} was trained on {first.data}, {other.path} on {other.data}, which is not the same; "
            "name the data set with --data"
        )
    origin = first.training.origin if first.training else None
    changed = identify_data(str(first.data), ("val",)).differences(origin.data) if origin else ()
    return str(first.data), changed


def _same_data(one: Subject, other: Subject) -> bool:
    """Tell whether two models were trained on the same data set, as far as that is known."""
    mine, theirs = ((s.training.origin if s.training else None) for s in (one, other))
    if mine and theirs:
        return not mine.data.differences(theirs.data)
    return one.data == other.data or not Path(str(one.data)).is_file()


def newest_quantized() -> Path:
    """Return the newest run folder with quantized weights, wherever it lies; unfinished ones only if no other is there.

    Raises:
        InputError: There is none.
    """
    unfinished = None
    for run in past_runs():
        if run.bits != FLOAT_BITS and run.finished:
            return run.folder
        if run.bits != FLOAT_BITS:
            unfinished = unfinished or run.folder
    if unfinished is None:
        raise InputError("there is no quantized run yet; train one (yolo-qreg train --bits 8), or name weights")
    return unfinished


def find_baseline(subject: Subject) -> Path | None:
    """Return the finished FP32 run that differs least from a model's training, the newest of several.

    It is the model's FP32 twin if it differs in nothing. For models of the embedded `shapes` without one, the shipped
    FP32 weights will do. None if there is none whose class names are known to be the model's.
    """
    run = None if subject.model.run is None else Path(subject.model.run)
    best: tuple[int, Path] | None = None
    for other in past_runs(beside=run) if subject.training else ():
        if other.bits != FLOAT_BITS or not other.finished or not _shares_classes(subject, other.training):
            continue
        differences = len(subject.training.differences(other.training)) if subject.training else 0
        if best is None or differences < best[0]:
            best = differences, other.folder
        if not differences:
            break
    if best is not None and (best[0] == 0 or not _knows_shapes(subject)):
        return best[1]
    if _knows_shapes(subject):
        return shipped("shapes-fp32")
    return None if best is None else best[1]


def differences(subject: Subject, baseline: Subject) -> tuple[str, ...]:
    """Return in what a model's training differs from that of its baseline beside quantization; nothing for its twin."""
    if _is_shipped(subject) and _is_shipped(baseline):
        return ()
    if subject.training is None or baseline.training is None:
        return ("training: not recorded",)
    return subject.training.differences(baseline.training)


def compare(chosen: Iterable[Subject], baseline: str) -> dict[str, tuple[str, ...]]:
    """Return the `differences` of every model but FP32 ones, by its name."""
    found = list(chosen)
    base = next(subject for subject in found if subject.model.name == baseline)
    return {s.model.name: differences(s, base) for s in found if s is not base and s.model.bits != FLOAT_BITS}


def single_class(chosen: Iterable[Subject]) -> bool:
    """Tell whether models were trained with all classes taken for one.

    Raises:
        InputError: Some were, some were not.
    """
    found = {subject.single_class: subject for subject in chosen if subject.training is not None}
    if len(found) > 1:
        raise InputError(
            f"{found[True].path} was trained with single_cls=True, {found[False].path} was not; evaluate them apart"
        )
    return True in found


def _shares_classes(subject: Subject, other: Training) -> bool:
    """Tell whether a run has a model's classes; runs of earlier releases tell only the path of their data set."""
    mine = subject.training.origin if subject.training else None
    if mine and other.origin:
        return mine.data.names == other.origin.data.names
    return str(other.settings.get("data")) == subject.data


def _is_shipped(subject: Subject) -> bool:
    return subject.path.resolve().parent == weights_folder().resolve()


def _knows_shapes(subject: Subject) -> bool:
    return subject.names == shapes_spec.CLASS_NAMES
