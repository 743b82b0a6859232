"""Pages that show a picture under many corruptions: a contact sheet, and a strip of one corruption's severities.

They only draw. The corrupted pictures come from a function of the caller's, one by one; each is scaled to its cell
and dropped, so a page takes the memory of one picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, TypeAlias

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from corruptions.pixels import Image
from corruptions.registry import CORRUPTIONS, Group

Damage: TypeAlias = Callable[[str, int], Image]
"""Gives the picture under a corruption, by name, at a severity."""

Colour = tuple[int, int, int]

SHEET_CELL = 172
STRIP_CELL = 210
"""Long side of a picture on the page, in pixels."""
MOST_ENLARGED = 8
MOST_ROWS = 10

MARGIN = 24
STRIP_MARGIN = 12
GAP = 4
BLOCK_GAP = 32
BAR = 24
LABEL = 134
LEAST_ROW = 80
"""Room for a label of two lines, and for a group's name turned by 90 degrees."""
HEAD = 32
TITLE = 40
LINE = 23

WHITE: Colour = (255, 255, 255)
INK: Colour = (32, 33, 36)
FAINT: Colour = (95, 99, 104)
GROUP_COLOURS: dict[Group, Colour] = {
    "noise": (176, 66, 40),
    "blur": (40, 98, 168),
    "weather": (30, 122, 98),
    "digital": (116, 74, 170),
    "holdout": (96, 96, 96),
}


def label(name: str) -> str:
    """Return the name of a corruption as people write it.

    Example:
        >>> label("jpeg_compression"), label("fog")
        ('JPEG compression', 'Fog')
    """
    return name.replace("_", " ").capitalize().replace("Jpeg", "JPEG")


def group_label(group: Group) -> str:
    """Return the name of a group as people write it."""
    return "held out" if group == "holdout" else group


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """Return the width and height at which a picture is shown: reduced to `side`, or enlarged by a whole factor.

    Example:
        >>> fitted(640, 480, 180), fitted(32, 32, 180)
        ((180, 135), (160, 160))
    """
    longest = max(width, height)
    if longest <= side:
        factor = min(side // longest, MOST_ENLARGED)
        return width * factor, height * factor
    return max(1, round(width * side / longest)), max(1, round(height * side / longest))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie on a contact sheet, in pixels.

    Slots are rows, numbered down the first block, then down the second; the last one is the undamaged picture's.
    """

    cell: tuple[int, int]
    """Width and height of a picture."""
    columns: int
    slots: int

    @property
    def blocks(self) -> int:
        """Number of blocks side by side."""
        return -(-self.slots // MOST_ROWS)

    @property
    def rows(self) -> int:
        """Rows of the longest block."""
        return -(-self.slots // self.blocks)

    @property
    def pitch(self) -> int:
        """Distance between the tops of neighbouring rows."""
        return max(self.cell[1], LEAST_ROW) + GAP

    @property
    def block_width(self) -> int:
        """Width of the bar, the labels and the cells."""
        return BAR + LABEL + self.columns * (self.cell[0] + GAP) - GAP

    @property
    def width(self) -> int:
        """Of the page."""
        return 2 * MARGIN + self.blocks * (self.block_width + BLOCK_GAP) - BLOCK_GAP

    @property
    def bottom(self) -> int:
        """Where the last row ends."""
        return MARGIN + HEAD + self.rows * self.pitch - GAP

    def corner(self, slot: int) -> tuple[int, int]:
        """Return the left and the top of a row."""
        block, row = divmod(slot, self.rows)
        return MARGIN + block * (self.block_width + BLOCK_GAP), MARGIN + HEAD + row * self.pitch

    def box(self, slot: int, column: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of a picture's place."""
        left, top = self.corner(slot)
        left += BAR + LABEL + column * (self.cell[0] + GAP)
        top += (self.pitch - GAP - self.cell[1]) // 2
        return left, top, left + self.cell[0], top + self.cell[1]


def sheet_layout(image: Image, names: Sequence[str], severities: Sequence[int]) -> Layout:
    """Return the layout of `contact_sheet` for these arguments."""
    return Layout(fitted(image.shape[1], image.shape[0], SHEET_CELL), len(severities), len(names) + 1)


def contact_sheet(
    image: Image, names: Sequence[str], severities: Sequence[int], damage: Damage, title: str, notes: Sequence[str]
) -> PIL.Image.Image:
    """Draw a picture under several corruptions, a row each with a column per severity.

    Args:
        image: RGB [H, W, 3] or grey [H, W], the undamaged picture.
        names: Of corruptions, in the order of the rows.
        severities: In the order of the columns.
        damage: Called once for each row and column.
        title: First line beside the undamaged picture.
        notes: Further lines there; one about the scale of the cells is added.

    Returns:
        RGB, white where nothing is drawn.
    """
    layout = sheet_layout(image, names, severities)
    text = [*notes, _scale_note(image, layout.cell)]
    left, top, right = _notes_place(layout)
    lines = [line for note in text for line in _wrapped(note, 17, right - left)]
    height = max(layout.bottom, top + TITLE + LINE * len(lines))
    page = PIL.Image.new("RGB", (layout.width, height + MARGIN), WHITE)
    draw = PIL.ImageDraw.Draw(page)
    _draw_heads(draw, layout, severities)
    _draw_groups(page, layout, names)
    for slot, name in enumerate(names):
        _draw_label(draw, layout, slot, label(name))
        for column, severity in enumerate(severities):
            page.paste(scaled(damage(name, severity), layout.cell), layout.box(slot, column))
    _draw_label(draw, layout, len(names), "Clean")
    page.paste(scaled(image, layout.cell), layout.box(len(names), 0))
    draw.text((left, top + TITLE // 2), _shortened(title, 22, right - left), INK, _font(22), "lm")
    for number, line in enumerate(lines):
        draw.text((left, top + TITLE + LINE * number), line, FAINT, _font(17))
    return page


def severity_strip(image: Image, name: str, severities: Sequence[int], damage: Damage) -> PIL.Image.Image:
    """Draw the undamaged picture and one corruption's severities side by side.

    Args:
        image: RGB [H, W, 3] or grey [H, W], the undamaged picture.
        name: Of the corruption.
        severities: From left to right.
        damage: Called once for each severity.

    Returns:
        RGB, white where nothing is drawn.
    """
    cell = fitted(image.shape[1], image.shape[0], STRIP_CELL)
    width = 2 * STRIP_MARGIN + (1 + len(severities)) * (cell[0] + GAP) - GAP
    top = STRIP_MARGIN + TITLE + HEAD
    page = PIL.Image.new("RGB", (width, top + cell[1] + STRIP_MARGIN), WHITE)
    draw = PIL.ImageDraw.Draw(page)
    heading, middle = label(name), STRIP_MARGIN + TITLE // 2
    draw.text((STRIP_MARGIN, middle), heading, INK, _font(26), "lm")
    group = CORRUPTIONS[name].group
    chip = STRIP_MARGIN + round(draw.textlength(heading, _font(26))) + 16
    end = chip + round(draw.textlength(group_label(group), _font(16))) + 20
    draw.rounded_rectangle((chip, middle - 13, end, middle + 13), 6, _tint(GROUP_COLOURS[group]))
    draw.text(((chip + end) / 2, middle), group_label(group), GROUP_COLOURS[group], _font(16), "mm")
    for column in range(1 + len(severities)):
        left = STRIP_MARGIN + column * (cell[0] + GAP)
        caption = f"severity {severities[column - 1]}" if column else "clean"
        draw.text((left + cell[0] / 2, top - HEAD / 2), caption, FAINT, _font(18), "mm")
        picture = damage(name, severities[column - 1]) if column else image
        page.paste(scaled(picture, cell), (left, top))
    return page


def scaled(picture: Image, size: tuple[int, int]) -> PIL.Image.Image:
    """Return a picture as RGB at a size: pixels repeated to enlarge, filtered to reduce."""
    drawn = PIL.Image.fromarray(picture).convert("RGB")
    enlarged = size[0] >= drawn.width and size[1] >= drawn.height
    return drawn.resize(size, PIL.Image.Resampling.NEAREST if enlarged else PIL.Image.Resampling.LANCZOS)


def _scale_note(image: Image, cell: tuple[int, int]) -> str:
    height, width = image.shape[:2]
    size = f"{width} x {height} px"
    if cell[0] > width:
        return f"{size}, shown enlarged {cell[0] // width} times"
    if cell == (width, height):
        return f"{size}, shown at full size"
    return f"{size}, shown at {100 * max(cell) / max(width, height):.2g}%, where fine noise and blur look milder"


def _notes_place(layout: Layout) -> tuple[int, int, int]:
    """Return left, top and right of the notes: beside the undamaged picture, or below everything on narrow pages."""
    _, top, right, _ = layout.box(layout.slots - 1, 0)
    end = layout.corner(layout.slots - 1)[0] + layout.block_width
    if end - right >= 2 * SHEET_CELL:
        return right + 16, top, end
    return MARGIN, layout.bottom + 16, layout.width - MARGIN


def _draw_heads(draw: PIL.ImageDraw.ImageDraw, layout: Layout, severities: Sequence[int]) -> None:
    middle = MARGIN + HEAD / 2 - 4
    for block in range(layout.blocks):
        left = layout.corner(block * layout.rows)[0]
        draw.text((left + BAR + 10, middle), "severity", FAINT, _font(17), "lm")
        for column, severity in enumerate(severities):
            box = layout.box(block * layout.rows, column)
            draw.text(((box[0] + box[2]) / 2, middle), str(severity), INK, _font(22), "mm")


def _draw_groups(page: PIL.Image.Image, layout: Layout, names: Sequence[str]) -> None:
    """Draw a bar with its name, upwards, beside the rows of each group, anew in each block."""
    keys = [(slot // layout.rows, CORRUPTIONS[name].group) for slot, name in enumerate(names)]
    for (_, group), run in groupby(range(len(names)), key=keys.__getitem__):
        slots = list(run)
        left, top = layout.corner(slots[0])
        height = layout.corner(slots[-1])[1] + layout.pitch - GAP - top
        bar = PIL.Image.new("RGB", (height, BAR), WHITE)  # lying; turned below
        draw = PIL.ImageDraw.Draw(bar)
        draw.rounded_rectangle((0, 0, height - 1, BAR - 1), 5, _tint(GROUP_COLOURS[group]))
        draw.text((height / 2, BAR / 2), group_label(group), GROUP_COLOURS[group], _font(17), "mm")
        page.paste(bar.transpose(PIL.Image.Transpose.ROTATE_90), (left, top))


def _draw_label(draw: PIL.ImageDraw.ImageDraw, layout: Layout, slot: int, text: str) -> None:
    lines = _wrapped(text, 19, LABEL - 22)
    left, middle = layout.corner(slot)[0], layout.corner(slot)[1] + (layout.pitch - GAP) / 2
    for number, line in enumerate(lines):
        draw.text((left + BAR + 10, middle + 23 * (number - (len(lines) - 1) / 2)), line, INK, _font(19), "lm")


def _wrapped(text: str, size: int, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _font(size).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _shortened(text: str, size: int, width: int) -> str:
    """Cut a text's end off where it is wider than `width` pixels."""
    while len(text) > 3 and _font(size).getlength(text) > width:
        text = text.removesuffix("...")[:-1] + "..."
    return text


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    """Return Pillow's own scalable font; without FreeType, Pillow has one of a fixed size only."""
    return PIL.ImageFont.load_default(size)


def _tint(colour: Colour) -> Colour:
    red, green, blue = (255 - (255 - value) // 6 for value in colour)
    return red, green, blue
