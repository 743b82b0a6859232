"""How strongly a network's outputs depend on the weights of each layer: the norm of the paper's Theorem 3.1.

J is the Jacobian of all outputs of one picture with respect to weights, J_l its columns of layer l, |J|_F^2 the sum of
its squares: the theorem's sum over outputs of |grad y|^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from yolo_qreg.analysis.curvature import ALL, Ticked
from yolo_qreg.analysis.objective import Sampled, Weights, exact, gradients, signs_like


def jacobian_norms(
    weights: Weights,
    outputs: Sequence[Callable[[], Tensor]],
    probes: int,
    rng: torch.Generator,
    tick: Ticked = lambda: None,
) -> dict[str, Sampled]:
    """Return |J_l|_F^2 for each layer, and |J|_F^2 as `ALL`, as means over pictures.

    For signs u, one for each output, the mean of |J^T u|^2 is |J|_F^2. Pictures are separated without a pass for each,
    as products of two pictures have mean zero. One backward pass gives a sample for every layer.

    Args:
        weights: By layer: leaves that require gradients.
        outputs: Each returns the outputs of its batch at the present weights, [pictures, ...]; all of one size.
        probes: Samples; each is a backward pass for every batch.
        rng: Of the signs.
        tick: Called after each batch.
    """
    samples = [dict.fromkeys(weights, 0.0) for _ in range(probes)]
    for output in outputs:
        made = output()
        for sample in samples:
            along = (made * signs_like(made, rng)).sum()
            for name, part in gradients(along, weights, keep=True).items():
                sample[name] += float(exact(part).square().sum()) / (len(made) * len(outputs))
        tick()
    found = {name: Sampled.of([sample[name] for sample in samples]) for name in weights}
    return {ALL: Sampled.of([sum(sample.values()) for sample in samples]), **found}
