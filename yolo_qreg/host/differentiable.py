"""A detector's loss and raw outputs as functions of its weights, on pictures and targets that stay the same.

BatchNorm uses its running statistics, so that a picture's outputs do not depend on others. The host assigns boxes to
outputs anew for each forward pass, by what the network finds; here that is done once, as otherwise the loss would be
no smooth function of the weights. Its box loss holds one factor of CIoU constant in derivatives, which changes them by
about a thousandth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace

from yolo_qreg.errors import InputError
from yolo_qreg.host.batchnorm import reestimate
from yolo_qreg.host.datasets import LabelledPicture, spread, validation_pictures
from yolo_qreg.host.exporting import as_seen
from yolo_qreg.host.model import family_of

_MOST_PIXELS = 16 * 320 * 320
"""Of a batch: second derivatives keep several times the memory of a training."""
MOST_BATCH = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures with their boxes.

    Attributes:
        img: Float [N, C, H, W] in 0..1.
        batch_idx: Of which picture each box is, [B].
        cls: Class numbers [B, 1].
        bboxes: Centre, width and height as shares of the sides, [B, 4].
    """

    img: Tensor
    batch_idx: Tensor
    cls: Tensor
    bboxes: Tensor

    def double(self) -> Batch:
        """Return the same in float64, for exact differences."""
        return Batch(self.img.double(), self.batch_idx.double(), self.cls.double(), self.bboxes.double())

    def to_host(self) -> dict[str, Tensor]:
        """Return what losses of the host take."""
        return {"img": self.img, "batch_idx": self.batch_idx, "cls": self.cls, "bboxes": self.bboxes}


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures of a data set in batches.

    Attributes:
        batches: All of one size.
        names: Class names.
    """

    batches: list[Batch]
    names: tuple[str, ...]

    @property
    def pictures(self) -> int:
        """How many there are."""
        return sum(len(batch.img) for batch in self.batches)

    @property
    def digest(self) -> str:
        """Hash of pixels and boxes."""
        found = hashlib.sha256()
        for batch in self.batches:
            for tensor in (batch.img, batch.batch_idx, batch.cls, batch.bboxes):
                found.update(tensor.cpu().numpy().tobytes())
        return found.hexdigest()


def labelled_batches(
    data: Path, split: str, count: int, size: int, *, channels: int, device: torch.device, single_class: bool = False
) -> Shown:
    """Return pictures of a split, evenly spread and not augmented, in full batches; nothing is written beside them.

    Args:
        data: YAML file of the data set.
        split: "train" or "val".
        count: Number of pictures; more than a batch count in full batches.
        size: Sides in pixels; shorter pictures are padded.
        channels: Of the model.
        device: Where batches are wanted.
        single_class: Whether all classes are taken for one.

    Raises:
        InputError: The data set has no picture in that split that can be used, or other channels.
    """
    found = validation_pictures(data, split=split, channels=(channels,), single_class=single_class)
    chosen = spread(found.pictures, count)
    each = min(MOST_BATCH, max(1, _MOST_PIXELS // size**2), len(chosen))
    groups = [chosen[start : start + each] for start in range(0, len(chosen) - each + 1, each)]
    return Shown([_batch(group, size, channels, device) for group in groups], found.names)


def check_detector(model: Any, source: Path) -> None:
    """Check that a model has the loss of YOLO's grid heads, as `Differentiable` needs it.

    Raises:
        InputError: It has another.
    """
    if type(model) is not DetectionModel or family_of(model):
        kind = family_of(model) or type(model).__name__
        raise InputError(f"{source} is of {kind}, whose loss is not a YOLO detector's; name a YOLO detection model")


class Differentiable:
    """A detector in eval mode whose convolutions' weights can be differentiated and changed in place.

    Args:
        model: A plain float32 detector that `check_detector` accepts; it is changed in place.
        names: Of the convolutions whose weights are looked at.
        batches: What it is shown.

    Attributes:
        weights: These weights by layer.
    """

    def __init__(self, model: Any, names: Sequence[str], batches: Sequence[Batch]) -> None:
        self._model: Any = model.float().eval().requires_grad_(False).to(batches[0].img.device)
        self._model.args = IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, **dict(_items(model.args))})
        self._model.model[-1].training = True  # raw outputs, without decoding; the layers of the head stay in eval mode
        for module in self._model.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        self.weights: dict[str, nn.Parameter] = {
            name: self._model.get_submodule(name).weight.requires_grad_(True) for name in names
        }
        self._batches = batches
        self._kept: dict[int, list[Any]] = {}
        self.fix_targets()

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another precision, that of the pictures."""
        self._model.to(dtype)
        self.fix_targets()

    @contextmanager
    def own_statistics(self, batches: Sequence[Batch]) -> Iterator[None]:
        """Let BatchNorm have statistics of the present weights meanwhile, estimated on pictures.

        Targets are to be fixed anew inside and afterwards.
        """
        norms = [module for module in self._model.modules() if isinstance(module, _BatchNorm)]
        before = [{key: value.clone() for key, value in norm.state_dict().items()} for norm in norms]
        with torch.no_grad():
            reestimate(self._model, (batch.img for batch in batches))
        try:
            yield
        finally:
            for norm, state in zip(norms, before, strict=True):
                norm.load_state_dict(state)

    @property
    def batches(self) -> range:
        """The numbers of the batches."""
        return range(len(self._batches))

    def fix_targets(self) -> None:
        """Let the next forward pass on each batch assign boxes to outputs, and later ones keep that."""
        self._losses = [_with_fixed_targets(self._model.init_criterion()) for _ in self._batches]

    @torch.no_grad()
    def keep(self) -> None:
        """Keep what every block computes at the present weights, for `run` to begin behind blocks that are as now."""
        for batch in self.batches:
            self._kept[batch] = []
            value: Any = self._batches[batch].img
            for block in self._model.model[:-1]:
                value = block(self._read(block, self._kept[batch], value))
                self._kept[batch].append(value)

    def _read(self, block: Any, made: Sequence[Any], image: Any) -> Any:
        """Return what a block of the model reads, given what those before it made."""
        found = [image if not made else made[source] for source in _sources(block)]
        return found if isinstance(block.f, list) else found[0]

    def run(self, batch: int, changed: str | None = None) -> tuple[Tensor, Tensor]:
        """Return loss and outputs of a batch at the present weights.

        Args:
            batch: Its number.
            changed: The only layer that may have other weights than at the last `keep`; what is before it is taken from
                there. By default all is computed.

        Returns:
            The training loss as the mean over pictures, [], and all raw outputs of the head that is used to predict,
            box distributions and class logits, [N, outputs].
        """
        shown = self._batches[batch]
        raw = self._model(shown.img) if changed is None else self._run_behind(batch, int(changed.split(".")[1]))
        total, _ = self._losses[batch](raw, shown.to_host())
        used = raw["one2one" if self._model.end2end else "one2many"] if "one2many" in raw else raw
        return total.sum() / len(shown.img), torch.cat([used[key].flatten(1) for key in ("boxes", "scores")], 1)

    def _run_behind(self, batch: int, first: int) -> Any:
        """Return raw outputs, computed from block `first` on."""
        made = self._kept[batch][:first]
        for block in self._model.model[first:]:
            made.append(block(self._read(block, made, self._batches[batch].img)))
        return made[-1]

    def loss(self, batch: int) -> Tensor:
        """Return the loss of a batch, []."""
        return self.run(batch)[0]

    def host_loss(self, batch: int) -> Tensor:
        """Return the loss of a batch with targets that the host assigns at the present weights, []."""
        shown = self._batches[batch]
        total, _ = self._model.init_criterion()(self._model(shown.img), shown.to_host())
        return total.sum() / len(shown.img)

    def outputs(self, batch: int) -> Tensor:
        """Return the outputs of a batch, [N, outputs]; targets do not matter."""
        return self.run(batch)[1]


def _sources(block: Any) -> list[int]:
    return block.f if isinstance(block.f, list) else [block.f]


class _FixedTargets:
    """Answers as the first time, whatever is asked."""

    def __init__(self, assigner: Any) -> None:
        self._assigner = assigner
        self._kept: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._kept is None:
            self._kept = self._assigner(*args, **kwargs)
        return self._kept


def _with_fixed_targets(criterion: Any) -> Any:
    parts: list[Any] = [criterion, getattr(criterion, "one2many", None), getattr(criterion, "one2one", None)]
    for part in parts:
        if hasattr(part, "assigner"):
            part.assigner = _FixedTargets(part.assigner)
    return criterion


def _items(args: Any) -> Mapping[str, Any]:
    return args if isinstance(args, Mapping) else vars(args)


def _batch(pictures: Sequence[LabelledPicture], size: int, channels: int, device: torch.device) -> Batch:
    images = [torch.from_numpy(as_seen(picture.path, size, channels)) for picture in pictures]
    owners = [torch.full((len(picture.labels),), float(number)) for number, picture in enumerate(pictures)]
    classes = [torch.from_numpy(picture.labels).float() for picture in pictures]
    boxes = [_placed(picture, size) for picture in pictures]
    return Batch(
        img=torch.cat(images).to(device),
        batch_idx=torch.cat(owners).to(device),
        cls=torch.cat(classes).view(-1, 1).to(device),
        bboxes=torch.cat(boxes).to(device),
    )


def _placed(picture: LabelledPicture, size: int) -> Tensor:
    """Return the boxes of a picture as they lie in its square, as shares of its side."""
    width, height = picture.size
    ratio = size / max(width, height)
    pads = [(size - round(side * ratio)) / 2 for side in (width, height)]
    corners = torch.from_numpy(picture.boxes) * ratio + torch.tensor(pads * 2)
    return torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1) / size
