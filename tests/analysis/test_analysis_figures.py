"""What an analysis of many models shows: seeds together, quantized models in one picture of the theorem."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from PIL import Image

from yolo_qreg.analysis import run
from yolo_qreg.analysis.records import Analysis, ModelAnalysis, NoiseRow, RiseRow, Sharpness
from yolo_qreg.report import analysis_panels
from yolo_qreg.report.analysis import sheets


def noise(method: str, bits: int, level: float, *, own: bool = False) -> NoiseRow:
    """Return the noise of one layer, `level` of its weights."""
    rest = {"correlation": None, "kurtosis": None, "uniform": None}
    return NoiseRow(layer="one", method=method, bits=bits, own=own, weights=8, variance=level, relative=level, **rest)


def rise(layer: str, method: str, bits: int, size: float) -> RiseRow:
    """Return a rise that is twice what is predicted."""
    known = dict.fromkeys(("predicted_outputs", "predicted_loss"), size)
    known |= dict.fromkeys(("gaussian_outputs", "quantized_outputs", "gaussian_loss", "quantized_loss"), 2 * size)
    errors = dict.fromkeys(("jacobian_error", "trace_error", "predicted_outputs_error", "predicted_loss_error"))
    rest = {"own": True, "variance": size, "jacobian": 1.0, "trace": 2.0, "first_order": 0.0}
    return RiseRow(layer=layer, method=method, bits=bits, **known, **errors, **rest)


def model(name: str, method: str | None, bits: int, levels: dict[int, float], heights: list[float]) -> ModelAnalysis:
    """Return a model with its noise by width, and its losses at one step along two directions."""
    sharp = Sharpness(
        training_loss=1.0,
        validation_loss=2.0,
        gradient_norm=1.0,
        sam={"1": 1.0},
        asam={"1": 1.0},
        trace=1.0,
        trace_error=None,
        relative_trace=1.0,
        relative_trace_error=None,
        eigenvalue=1.0,
        eigenvalue_residual=0.0,
        distances=[0.0, 1.0],
        profiles=[[1.0, 1.0 + height] for height in heights],
    )
    used = method or "lsq"
    return ModelAnalysis(
        name=name,
        method=method,
        bits=bits,
        noise=tuple(noise(used, width, level, own=width == bits) for width, level in levels.items()),
        rises=tuple(rise(layer, used, min(bits, 4), 10.0**-place) for place, layer in enumerate(("all", *"abc"))),
        sharpness=sharp,
    )


FOUND = Analysis(
    models=(
        model("fp32-seed0", None, 32, {8: 1e-4, 2: 0.1}, [1, 2]),
        model("lsq-4bit-seed0", "lsq", 4, {4: 0.01}, [3, 4]),
        model("fp32-seed1", None, 32, {8: 1e-3, 2: 0.1}, [2, 7]),
        model("lsq-2bit-seed0", "lsq", 2, {2: 0.1}, [1, 1]),
    ),
    setup={},
)


def test_seeds_are_one_line() -> None:
    """Means over them, and bands over all of them; colours are those of kinds in all pictures."""
    (chart,) = analysis_panels.noise_charts(FOUND)
    assert [(line.name, line.index) for line in chart.lines] == [("FP32", 0), ("4-bit LSQ", 1), ("2-bit LSQ", 2)]
    assert chart.lines[0].x == (2, 8)
    assert chart.lines[0].y == pytest.approx((10, 35))
    assert chart.lines[0].band[1] == pytest.approx((30, 40))
    profile = analysis_panels.profile_chart(FOUND)
    assert [line.name for line in profile.lines] == [line.name for line in chart.lines]
    assert profile.lines[0].y == (0, 3)
    assert profile.lines[0].band == ((0, 0), (1, 7))


def test_models_of_one_kind_that_no_seed_tells_apart_are_two_lines() -> None:
    """Such as two recipes for 4 bits."""
    models = (model("plain", "lsq", 4, {4: 0.01}, [1]), model("tuned", "lsq", 4, {4: 0.01}, [2]))
    assert [line.name for line in analysis_panels.profile_chart(Analysis(models=models, setup={})).lines] == [
        "plain",
        "tuned",
    ]


def test_quantized_models_are_in_one_picture_of_the_theorem() -> None:
    """Float ones have another, of all seeds."""
    shown = {sheet.name: sheet for sheet in sheets(FOUND)}
    assert [name for name in shown if "theorem" in name] == ["theorem-FP32", "theorem-quantized"]
    assert len(shown["theorem-FP32"].panels[0].marks) == 6
    panel = shown["theorem-quantized"].panels[0]
    assert panel.title == "Squared change of outputs, Gaussian noise: slope 1.00, ratio 2.0"
    assert panel.key == (("4-bit LSQ", 1), ("2-bit LSQ", 2))
    assert len(panel.marks) == 6


def test_what_a_page_shows_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables between its marks, and the pictures that it names, in few colours."""
    place = Path(__file__).parents[2] / "tools" / "publish_analysis.py"
    spec = importlib.util.spec_from_file_location("publish_analysis", place)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page, folder = tmp_path / "page.md", tmp_path / "analysis"
    page.write_text("![noise](mine-noise.png)\n<!-- mine-terms:begin -->\n<!-- mine-terms:end -->\n")
    (folder / "figures").mkdir(parents=True)
    for name in ("noise", "directions"):
        Image.linear_gradient("L").save(folder / "figures" / f"{name}.png")
    run.save(FOUND, folder)
    monkeypatch.setattr(tool, "PAGE", page)
    monkeypatch.setattr(tool, "OUT", tmp_path)
    tool.publish(folder, "mine")
    assert "| 4-bit LSQ | 4-bit LSQ | 0.01 | 1 | 2 | 2 |" in page.read_text()
    with Image.open(tmp_path / "mine-noise.png") as image:
        assert len(image.getcolors() or ()) <= 64
    assert not (tmp_path / "mine-directions.png").exists()
