from __future__ import annotations

import weakref
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest

from corruptions import CORRUPTIONS, SEVERITIES, sheet
from corruptions.pixels import Image
from corruptions.sheet import Layout, contact_sheet, fitted, scaled, severity_strip, sheet_layout

ALL = tuple(CORRUPTIONS)
SHAPES = {"landscape": (120, 200, 3), "portrait": (200, 120, 3), "square": (64, 64, 3), "wide": (40, 400, 3)}


def colour_of(name: str, severity: int) -> tuple[int, int, int]:
    """Return a colour that no other corruption or severity has."""
    return 40 + 10 * ALL.index(name), 30 * severity, 77


def flat(image: Image) -> Callable[[str, int], Image]:
    """Return a damage that paints the whole picture in `colour_of`."""

    def painted(name: str, severity: int) -> Image:
        return np.full((*image.shape[:2], 3), colour_of(name, severity), np.uint8)

    return painted


def drawn(image: Image, names: tuple[str, ...] = ALL, severities: tuple[int, ...] = SEVERITIES) -> PIL.Image.Image:
    """Return a sheet of flat cells."""
    return contact_sheet(image, names, severities, flat(image), "cat.png", ["seed 0"])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("names", [ALL, ALL[:10], ALL[4:7], ("fog",)], ids=len)
@pytest.mark.parametrize("severities", [SEVERITIES, (3,)], ids=len)
def test_every_cell_holds_its_corruption(
    shape: tuple[int, ...], names: tuple[str, ...], severities: tuple[int, ...]
) -> None:
    """Row and column name the corruption and the severity of every cell, to its edges; the last row is the picture."""
    image = np.full(shape, 9, np.uint8)
    page = np.array(drawn(image, names, severities))
    layout = sheet_layout(image, names, severities)
    for slot, name in enumerate(names):
        for column, severity in enumerate(severities):
            left, top, right, bottom = layout.box(slot, column)
            assert (page[top:bottom, left:right] == colour_of(name, severity)).all()
            assert (page[top:bottom, right] == 255).all() and (page[bottom, left:right] == 255).all()
    left, top, right, bottom = layout.box(len(names), 0)
    assert (page[top:bottom, left:right] == 9).all()


def test_nineteen_corruptions_fill_two_blocks_of_ten_rows() -> None:
    """Digital, held out and the undamaged picture stand right of noise, blur and weather, at the same heights."""
    layout = sheet_layout(np.zeros((300, 451, 3), np.uint8), ALL, SEVERITIES)
    assert (layout.blocks, layout.rows, layout.columns) == (2, 10, 5)
    assert layout.box(10, 0)[0] > layout.box(9, 4)[2] and layout.box(10, 0)[1] == layout.box(0, 0)[1]
    assert 1900 < layout.width < 2200
    assert ALL[10] == "brightness"


def test_few_corruptions_make_one_block() -> None:
    """Nine and the undamaged picture stand in one column of rows."""
    assert sheet_layout(np.zeros((64, 64, 3), np.uint8), ALL[:9], SEVERITIES).blocks == 1


def test_cells_never_overlap_or_leave_the_page() -> None:
    """The cells of every number of rows and columns are disjoint and within the page."""
    for slots in range(2, 21):
        for columns in range(1, 6):
            layout = Layout((60, 172), columns, slots)
            used = np.zeros((layout.bottom, layout.width), bool)
            for slot in range(slots):
                for column in range(columns):
                    left, top, right, bottom = layout.box(slot, column)
                    assert right <= layout.width - sheet.MARGIN and bottom <= layout.bottom
                    assert not used[top:bottom, left:right].any()
                    used[top:bottom, left:right] = True


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_labels_heads_and_notes_are_drawn(shape: tuple[int, ...]) -> None:
    """There is ink beside every row, above every column and in the notes, and none in the page's margins."""
    image = np.full(shape, 9, np.uint8)
    page = np.array(drawn(image).convert("L"))
    layout = sheet_layout(image, ALL, SEVERITIES)
    for slot in range(layout.slots):
        left, top = layout.corner(slot)
        beside = page[top : top + layout.pitch - sheet.GAP, left + sheet.BAR : left + sheet.BAR + sheet.LABEL]
        assert beside.min() < 60
    for column in range(layout.columns):
        left, _, right, _ = layout.box(0, column)
        assert page[sheet.MARGIN : sheet.MARGIN + sheet.HEAD, left:right].min() < 60
    _, top, right, _ = layout.box(layout.slots - 1, 0)
    assert page[top:, right + 1 :].min() < 60
    margin = sheet.MARGIN - 4
    assert all((edge == 255).all() for edge in (page[:margin], page[-margin:], page[:, :margin], page[:, -margin:]))


def test_each_group_has_a_bar_of_its_colour_beside_its_rows() -> None:
    """The bar left of a row is tinted by the row's group."""
    image = np.zeros((120, 200, 3), np.uint8)
    page = np.array(drawn(image))
    layout = sheet_layout(image, ALL, SEVERITIES)
    tints = {}
    for slot, name in enumerate(ALL):
        left, top = layout.corner(slot)
        tints.setdefault(CORRUPTIONS[name].group, set()).add(tuple(page[top + layout.pitch // 2, left + 2].tolist()))
    assert all(len(colours) == 1 for colours in tints.values())
    assert len(set.union(*tints.values())) == 5


def test_notes_go_below_everything_where_the_page_is_narrow() -> None:
    """With one severity there is no room beside the undamaged picture, so the page grows downwards."""
    image = np.zeros((120, 200, 3), np.uint8)
    layout = sheet_layout(image, ("fog",), (3,))
    page = np.array(drawn(image, ("fog",), (3,)).convert("L"))
    assert page[layout.bottom + 4 :].min() < 120


def test_a_long_title_stays_on_the_page() -> None:
    """A file name wider than its place is cut off before the margin."""
    image = np.zeros((120, 200, 3), np.uint8)
    page = np.array(contact_sheet(image, ["fog"], SEVERITIES, flat(image), "x" * 300, []).convert("L"))
    assert (page[:, -sheet.MARGIN + 4 :] == 255).all()


def test_a_page_holds_one_corrupted_picture_at_a_time() -> None:
    """Each picture is scaled and dropped before the next one is asked for, in the order of rows, then columns."""
    image = np.zeros((64, 64, 3), np.uint8)
    asked, alive = [], []

    def damage(name: str, severity: int) -> Image:
        assert not any(earlier() is not None for earlier in alive)
        asked.append((name, severity))
        damaged = image.copy()
        alive.append(weakref.ref(damaged))
        return damaged

    contact_sheet(image, ("snow", "fog"), (2, 4), damage, "cat.png", [])
    assert asked == [("snow", 2), ("snow", 4), ("fog", 2), ("fog", 4)]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_strip_holds_the_picture_and_its_severities(shape: tuple[int, ...]) -> None:
    """From left to right: the undamaged picture, then each severity, of equal size, with a gap between."""
    image = np.full(shape, 9, np.uint8)
    page = np.array(severity_strip(image, "snow", (1, 3, 5), flat(image)))
    width, height = fitted(shape[1], shape[0], sheet.STRIP_CELL)
    bottom = page.shape[0] - sheet.STRIP_MARGIN
    for column, colour in enumerate([(9, 9, 9), *(colour_of("snow", level) for level in (1, 3, 5))]):
        left = sheet.STRIP_MARGIN + column * (width + sheet.GAP)
        assert (page[bottom - height : bottom, left : left + width] == colour).all()
        assert (page[bottom - height : bottom, left + width] == 255).all()
        assert page[: bottom - height, left : left + width].min() < 130
    title = page[: sheet.STRIP_MARGIN + sheet.TITLE, : sheet.STRIP_MARGIN + 40]
    assert (title[:4] == 255).all() and title.min() < 60
    assert page.shape[1] == 2 * sheet.STRIP_MARGIN + 4 * width + 3 * sheet.GAP


def test_small_pictures_are_enlarged_by_repeating_pixels() -> None:
    """A 32 px picture is shown five times as large, pixel by pixel; grey becomes RGB."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    size = fitted(32, 32, sheet.SHEET_CELL)
    assert size == (160, 160)
    assert np.array_equal(np.array(scaled(image, size))[..., 1], image.repeat(5, 0).repeat(5, 1))


def test_large_pictures_are_filtered_when_reduced() -> None:
    """A fine checkerboard becomes an even grey, not a moire of its pixels."""
    board = np.indices((400, 400)).sum(axis=0) % 2 * np.uint8(255)
    inner = np.array(scaled(board.astype(np.uint8), (100, 100)))[5:-5, 5:-5]
    assert np.ptp(inner) <= 4 and abs(inner.mean() - 127.5) < 3
