"""The corruptions as an albumentations transform, for training on damaged pictures.

Importing this module makes the transform known to `albumentations.from_dict`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import albumentations as A  # noqa: N812  as its documentation writes it
import numpy as np

from corruptions.pixels import Image
from corruptions.registry import SEVERITIES, corrupt, select
from corruptions.tables import PARAMETERS


class Corrupt(A.ImageOnlyTransform):
    """Apply a corruption, drawn anew for each picture from those named.

    Args:
        names: A corruption, a group (noise, blur, weather, digital, holdout), `benchmark` (15), `all` (19), or
            several of these. Each corruption is as likely.
        severity: 1 to 5, or a range (lowest, highest) that includes both ends.
        parameters: Parameter set, as for `corruptions.corrupt`.
        textures: Folder of pictures for frost, as for `corruptions.corrupt`.
        bgr: Pictures come as BGR, as OpenCV reads them and Ultralytics hands them to `augmentations=`.
        p: Probability of doing anything.

    Raises:
        ValueError: A name, the severity or the parameter set is not known.

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
        self.names = list(select([names] if isinstance(names, str) else names))
        self.severity = _severity_range(severity)
        if parameters not in PARAMETERS:
            raise ValueError(f"parameters={parameters!r} is not known; choose one of {', '.join(PARAMETERS)}")
        self.parameters = parameters
        self.textures = os.fspath(textures) if textures else None
        self.bgr = bgr

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        return ("names", "severity", "parameters", "textures", "bgr")

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
        picture = img[..., ::-1] if self.bgr else img
        damaged = corrupt(picture, name, severity, rng, parameters=self.parameters, textures=self.textures)
        return np.ascontiguousarray(damaged[..., ::-1]) if self.bgr else damaged


def _severity_range(severity: int | Sequence[int]) -> tuple[int, int]:
    """Return both ends, whichever way the range is written."""
    ends = (severity, severity) if isinstance(severity, int) else tuple(severity)
    if len(ends) != 2 or not set(ends) <= set(SEVERITIES) or ends[0] > ends[1]:
        raise ValueError(f"severity={severity!r} is neither one of 1, 2, 3, 4, 5 nor a range of them such as (1, 3)")
    return ends[0], ends[1]
