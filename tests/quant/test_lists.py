"""Operations over lists of weights that only a GPU takes, here on the CPU."""

from __future__ import annotations

import torch

from yolo_qreg.quant.base import repeated

SHAPES = [(4, 3, 3, 3), (1, 1, 1, 1), (7, 4, 1, 1), (16, 8, 3, 3)]


def test_scales_are_repeated_to_the_shapes_of_weights() -> None:
    """One for a layer or one for each channel, mixed, and again with what was kept of the first time."""
    given = [torch.zeros(shape) for shape in SHAPES]
    for step in (1.0, 2.0):
        scales = [torch.arange(1.0, 5) * step, torch.tensor(step), torch.arange(7.0) + step, torch.tensor(3 * step)]
        for scale, weight, wide in zip(scales, given, repeated(scales, given), strict=True):
            assert torch.equal(wide, (scale.view(-1, 1, 1, 1) if scale.ndim else scale).expand_as(weight))
