"""Frost textures: which are used, how they are laid over a picture, and the record of it."""

from __future__ import annotations

import warnings
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from corruptions import CORRUPTIONS, corrupt, frost
from corruptions.frost import Textures, frost_textures


@pytest.fixture
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(frost.FOLDER_VARIABLE)
    monkeypatch.setattr(frost.importlib.util, "find_spec", lambda name: None)
    frost._installed_or_generated.cache_clear()


def folder_of(folder: Path, *names: str) -> Path:
    """Write a picture of its own grey under each name."""
    folder.mkdir()
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((90, 120, 3), 10 * number + 5, np.uint8))
    return folder


@pytest.mark.usefixtures("_nothing_installed")
def test_without_textures_generated_ones_are_used_with_one_warning() -> None:
    """The warning says what to install; the record says `generated`; later calls are silent."""
    with pytest.warns(UserWarning, match=r'generated textures.*pip install "yolo-qreg\[frost\]"'):
        textures = frost_textures()
    assert textures.source == "generated"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frost_textures() is textures
        image = np.full((50, 60, 3), 100, np.uint8)
        frosted = corrupt(image, "frost", 3, np.random.default_rng(0))
    assert frosted.std() > 3
    frost._installed_or_generated.cache_clear()


def test_generated_textures_resemble_the_published_ones() -> None:
    """Means and spreads of the published photographs, bluer than red, and power that falls with frequency."""
    published = {  # measured: mean of R, G, B; standard deviation of luma
        0: ((77.7, 149.1, 165.7), 18.0),
        1: ((200.8, 205.4, 214.5), 21.8),
        3: ((137.6, 152.8, 165.2), 28.5),
        4: ((112.4, 123.4, 134.8), 43.4),
    }
    for index, (mean, spread) in published.items():
        texture = frost._generate(index).astype(float)
        np.testing.assert_allclose(texture.mean(axis=(0, 1)), mean, atol=2.5)
        luma = texture @ [0.2989, 0.587, 0.114]
        assert luma.std() == pytest.approx(spread, rel=0.15)
        power = np.abs(np.fft.rfft2(luma - luma.mean())) ** 2
        low, high = power[1:4, 1:4].mean(), power[60:80, 60:80].mean()
        assert low > 20 * high
    np.testing.assert_array_equal(frost._generate(2), frost._generate(2))


@pytest.mark.usefixtures("_nothing_installed")
def test_textures_of_an_installed_imagecorruptions_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As files, without an import; the sixth picture beside them is left out."""
    package = tmp_path / "imagecorruptions"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    folder_of(package / "frost", *frost.PUBLISHED, "frost6.jpg")
    monkeypatch.undo()
    monkeypatch.delenv(frost.FOLDER_VARIABLE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    frost._installed_or_generated.cache_clear()
    textures = frost_textures()
    frost._installed_or_generated.cache_clear()
    assert textures.source == "published"
    assert [int(picture[0, 0, 0]) for picture in textures.pictures] == pytest.approx([5, 15, 25, 35, 45], abs=1)


def test_a_folder_is_named_by_argument_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument goes first; pictures are taken in name order; other files are ignored."""
    mine = folder_of(tmp_path / "mine", "b.png", "a.jpg")
    (mine / "notes.txt").write_text("ice")
    assert frost_textures(mine).source == "folder:mine"
    assert [int(picture[0, 0, 0]) for picture in frost_textures(mine).pictures] == [15, 5]
    monkeypatch.setenv(frost.FOLDER_VARIABLE, str(mine))
    assert frost_textures() is frost_textures(mine)


def test_a_folder_with_the_published_five_gives_these(tmp_path: Path) -> None:
    """Whatever else lies beside them."""
    folder = folder_of(tmp_path / "frost", *frost.PUBLISHED, "frost6.jpg", "a.png")
    assert len(frost_textures(folder).pictures) == 5


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    """Empty, or with a file that is not what its name says."""
    with pytest.raises(ValueError, match=r"no picture in .*; name a folder that holds PNG or JPEG files"):
        frost_textures(tmp_path)
    (tmp_path / "ice.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"ice\.png is not a picture; remove it or replace it"):
        frost_textures(tmp_path)


def test_colours_are_rgb(tmp_path: Path) -> None:
    """A red file frosts black to red."""
    cv2.imwrite(str(tmp_path / "red.png"), np.full((90, 120, 3), (0, 0, 200), np.uint8))
    frosted = corrupt(np.zeros((40, 40, 3), np.uint8), "frost", 1, np.random.default_rng(0), textures=tmp_path)
    np.testing.assert_array_equal(frosted[0, 0], [80, 0, 0])


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((50, 60), 1.1, (99, 132)),  # smaller than the texture: a tenth larger than it
        ((180, 60), 1.1, (198, 264)),  # twice as high
        ((50, 240), 1.1, (198, 264)),  # twice as wide
        ((180, 360), 1.1, (297, 396)),  # the larger of both
        ((18, 12), 0.5, (45, 60)),  # the small sets shrink the texture
        ((81, 60), 0.5, (90, 119)),  # but never below what covers the picture
    ],
)
def test_a_texture_covers_the_picture(size: tuple[int, int], scale: float, expected: tuple[int, int]) -> None:
    """And is never scaled down by the set for large pictures."""
    textures = Textures("test", (np.zeros((90, 120, 3), np.uint8),))
    shape = textures.covering(0, *size, scale).shape[:2]
    np.testing.assert_allclose(shape, expected, atol=1)
    assert shape[0] > size[0]
    assert shape[1] > size[1]


def test_textures_are_kept_enlarged_within_a_bound(texture_folder: Path) -> None:
    """Pictures of ordinary sizes, repeated, share one; the textures of very large ones are made and dropped."""
    textures = frost_textures(texture_folder)
    assert textures.covering(0, 480, 640, 1.1) is textures.covering(0, 480, 640, 1.1)
    made = [weakref.ref(textures.covering(0, height, height, 1.1)) for height in range(1200, 2800, 100)]
    alive = [texture.nbytes for ref in made if (texture := ref()) is not None]
    assert 0 < len(alive) < len(made)
    assert sum(alive) <= 96 * 2**20
    frost._kept.cache_clear()


def test_each_texture_is_as_likely(tmp_path: Path) -> None:
    """200 draws of five textures come to about 40 each."""
    folder = folder_of(tmp_path / "five", *frost.PUBLISHED)
    image = np.zeros((32, 32, 3), np.uint8)
    level = CORRUPTIONS["frost"].levels()[4]
    seen = [int(corrupt(image, "frost", 5, np.random.default_rng(i), textures=folder)[0, 0, 0]) for i in range(200)]
    counts = np.bincount(np.round((np.array(seen) / level.texture - 5) / 10).astype(int), minlength=5)
    assert len(counts) == 5
    assert counts.min() > 20


def test_grey_pictures_get_grey_frost(texture_folder: Path) -> None:
    """The weighted sum with the texture's luma, at the place that the colour version takes."""
    grey = np.full((40, 50), 60, np.uint8)
    colour = corrupt(
        np.repeat(grey[..., None], 3, axis=2), "frost", 2, np.random.default_rng(3), textures=texture_folder
    )
    luma = colour.astype(float) @ [0.2989, 0.587, 0.114]
    frosted = corrupt(grey, "frost", 2, np.random.default_rng(3), textures=texture_folder)
    assert np.abs(frosted - luma).max() <= 1.5
