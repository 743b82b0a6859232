"""Fonts for names in any script: the first installed one that has the characters.

Figures are drawn in matplotlib's own font and pictures in Pillow's, which know neither Chinese nor Japanese.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

LOG = logging.getLogger(__name__)
_NO_FONT = "Last Resort"
"""Begins the name of fonts whose glyphs only say which characters are missing."""


def font_for(text: str) -> Path | None:
    """Return a font file with all characters of a text, preferably matplotlib's own; None where none is installed.

    That is said once.
    """
    return _font_for("".join(sorted({letter for letter in text if letter.isprintable() and not letter.isspace()})))


@cache
def _font_for(letters: str) -> Path | None:
    from matplotlib import font_manager

    own = font_manager.findfont("DejaVu Sans")
    installed = sorted(entry.fname for entry in font_manager.fontManager.ttflist if _NO_FONT not in entry.name)
    wanted = set(map(ord, letters))
    for name in (own, *installed):
        if wanted <= _characters(name):
            return Path(name)
    _say_once(
        "no installed font has all characters of the names: figures show boxes; install one, such as Noto Sans CJK"
    )
    return None


_say_once = cache(LOG.warning)


@cache
def _characters(font: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(font).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
