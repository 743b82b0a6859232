"""What a resumed training has to be: one of ours, unfinished, on the data set that it began with, with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg import TASK2DATA

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.origin import Origin, confirm_data

_NAMED = {"data", "mode", "model", "pretrained", "quant", "resume"}
"""What is named, not changed, when a run is resumed; `data` is where its data set is now."""


def check_continued(args: Any, overrides: Mapping[str, Any], quant: QuantConfig | None) -> None:
    """Check what was given for resuming a run, and let its arguments say where run and data set are now.

    Args:
        args: The run's arguments, as the host took them from its checkpoint.
        overrides: What was given. The host has taken over what it lets change, so anything else that differs from the
            arguments would be ignored.
        quant: The quantization that was given, if any.

    Raises:
        InputError: The checkpoint is not one of ours or of a finished training, the data set is gone or has another
            content, or something was given that cannot change.
    """
    path = Path(args.resume)
    held = checkpoint.load(path)[1].get(checkpoint.KEY)
    if held is None:
        raise InputError(f"resume={path} was not trained by yolo-qreg; resume it with Ultralytics")
    if "quant" not in vars(args):  # the host drops it from files of finished runs
        raise InputError(f"resume={path} is of a training that finished; start a new one with model={path}")
    if quant is not None and quant != QuantConfig.from_dict(args.quant):
        raise InputError(f"quant={quant.to_dict()} differs from the run to resume; drop it or start a new run")
    for key, value in overrides.items():
        own = getattr(args, key, None)
        if key not in _NAMED and own != value:
            raise InputError(f"{key}={value} cannot change on resuming, the run has {own}; drop it, or start anew")
    if path.parent.name == "weights" and "save_dir" not in overrides:  # the run may have been moved
        args.save_dir = str(path.resolve().parents[1])
    given = overrides.get("data")
    if given == TASK2DATA["detect"]:  # what `YOLO.train(resume=True)` names where nobody named one
        given = None
    origin = Origin.from_dict(held.get("origin"))
    if origin is not None:
        args.data = str(confirm_data(given, origin.data, Path(args.save_dir).name))
    elif not given and not Path(str(args.data)).is_absolute():
        raise InputError(f"{path} does not tell where its data={args.data} was; name it with --data")
