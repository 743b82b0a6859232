"""Which layers of the host's detectors are quantized, and that they train, bake and fuse."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import ClassificationModel, DetectionModel

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host.model import conv_block_names, output_conv_names, plan, quantize_detector
from yolo_qreg.patch import bake, quantized_layers
from yolo_qreg.quant.base import FloatQuantizer

BLOCKS = {"yolov5n": 69, "yolov5n-p6": 91, "yolov8n": 57, "yolo11n": 81, "yolo26n": 114}
OUTPUTS = {"yolov5n": 6, "yolov5n-p6": 8, "yolov8n": 6, "yolo11n": 6, "yolo26n": 12}
CONFIGS = {
    "dorefa-8": QuantConfig(bits=8),
    "lsq-4": QuantConfig(method="lsq", bits=4, per_channel=True, last_bits=8),
}


def build(name: str) -> Any:
    """Build a detector for three classes with fixed random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DetectionModel(f"{name}.yaml", nc=3, verbose=False)
    model.args = get_cfg()
    return model


@pytest.fixture(scope="module")
def v5n() -> Any:
    """A YOLOv5n that no test may change."""
    return build("yolov5n")


@pytest.fixture(scope="module", params=[(name, config) for name in BLOCKS for config in CONFIGS], ids="-".join)
def quantized(request: pytest.FixtureRequest) -> Any:
    """Each detector, quantized, with BatchNorm statistics of its own activations. No test may change it."""
    name, config = request.param
    model = build(name)
    quantize_detector(model, CONFIGS[config])
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for norm in norms:
            norm.momentum = 0.5
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.2)
        for _ in range(4):
            model.train()(torch.rand(4, 3, 64, 64))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model


def raw(model: Any, images: Tensor) -> dict[str, Tensor]:
    """Return what the head that infers gives before decoding, in eval mode."""
    with torch.no_grad():
        _, preds = model.eval()(images)
    preds = preds.get("one2one" if model.model[-1].end2end else "one2many", preds)
    return {key: preds[key] for key in ("boxes", "scores")}


def assert_agree(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Assert agreement within 1e-4 of the output range."""
    for key, value in a.items():
        assert torch.isfinite(value).all()
        span = float(value.max() - value.min())
        assert span > 0.1
        assert float((value - b[key]).abs().max()) <= 1e-4 * span, key


@pytest.mark.parametrize("name", BLOCKS)
def test_every_conv_block_is_quantized(name: str) -> None:
    """As many convolutions as there are BatchNorms are quantized; the head's outputs and DFL stay in float."""
    model = build(name)
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    done = quantize_detector(model, QuantConfig(bits=4))
    layers = quantized_layers(model)
    assert len(layers) == BLOCKS[name] == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert list(layers) == list(done.bits) == conv_block_names(model)
    assert set(done.bits.values()) == {4}
    assert set(done.left_float) == set(convs) - set(layers)
    biased = [n for n in done.left_float if convs[n].bias is not None]
    assert len(biased) == OUTPUTS[name]
    assert [n for n in done.left_float if n not in biased] == [n for n in convs if n.endswith("dfl.conv")]


def test_yolov5n_leaves_seven_convolutions_in_float(v5n: Any) -> None:
    """They are the six output convolutions of the head and the fixed one of DFL."""
    outputs = [f"model.24.{branch}.{level}.2" for branch in ("cv2", "cv3") for level in range(3)]
    assert output_conv_names(v5n) == outputs
    assert plan(v5n, QuantConfig()).left_float == (*outputs, "model.24.dfl.conv")


def test_dfl_still_counts(quantized: Any) -> None:
    """The fixed weights 0, 1, 2, ... of DFL, where a model has it, are what they were."""
    for name, conv in quantized.named_modules():
        if name.endswith("dfl.conv"):
            assert conv.weight.flatten().tolist() == list(range(16))
            assert type(conv) is nn.Conv2d


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        (["model.0"], 68),
        (["model.0.conv"], 68),
        (["model.24.*"], 69 - 12),
        (["model.0", "model.1", "model.24.*"], 69 - 14),
        (["model.2.m.*.cv?"], 67),
    ],
)
def test_skip_leaves_blocks_in_float(v5n: Any, skip: list[str], left: int) -> None:
    """A glob names a block or its convolution; several add up."""
    found = plan(v5n, QuantConfig(skip=skip))
    assert len(found.bits) == left
    assert len(found.left_float) == 7 + 69 - left
    assert not any(name.startswith("model.0.") for name in found.bits) or not skip[0].startswith("model.0")


def test_first_and_last_layers_have_widths_of_their_own(v5n: Any) -> None:
    """`first_bits` is the first convolution's, `last_bits` that of the head's outputs; 32 leaves them in float."""
    found = plan(v5n, QuantConfig(method="lsq", bits=2, first_bits=8, last_bits=4))
    assert len(found.bits) == 75
    assert [name for name, bits in found.bits.items() if bits == 8] == ["model.0.conv"]
    assert [name for name, bits in found.bits.items() if bits == 4] == output_conv_names(v5n)
    found = plan(v5n, QuantConfig(method="lsq", bits=2, first_bits=32, last_bits=32))
    assert len(found.bits) == 68
    assert "model.0.conv" in found.left_float
    assert set(output_conv_names(v5n)) < set(found.left_float)


def test_skip_wins_over_first_bits(v5n: Any) -> None:
    """A skipped first convolution stays in float."""
    assert "model.0.conv" not in plan(v5n, QuantConfig(skip=["model.0"], first_bits=8)).bits


def test_a_twin_goes_through_the_same_layers(v5n: Any) -> None:
    """At 32 bits the same convolutions are patched, and outputs are those of the untouched model."""
    model = deepcopy(v5n)
    found = quantize_detector(model, QuantConfig(bits=32))
    assert list(found.bits) == conv_block_names(v5n)
    assert set(found.bits.values()) == {32}
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    expected, outputs = raw(deepcopy(v5n), images), raw(model, images)
    assert all(torch.equal(outputs[key], value) for key, value in expected.items())


def test_the_summary_counts_widths_and_names_what_is_left(v5n: Any) -> None:
    """One line gives layers per width and the names of the float ones."""
    config = QuantConfig(method="lsq", bits=2, first_bits=8, last_bits=8)
    assert plan(v5n, config).summary(config) == (
        "quantized with lsq: 68 at 2 bits, 7 at 8 bits; left in float (1): model.24.dfl.conv"
    )
    twin = QuantConfig(bits=32)
    assert plan(v5n, twin).summary(twin).startswith("float twin of dorefa: 69 at 32 bits; left in float (7): model.24.")


def test_a_glob_that_matches_nothing_is_an_error(v5n: Any) -> None:
    """The message shows the pattern and what names look like."""
    with pytest.raises(
        InputError, match=r"^skip='backbone\.\*' matches no Conv block; names look like 'model\.0\.conv'$"
    ):
        plan(v5n, QuantConfig(skip=["model.0", "backbone.*"]))


def test_an_output_convolution_is_no_block(v5n: Any) -> None:
    """A glob for a convolution that is in float anyway is an error too."""
    with pytest.raises(InputError, match="matches no Conv block"):
        plan(v5n, QuantConfig(skip=["model.24.cv2.0.2"]))


def test_skipping_everything_is_an_error(v5n: Any) -> None:
    """Nothing left to quantize is told with the number of blocks."""
    with pytest.raises(
        InputError, match=r"^skip=\['\*'\] leaves nothing to quantize; loosen it \(there are 69 blocks\)$"
    ):
        plan(v5n, QuantConfig(skip=["*"]))


def test_a_fused_model_is_an_error(v5n: Any) -> None:
    """A model whose BatchNorm is folded in is refused and left as it is."""
    fused = deepcopy(v5n).eval().fuse(verbose=False)
    with pytest.raises(
        InputError, match=r"^block 'model\.0' has no BatchNorm: the model was fused; start from one that"
    ):
        quantize_detector(fused, QuantConfig())
    assert not quantized_layers(fused)


def test_a_model_without_blocks_is_an_error() -> None:
    """A module that is no detector of the host is refused."""
    with pytest.raises(InputError, match=r"^Sequential has no Conv block to quantize; use a detection model"):
        plan(nn.Sequential(nn.Conv2d(3, 3, 1)), QuantConfig())


def test_quantizing_twice_is_an_error(v5n: Any) -> None:
    """A detector is not quantized again."""
    model = deepcopy(v5n)
    quantize_detector(model, QuantConfig())
    with pytest.raises(InputError, match=r"'model\.0\.conv' is QuantConv2d, not a plain Conv2d"):
        quantize_detector(model, QuantConfig(bits=4))


def test_one_training_step(quantized: Any) -> None:
    """The host's loss gives latent weights and steps gradients, and one step of SGD moves them."""
    model = deepcopy(quantized).train()
    generator = torch.Generator().manual_seed(3)
    batch = {
        "img": torch.rand(4, 3, 64, 64, generator=generator),
        "batch_idx": torch.arange(4.0).repeat_interleave(2),
        "cls": torch.arange(8.0).remainder(3)[:, None],
        "bboxes": torch.tensor([[0.5, 0.5, 0.9, 0.9], [0.4, 0.6, 0.3, 0.4]]).repeat(4, 1),
    }
    loss, _ = model.loss(batch)
    loss.sum().backward()
    box_branch = tuple(f"model.{len(model.model) - 1}.{branch}." for branch in ("cv2", "one2one_cv2"))
    layers = quantized_layers(model)
    before = {}
    for name, layer in layers.items():
        for parameter in (layer.weight, *layer.quantizer.steps()):
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            if not name.startswith(box_branch):  # a level with no box assigned to it gets no box gradient
                assert parameter.grad.abs().max() > 0, name
        before[name] = [p.detach().clone() for p in (layer.weight, *layer.quantizer.steps())]
    assert any(layers[name].weight.grad.abs().max() > 0 for name in layers if name.startswith(box_branch))
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    for name, layer in layers.items():
        for old, new in zip(before[name], (layer.weight, *layer.quantizer.steps()), strict=True):
            assert name.startswith(box_branch) or not torch.equal(old, new)
    with torch.no_grad():
        again, _ = model.loss(batch)
    assert torch.isfinite(again).all()


def test_patched_baked_and_fused_agree(quantized: Any) -> None:
    """Patched, baked, and baked-then-fused outputs agree within 1e-4 of their range."""
    for norm in (m for m in quantized.modules() if isinstance(m, nn.BatchNorm2d)):
        assert (norm.running_var - 1).abs().max() > 0.01  # away from the defaults
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    patched = raw(quantized, images)
    baked = bake(deepcopy(quantized))
    assert not quantized_layers(baked)
    assert_agree(patched, raw(baked, images))
    fused = baked.fuse(verbose=False)
    assert fused.is_fused()
    assert_agree(patched, raw(fused, images))


def test_quantizing_moves_the_outputs(quantized: Any) -> None:
    """Latent weights give other outputs than quantized ones, so the agreement above is not trivial."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    patched, float_model = raw(quantized, images), deepcopy(quantized)
    for layer in quantized_layers(float_model).values():
        layer.quantizer = FloatQuantizer(32)
    latent = raw(float_model, images)
    assert all(float((latent[k] - v).abs().max()) > 0.01 * float(v.max() - v.min()) for k, v in patched.items())


def test_other_tasks_quantize_too() -> None:
    """Blocks are found by kind, so a classifier of the host works; it has no output convolutions."""
    model = ClassificationModel("yolov8n-cls.yaml", nc=3, verbose=False)
    assert output_conv_names(model) == []
    assert len(quantize_detector(model, QuantConfig()).bits) == sum(
        isinstance(m, nn.BatchNorm2d) for m in model.modules()
    )
