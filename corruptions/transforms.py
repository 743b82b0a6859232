"""The corruptions as an albumentations transform, for training on damaged pictures.

Importing this module makes the transform known to `albumentations.from_dict`: a fresh process that reads a pipeline
with it has to `import corruptions.transforms` first. Unlike the rest of the package it loads albumentations, which
loads PyTorch where that is installed.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from typing import Any

import albumentations as A  # noqa: N812  as its documentation writes it
import numpy as np

from corruptions.pixels import Image
from corruptions.registry import corrupt, is_severity, select, textures_for
from corruptions.tables import parameter_set


class Corrupt(A.ImageOnlyTransform):
    """Apply a corruption, drawn anew for each picture from those named.

    What is drawn follows the seed of the pipeline. In a worker process of a PyTorch loader it follows the worker's seed
    too, so workers and epochs differ, where plain albumentations transforms repeat each other; with
    `torch.manual_seed` and a seed of the pipeline, the same loader draws the same again.

    Args:
        names: A corruption, a group (noise, blur, weather, digital, holdout), `benchmark` (15), `all` (19), or
            several of these. Each corruption is as likely.
        severity: 1 to 5, or a range (lowest, highest) that includes both ends.
        parameters: Parameter set, as for `corruptions.corrupt`.
        textures: Folder of pictures for frost, as for `corruptions.corrupt`.
        bgr: Pictures come as BGR, as OpenCV reads them and Ultralytics hands them to `augmentations=`.
        p: Probability of doing anything.

    Raises:
        ValueError: A name, the severity, the parameter set or the texture folder is not usable, or textures are given
            without frost.

    Example:
        >>> fog = A.Compose([Corrupt("fog", severity=3, p=1)], seed=0)
        >>> fog(image=np.zeros((40, 60, 3), np.uint8))["image"].shape
        (40, 60, 3)
    """

    def __init__(
        self,
        names: str | Sequence[str] = "all",
        severity: int | Sequence[int] = (1, 5),
        parameters: str = "imagenet-c",
        textures: str | os.PathLike[str] | None = None,
        bgr: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.names = list(select(names))
        self.severity = _severity_range(severity)
        parameter_set(parameters)
        self.parameters = parameters
        self.textures = os.fspath(textures) if textures else None
        if self.textures:
            textures_for(self.names, self.textures)
        self.bgr = bgr

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        return ("names", "severity", "parameters", "textures", "bgr")

    def set_random_seed(self, seed: int | None) -> None:
        super().set_random_seed(seed)
        self._worker_seed: int | None = None

    def __call__(self, *args: Any, force_apply: bool = False, **kwargs: Any) -> Any:
        worker_seed = _loader_worker_seed()
        if worker_seed != self._worker_seed:  # the first picture in this worker, whose generator is a copy
            self._worker_seed = worker_seed
            own = random.Random(f"{self.py_random.getrandbits(64)} {worker_seed}")
            self.set_random_state(self.random_generator, own)
        return super().__call__(*args, force_apply=force_apply, **kwargs)

    def get_params(self) -> dict[str, Any]:
        """Draw corruption, severity and the seed of its random numbers from the pipeline's generator."""
        return {
            "name": self.py_random.choice(self.names),
            "severity": self.py_random.randint(*self.severity),
            "seed": self.py_random.getrandbits(64),
        }

    def apply(self, img: Image, name: str, severity: int, seed: int, **params: Any) -> Image:
        """Corrupt one picture, uint8 [H, W, 3], [H, W, 1] or [H, W]."""
        rng = np.random.Generator(np.random.SFC64(seed))
        reverse = self.bgr and img.ndim == 3
        picture = img[..., ::-1] if reverse else img
        damaged = corrupt(picture, name, severity, rng, parameters=self.parameters, textures=self.textures)
        return np.ascontiguousarray(damaged[..., ::-1]) if reverse else damaged


def _severity_range(severity: int | Sequence[int]) -> tuple[int, int]:
    """Return both ends, whichever way the range is written."""
    ends = tuple(severity) if isinstance(severity, Sequence) else (severity, severity)
    if len(ends) != 2 or not all(is_severity(end) for end in ends) or ends[0] > ends[1]:
        raise ValueError(f"severity={severity!r} is neither one of 1, 2, 3, 4, 5 nor a range of them such as (1, 3)")
    return int(ends[0]), int(ends[1])


def _loader_worker_seed() -> int | None:
    """Return the seed of the PyTorch loader's worker that this process is, None where it is none."""
    torch_data = sys.modules.get("torch.utils.data")
    worker = torch_data.get_worker_info() if torch_data else None
    return worker.seed if worker else None
