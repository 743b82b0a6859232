"""Write what `corruptions` makes of a small picture, so that tests notice when seeded results change.

    python tools/corruption_golden.py

Only to be run when results are meant to change: then say so in the changelog.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corruptions import CORRUPTIONS, corrupt, rng_for

FOLDER = Path(__file__).parents[1] / "tests" / "corruptions"
SEVERITY = 3


def main() -> None:
    """Corrupt the picture of the reference file at severity 3, by the seed that the tests use."""
    with np.load(FOLDER / "reference.npz") as reference:
        image = reference["image"]
    results = {
        name: corrupt(image, name, SEVERITY, rng_for(0, "picture", name, SEVERITY))
        for name in CORRUPTIONS
        if name != "frost"  # its textures depend on what is installed
    }
    np.savez_compressed(FOLDER / "golden.npz", **results)


if __name__ == "__main__":
    main()
