"""What processes side by side are given to do in tests: nothing that takes torch."""

from __future__ import annotations

import os
import signal

from yolo_qreg.errors import InputError
from yolo_qreg.progress import Watch


def do(share: str, told: Watch) -> None:
    """Tell what the share says, or end as it says."""
    told(share, 1)
    if share == "refuse":
        raise InputError("share='refuse' cannot be used; drop it")
    if share == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if share == "wait":
        signal.pause()
