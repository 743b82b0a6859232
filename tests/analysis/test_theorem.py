"""Predicted and measured rises, on a linear network whose rises are known and on a detector of the host."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from yolo_qreg.analysis.curvature import ALL, hessian_product
from yolo_qreg.analysis.noise import noise_of
from yolo_qreg.analysis.objective import Objective, Sampled, inner, scaled, signs
from yolo_qreg.analysis.theorem import Meter, measure_rises
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.host import checkpoint
from yolo_qreg.host.differentiable import Differentiable, labelled_batches
from yolo_qreg.host.model import conv_block_names
from yolo_qreg.shipped import shipped

SIDE_PX = 64


class Linear:
    """Outputs y = (A + B) x of two layers, and the squared error to a target, on two batches."""

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(0)
        self.x = torch.randn(2, 6, 4, generator=rng, dtype=torch.float64)
        self.weights = {
            name: torch.randn(3, 4, generator=rng, dtype=torch.float64).requires_grad_() for name in ("a", "b")
        }
        self.target = torch.randn(2, 6, 3, generator=rng, dtype=torch.float64)
        self.batches = range(2)

    def keep(self) -> None:
        """Nothing is kept."""

    def run(self, batch: int, changed: str | None = None) -> tuple[Tensor, Tensor]:
        """Return loss and outputs."""
        outputs = self.x[batch] @ (self.weights["a"] + self.weights["b"]).T
        return (outputs - self.target[batch]).square().sum() / 6, outputs


def test_rises_of_a_linear_network_are_those_of_the_theorem() -> None:
    """Noise of variance s^2 changes outputs, and raises the squared error, by s^2 |J|^2; errors do what they do."""
    case = Linear()
    norm = 3 * float(case.x.square().sum(2).mean())  # |J|^2 of either layer
    rng = torch.Generator().manual_seed(1)
    error = {name: 0.1 * torch.randn(3, 4, generator=rng, dtype=torch.float64) for name in ("a", "b")}
    noise = {name: (noise_of(case.weights[name], part), part) for name, part in error.items()}
    objective = Objective(case.weights, [lambda batch=batch: case.run(batch)[0] for batch in case.batches])
    rows = measure_rises(
        case,
        noise,
        dict.fromkeys(("a", "b"), Sampled(norm, 0.3)),
        dict.fromkeys(("a", "b"), Sampled(2 * norm, 0.4)),
        objective.gradient(),
        rng,
        pairs=400,
    )
    whole, one, _ = rows
    assert [row.layer for row in rows] == [ALL, "a", "b"]
    variance = [noise[name][0].variance for name in ("a", "b")]
    assert whole.predicted_outputs.value == pytest.approx(sum(variance) * norm)
    assert whole.predicted_outputs.error == pytest.approx(0.3 * (variance[0] ** 2 + variance[1] ** 2) ** 0.5)
    assert whole.gaussian.outputs == pytest.approx(whole.predicted_outputs.value, rel=0.1)
    assert whole.predicted_loss.value == pytest.approx(whole.predicted_outputs.value)
    assert whole.gaussian.loss == pytest.approx(whole.gaussian.outputs)  # pairs of signs leave the second order alone
    exact = (case.x @ error["a"].T).square().sum(2).mean()
    assert one.quantized.outputs == pytest.approx(float(exact))
    assert one.quantized.loss == pytest.approx(one.first_order + float(exact))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Differentiable]:
    """The shipped FP32 detector on a picture, in float64."""
    data = ensure_shapes(tmp_path_factory.mktemp("shapes"), train=1, val=1)
    path = shipped("shapes-fp32")
    model, _ = checkpoint.load(path)
    shown = labelled_batches(data, "train", 1, SIDE_PX, channels=3, device=torch.device("cpu"))
    names = conv_block_names(model)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the host's loss makes tensors of its own
    try:
        found = Differentiable(model, names, [batch.double() for batch in shown.batches])
        found.to(torch.float64)
        yield found
    finally:
        torch.set_default_dtype(before)


def test_the_hessian_of_a_detector_is_that_of_finite_differences(detector: Differentiable) -> None:
    """In float64 second differences of the loss agree with products, but for what CIoU holds constant."""
    objective = Objective(detector.weights, [partial(detector.loss, batch) for batch in detector.batches])
    rng = torch.Generator().manual_seed(1)
    sizes = {name: 1e-4 * float(weight.detach().std()) for name, weight in detector.weights.items()}
    vector = {name: sizes[name] * part for name, part in signs(detector.weights, rng).items()}
    base = objective.value()
    up, down = objective.rise(vector, base), objective.rise(scaled(vector, -1), base)
    assert inner(objective.gradient(), vector) == pytest.approx((up - down) / 2, rel=0.02)
    assert inner(vector, hessian_product(objective, vector)) == pytest.approx(up + down, rel=0.02)


def test_a_layer_changed_alone_gives_what_a_whole_pass_gives(detector: Differentiable) -> None:
    """Blocks before it are taken from an earlier pass; results are the same to the bit."""
    meter = Meter(detector)
    rng = torch.Generator().manual_seed(0)
    names = list(detector.weights)
    for name in (names[0], names[20], names[-1]):
        change = {name: 0.01 * torch.randn(detector.weights[name].shape, generator=rng)}
        alone = meter.change(change)
        together = meter.change({**change, names[5]: torch.zeros_like(detector.weights[names[5]])})
        assert alone == together
        assert alone.outputs > 0


def test_targets_stay_while_weights_change(detector: Differentiable) -> None:
    """At other weights the loss has the targets of the first pass, until they are fixed anew; then it is the host's."""
    first = float(detector.loss(0).detach())
    free = detector.host_loss(0)
    assert first == pytest.approx(float(free.detach()))
    name = next(iter(detector.weights))
    with torch.no_grad():
        detector.weights[name].mul_(3)
        fixed, free = float(detector.loss(0)), float(detector.host_loss(0))
        detector.fix_targets()
        anew = float(detector.loss(0))
        detector.weights[name].div_(3)
    detector.fix_targets()
    assert anew == pytest.approx(free)
    assert fixed != pytest.approx(free, rel=1e-3)


def test_statistics_are_those_of_the_present_weights(detector: Differentiable) -> None:
    """BatchNorm has them meanwhile, and afterwards what it had, bit for bit."""
    block, batches = detector._model.model[0], detector._batches
    before = {name: value.clone() for name, value in detector._model.state_dict().items()}
    with torch.no_grad():
        block.conv.weight.mul_(3)
        made = block.conv(batches[0].img)
        with detector.own_statistics(batches):
            torch.testing.assert_close(block.bn.running_mean, made.mean((0, 2, 3)))
            torch.testing.assert_close(block.bn.running_var, made.var((0, 2, 3)))
        block.conv.weight.copy_(before["model.0.conv.weight"])
    after = detector._model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
