"""Write what imagecorruptions 1.1.2 makes of small pictures: the references that tests of `corruptions` compare with.

Runs in the reference's own environment, which `benchmarks/corruptions.py --reference-only` builds (Python 3.10):

    .reference/bin/python tools/corruption_reference.py

It writes tests/corruptions/reference.npz and prints the table of `corruptions/truncation.py`.
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")

import imagecorruptions  # noqa: E402  after the warnings of its old imports are off
from imagecorruptions import corruptions as reference  # noqa: E402
from skimage.filters import gaussian  # noqa: E402

OUT = Path(__file__).parents[1] / "tests" / "corruptions" / "reference.npz"
HEIGHT, WIDTH = 40, 52
SEED = 7
SIGMAS = (0.7, 0.9, 1, 1.1, 1.5, 2, 3, 4, 6)
LINES = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))


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


def lost_levels(even: np.ndarray) -> str:
    """Return which grey levels come out one lower in an even area, 256 bits as hexadecimal digits."""
    lower = np.arange(256) - even
    assert set(lower) <= {0, 1}
    return np.packbits(lower.astype(bool)).tobytes().hex()


def print_even_areas() -> None:
    """Print the levels that Gaussian blur and motion blur lose in even areas."""
    levels = np.arange(256, dtype=np.uint8)
    stack = np.broadcast_to(levels[:, None, None, None], (256, 60, 60, 1))
    key = "multichannel" if "multichannel" in inspect.signature(gaussian).parameters else "channel_axis"
    for sigma in SIGMAS:
        blurred = [
            gaussian(image / 255.0, sigma=sigma, **{key: True if key == "multichannel" else -1}) for image in stack
        ]
        even = np.array([np.uint8(np.clip(image, 0, 1) * 255)[30, 30, 0] for image in blurred])
        print(f'    {sigma}: "{lost_levels(even)}",')  # noqa: T201
    for radius, sigma in LINES:
        even = np.array([np.uint8(reference._motion_blur(image, radius, sigma, 0)[30, 5, 0]) for image in stack])
        print(f'    ({radius}, {sigma}): "{lost_levels(even)}",')  # noqa: T201


def main() -> None:
    """Write the references."""
    image = picture()
    names = imagecorruptions.get_corruption_names("all")
    arrays = {"image": image, "seed": np.array(SEED)}
    for name in names:
        arrays[name] = np.stack([corrupted(image, name, severity) for severity in range(1, 6)])
    np.savez_compressed(OUT, **arrays)
    print_even_areas()


if __name__ == "__main__":
    main()
