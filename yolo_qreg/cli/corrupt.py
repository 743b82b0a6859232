"""`yolo-qreg corrupt`: the command of the package `corruptions`."""

from __future__ import annotations

from corruptions.cli import command

__all__ = ["command"]
