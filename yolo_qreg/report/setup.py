"""What was run: the weight files, and everything else that the results depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolo_qreg.evaluation.results import Results
from yolo_qreg.findings.names import kind_of
from yolo_qreg.report import markup
from yolo_qreg.report.comparison import is_voc
from yolo_qreg.report.markup import Html, el, join
from yolo_qreg.report.text import DASH, number

DIFFICULT = (
    "Boxes that Pascal VOC marks as difficult are in no label file that Ultralytics or yolo-qreg makes, unless asked "
    "for; what the label files hold counts here."
)
HASH = 12
"""Digits of a hash that are shown in a table; the whole one is in its tooltip and in run.json."""


def models_table(results: Results) -> Html:
    """Return the weight files."""
    head = el(
        "tr",
        (el("th", name, scope="col") for name in ("model", "file", "weights")),
        el("th", "MB", scope="col", class_="num"),
        (el("th", name, scope="col") for name in ("SHA-256", "run folder")),
    )
    rows = (
        el(
            "tr",
            el("th", model.name, scope="row"),
            el("td", el("code", model.file)),
            el("td", kind_of(model.method, model.bits)),
            el("td", number(model.size_mb, 2), class_="num"),
            el("td", el("code", model.sha256[:HASH], title=model.sha256)),
            el("td", el("code", model.run) if model.run else DASH),
        )
        for model in results.models
    )
    return markup.table(head, rows)


def facts(results: Results) -> Html:
    """Return the setup, whatever it holds, with what the data are and how many pictures there were."""
    return value_of({"baseline": results.baseline, **results.setup})


def note(results: Results) -> str | None:
    """Return what happened to difficult boxes, where the setup does not say and the data have such boxes."""
    said = any("difficult" in key.lower() for key in results.setup)
    voc = is_voc(results) or "voc" in str(results.setup.get("data", "")).lower()
    return DIFFICULT if voc and not said else None


def value_of(value: Any) -> Html:
    """Return a value of the setup: mappings as a list of terms, sequences as a list, the rest as text."""
    if isinstance(value, Mapping):
        return el("dl", (join(el("dt", str(key)), el("dd", value_of(item))) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return el("ul", (el("li", value_of(item)) for item in value))
    if value is None:
        return el("span", DASH)
    return el("code", str(value))
