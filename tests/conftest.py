"""The whole suite runs offline, quietly, on one thread a worker, and leaves the settings of the user's host alone."""

from __future__ import annotations

import os
import signal
import tempfile

collect_ignore_glob = ["*conftest.py"]  # no doctests here, and as test modules their equal names would clash

# a suite in the background of a script was started to ignore Ctrl-C, and so would the commands be that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

_SETTINGS = tempfile.TemporaryDirectory(prefix="qreg-settings-")  # removed when the process ends

# read when the host, albumentations and torch are imported; subprocesses of a test inherit them
os.environ |= {
    "YOLO_CONFIG_DIR": _SETTINGS.name,
    "XDG_STATE_HOME": _SETTINGS.name,
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "0",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "OMP_NUM_THREADS": "1",
}
