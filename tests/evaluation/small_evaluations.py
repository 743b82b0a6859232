"""Evaluations that take seconds: the shipped weights on a few small pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yolo_qreg.evaluation.config import Settings
from yolo_qreg.evaluation.evaluate import evaluate
from yolo_qreg.evaluation.models import subjects
from yolo_qreg.evaluation.result_files import save
from yolo_qreg.evaluation.results import Results
from yolo_qreg.shipped import shipped

CORRUPTIONS = ("shot_noise", "saturate")
"""One of the benchmark's 15, and one that is not."""
SEVERITIES = (1, 5)
SMALL_PX = 32
"""For detectors that are not trained."""
KINDS = 1 + len(CORRUPTIONS) * len(SEVERITIES)


def settings(data: Path, out: Path, **changes: Any) -> Settings:
    """Return settings of a small evaluation."""
    given: dict[str, Any] = {
        "imgsz": 160,
        "batch": 4,
        "corruptions": CORRUPTIONS,
        "severities": SEVERITIES,
        "device": "cpu",
        "resamples": 50,
    }
    return Settings(data=data, out=out, **{**given, **changes})


def run(data: Path, out: Path, weights: list[Path] | None = None, **changes: Any) -> Results:
    """Evaluate the shipped weights (or others, the baseline first) and write the scores."""
    chosen = subjects(weights or [shipped("shapes-fp32"), shipped("shapes-dorefa8")])
    results = evaluate(chosen, chosen[0].model.name, settings(data, out, **changes), lambda total: lambda *_: None)
    save(results, out)
    return results


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by its place."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


if __name__ == "__main__":  # a run that another process starts and kills
    import os
    import signal
    import sys

    def killed(total: int) -> Any:
        """Kill this process when a number of pictures was seen."""
        seen = [0]

        def watch(_: str, done: int) -> None:
            seen[0] += done
            if seen[0] >= int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)

        return watch

    chosen = subjects([shipped("shapes-fp32"), shipped("shapes-dorefa8")])
    evaluate(chosen, "shapes-fp32", settings(Path(sys.argv[1]), Path(sys.argv[2]), workers=1), killed)
