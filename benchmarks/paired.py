"""Models against a baseline on the same clean pictures, and the tables that benchmarks keep of that."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # before this folder, whose corruptions.py is another

from yolo_qreg.evaluation.config import Settings  # noqa: E402
from yolo_qreg.evaluation.evaluate import evaluate  # noqa: E402
from yolo_qreg.evaluation.models import subjects  # noqa: E402
from yolo_qreg.evaluation.results import CLEAN  # noqa: E402
from yolo_qreg.files import fill_block, write_text  # noqa: E402
from yolo_qreg.host.datasets import resolve_data  # noqa: E402

PAGE, RESULTS = ROOT / "docs" / "activations.md", ROOT / "docs" / "results"


def paired(
    baseline: Path, models: Sequence[Path], data: str, out: Path, *, imgsz: int, limit: int | None
) -> list[dict[str, Any]]:
    """Return mAP@[.50:.95] of the baseline and of models, in points, and what each gains with a 95% interval.

    Args:
        baseline: A file or folder that Ultralytics runs.
        models: Others.
        data: As `yolo-qreg train --data` takes it; of its val split.
        out: Folder of finished work, which other calls may share.
        imgsz: Sides of the pictures.
        limit: Number of pictures; None for all.
    """
    named = subjects([baseline, *models])
    settings = Settings(
        data=resolve_data(data), out=out, imgsz=imgsz, corruptions=(), severities=(), device="cpu", limit=limit
    )
    results = evaluate(named, named[0].model.name, settings, lambda _: lambda *_: None)
    found = []
    for name in (subject.model.name for subject in named):
        score = results.score(name)
        entry: dict[str, Any] = {"mAP": 100 * score.map50_95, "pictures": score.images}
        if name != results.baseline:
            delta = results.delta(name, CLEAN)
            entry["gain"] = [delta.value, delta.low, delta.high]
        found.append(entry)
    return found


def gain(entry: dict[str, Any]) -> str:
    """Return a gain with its interval, bold where it excludes 0."""
    value, low, high = entry["gain"]
    text = f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"**{text}**" if low > 0 or high < 0 else text


def publish(block: str, name: str, found: dict[str, Any], table: Callable[[dict[str, Any]], str]) -> None:
    """Keep what was found on a data set beside that on others, and fill the table that is made of all."""
    file = RESULTS / f"{block}.json"
    held = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    held[name] = found
    write_text(file, json.dumps(held, indent=1) + "\n")
    fill_block(PAGE, block, table(held))
