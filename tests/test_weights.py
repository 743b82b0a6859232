"""The shipped weights are what their cards say."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch

from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.host import checkpoint
from yolo_qreg.host.validate import validate
from yolo_qreg.shipped import read_card, shipped, weights_folder

NAMES = sorted(p.stem for p in weights_folder().glob("*.json"))

pytestmark = pytest.mark.weights


def test_each_weight_file_has_a_card_and_each_card_a_file() -> None:
    """Nothing is shipped without saying what it is; the demo needs the first two."""
    assert {p.stem for p in weights_folder().glob("*.pt")} == set(NAMES) >= {"shapes-dorefa8", "shapes-fp32"}


@pytest.mark.parametrize("name", NAMES)
def test_size_and_hash_are_the_cards(name: str) -> None:
    """The bytes are those that were measured."""
    card, content = read_card(name), (weights_folder() / read_card(name)["file"]).read_bytes()
    assert len(content) == card["bytes"]
    assert hashlib.sha256(content).hexdigest() == card["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_the_cards_within_its_tolerance(name: str) -> None:
    """The host's own validation on the embedded data gives the card's mAP, below the 100 that would teach nothing."""
    card = read_card(name)
    data = ensure_shapes()
    score = validate(shipped(name), data, imgsz=card["recipe"]["imgsz"], batch=16, device="cpu")
    assert score.map50_95 == pytest.approx(card["metrics"]["map50_95"], abs=card["metrics"]["tolerance"])
    assert score.map50 == pytest.approx(card["metrics"]["map50"], abs=card["metrics"]["tolerance"])
    assert score.map50 < 0.99


def test_the_page_shows_the_cards() -> None:
    """Every score of a card stands on the page of weights, and none is typed by hand."""
    page = Path(__file__).parents[1] / "docs" / "weights.md"
    block = page.read_text(encoding="utf-8").split("<!-- weights:begin -->")[1].split("<!-- weights:end -->")[0]
    shown = {
        tuple(re.findall(r"[\d.]+", line.split("|", 2)[2])) for line in block.splitlines() if "](../weights/" in line
    }
    cards = [read_card(name) for name in NAMES]
    assert shown == {
        (str(c["quant"]["bits"]), *(f"{100 * c['metrics'][key]:.1f}" for key in ("map50_95", "map50"))) for c in cards
    }


def test_the_quantized_file_lies_on_its_grid() -> None:
    """Every convolution of the 8-bit file holds odd multiples of 1/255, to the half precision of the file."""
    model, ckpt = checkpoint.load(shipped("shapes-dorefa8"))
    state = checkpoint.state_of(ckpt, "shapes-dorefa8")
    weights = dict(model.named_parameters())
    assert len(state.bits) == 69
    for name in state.bits:
        codes = weights[f"{name}.weight"] * 255
        nearest = 2 * torch.round((codes - 1) / 2) + 1
        assert (codes - nearest).abs().max() < 255 * 2**-11
