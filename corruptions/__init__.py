"""The 19 image corruptions of Hendrycks & Dietterich: faithful, seeded, fast, for pictures of any size.

    from corruptions import corrupt, rng_for

    foggy = corrupt(image, "fog", severity=3, rng=rng_for(seed=0, image_id="000001", name="fog", severity=3))

`CORRUPTIONS` lists them; `corruptions.transforms` has them as albumentations transforms; `python -m corruptions
PICTURE` draws a contact sheet. Only `corruptions.transforms` loads albumentations, and with it PyTorch where that is
installed.

Results are those of imagecorruptions 1.1.2 (github.com/bethgelab/imagecorruptions, Apache-2.0), the version of
ImageNet-C (arXiv:1903.12261) for pictures of any size: within one grey level where nothing is random or the same
random numbers are used, of the same distribution elsewhere.
"""

from corruptions.registry import CORRUPTIONS, GROUPS, SEVERITIES, Corruption, corrupt, replay, rng_for, select

__version__ = "4"
"""Goes up whenever a pixel of any result changes, so that what was made before is not taken for it."""

__all__ = ["CORRUPTIONS", "GROUPS", "SEVERITIES", "Corruption", "corrupt", "replay", "rng_for", "select"]
