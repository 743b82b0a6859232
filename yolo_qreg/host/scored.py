"""What a detector loses and what it finds, together, on pictures whose targets stay the same."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401  until it is imported, the host's NMS is another one, which orders equal scores differently
from torch import Tensor, nn
from ultralytics.utils import nms

from yolo_qreg.host.differentiable import Differentiable
from yolo_qreg.host.predict import LEAST_SCORE, MOST_BOXES, NMS_IOU, Boxes


class Scored(Differentiable):
    """A detector whose losses and detections are taken from the same forward pass."""

    @torch.no_grad()
    def look(self, changed: str | None = None) -> tuple[float, list[Boxes]]:
        """Return the mean loss, and the boxes of every picture in pixels of the square that it is shown in.

        Args:
            changed: The only layer that may have other weights than at the last `keep`; by default all is computed.
        """
        losses: list[float] = []
        found: list[Boxes] = []
        head = self._model.model[-1]
        head.training = False
        try:
            for batch in self.batches:
                answer = self._answer(batch, changed)
                shown = self._batches[batch]
                total, _ = self._losses[batch](answer, shown.to_host())
                losses.append(float(total.sum()) / len(shown.img))
                found += self._suppressed(answer[0])
        finally:
            head.training = True
        return fmean(losses), found

    def _answer(self, batch: int, changed: str | None) -> Any:
        if changed is None:
            return self._model(self._batches[batch].img)
        return self._run_behind(batch, int(changed.split(".")[1]))

    def _suppressed(self, answer: Tensor) -> list[Boxes]:
        rows = nms.non_max_suppression(
            answer.float().cpu(),  # as in `predict`
            LEAST_SCORE,
            NMS_IOU,
            multi_label=True,
            max_det=MOST_BOXES,
            max_time_img=float("inf"),
            end2end=self._model.end2end,
        )
        parts = [row.numpy() for row in rows]
        return [(part[:, :4], part[:, 4], part[:, 5].astype(np.int16)) for part in parts]

    @torch.no_grad()
    def multiply_accumulates(self) -> dict[str, int]:
        """Return those that the convolutions of `weights` take for one picture."""
        found: dict[str, int] = {}

        def count(name: str) -> Any:
            def hook(conv: nn.Module, _: Any, made: Tensor) -> None:
                found[name] = self.weights[name].numel() * made.shape[2] * made.shape[3]

            return hook

        hooks = [self._model.get_submodule(name).register_forward_hook(count(name)) for name in self.weights]
        try:
            self._model(self._batches[0].img[:1])
        finally:
            for handle in hooks:
                handle.remove()
        return found
