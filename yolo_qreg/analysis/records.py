"""What an analysis found, as data that is written and read again: rows of one kind in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRow:
    """The errors of one quantizer in one layer; see `analysis.noise.Noise`.

    Attributes:
        layer: Its name.
        method: Of the quantizer.
        bits: Its width; None where layers have several by a plan.
        own: Whether the layer was trained with it.
        weights: Number of weights.
    """

    layer: str
    method: str
    bits: int | None
    own: bool
    weights: int
    variance: float
    relative: float
    correlation: float | None
    kurtosis: float | None
    uniform: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiseRow:
    """What the theorem predicts for one quantizer in one layer, and what was measured; see `analysis.theorem.Rise`.

    Attributes:
        layer: Its name, or "all".
        jacobian: |J_l|_F^2 as a mean over pictures.
        trace: tr(H_ll).
    """

    layer: str
    method: str
    bits: int | None
    own: bool
    variance: float
    jacobian: float | None
    jacobian_error: float | None
    trace: float | None
    trace_error: float | None
    predicted_outputs: float
    predicted_outputs_error: float | None
    gaussian_outputs: float
    quantized_outputs: float
    predicted_loss: float
    predicted_loss_error: float | None
    gaussian_loss: float
    quantized_loss: float
    first_order: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharpness:
    """How fast the loss rises around the weights that a network is used with.

    Attributes:
        training_loss: On training pictures, not augmented.
        validation_loss: On as many validation pictures.
        gradient_norm: Of the loss by weights in units of their layer's root mean square.
        sam: Rise by radius, as a share of the weights' norm.
        asam: Rise by radius.
        trace: tr H.
        trace_error: Its standard error.
        relative_trace: tr H with weights in units of their layer's root mean square.
        relative_trace_error: Its standard error.
        eigenvalue: Of H, the largest in magnitude, in the same units.
        eigenvalue_residual: See `analysis.curvature.Eigenvalue`.
        distances: Along random directions, in norms of filters.
        profiles: The loss there, by direction.
    """

    training_loss: float
    validation_loss: float
    gradient_norm: float
    sam: dict[str, float]
    asam: dict[str, float]
    trace: float
    trace_error: float | None
    relative_trace: float
    relative_trace_error: float | None
    eigenvalue: float
    eigenvalue_residual: float
    distances: list[float]
    profiles: list[list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnalysis:
    """What was found of one model.

    Attributes:
        name: Unique in an analysis.
        method: Its quantizer; None for float.
        bits: Its width; 32 for float, None where layers have several by a plan.
        noise: Of each quantizer in each layer.
        rises: Of each quantizer that was applied to the network, over all layers and in each.
        sharpness: Of its weights.
    """

    name: str
    method: str | None
    bits: int | None
    noise: tuple[NoiseRow, ...]
    rises: tuple[RiseRow, ...]
    sharpness: Sharpness


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What was found of several models, and how.

    Attributes:
        models: In their order.
        setup: What the numbers depend on.
        corrupted_gaps: Of models of a study, by how many points of mAP they are worse on corrupted pictures.
    """

    models: tuple[ModelAnalysis, ...]
    setup: dict[str, Any]
    corrupted_gaps: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Analysis:
        """Read what `to_dict` gives.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another kind.
        """
        models = tuple(
            ModelAnalysis(
                name=model["name"],
                method=model["method"],
                bits=model["bits"],
                noise=tuple(row_from(NoiseRow, row) for row in model["noise"]),
                rises=tuple(row_from(RiseRow, row) for row in model["rises"]),
                sharpness=row_from(Sharpness, model["sharpness"]),
            )
            for model in found["models"]
        )
        return cls(models=models, setup=dict(found["setup"]), corrupted_gaps=dict(found["corrupted_gaps"]))


def row_from(kind: type[R], values: Mapping[str, Any]) -> R:
    """Return a row from its values.

    Raises:
        KeyError: One is missing.
    """
    return kind(**{entry.name: values[entry.name] for entry in fields(kind)})  # type: ignore[arg-type]
