"""BatchNorm statistics estimated anew for the weights that are actually deployed.

The moving average of a model takes over the running statistics of the live weights. At few bits the quantized image
of averaged weights is another network, and its activations have other means and variances.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def reestimate(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace running means and variances by their averages over `batches`, in place.

    Args:
        model: A model in eval mode; it is in eval mode again afterwards. Momentum settings are kept.
        batches: Float images [N, 3, H, W] in 0..1 on the model's device; batches of equal size weigh alike.

    Returns:
        The number of images seen.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # cumulative average
        m.train()
    seen = 0
    try:
        for images in batches:
            model(images)
            seen += len(images)
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
            m.eval()
    return seen
