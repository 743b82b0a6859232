"""The whole suite runs offline, quietly, on one thread a worker, and leaves the settings of the user's host alone."""

from __future__ import annotations

import os
import signal
import tempfile

import pytest

FORKING = (
    "corruptions/test_transforms.py",
    "host/test_augmentations.py",
    "host/test_compat.py",
    "host/test_sharing.py",
)
"""Files whose loaders fork: begun before others leave threads, beside which Python 3.13.0 does not fork well."""
LONGEST = (
    "study/test_cluster.py",
    "study/test_study_runs.py",
    "api/test_api.py",
    "evaluation/test_evaluate.py",
    "study/test_study_report.py",
    "host/test_trainer.py",
    "evaluation/test_strange_pictures.py",
    "report/test_report_command.py",
    "docs/test_documents.py",
    "export/test_onnx.py",
    "host/test_methods.py",
)
"""Files that a worker is busy with for half a minute or more: begun first, none of them is left to one at the end."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that fork, then the longest; `make test` keeps xdist from sorting them by numbers of tests."""
    turn = {name: place for place, name in enumerate(FORKING + LONGEST)}
    items.sort(key=lambda item: turn.get(f"{item.path.parent.name}/{item.path.name}", len(turn)))
