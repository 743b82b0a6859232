"""One side of `benchmarks/corruptions.py`: makes calls on request and says what they took.

    python -m benchmarks.corruptions_worker ours|imagecorruptions|imgcorr|imaug

It runs in either environment, so it imports nothing that the reference's lacks. Each line on stdin is a request, each
line on stdout its answer, both JSON: `{}` asks for versions, a picture with name, severity and seed for one
call, and `"memory": true` for the memory of that call instead of its time.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Call = Callable[[np.ndarray, str, int, int], np.ndarray]

WARM_UP_SIDE = 64


def ours() -> Call:
    """Return a call of this package."""
    from corruptions import corrupt, rng_for

    def call(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
        return corrupt(image, name, severity, rng_for(seed, "benchmark", name, severity))

    return call


def theirs(module: str) -> Call:
    """Return a call of imagecorruptions, or of a fork of it."""
    read = cv2.imread
    cv2.imread = lambda path, *args: read(str(path), *args)  # imagecorruptions-imaug names its textures by Path objects
    package = import_module(module)

    def call(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
        np.random.seed(seed)  # noqa: NPY002  they draw from the global generator
        return package.corrupt(image, severity, name)

    return call


SIDES = {
    "ours": ours,
    "imagecorruptions": partial(theirs, "imagecorruptions"),
    "imgcorr": partial(theirs, "imgcorr"),
    "imaug": partial(theirs, "imagecorruptions"),  # from another folder
}
PACKAGES = {"ours": "yolo-qreg", "imaug": "imagecorruptions-imaug"}


def versions(side: str) -> dict[str, str]:
    """Return the versions of what the side's calls run on."""
    package = PACKAGES.get(side, side)
    found = {"Python": platform.python_version(), "NumPy": np.__version__, "OpenCV": cv2.__version__}
    old = ("Pillow", "scipy", "scikit-image", "numba", package)
    for name in ("Pillow", package) if side == "ours" else old:
        found[name] = version(name)
    return found


@lru_cache(maxsize=4)
def picture(path: str) -> np.ndarray:
    """Read a picture, uint8 RGB [H, W, 3], once."""
    return np.load(path)


def seconds_of(call: Call, image: np.ndarray, *args: Any) -> float:
    """Return the processor seconds of one call on its one thread, seeding included: other work does not count."""
    start = time.process_time()
    call(image, *args)
    return time.process_time() - start


def memory_of(call: Call, image: np.ndarray, *args: Any) -> int:
    """Return by how many bytes one call raises the peak of resident memory, its result included.

    A small call comes first, so that imports, tables and codecs do not count. Linux only: the peak is that of
    /proc/self/status, which writing 5 to clear_refs sets back to the present size.
    """
    call(np.ascontiguousarray(image[:WARM_UP_SIDE, :WARM_UP_SIDE]), *args)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    kept = call(image, *args)
    peak = _status("VmHWM")
    assert kept.shape == image.shape
    return peak - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def answer(request: dict[str, Any], side: str, call: Call) -> dict[str, Any]:
    """Return the answer to one request."""
    if not request:
        return {"versions": versions(side)}
    image = picture(request["picture"])
    args = (request["name"], request["severity"], request["seed"])
    if request.get("memory"):
        return {"bytes": memory_of(call, image, *args)}
    return {"seconds": seconds_of(call, image, *args)}


def main() -> None:
    """Answer requests until stdin ends."""
    side = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reference prints in some branches
    cv2.setNumThreads(1)
    call = SIDES[side]()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), side, call)), file=answers, flush=True)


if __name__ == "__main__":
    main()
