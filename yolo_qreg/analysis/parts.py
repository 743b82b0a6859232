"""What is done with one network, in parts whose results are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from yolo_qreg.analysis.config import ASAM_RADII, DISTANCES, SAM_SHARES, AnalysisConfig
from yolo_qreg.analysis.curvature import ALL, Ticked, hessian_traces, top_eigenvalue
from yolo_qreg.analysis.jacobian import jacobian_norms
from yolo_qreg.analysis.network import Network
from yolo_qreg.analysis.objective import Objective, Sampled, exact, norm, placed
from yolo_qreg.analysis.records import NoiseRow, RiseRow, Sharpness
from yolo_qreg.analysis.sharpness import asam_rise, filter_direction, profile, sam_rise
from yolo_qreg.analysis.theorem import Rise, measure_rises
from yolo_qreg.errors import InputError
from yolo_qreg.files import short_name
from yolo_qreg.host.differentiable import Differentiable, Shown
from yolo_qreg.progress import Watch
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS
from yolo_qreg.sealed import read_sealed, write_sealed

ITERATIONS = 12
"""At most, for the top eigenvalue."""
DIGITS = 12
"""Of the hash in a file's name."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What networks are shown.

    Attributes:
        training: For losses and sharpness.
        validation: For the loss.
        layers: The training pictures for second derivatives and the noise of single layers.
    """

    training: Shown
    validation: Shown
    layers: Shown


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of work whose result is kept.

    Attributes:
        name: What it is, for progress.
        file: Where its result lies.
        key: All that this depends on.
        size: How often it tells that some of it is done.
        work: Does it.
    """

    name: str
    file: Path
    key: Mapping[str, Any]
    size: int
    work: Callable[[Ticked], dict[str, Any]]

    def result(self) -> dict[str, Any] | None:
        """Return what was kept; None where that is missing, damaged or of other settings."""
        found = read_sealed(self.file)
        kept: dict[str, Any] | None = found["found"] if found is not None and found["key"] == self.key else None
        return kept

    def kept(self) -> dict[str, Any]:
        """Return what was kept, once the work is done.

        Raises:
            InputError: Another command has changed it meanwhile.
        """
        found = self.result()
        if found is None:
            raise InputError(f"{self.file} was changed meanwhile; let one command at a time work there, and repeat it")
        return found

    def do(self, tick: Ticked) -> None:
        """Do the work and keep its result."""
        write_sealed(self.file, {"key": dict(self.key), "found": self.work(tick)})


def do_missing(parts: Sequence[Part], watch: Callable[[int], Watch]) -> None:
    """Do the parts that nothing is kept of; `watch` is called with the amount of work and is told of progress."""
    missing = [part for part in parts if part.result() is None]
    told = watch(sum(part.size for part in missing))
    for part in missing:
        left = part.size

        def tick(name: str = part.name) -> None:
            nonlocal left
            told(name, min(left, 1))
            left -= min(left, 1)

        told(part.name, 0)
        part.do(tick)
        told(part.name, left)


@dataclass
class Laboratory:
    """One network under analysis. Nothing is computed before a part is done.

    Attributes:
        name: Of the model.
        network: It.
        pictures: What it is shown.
        config: Settings.
    """

    name: str
    network: Network
    pictures: Pictures
    config: AnalysisConfig

    # ---------------------------------------------------------------------------------------- which parts

    @property
    def quantizers(self) -> tuple[tuple[str, int | None], ...]:
        """Method and width of what float weights are quantized by to see what that does: the network's own, if any.

        There are none where float weights are not known.
        """
        own = self.network.own
        if own is not None:
            return (own,) if self.network.latents else ()
        return tuple((m, bits) for m in self.config.methods for bits in self.config.bits if bits in METHODS[m].bits)

    @property
    def noises(self) -> tuple[tuple[str, int | None], ...]:
        """Method and width of all whose errors are described: beside its own, the network's method at other widths."""
        if self.network.own is None:
            return self.quantizers
        if not self.network.latents:
            return (self.network.own,)
        method, width = self.network.own
        widths = {width, *(bits for bits in self.config.bits if bits in METHODS[method].bits)}
        return tuple((method, bits) for bits in sorted(widths, key=lambda bits: bits or FLOAT_BITS, reverse=True))

    def parts(self, folder: Path, about: Mapping[str, Any]) -> Iterator[Part]:
        """Yield the parts, noise first, then one of rises for each of `quantizers`, then sharpness.

        Args:
            folder: Of their results.
            about: What these depend on besides settings: weights, pictures, versions.
        """
        settings = {key: getattr(self.config, key) for key in ("probes", "directions", "seed")}
        float_settings = settings if self.network.own is None else {**settings, "statistics": "of float weights"}
        layers, batches = len(self.network.layers), len(self.pictures.training.batches)
        few = len(self.pictures.layers.batches)
        yield self._part(folder, "noise", {**about, "quantizers": list(map(list, self.noises))}, 1, self._noise)
        terms = self._part(folder, "terms", {**about, **float_settings}, 2 * few, self._terms)
        if self.quantizers:
            yield terms
        for method, bits in self.quantizers:
            key = {**about, **float_settings, "method": method, "bits": bits}
            what = f"{method}-{bits}bit" if bits else f"{method}-mixed"
            yield self._part(folder, what, key, layers + 1, partial(self._rises, method, bits, terms))
        ticks = few * (ITERATIONS + 1) + self.config.directions * len(DISTANCES) + batches
        key = {**about, **settings, "sam": SAM_SHARES, "asam": ASAM_RADII, "distances": DISTANCES}
        yield self._part(folder, "sharpness", key, ticks, self._sharpness)

    def _part(
        self, folder: Path, what: str, key: Mapping[str, Any], size: int, work: Callable[[Ticked], dict[str, Any]]
    ) -> Part:
        plain = json.loads(json.dumps({**key, "part": what}))  # as it will be read: tuples are lists
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:DIGITS]
        return Part(f"{self.name}: {what}", folder / f"{short_name(self.name)}-{what}-{digest}.json", plain, size, work)

    # ---------------------------------------------------------------------------------------- what they do

    @property
    def _rng(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.config.seed)

    @cached_property
    def _near(self) -> Differentiable:
        """The network on the pictures for layers."""
        return Differentiable(self.network.model, self.network.layers, self.pictures.layers.batches)

    @cached_property
    def _used(self) -> dict[str, torch.Tensor]:
        """The weights that the network is used with."""
        return {name: weight.detach().clone() for name, weight in self._near.weights.items()}

    @contextmanager
    def _at_float_weights(self) -> Iterator[None]:
        """Let the network have its float weights meanwhile, with targets that fit them.

        BatchNorm then has statistics of these, too: those of quantized weights at few bits would make another network.
        """
        near, base = self._near, self.network.base
        float_weights = placed(near.weights, {name: base[name] for name in near.weights})
        quantized = self.network.own is not None
        with float_weights, near.own_statistics(self.pictures.training.batches) if quantized else nullcontext():
            near.fix_targets()
            yield
        near.fix_targets()

    def _noise(self, tick: Ticked) -> dict[str, Any]:
        rows = []
        for method, bits in self.noises:
            for layer, noise in self.network.noise(method, bits).items():
                row = NoiseRow(
                    layer=layer,
                    method=method,
                    bits=bits,
                    own=(method, bits) == self.network.own,
                    weights=self.network.model.get_submodule(layer).weight.numel(),
                    variance=noise.variance,
                    relative=noise.relative,
                    correlation=noise.correlation,
                    kurtosis=noise.kurtosis,
                    uniform=noise.uniform,
                )
                rows.append(asdict(row))
        tick()
        return {"rows": rows}

    def _terms(self, tick: Ticked) -> dict[str, Any]:
        with self._at_float_weights():
            near, probes = self._near, self.config.probes
            outputs = [partial(near.outputs, batch) for batch in near.batches]
            norms = jacobian_norms(near.weights, outputs, probes, self._rng, tick)
            traces = hessian_traces(objective_of(near), probes, self._rng, tick)
        return {"norms": _plain(norms), "traces": _plain(traces)}

    def _rises(self, method: str, bits: int | None, terms: Part, tick: Ticked) -> dict[str, Any]:
        kept = terms.kept()
        norms, traces = ({name: Sampled(*pair) for name, pair in kept[key].items()} for key in ("norms", "traces"))
        noise = self.network.errors(method, bits)
        with self._at_float_weights():
            gradient = objective_of(self._near).gradient()
            found = measure_rises(self._near, noise, norms, traces, gradient, self._rng, tick=tick)
        own = (method, bits) == self.network.own
        return {"rows": [asdict(_rise_row(rise, method, bits, own, norms, traces)) for rise in found]}

    def _sharpness(self, tick: Ticked) -> dict[str, Any]:
        used, rng, near = self._used, self._rng, objective_of(self._near)
        names = self.network.layers
        training = objective_of(Differentiable(self.network.model, names, self.pictures.training.batches))
        validation = Differentiable(self.network.model, names, self.pictures.validation.batches)
        gradient, base = training.gradient(), training.value()
        units = {name: float(exact(weight).square().mean().sqrt()) for name, weight in used.items()}
        for _ in self.pictures.training.batches:
            tick()
        traces = hessian_traces(near, self.config.probes, rng, tick)
        relative = Sampled.sum([traces[name].times(unit**2) for name, unit in units.items()])
        top = top_eigenvalue(near, ITERATIONS, rng, units=units, tick=tick)
        directions = [filter_direction(training.weights, rng) for _ in range(self.config.directions)]
        return asdict(
            Sharpness(
                training_loss=base,
                validation_loss=objective_of(validation).value(),
                gradient_norm=norm({name: units[name] * part for name, part in gradient.items()}),
                sam={f"{share:g}": sam_rise(training, share, gradient, base) for share in SAM_SHARES},
                asam={f"{radius:g}": asam_rise(training, radius, gradient, base) for radius in ASAM_RADII},
                trace=traces[ALL].value,
                trace_error=traces[ALL].error,
                relative_trace=relative.value,
                relative_trace_error=relative.error,
                eigenvalue=top.value,
                eigenvalue_residual=top.residual,
                distances=list(DISTANCES),
                profiles=[profile(training, direction, DISTANCES, tick) for direction in directions],
            )
        )


def objective_of(functions: Differentiable) -> Objective:
    """Return the loss of a network on its pictures."""
    return Objective(functions.weights, [partial(functions.loss, batch) for batch in functions.batches])


def _plain(estimates: Mapping[str, Sampled]) -> dict[str, list[float | None]]:
    return {name: [found.value, found.error] for name, found in estimates.items()}


def _rise_row(
    rise: Rise, method: str, bits: int | None, own: bool, norms: Mapping[str, Sampled], traces: Mapping[str, Sampled]
) -> RiseRow:
    return RiseRow(
        layer=rise.layer,
        method=method,
        bits=bits,
        own=own,
        variance=rise.variance,
        jacobian=norms[rise.layer].value,
        jacobian_error=norms[rise.layer].error,
        trace=traces[rise.layer].value,
        trace_error=traces[rise.layer].error,
        predicted_outputs=rise.predicted_outputs.value,
        predicted_outputs_error=rise.predicted_outputs.error,
        gaussian_outputs=rise.gaussian.outputs,
        quantized_outputs=rise.quantized.outputs,
        predicted_loss=rise.predicted_loss.value,
        predicted_loss_error=rise.predicted_loss.error,
        gaussian_loss=rise.gaussian.loss,
        quantized_loss=rise.quantized.loss,
        first_order=rise.first_order,
    )
