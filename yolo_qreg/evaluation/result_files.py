"""The folder of an evaluation's results: CSV and JSON files, written whole and read only if they are.

Everything that people look at is computed from these files.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from corruptions import select
from corruptions.registry import SEVERITIES
from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.results import CLEAN, OVER_SEVERITIES, ClassScore, Delta, Model, Results, Score
from yolo_qreg.files import write_text
from yolo_qreg.sealed import read_whole

SCORES, CLASS_SCORES, DELTAS, RUN = "scores.csv", "class_scores.csv", "deltas.csv", "run.json"
DIGEST = "sha256"
"""The entry of run.json that holds a hash of all else in these files; absent where an older release wrote them."""


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
