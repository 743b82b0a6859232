"""Pictures that the tests of the corruptions share."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest

from corruptions import frost
from corruptions.pixels import Image

REFERENCE = Path(__file__).with_name("reference.npz")


@pytest.fixture(scope="session")
def reference() -> MappingProxyType[str, np.ndarray]:
    """What imagecorruptions 1.1.2 makes of `image` after seeding by `seed`: five pictures a corruption."""
    with np.load(REFERENCE) as arrays:
        return MappingProxyType(dict(arrays))


@pytest.fixture
def picture(reference: MappingProxyType[str, np.ndarray]) -> Image:
    """The reference's picture: waves, edges, even areas, some noise; RGB [40, 52, 3]."""
    return np.array(reference["image"])


@pytest.fixture(scope="session")
def texture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one texture, so that no test depends on what is installed."""
    folder = tmp_path_factory.mktemp("textures")
    noise = np.random.default_rng(0).integers(60, 220, (90, 120, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "ice.png"), cv2.blur(noise, (5, 5)))
    return folder


@pytest.fixture(autouse=True)
def _textures(texture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(frost.FOLDER_VARIABLE, str(texture_folder))
