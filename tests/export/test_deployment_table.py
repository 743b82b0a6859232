from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_table_of_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/deploy.md shows is what benchmarks/deployment.py makes of the numbers beside it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import deployment

    results = json.loads(deployment.RESULTS.read_text(encoding="utf-8"))
    assert deployment.table(results) in deployment.PAGE.read_text(encoding="utf-8")
    assert {"shapes", "voc-lite"} == set(results["sets"])
    for name in ("deployment", "deployment_models"):
        sys.modules.pop(name, None)
