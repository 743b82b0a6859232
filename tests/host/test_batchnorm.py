"""BatchNorm statistics against means and variances computed in float64."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from ultralytics.cfg import get_cfg

from yolo_qreg.host.batchnorm import float_images, reestimate, training_images


@pytest.fixture
def net() -> nn.Sequential:
    """Two Conv-BatchNorm pairs with statistics that fit no data, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4, momentum=0.03, eps=1e-3),
            nn.ReLU(),
            nn.Conv2d(4, 2, 1, bias=False),
            nn.BatchNorm2d(2, momentum=0.2),
            nn.BatchNorm2d(2, momentum=None),
        )
        for norm in norms(made):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            norm.running_mean.fill_(7.0)
            norm.running_var.fill_(9.0)
    return made.eval()


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the BatchNorms of a model."""
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def batches(count: int = 3, size: int = 4) -> list[Tensor]:
    """Draw batches whose means and spreads differ."""
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(size, 3, 9, 9, generator=generator) * (i + 1) + i for i in range(count)]


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance of each channel."""
    by_channel = x.transpose(0, 1).flatten(1)
    mean = by_channel.mean(1)
    return mean, (by_channel - mean[:, None]).square().sum(1) / (by_channel.shape[1] - 1)


def test_statistics_are_averages_over_the_batches(net: nn.Sequential) -> None:
    """Each mean and variance is the plain average of those of the batches, every layer fed normalized batches."""
    expected: list[list[tuple[Tensor, Tensor]]] = [[], [], []]
    for batch in batches():
        x = batch.double()
        seen = 0
        for layer in net:
            if isinstance(layer, nn.Conv2d):
                x = nn.functional.conv2d(x, layer.weight.detach().double())
            elif isinstance(layer, nn.ReLU):
                x = x.clamp_min(0)
            else:
                mean, var = statistics(x)
                expected[seen].append((mean, var))
                biased = var * (1 - 1 / x[:, 0].numel())
                unit = (x - mean[:, None, None]) / (biased + layer.eps).sqrt()[:, None, None]
                x = unit * layer.weight.detach()[:, None, None] + layer.bias.detach()[:, None, None]
                seen += 1
    assert reestimate(net, batches()) == 12
    for norm, found in zip(norms(net), expected, strict=True):
        for ours, theirs in zip((norm.running_mean, norm.running_var), zip(*found, strict=True), strict=True):
            torch.testing.assert_close(ours.double(), torch.stack(theirs).mean(0), rtol=1e-4, atol=1e-5)


def test_one_batch_is_its_own_statistics(net: nn.Sequential) -> None:
    """After one batch, eval mode gives what training mode gave, up to the bias of the variance."""
    (batch,) = batches(1, 16)
    reestimate(net, [batch])
    mean, var = statistics(nn.functional.conv2d(batch.double(), net[0].weight.detach().double()))
    torch.testing.assert_close(net[1].running_mean.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net[1].running_var.double(), var, rtol=1e-4, atol=1e-6)


def test_nothing_else_changes(net: nn.Sequential) -> None:
    """Weights, momenta, requires_grad and eval mode are what they were; no gradient is recorded."""
    before = {k: v.clone() for k, v in net.named_parameters()}
    reestimate(net, batches())
    assert [norm.momentum for norm in norms(net)] == [0.03, 0.2, None]
    assert not any(m.training for m in net.modules())
    assert all(torch.equal(v, before[k]) and v.requires_grad and v.grad is None for k, v in net.named_parameters())


def test_a_failure_restores_the_modes(net: nn.Sequential) -> None:
    """A batch that cannot be read leaves momenta and eval mode in order."""

    def broken() -> object:
        yield batches()[0]
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        reestimate(net, broken())  # type: ignore[arg-type]
    assert [norm.momentum for norm in norms(net)] == [0.03, 0.2, None]
    assert not any(m.training for m in net.modules())


def test_training_images_are_square_and_not_cached(tmp_path: Path) -> None:
    """Pictures of any shape make batches of one size, whatever `rect` and `cache` the training itself uses."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for i, shape in enumerate([(40, 64, 3), (64, 30, 3), (64, 64, 3), (20, 64, 3)]):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), np.full(shape, 40 * i, np.uint8))
        (tmp_path / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    args = get_cfg(overrides={"imgsz": 64, "rect": True, "cache": "ram", "task": "detect"})
    data = {"train": str(tmp_path / "images"), "names": {0: "thing"}, "nc": 1, "channels": 3}
    loader = training_images(args, data, count=3, stride=32)
    (images,) = float_images(loader, torch.device("cpu"))
    assert images.shape == (3, 3, 64, 64)
    assert 0 <= images.min() <= images.max() <= 1
    assert not any(loader.dataset.dataset.ims)
    assert (args.rect, args.cache) == (True, "ram")
