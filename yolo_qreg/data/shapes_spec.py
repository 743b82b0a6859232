"""What the `shapes` set is: its classes, and which state of it."""

from __future__ import annotations

CLASS_NAMES: tuple[str, ...] = ("circle", "ring", "crescent", "triangle", "square", "hexagon", "star", "cross")
"""Names by class number."""
VERSION = 1
"""Part of the folder's name; goes up whenever a pixel or a label of any picture changes."""
