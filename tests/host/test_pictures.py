"""Picture files are decoded as the host decodes them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from ultralytics.utils.patches import imread

from yolo_qreg.host.compat import is_before
from yolo_qreg.pictures import decode

AS_NOW_SINCE = {".avif": "8.4.168", ".tif": "8.4.184"}
"""Releases from which on the host reads these files as the newest does; older ones leave AVIF on its side, for one."""
FLAGS = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR, 4: cv2.IMREAD_UNCHANGED}


def scene(channels: int = 3) -> NDArray[np.uint8]:
    """Return a picture without symmetry, RGB or with more bands."""
    ramp = np.indices((40, 56)).sum(0).astype(np.uint8)
    return np.stack([ramp * (band + 1) for band in range(channels)], axis=2)


def need(suffix: str) -> None:
    """Skip a test of files that are not to be had here, or that the installed host still reads in another way."""
    if suffix == ".avif":
        pytest.importorskip("PIL._avif")
    since = AS_NOW_SINCE.get(suffix)
    if since is not None and is_before(since):
        pytest.skip(f"the host reads {suffix} so since {since}")


def write(path: Path, orientation: int = 1, mode: str = "RGB") -> Path:
    """Save a picture with an orientation in its EXIF data."""
    exif = PIL.Image.Exif()
    exif[274] = orientation
    PIL.Image.fromarray(scene()).convert(mode).save(path, exif=exif)
    return path


def assert_as_the_host(path: Path, channels: int = 3) -> None:
    """Assert that a file is decoded to the host's pixels."""
    theirs = imread(str(path), FLAGS[channels])
    ours = decode(path.read_bytes(), path, channels)
    assert theirs is not None and ours is not None
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".avif", ".bmp", ".jp2", ".jpg", ".png", ".tif", ".webp"])
def test_every_format_is_decoded_as_by_the_host(suffix: str, channels: int, tmp_path: Path) -> None:
    """In colour and in grey."""
    need(suffix)
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(scene()).save(path)
    assert_as_the_host(path, channels)
    assert_as_the_host(path.rename(tmp_path / f"b{suffix.upper()}"), channels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".avif", ".jpg", ".png", ".webp"])
def test_pictures_are_upright(suffix: str, orientation: int, tmp_path: Path) -> None:
    """For each orientation that EXIF knows."""
    need(suffix)
    assert_as_the_host(write(tmp_path / f"a{suffix}", orientation))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pixels_of_any_kind_become_colour_or_grey(suffix: str, mode: str, tmp_path: Path) -> None:
    """Alpha is dropped, of 16 bits the high byte is kept."""
    need(suffix)
    path = tmp_path / f"a{suffix}"
    picture = PIL.Image.fromarray(scene())
    if mode == "I;16":
        picture = PIL.Image.fromarray(scene()[..., 0].astype(np.uint16) * 256 + 77)
    picture.convert(mode).save(path)
    for channels in (1, 3):
        assert_as_the_host(path, channels)


def test_bands_are_kept_where_the_data_set_has_them(tmp_path: Path) -> None:
    """Four in one page, and four grey pages; other numbers than the data set's are no picture of it."""
    need(".tif")
    cv2.imwrite(str(tmp_path / "one.tif"), scene(4))
    cv2.imwritemulti(str(tmp_path / "pages.tiff"), list(scene(4).transpose(2, 0, 1)))
    for name in ("one.tif", "pages.tiff"):
        assert_as_the_host(tmp_path / name, 4)
        assert_as_the_host(tmp_path / name, 3)
        assert decode((tmp_path / name).read_bytes(), tmp_path / name, 5) is None


@pytest.mark.parametrize("suffix", [".avif", ".bmp", ".jp2", ".png", ".tif", ".webp"])
def test_a_cut_file_is_no_picture(suffix: str, tmp_path: Path) -> None:
    """Half of the bytes are not half of a picture."""
    if suffix == ".avif":
        pytest.importorskip("PIL._avif")
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    data = path.read_bytes()
    for kept in (0, 5, len(data) // 2):
        assert decode(data[:kept], path) is None, kept


def test_heic_is_decoded_where_its_package_is(tmp_path: Path) -> None:
    """As by the host; without the package it is no picture, and nothing is installed."""
    path = tmp_path / "a.heic"
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(PIL.Image.fromarray(scene())).save(path)
    pytest.importorskip("pi_heif")
    assert_as_the_host(path)
