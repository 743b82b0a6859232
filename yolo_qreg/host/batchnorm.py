"""BatchNorm statistics estimated anew for the weights that are actually deployed.

The moving average of a model takes over the running statistics of the live weights. At few bits the quantized image
of averaged weights is another network, and its activations have other means and variances.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Subset
from ultralytics.data.dataset import YOLODataset

from yolo_qreg.host.compat import get_split_fraction
from yolo_qreg.host.labels import scanning

BATCH = 32


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


def training_images(args: Any, data: Mapping[str, Any], count: int, stride: int) -> DataLoader[Any]:
    """Return a loader of evenly spaced training images as validation sees them: letterboxed, not augmented.

    Args:
        args: The trainer's settings; `rect` and `cache` do not apply here.
        data: The data set as the host describes it.
        count: Number of images; more than 32 count in full batches of 32.
        stride: Largest stride of the model, in pixels.
    """
    plain = copy(args)
    plain.rect = plain.cache = False
    with scanning(data["train"]):
        dataset = YOLODataset(
            img_path=data["train"],
            imgsz=args.imgsz,
            batch_size=BATCH,
            augment=False,
            hyp=plain,
            single_cls=args.single_cls,
            stride=stride,
            pad=0.5,
            task=args.task,
            classes=args.classes,
            data=data,
            fraction=1.0 if data.get("complete") else get_split_fraction(args.fraction, "train"),
            prefix="BatchNorm: ",
        )
    picks = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist()
    return DataLoader(
        Subset(dataset, picks), batch_size=min(BATCH, len(picks)), collate_fn=dataset.collate_fn, drop_last=True
    )


def float_images(loader: DataLoader[Any], device: torch.device) -> Iterator[Tensor]:
    """Yield the images of a host loader as float [N, 3, H, W] in 0..1 on `device`."""
    for batch in loader:
        yield batch["img"].to(device).float() / 255
