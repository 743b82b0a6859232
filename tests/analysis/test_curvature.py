"""Derivatives of losses against cases where the answer is known: quadratics, linear models, finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from yolo_qreg.analysis.curvature import ALL, hessian_traces, top_eigenvalue
from yolo_qreg.analysis.jacobian import jacobian_norms
from yolo_qreg.analysis.objective import Objective, gradients, inner, norm, shifted
from yolo_qreg.analysis.sharpness import asam_rise, asam_step, filter_direction, profile, sam_rise


@pytest.fixture
def rng() -> torch.Generator:
    """A generator of the CPU."""
    return torch.Generator().manual_seed(0)


class Quadratic:
    """The loss w'Aw / 2 of weights in two layers, as the mean of two batches that weigh A differently."""

    def __init__(self, rng: torch.Generator, *, diagonal: bool = False) -> None:
        half = torch.randn(7, 7, generator=rng, dtype=torch.float64)
        self.matrix = torch.diag(torch.arange(7.0).double() - 2) if diagonal else half + half.T
        first = torch.randn(2, 2, generator=rng, dtype=torch.float64)
        second = torch.randn(3, 1, generator=rng, dtype=torch.float64)
        self.weights = {"one": first.requires_grad_(), "two": second.requires_grad_()}
        self.objective = Objective(self.weights, [lambda: 0.5 * self.loss(), lambda: 1.5 * self.loss()])

    @property
    def flat(self) -> Tensor:
        """All weights."""
        return torch.cat([weight.flatten() for weight in self.weights.values()])

    def loss(self) -> Tensor:
        """W'Aw / 2."""
        return 0.5 * self.flat @ self.matrix @ self.flat

    def value_at(self, step: dict[str, Tensor]) -> float:
        """Return the loss after a step, by numbers alone."""
        there = self.flat.detach() + torch.cat([part.flatten() for part in step.values()])
        return float(0.5 * there @ self.matrix @ there)


def test_traces_of_a_quadratic_are_those_of_its_blocks(rng: torch.Generator) -> None:
    """Estimates lie within their standard errors of the truth; those errors are the known ones."""
    case = Quadratic(rng)
    found = hessian_traces(case.objective, 400, rng)
    truth = {"one": case.matrix[:4, :4].trace(), "two": case.matrix[4:, 4:].trace(), ALL: case.matrix.trace()}
    for name, value in truth.items():
        assert found[name].error is not None
        assert abs(found[name].value - float(value)) < 3.5 * found[name].error
    off = case.matrix - torch.diag(case.matrix.diagonal())
    # two batches of 0.5 A and 1.5 A with signs of their own: var = 2 |off|^2 (0.25^2 + 0.75^2)
    expected = math.sqrt(2 * float(off.square().sum()) * (0.25**2 + 0.75**2) / 400)
    assert found[ALL].error == pytest.approx(expected, rel=0.15)


def test_traces_of_a_diagonal_hessian_need_one_probe(rng: torch.Generator) -> None:
    """Where nothing couples weights, every probe gives the trace."""
    found = hessian_traces(Quadratic(rng, diagonal=True).objective, 1, rng)
    assert [found[name].value for name in ("one", "two", ALL)] == pytest.approx([-2, 9, 7])
    assert found[ALL].error is None


def test_top_eigenvalue_of_a_quadratic(rng: torch.Generator) -> None:
    """Power iteration finds the eigenvalue of largest magnitude, with its sign."""
    case = Quadratic(rng)
    values = torch.linalg.eigvalsh(case.matrix)
    found = top_eigenvalue(case.objective, 500, rng, tolerance=1e-6)
    assert found.value == pytest.approx(float(values[values.abs().argmax()]), rel=1e-6)
    assert found.residual < 1e-6 < 1e-2
    early = top_eigenvalue(case.objective, 3, rng, tolerance=1e-6)
    assert (early.iterations, early.residual > 1e-6) == (3, True)
    assert min(abs(values - early.value)) <= early.residual * abs(early.value)


def test_sharpness_of_a_quadratic(rng: torch.Generator) -> None:
    """SAM's rise is r|g| + r^2 g'Ag / (2 |g|^2); ASAM's is that of its step w^2 g / |w g|; weights are unchanged."""
    case = Quadratic(rng)
    before = case.flat.detach().clone()
    gradient = case.objective.gradient()
    g = case.matrix @ before
    assert torch.allclose(torch.cat([part.flatten() for part in gradient.values()]), g)
    base = case.objective.value()
    radius = 0.3 * float(before.norm())
    expected = radius * g.norm() + 0.5 * radius**2 * (g @ case.matrix @ g) / g.norm() ** 2
    assert sam_rise(case.objective, 0.3, gradient, base) == pytest.approx(float(expected))
    step = 0.3 * before**2 * g / (before * g).norm()
    expected = g @ step + 0.5 * step @ case.matrix @ step
    assert asam_rise(case.objective, 0.3, gradient, base) == pytest.approx(float(expected))
    assert torch.equal(case.flat.detach(), before)


def test_asam_does_not_see_the_scale_of_weights(rng: torch.Generator) -> None:
    """With weights times c and gradients over c, as before BatchNorm, its step is c times as long."""
    weights = {"one": torch.randn(3, 4, generator=rng, dtype=torch.float64)}
    gradient = {"one": torch.randn(3, 4, generator=rng, dtype=torch.float64)}
    step = asam_step(weights, gradient, 0.1)["one"]
    larger = asam_step({"one": 16 * weights["one"]}, {"one": gradient["one"] / 16}, 0.1)["one"]
    assert torch.allclose(larger, 16 * step)


def test_filters_of_a_direction_have_the_norms_of_the_weights(rng: torch.Generator) -> None:
    """Each output channel has the norm of its weights; along it a quadratic is a parabola."""
    weights = {"conv": torch.randn(4, 3, 3, 3, generator=rng), "dead": torch.zeros(2, 3, 1, 1)}
    found = filter_direction(weights, rng)
    for name, weight in weights.items():
        assert torch.allclose(found[name].flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
    case = Quadratic(rng)
    direction = filter_direction(case.weights, rng)
    flat = torch.cat([part.flatten() for part in direction.values()])
    slope, bend = case.matrix @ case.flat.detach() @ flat, flat @ case.matrix @ flat
    distances = [-1.0, -0.5, 0.0, 0.5, 1.0]
    expected = [case.objective.value() + t * float(slope) + t * t / 2 * float(bend) for t in distances]
    assert profile(case.objective, direction, distances) == pytest.approx(expected)


def test_shifted_weights_come_back_after_an_error(rng: torch.Generator) -> None:
    """The weights are bit for bit what they were, also where they would not be after subtraction."""
    weights = {"w": torch.tensor([1e-8, 1.0])}

    def fail() -> None:
        with shifted(weights, {"w": torch.tensor([1e8, 1e8])}):
            assert weights["w"][1] == 1e8 + 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(weights["w"], torch.tensor([1e-8, 1.0]))


def test_changes_come_from_whatever_device() -> None:
    """Errors of quantizers are found on the CPU, while weights are where the network computes."""
    weights = {"w": torch.ones(2, device="meta")}
    with shifted(weights, {"w": torch.ones(2)}):
        assert weights["w"].is_meta


def test_theorem_on_a_linear_model(rng: torch.Generator) -> None:
    """For y = W x, |J|^2 is k |x|^2; noise of variance s^2 raises the squared error by s^2 |J|^2 = s^2 tr(H) / 2."""
    k, d, pictures, sigma = 3, 5, 8, 0.1
    x = torch.randn(pictures, d, generator=rng, dtype=torch.float64)
    target = torch.randn(pictures, k, generator=rng, dtype=torch.float64)
    weight = torch.randn(k, d, generator=rng, dtype=torch.float64).requires_grad_()
    halves = [slice(0, 4), slice(4, 8)]
    outputs = [lambda part=part: x[part] @ weight.T for part in halves]
    losses = [lambda part=part: (x[part] @ weight.T - target[part]).square().sum() / 4 for part in halves]
    truth = k * float(x.square().sum(1).mean())
    norms = jacobian_norms({"w": weight}, outputs, 300, rng)
    assert norms[ALL] == norms["w"]
    assert norms["w"].error is not None
    assert abs(norms["w"].value - truth) < 3.5 * norms["w"].error < 0.1 * truth
    objective = Objective({"w": weight}, losses)
    assert hessian_traces(objective, 300, rng)["w"].value == pytest.approx(2 * truth, rel=0.1)
    base = objective.value()
    draws = [
        objective.rise({"w": sigma * torch.randn(k, d, generator=rng, dtype=torch.float64)}, base) for _ in range(2000)
    ]
    measured = torch.tensor(draws)
    assert abs(float(measured.mean()) - sigma**2 * truth) < 3.5 * float(measured.std()) / math.sqrt(len(draws))


class Network:
    """Two layers with tanh between, and logistic losses: nothing about it is linear or quadratic."""

    def __init__(self, rng: torch.Generator) -> None:
        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        self.x, self.target = drawn(4, 3), (drawn(4, 2) > 0).double()
        self.weights = {"one": drawn(3, 3).requires_grad_(), "two": drawn(2, 3).requires_grad_()}
        self.objective = Objective(self.weights, [self.loss])

    def outputs(self) -> Tensor:
        """Logits [4, 2]."""
        return torch.tanh(self.x @ self.weights["one"].T) @ self.weights["two"].T

    def loss(self) -> Tensor:
        """Binary cross-entropy."""
        return functional.binary_cross_entropy_with_logits(self.outputs(), self.target)

    def moved(self, name: str, index: int, by: float) -> dict[str, Tensor]:
        """Return a change of one weight."""
        change = torch.zeros_like(self.weights[name])
        change.view(-1)[index] = by
        return {name: change}


def test_traces_of_a_network_agree_with_finite_differences(rng: torch.Generator) -> None:
    """The second difference of the loss in each weight, in float64, sums to the trace of each layer."""
    case, eps = Network(rng), 1e-4
    found = hessian_traces(case.objective, 600, rng)
    base = case.objective.value()
    for name, weight in case.weights.items():
        differences = [
            sum(case.objective.rise(case.moved(name, index, sign * eps), base) for sign in (-1, 1)) / eps**2
            for index in range(weight.numel())
        ]
        assert found[name].error is not None
        assert abs(found[name].value - sum(differences)) < 3.5 * found[name].error < 0.2 * abs(sum(differences))


def test_norms_of_a_network_agree_with_finite_differences(rng: torch.Generator) -> None:
    """The central difference of the outputs in each weight gives each column of the Jacobian."""
    case, eps = Network(rng), 1e-5
    found = jacobian_norms(case.weights, [case.outputs], 600, rng)
    for name, weight in case.weights.items():
        total = 0.0
        for index in range(weight.numel()):
            ends = []
            for sign in (-1, 1):
                with torch.no_grad(), shifted(case.weights, case.moved(name, index, sign * eps)):
                    ends.append(case.outputs())
            total += float(((ends[1] - ends[0]) / (2 * eps)).square().sum()) / len(case.x)
        assert found[name].error is not None
        assert abs(found[name].value - total) < 3.5 * found[name].error < 0.2 * total


def test_a_flat_loss_has_no_curvature() -> None:
    """Losses linear in the weights, or without some of them, give zeros."""
    weights = {"used": torch.ones(2, requires_grad=True), "idle": torch.ones(3, requires_grad=True)}
    objective = Objective(weights, [lambda: weights["used"].sum()])
    assert norm(objective.gradient()) == pytest.approx(math.sqrt(2))
    found = hessian_traces(objective, 2, torch.Generator().manual_seed(0))
    assert {name: entry.value for name, entry in found.items()} == {ALL: 0, "used": 0, "idle": 0}
    assert top_eigenvalue(objective, 3, torch.Generator().manual_seed(0)).value == 0
    assert inner(gradients(weights["used"].sum(), weights), weights) == 2
