"""Colours. Better and worse are laid over the surface, so that 0 is the surface itself: white, or black in the dark.

The strength of a cell is its opacity. The scale is symmetric; every map that a reader may compare shares it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from yolo_qreg.errors import InputError

Rgb = tuple[int, int, int]
Name = Literal["paper", "accessible"]

WEAK: dict[str, float] = {"muted": 0.66, "ring": 0.42, "faint": 0.14, "wash": 0.035}
"""Shades of the text's colour by how much of it is left: lesser text, lines that matter, lines that do not, areas."""
FAINTEST = 0.12
"""Opacity of the smallest difference that is drawn in colour at all, so that it is told apart from none."""
TEXT: dict[str, Rgb] = {"light": (29, 29, 27), "dark": (240, 239, 236)}
SURFACE: dict[str, Rgb] = {"light": (255, 255, 255), "dark": (26, 27, 29)}


@dataclass(frozen=True, slots=True)
class Colours:
    """Fill of cells and ink of numbers, for better and for worse."""

    better: Rgb
    worse: Rgb
    better_ink: Rgb
    worse_ink: Rgb


PALETTES: dict[Name, dict[str, Colours]] = {
    "paper": {
        "light": Colours((60, 168, 98), (226, 88, 76), (22, 110, 58), (176, 42, 36)),
        "dark": Colours((28, 118, 68), (172, 52, 46), (116, 207, 150), (255, 142, 132)),
    },
    "accessible": {
        "light": Colours((82, 152, 212), (233, 134, 44), (24, 90, 160), (158, 74, 0)),
        "dark": Colours((36, 100, 164), (160, 80, 16), (130, 186, 240), (244, 166, 90)),
    },
}
"""`paper`: green and red, as in the paper's figures; `accessible`: blue and orange."""


def _colours(hexadecimal: str) -> tuple[Rgb, ...]:
    return tuple((red, green, blue) for red, green, blue in map(bytes.fromhex, hexadecimal.split()))


LINES: dict[str, tuple[Rgb, ...]] = {
    "light": _colours("5c5c5a 0068ac c47e00 963e98 008c82 3494d0 c44614 802250"),
    "dark": _colours("b0b0ac 5cb0ee ecb64a d892d8 50ccc0 a8d6fa f48e60 e884aa"),
}
"""Colours of lines: the baseline's grey, then the other models' in order; also told apart by colour-blind readers."""


def check(name: str) -> Name:
    """Return a palette's name.

    Raises:
        InputError: There is no such palette.
    """
    if name not in PALETTES:
        raise InputError(f"palette={name!r} is not known; choose one of {', '.join(PALETTES)}")
    return name


def limit_of(points: Iterable[float]) -> float:
    """Return the end of a symmetric scale that holds all of these; 1 where there is none but 0."""
    return max((abs(value) for value in points), default=0.0) or 1.0


def strength(points: float, limit: float) -> float:
    """Return the opacity of a value, 0 for 0 and 1 at either end of the scale.

    Example:
        >>> strength(0, 4), strength(-4, 4) == strength(4, 4) == 1
        (0.0, True)
    """
    return FAINTEST + (1 - FAINTEST) * min(abs(points) / limit, 1) if points else 0.0


def ink_of(points: float) -> Literal["better", "worse", "zero"]:
    """Return which colour a difference takes."""
    return "better" if points > 0 else "worse" if points < 0 else "zero"


def mix(colour: Rgb, opacity: float, surface: Rgb = SURFACE["light"]) -> Rgb:
    """Return a colour laid over a surface."""
    layers = zip(colour, surface, strict=True)
    red, green, blue = (round(opacity * top + (1 - opacity) * below) for top, below in layers)
    return red, green, blue


def slot_of(index: int) -> int:
    """Return the colour of a line: the baseline's for 0, one of the others for the rest, which repeat after seven."""
    return 1 + (index - 1) % (len(LINES["light"]) - 1) if index else 0


def weak(name: str) -> Rgb:
    """Return a shade of the text's colour on a white page."""
    return mix(TEXT["light"], WEAK[name])


def css(name: Name) -> str:
    """Return a palette as CSS variables for light and dark pages."""
    rules = {
        theme: "".join(f"--{variable}:{' '.join(map(str, rgb))};" for variable, rgb in _variables(name, theme).items())
        for theme in TEXT
    }
    shades = "".join(f"--{shade}:rgb(var(--text) / {part:g});" for shade, part in WEAK.items())
    dark = "@media screen and (prefers-color-scheme: dark)"
    return f":root{{{rules['light']}{shades}}}\n{dark}{{:root{{{rules['dark']}}}}}\n"


def variables(name: Name) -> dict[str, str]:
    """Return what stands in the page for each colour of a figure, which is drawn for a white one: by its hex digits."""
    found = {_hex(rgb): f"rgb(var(--{variable}))" for variable, rgb in _variables(name, "light").items()}
    return {**{_hex(weak(shade)): f"var(--{shade})" for shade in WEAK}, **found}


def _variables(name: Name, theme: str) -> dict[str, Rgb]:
    colours = PALETTES[name][theme]
    return {
        "better": colours.better,
        "worse": colours.worse,
        "better-ink": colours.better_ink,
        "worse-ink": colours.worse_ink,
        "text": TEXT[theme],
        "surface": SURFACE[theme],
        **{f"s{slot}": rgb for slot, rgb in enumerate(LINES[theme])},
    }


def _hex(rgb: Rgb) -> str:
    return "#" + "".join(f"{value:02x}" for value in rgb)
