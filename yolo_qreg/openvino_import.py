"""OpenVINO without its telemetry, which tells its makers of every import and conversion unless somebody opted out."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """Import OpenVINO and return it; it takes its own stand-in for telemetry, as where that package is missing."""
    missing = object()
    before = sys.modules.get(TELEMETRY, missing)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # an import of it is an ImportError meanwhile
    try:
        return import_module("openvino")
    finally:
        if before is missing:
            del sys.modules[TELEMETRY]
        else:
            sys.modules[TELEMETRY] = before  # type: ignore[assignment]
