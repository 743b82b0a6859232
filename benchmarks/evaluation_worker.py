"""Damages pictures as a user of imagecorruptions would: runs in the reference's environment.

python -m benchmarks.evaluation_worker NAME SEVERITY FOLDER PICTURE...
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from imagecorruptions import corrupt
from PIL import Image


def main() -> None:
    """Write each picture under one corruption as PNG."""
    name, severity, folder, *pictures = sys.argv[1:]
    for picture in map(Path, pictures):
        image = np.asarray(Image.open(picture).convert("RGB"))
        damaged = corrupt(image, corruption_name=name, severity=int(severity))
        Image.fromarray(damaged).save(Path(folder) / f"{picture.stem}.png", compress_level=1)


if __name__ == "__main__":
    main()
