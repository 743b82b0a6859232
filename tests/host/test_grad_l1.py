"""Gradient l1 regularization: what is added to the loss, and trainings with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import SIDE_PX, TINY, Run, assert_same, images, overrides
from torch import Tensor, nn
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

from yolo_qreg import QATTrainer, QuantConfig, describe, quantize
from yolo_qreg.errors import InputError
from yolo_qreg.host.hooks import GradientL1
from yolo_qreg.host.model import quantize_detector
from yolo_qreg.patch import quantized_layers

LAMBDA = 0.05
CONFIG = QuantConfig(bits=32, grad_l1=LAMBDA)


@pytest.fixture(scope="module")
def run(train: Callable[..., Run]) -> Run:
    """Two epochs with the penalty, the first one kept."""
    return train(CONFIG, model=str(TINY), save_period=1)


def detector() -> Any:
    """Return a small detector of the host, in eval mode so that BatchNorm is a constant."""
    torch.manual_seed(0)
    net = DetectionModel(str(TINY), nc=2, verbose=False)
    net.args = get_cfg()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def add(net: Any, loss_scale: Callable[[Tensor], Tensor] = Tensor.clone) -> None:
    """Add the penalty to the loss of a detector."""
    net.criterion = GradientL1(net.init_criterion(), quantized_layers(net).values(), LAMBDA, loss_scale)


def batch() -> dict[str, Tensor]:
    """Return two pictures with two boxes each."""
    boxes = torch.tensor([[0.3, 0.4, 0.3, 0.4], [0.6, 0.6, 0.4, 0.3], [0.5, 0.5, 0.5, 0.5], [0.4, 0.3, 0.3, 0.2]])
    classes = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    return {"img": images(), "batch_idx": torch.tensor([0.0, 0, 1, 1]), "cls": classes, "bboxes": boxes}


def smooth(preds: Any, found: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a loss that is a function of the outputs alone: the host's own holds parts of them for constants."""
    _, raw = preds
    parts = [(raw["scores"] - 1).square().mean(), (raw["boxes"].sigmoid() * torch.arange(1, 65).view(-1, 1)).mean()]
    return len(found["img"]) * torch.stack(parts), {}


def norm_of_gradient(net: Any, names: list[str], moved: dict[str, Tensor]) -> float:
    """Return the l1 norm of the gradient of a plain detector's loss by some weights, after all were moved."""
    parameters = dict(net.named_parameters())
    state = {name: parameters[name].detach().clone() for name in moved}
    with torch.no_grad():
        for name, value in moved.items():
            parameters[name].add_(value)
    found = batch()
    loss = smooth(net(found["img"].double()), found)[0].sum()
    gradients = torch.autograd.grad(loss, [parameters[name] for name in names])
    with torch.no_grad():
        for name, value in state.items():
            parameters[name].copy_(value)
    return sum(float(g.abs().sum()) for g in gradients)


@pytest.mark.parametrize("scale", [1.0, 4096.0])
def test_the_gradient_is_that_of_finite_differences(scale: float) -> None:
    """Along random directions of all parameters, against an unquantized model in float64; at any loss scale."""
    plain, net = detector().double(), detector()
    names = [f"{name}.weight" for name in quantize_detector(net, CONFIG).bits]
    net.init_criterion = lambda: smooth
    parameters = {name: p for name, p in net.named_parameters() if p.requires_grad}
    (scale * net.loss(batch())[0].sum()).backward()
    without = {name: p.grad for name, p in parameters.items()}
    net.zero_grad()
    add(net, lambda one: one * scale)
    loss = net.loss(batch())[0]
    assert float(loss[-1].detach()) == pytest.approx(LAMBDA * norm_of_gradient(plain, names, {}), rel=1e-5)
    (scale * loss.sum()).backward()
    gradient = {name: (p.grad - without[name]).double() / scale for name, p in parameters.items()}
    numbers = torch.Generator().manual_seed(1)
    for _ in range(3):
        way = {name: 1e-8 * torch.randn(p.shape, generator=numbers).double() for name, p in parameters.items()}
        there, back = (norm_of_gradient(plain, names, {n: sign * w for n, w in way.items()}) for sign in (1, -1))
        ours = sum(float((gradient[name] * w).sum()) for name, w in way.items())
        assert ours == pytest.approx(LAMBDA * (there - back) / 2, rel=1e-3)


def test_batches_add_up() -> None:
    """Gradients that are accumulated over batches are the sum of those of the batches' own objectives."""
    net = detector()
    quantize_detector(net, CONFIG)
    add(net)
    single = []
    for flipped in (False, True):
        net.zero_grad()
        found = batch()
        net.loss({**found, "img": found["img"].flip(3)} if flipped else found)[0].sum().backward()
        single.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    found = batch()
    net.loss(found)[0].sum().backward()  # on top of the second
    for p, a, b in zip([p for p in net.parameters() if p.grad is not None], *single, strict=True):
        torch.testing.assert_close(p.grad, a + b)


def test_weights_at_rest_and_validation_have_no_penalty() -> None:
    """Frozen weights have no gradient, and losses without gradients are the host's."""
    net = detector()
    names = quantize_detector(net, CONFIG).bits
    with torch.no_grad():
        plain = net.loss(batch())[0].sum()
    add(net)
    with torch.no_grad():
        assert float(net.loss(batch())[0].sum()) == float(plain)
    assert float(net.loss(batch())[0].sum().detach()) > float(plain) + 0.01
    for name in names:
        net.get_submodule(name).weight.requires_grad_(False)
    assert float(net.loss(batch())[0].sum().detach()) == pytest.approx(float(plain), rel=1e-6)


def test_an_interrupted_training_is_repeated_to_the_bit(run: Run, tmp_path: Path) -> None:
    """Resumed after the first epoch, the run ends with the bits of the uninterrupted one."""
    last = tmp_path / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes((run.folder / "weights" / "epoch0.pt").read_bytes())
    resumed = QATTrainer(overrides={"resume": str(last)})
    resumed.train()
    assert resumed.quant == CONFIG
    assert_same(resumed.model.state_dict(), run.trainer.model.state_dict())


def test_it_is_no_twin(run: Run, tiny_twin: Run) -> None:
    """It trains other weights, and a comparison with the FP32 twin says by what; the file says so too."""
    assert not torch.equal(run.trainer.model.model[0].conv.weight, tiny_twin.trainer.model.model[0].conv.weight)
    ours, theirs = describe(run.best), describe(tiny_twin.best)
    assert ours.past.differences(theirs.past) == (f"grad_l1 {LAMBDA} against 0.0",)
    assert ours.config is not None
    assert ours.config.label == "fp32-gradl1-0.05"


def test_what_is_quantized_afterwards_is_no_twin_either(run: Run, tiny_twin: Run, tmp_path: Path) -> None:
    """Files of both trainings differ in the penalty as the trainings do."""
    config = QuantConfig(method="lsq", bits=4, bn_images=0)
    files = []
    for number, each in enumerate((run, tiny_twin)):
        (out := tmp_path / str(number)).mkdir()
        files += quantize(each.folder, config, out)
    ours, theirs = map(describe, files)
    assert ours.past.differences(theirs.past) == (f"grad_l1 {LAMBDA} against 0.0",)
    assert ours.config == theirs.config and ours.config.grad_l1 == 0


def test_a_compiled_model_is_refused(data: Path, tmp_path: Path) -> None:
    """What compiles has no second derivatives."""
    trainer = QATTrainer(overrides=overrides(data, tmp_path, CONFIG, model=str(TINY), compile=True, imgsz=SIDE_PX))
    with pytest.raises(InputError, match=r"compile=True has no gradients of gradients, which grad_l1=0\.05 needs"):
        trainer.train()


def test_small_gradients_count_in_half_precision() -> None:
    """Of the scaled loss they are those of float32; without the scale a third of the norm vanishes."""
    plain, net = detector().double(), detector()
    names = [f"{name}.weight" for name in quantize_detector(net, CONFIG).bits]
    small = 1e-4
    wanted = small * LAMBDA * norm_of_gradient(plain, names, {})

    def term(scale: float) -> float:
        layers = quantized_layers(net).values()
        loss = GradientL1(lambda *given: (small * smooth(*given)[0], {}), layers, LAMBDA, lambda one: one * scale)
        found = batch()
        with torch.autocast("cpu", torch.float16):
            return float(loss(net(found["img"]), found)[0][-1].detach())

    assert term(4096) == pytest.approx(wanted, rel=0.01)
    assert term(1) < 0.8 * wanted
    assert term(2.0**40) == 0  # an overflow: the loss stays finite, and the scaler finds its gradients
