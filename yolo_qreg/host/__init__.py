"""The only place that imports Ultralytics: which layers to quantize, the trainer, checkpoints, running it.

Importing it keeps a run from this package quiet towards the outside: no usage statistics of the host, no look for
updates by albumentations.
"""

from __future__ import annotations

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read when albumentations is imported

from ultralytics.utils.events import events

events.enabled = False
