"""Distillation: a trained detector, such as the FP32 twin, teaches what it answers to the same augmented pictures.

The host's own way joins teacher and student into one module, with random layers between their features that are trained
along. Students here have the teacher's outputs, so that those are compared, and nothing is added to the model.

Letters: N pictures, A places of all levels, C classes, R bins of a side's distribution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from ultralytics.nn.modules.head import Detect

from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.hooks import ExtendedLoss


def load_teacher(path: Path, student: Any, names: Mapping[int, str]) -> Any:
    """Load the detector that teaches, at rest, and check that its outputs mean what the student's do.

    Args:
        path: A .pt file of the host or of ours; of quantized activations it has float ones.
        student: The detector that is trained.
        names: The classes of the data set.

    Raises:
        InputError: It is no such file, or has other outputs.
    """
    if not path.is_file():
        raise InputError(f"distill_model={path} is no file; name the model that teaches, where it is now")
    teacher: Any = checkpoint.load(path)[0]
    head = teacher.model[-1]
    if not isinstance(head, Detect) or getattr(teacher, "task", "detect") != "detect":
        raise InputError(f"distill_model={path} is no detector; name one that was trained on the same classes")
    own = student.model[-1]
    theirs, ours = ([str(given[i]) for i in sorted(given)] for given in (teacher.names, names))
    if theirs != ours:
        raise InputError(f"distill_model={path} has other classes than the data set; name one trained on the same data")
    pairs = {"levels": (head.nl, own.nl), "bins of a side": (head.reg_max, own.reg_max)}
    pairs["strides"] = (head.stride.tolist(), own.stride.tolist())
    pairs["channels"] = tuple(model.yaml.get("channels", 3) for model in (teacher, student))
    for what, (given, needed) in pairs.items():
        if given != needed:
            raise InputError(f"distill_model={path} has {what} {given}, the model {needed}; name one of the same kind")
    teacher.eval().requires_grad_(False)
    head.training = True  # it answers with logits and distributions then; its BatchNorm is at rest
    return teacher


def identity(path: Path) -> str:
    """Return what a teacher is known by: a hash of its file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


class Distillation(ExtendedLoss):
    """The loss of a student with a term for what its teacher answers otherwise.

    The teacher is no module of the model, so no optimizer, average or checkpoint has it.
    """

    def __init__(self, inner: Any, teacher: nn.Module, weight: float) -> None:
        super().__init__(inner)
        self.teacher, self.weight = teacher, weight

    def terms(self, loss: Tensor, preds: Any, batch: Any) -> list[Tensor]:
        """Return one term, the mean over the answers of the head, of which models without NMS have two."""
        answers = self._ask(batch["img"])
        found = [disagreement(*pair) for pair in zip(_answers(preds), answers * 2, strict=False)]
        return [self.weight * torch.stack(found).mean()]

    @torch.no_grad()
    def _ask(self, pictures: Tensor) -> list[Mapping[str, Tensor]]:
        return _answers(self.teacher(pictures))


def disagreement(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Return how far the student's answers are from the teacher's, [], at least 0; float32 also under AMP.

    It is the Kullback-Leibler divergence of the probabilities of all classes, and of the distributions of the four
    sides (their mean; where a side is one number, the distance), the latter weighted by the teacher's best
    probability at that place. Both sums are divided by the sum of these, as the host divides by that of its targets.

    Args:
        student: Logits `scores`, [N, C, A], and `boxes`, [N, 4 R, A].
        teacher: The same.
    """
    with torch.autocast(teacher["scores"].device.type, enabled=False):
        logits, known = student["scores"].float(), teacher["scores"].float()
        probability = known.sigmoid()
        confidence = probability.amax(1)
        classes = functional.binary_cross_entropy_with_logits(logits, probability, reduction="sum")
        least = functional.binary_cross_entropy_with_logits(known, probability, reduction="sum")
        sides = (_sides(student["boxes"], teacher["boxes"]) * confidence).sum()
        return (classes - least + sides) / confidence.sum().clamp_min(1)


def _sides(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean divergence of the four sides at each place, [N, A]."""
    ours, theirs = (boxes.float().reshape(len(boxes), 4, -1, boxes.shape[-1]) for boxes in (student, teacher))
    if ours.shape[2] == 1:
        return (ours - theirs).abs().mean((1, 2))
    known = theirs.log_softmax(2)
    return (known.exp() * (known - ours.log_softmax(2))).sum(2).mean(1)


def _answers(preds: Any) -> list[Mapping[str, Tensor]]:
    """Return the raw answers of a head: one, or those of its branches with and without NMS."""
    return [preds["one2many"], preds["one2one"]] if "one2many" in preds else [preds]
