"""How the weights of many layers lie for operations over all of them.

Letters: L layers, S scales of all of them, O output channels of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


class Layout:
    """The weights of many layers as a list for operations over lists, `torch._foreach_*`, and what such lists lack.

    Such an operation takes a host of a GPU some time for each tensor, although the GPU sees one kernel. So on CUDA
    the list holds one long tensor of all weights, and scales are found and repeated by one operation over its parts. A
    CPU is faster with the weights as they are, which stay in its cache.

    The scales of all layers are one tensor, [S]: of each layer one, or one for each of its output channels.

    Attributes:
        lengths: How many weights share each scale, [S], int64.
    """

    def __init__(
        self,
        shapes: Sequence[torch.Size],
        by_channel: Sequence[bool],
        device: torch.device,
        *,
        joined: bool,
        repeated: bool,
    ) -> None:
        self._shapes = shapes
        self._by_channel = by_channel
        self._sizes = [shape.numel() for shape in shapes]
        self._scales = [shape[0] if split else 1 for shape, split in zip(shapes, by_channel, strict=True)]
        self._templates = [torch.empty(shape, device="meta") for shape in shapes]
        self._long = joined
        self._repeats = joined or repeated
        shares = [size // count for size, count in zip(self._sizes, self._scales, strict=True)]
        self.lengths = torch.tensor(shares).repeat_interleave(torch.tensor(self._scales)).to(device)

    @classmethod
    def of(cls, weights: Sequence[Tensor], by_channel: Sequence[bool], *, joined: bool | None = None) -> Layout:
        """Return the layout of weights, kept because its lengths take a copy to the device.

        Args:
            weights: Of each layer, on one device.
            by_channel: Whether there is a scale for each output channel, of each layer.
            joined: Whether all weights are one long tensor; by default on CUDA.
        """
        device = weights[0].device
        shapes, host_bound = tuple(weight.shape for weight in weights), is_host_bound(device)
        return _kept(shapes, tuple(by_channel), device, host_bound if joined is None else joined, host_bound)

    def joined(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return tensors of the weights' shapes as the list to work on."""
        return [_flatten_dense_tensors([*tensors])] if self._long else [*tensors]  # type: ignore[no-untyped-call]

    def apart(self, found: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of the layers, of the weights' shapes, from such a list."""
        return self._parts(found[0]) if self._long else [*found]

    def _parts(self, long: Tensor) -> list[Tensor]:
        return [*_unflatten_dense_tensors(long, self._templates)]  # type: ignore[no-untyped-call]

    def scales(self, of_layers: Sequence[Tensor]) -> Tensor:
        """Return the scales of layers, [] or [O], as one tensor."""
        if any(self._by_channel):
            return torch.cat([scale if scale.ndim else scale[None] for scale in of_layers])
        return torch.stack([*of_layers])

    def scales_of_layers(self, scales: Tensor) -> list[Tensor]:
        """Return the scales of each layer, [] or [O]."""
        if any(self._by_channel):
            parts = torch.split(scales, self._scales)
            return [part if split else part[0] for part, split in zip(parts, self._by_channel, strict=True)]
        return [*scales.unbind()]

    def spread(self, scales: Tensor) -> list[Tensor]:
        """Return scales as a list that fits that of the weights.

        Operations over lists are one kernel on a GPU only where shapes are the same; elsewhere scales broadcast.
        """
        if self._repeats:
            long = scales.repeat_interleave(self.lengths, output_size=sum(self._sizes))
            return [long] if self._long else self._parts(long)
        of_layers = self.scales_of_layers(scales)
        return [
            scale.view(-1, *[1] * (len(shape) - 1)) if scale.ndim else scale
            for scale, shape in zip(of_layers, self._shapes, strict=True)
        ]

    def peaks(self, found: Sequence[Tensor]) -> Tensor:
        """Return the largest magnitude for each scale, [S]."""
        if self._long:
            return self._reduced("max", found[0].abs())
        if any(self._by_channel):
            return self._rows(lambda rows: torch.linalg.vector_norm(rows, math.inf, 1), found)
        return torch.stack(torch._foreach_norm([*found], math.inf))

    def counts(self, found: Sequence[Tensor]) -> Tensor:
        """Return how many are not zero of tensors of -1, 0 and 1, for each scale, [S] and of their type."""
        if self._long:
            return self._reduced("sum", found[0].abs())
        if any(self._by_channel):
            return self._rows(lambda rows: torch.linalg.vector_norm(rows, 1, 1), found)
        return torch.stack(torch._foreach_norm([*found], 1))

    def sums(self, found: Sequence[Tensor]) -> Tensor:
        """Return the sum for each scale, [S]; where weights are joined the order of summation is another one."""
        if self._long:
            return self._reduced("sum", found[0])
        return self.scales(
            [
                part.flatten(1).sum(1) if split else part.sum()
                for part, split in zip(found, self._by_channel, strict=True)
            ]
        )

    def _reduced(self, how: str, long: Tensor) -> Tensor:
        return torch.segment_reduce(long, how, lengths=self.lengths, unsafe=True)

    def _rows(self, reduce: Callable[[Tensor], Tensor], found: Sequence[Tensor]) -> Tensor:
        """Return what `reduce` makes of the rows of weights that share a scale, [S].

        Rows of one length are taken together, so that only what has the same bits in any company will do: extremes and
        counts, not sums of floats.

        Args:
            reduce: Maps rows [N, weights that share a scale] to [N].
            found: The list.
        """
        rows = [part.reshape(count, -1) for part, count in zip(found, self._scales, strict=True)]
        members: dict[int, list[int]] = {}
        for number, part in enumerate(rows):
            members.setdefault(part.shape[1], []).append(number)
        values: dict[int, Tensor] = {}
        for numbers in members.values():
            parts = [rows[number] for number in numbers]
            reduced = reduce(torch.cat(parts) if len(parts) > 1 else parts[0])
            values.update(zip(numbers, torch.split(reduced, [len(part) for part in parts]), strict=True))
        return torch.cat([values[number] for number in range(len(rows))])


def is_host_bound(device: torch.device) -> bool:
    """Return whether a device waits for operations to be started more than it works on weights."""
    return device.type == "cuda"


@lru_cache
def _kept(
    shapes: tuple[torch.Size, ...], by_channel: tuple[bool, ...], device: torch.device, joined: bool, repeated: bool
) -> Layout:
    return Layout(shapes, by_channel, device, joined=joined, repeated=repeated)
