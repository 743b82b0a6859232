"""Write what imagecorruptions 1.1.2 makes of small pictures: the references that tests of `corruptions` compare with.

Runs in the reference's own environment, which `benchmarks/corruptions.py --reference-only` builds (Python 3.10):

    .reference/bin/python tools/corruption_reference.py

It writes tests/corruptions/reference.npz.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")

import imagecorruptions  # noqa: E402  after the warnings of its old imports are off

OUT = Path(__file__).parents[1] / "tests" / "corruptions" / "reference.npz"
HEIGHT, WIDTH = 40, 52
SEED = 7


def picture() -> np.ndarray:
    """Return a picture with gradients, edges, even areas of black, grey and white, and some texture, [H, W, 3]."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin(columns / 5 + 1), np.cos(rows / 7), np.sin((rows + columns) / 9)]
    image = 127 + 100 * np.stack(waves, axis=-1)
    image += np.random.RandomState(0).normal(0, 6, image.shape)
    image[4:16, 6:20] = (230, 20, 40)
    image[20:36, 4:16] = 255
    image[24:38, 30:44] = 0
    image[2:14, 34:48] = (90, 90, 90)
    return np.clip(image, 0, 255).astype(np.uint8)


def corrupted(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    """Return the reference's picture after seeding the global generator that it draws from."""
    np.random.seed(SEED)  # noqa: NPY002
    return imagecorruptions.corrupt(image, severity, name)


def main() -> None:
    """Write the references."""
    image = picture()
    names = imagecorruptions.get_corruption_names("all")
    arrays = {"image": image, "seed": np.array(SEED)}
    for name in names:
        arrays[name] = np.stack([corrupted(image, name, severity) for severity in range(1, 6)])
    np.savez_compressed(OUT, **arrays)


if __name__ == "__main__":
    main()
