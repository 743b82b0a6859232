"""What an evaluation found, as data: scores, deltas and what was run, in a folder of CSV and JSON files.

Everything that people look at is computed from these files. mAP is a fraction in scores and points (x 100) in deltas.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias, TypeVar, get_args, get_type_hints

from corruptions import select
from corruptions.registry import SEVERITIES
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.files import write_text
from yolo_qreg.sealed import read_whole

CLEAN = "clean"
ALL = "all"
"""The mean over every corruption that was evaluated: the paper's, where these are the 19."""
BENCHMARK = "benchmark"
"""The mean over those among the benchmark's 15: mPC."""
OVER_SEVERITIES = 0
"""The severity of a mean over severities, and of clean pictures."""

Kind: TypeAlias = tuple[str, int]
"""Corruption and severity: a kind of pictures, or a mean over several."""

FEW_PICTURES = 30
"""Below this many a bootstrap over pictures says little."""

SCORES, CLASS_SCORES, DELTAS, RUN = "scores.csv", "class_scores.csv", "deltas.csv", "run.json"
DIGEST = "sha256"
"""The entry of run.json that holds a hash of all else in these files; absent where an older release wrote them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How one model does on one kind of pictures; a missing number is one that the data do not define.

    Attributes:
        model: Its name in this evaluation.
        corruption: `clean` or one of the 19.
        severity: 1 to 5, 0 for clean.
        images: Number of pictures.
        map50_95: mAP@[.50:.95] of COCO, 0..1, as the others.
        map50: AP at IoU .50.
        map75: AP at IoU .75.
        small: mAP@[.50:.95] of boxes below 32^2 px.
        medium: From 32^2 to 96^2 px.
        large: Above.
        voc07_ap50: AP50 by 11 points, as in VOC 2007.
        voc_ap50: AP50 by all points, as in VOC from 2010.
    """

    model: str
    corruption: str
    severity: int
    images: int
    map50_95: float
    map50: float
    map75: float
    small: float | None
    medium: float | None
    large: float | None
    voc07_ap50: float
    voc_ap50: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """A model's AP of one class; None where the pictures hold none of it."""

    model: str
    corruption: str
    severity: int
    name: str
    map50_95: float | None
    map50: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta(Estimate):
    """How much better a model is than the baseline on the same pictures, in points of mAP@[.50:.95].

    Its value is model minus baseline, its interval that of a paired bootstrap over pictures.

    Attributes:
        model: The model.
        corruption: `clean`, one of the 19, `all` or `benchmark`.
        severity: 1 to 5, or 0: clean, or the mean over the severities evaluated.
    """

    model: str
    corruption: str
    severity: int

    @property
    def points(self) -> float:
        """The value, by its unit."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model under evaluation.

    Attributes:
        name: Unique in the evaluation.
        file: Name of the weight file, without folders.
        sha256: Of the file, or of the files of a folder.
        method: Quantizer; None for float models and files that do not say.
        bits: Of most weights; 32 for float, None where the file does not say.
        size_mb: Of the weights, packed where they are quantized; MB are 10^6 bytes.
        run: Run folder of its training, where that lies beside the weights.
    """

    name: str
    file: str
    sha256: str
    method: str | None
    bits: int | None
    size_mb: float
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """An evaluation.

    Attributes:
        models: In the order given; the baseline among them.
        baseline: Name of the baseline.
        corruptions: Those evaluated, in published order.
        severities: Those evaluated.
        scores: One for each model, corruption and severity, and one for each model on clean pictures.
        class_scores: The same by class.
        deltas: For each model but the baseline: of each score, of means over severities (severity 0), and of the means
            `all` and `benchmark`, per severity and over all.
        setup: What else the results depend on or were made with: data, image size, seed, versions, commands.
    """

    models: tuple[Model, ...]
    baseline: str
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    scores: tuple[Score, ...]
    class_scores: tuple[ClassScore, ...] = ()
    deltas: tuple[Delta, ...] = ()
    setup: dict[str, Any] = field(default_factory=dict)

    def score(self, model: str, corruption: str = CLEAN, severity: int = OVER_SEVERITIES) -> Score:
        """Return one score.

        Raises:
            KeyError: There is none.
        """
        for score in self.scores:
            if (score.model, score.corruption, score.severity) == (model, corruption, severity):
                return score
        raise KeyError((model, corruption, severity))

    def mean(self, model: str, corruptions: Iterable[str], severities: Iterable[int] | None = None) -> float:
        """Return a model's mean mAP@[.50:.95] over corruptions and severities (all evaluated ones by default), 0..1."""
        wanted, levels = set(corruptions), set(self.severities if severities is None else severities)
        values = [
            s.map50_95 for s in self.scores if s.model == model and s.corruption in wanted and s.severity in levels
        ]
        if not values:
            raise KeyError((model, sorted(wanted)))
        return math.fsum(values) / len(values)

    def delta(self, model: str, corruption: str, severity: int = OVER_SEVERITIES) -> Delta:
        """Return one delta.

        Raises:
            KeyError: There is none.
        """
        for delta in self.deltas:
            if (delta.model, delta.corruption, delta.severity) == (model, corruption, severity):
                return delta
        raise KeyError((model, corruption, severity))


def save(results: Results, folder: Path) -> None:
    """Write the results into a folder; its run.json is absent while the other files may not fit each other."""
    (folder / RUN).unlink(missing_ok=True)
    for name, text in _tables(results).items():
        write_text(folder / name, text)
    run = {
        "baseline": results.baseline,
        "models": [asdict(model) for model in results.models],
        "corruptions": results.corruptions,
        "severities": results.severities,
        "setup": results.setup,
    }
    digest = _digest(json.loads(json.dumps(run)), results)
    write_text(folder / RUN, json.dumps({**run, DIGEST: digest}, indent=2, ensure_ascii=False) + "\n")


def load(folder: Path) -> Results:
    """Read what `save` wrote.

    Raises:
        InputError: The folder holds no results, or damaged, incomplete or edited ones.
    """
    if not (folder / RUN).is_file():
        raise InputError(f"{folder} holds no results ({RUN} is missing); name a folder that eval-corrupted wrote")
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
        results = Results(
            models=tuple(_typed(Model, model) for model in run["models"]),
            baseline=run["baseline"],
            corruptions=tuple(run["corruptions"]),
            severities=tuple(run["severities"]),
            scores=_from_csv(folder / SCORES, Score),
            class_scores=_from_csv(folder / CLASS_SCORES, ClassScore),
            deltas=_from_csv(folder / DELTAS, Delta),
            setup=dict(run["setup"]),
        )
        check_complete(results)
        digest = run.pop(DIGEST, None)
        edited = digest is not None and digest != _digest(run, results)
    except Exception as error:  # what parsers raise for damaged files is not to be listed
        reason = f"{RUN} has no {error}" if isinstance(error, KeyError) else str(error)[:300]
        raise InputError(f"results in {folder} cannot be read ({reason}); run eval-corrupted again") from error
    if edited:
        raise InputError(
            f"results in {folder} were changed after they were written; run eval-corrupted again, which keeps finished "
            f'work, or take "{DIGEST}" out of {RUN} to have them read as they are'
        )
    return results


def check_complete(results: Results) -> None:
    """Check that every score is there once, that no other is, and that each can be a score.

    Raises:
        ValueError: With the first that is not.
    """
    models = [model.name for model in results.models]
    for values in (models, results.corruptions, results.severities):
        if len(set(values)) < len(values):
            raise ValueError(f"{RUN} names one of {', '.join(map(str, values))} twice")
    if results.baseline not in models:
        raise ValueError(f"the baseline {results.baseline!r} is none of the models {', '.join(models)}")
    if not set(results.corruptions) <= set(select(["all"])) or not set(results.severities) <= set(SEVERITIES):
        raise ValueError(f"{RUN} has corruptions or severities that do not exist")
    kinds = [(CLEAN, OVER_SEVERITIES), *product(results.corruptions, results.severities)]
    wanted = {(model, *kind) for model, kind in product(models, kinds)}
    there = Counter((score.model, score.corruption, score.severity) for score in results.scores)
    for what, rows in (
        ("no row", wanted - there.keys()),
        ("a row too many, that", there.keys() - wanted),
        ("more than one row", {row for row, count in there.items() if count > 1}),
    ):
        if rows:
            model, corruption, severity = min(rows)
            raise ValueError(f"{SCORES} has {what} of {model}, {corruption}, severity {severity}")
    for table, entries in ((SCORES, results.scores), (CLASS_SCORES, results.class_scores)):
        for entry in entries:
            numbers = [value for value in astuple(entry) if isinstance(value, float)]
            if not all(0 <= number <= 1 for number in numbers):
                raise ValueError(f"{table} has a number outside 0..1 for {entry.model}, {entry.corruption}")
    for delta in results.deltas:
        low, high = delta.interval or (0.0, 0.0)
        if not (abs(delta.points) <= 100 and not low > high):
            raise ValueError(f"{DELTAS} has no difference of mAP for {delta.model}, {delta.corruption}")


Row = TypeVar("Row", Score, ClassScore, Delta)
DELTA_COLUMNS = {name: name for name in ("model", "corruption", "severity")} | {
    "points": "value",
    "low": "low",
    "high": "high",
}
"""The fields that the columns of `deltas.csv` hold."""


def _tables(results: Results) -> dict[str, str]:
    return {
        SCORES: _to_csv(results.scores, Score),
        CLASS_SCORES: _to_csv(results.class_scores, ClassScore),
        DELTAS: _to_csv(results.deltas, Delta),
    }


def _digest(run: dict[str, Any], results: Results) -> str:
    """Hash the content of all files, whatever their line ends, quotes and indentation."""
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode())
    for text in _tables(results).values():
        digest.update(text.encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _typed(kind: type[Model], values: dict[str, Any]) -> Model:
    """Return a model if every value has its field's type; JSON writes whole numbers without a point."""
    for name, hint in get_type_hints(kind).items():
        value = values.get(name)
        if not isinstance(value, hint) and not (hint is float and isinstance(value, int)):
            raise ValueError(f"{RUN} has {name} {value!r} for a model")
    return kind(**values)


def _to_csv(rows: Sequence[Any], kind: type) -> str:
    """Write floats with as many digits as it takes to read back the same number; None as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    hints, columns = get_type_hints(kind), _columns(kind)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_written(hints[name], getattr(row, name)) for name in columns.values()])
    return text.getvalue()


def _columns(kind: type) -> dict[str, str]:
    """Return the columns of a table in their order, and the field of a row that each holds."""
    return DELTA_COLUMNS if kind is Delta else {entry.name: entry.name for entry in fields(kind)}


def _written(hint: Any, value: Any) -> Any:
    if value is None:
        return ""
    return value if hint in (str, int) else repr(float(value))


def _from_csv(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    hints, columns = get_type_hints(kind), _columns(kind)
    content = read_whole(path)
    if content is None:
        raise ValueError(f"{path.name} is missing")
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
    for row in rows:
        if set(row) != set(columns) or None in row.values():
            raise ValueError(f"{path.name} has a row or a header that is not of {len(columns)} fields")
    return tuple(kind(**{f: _read(hints[f], row[name]) for name, f in columns.items()}) for row in rows)


def _read(hint: Any, text: str) -> Any:
    if isinstance(hint, UnionType):
        return float(text) if text else None
    assert not get_args(hint)
    return hint(text)
