"""The albumentations transform: composes, serializes, obeys seeds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from corruptions import CORRUPTIONS, corrupt, transforms
from corruptions.pixels import Image
from corruptions.transforms import Corrupt

BOXES = np.array([[0.3, 0.5, 0.2, 0.2], [0.6, 0.4, 0.1, 0.3]])


def image() -> Image:
    """Return a picture whose channels differ."""
    noise = np.random.default_rng(0).integers(0, 128, (48, 64, 3))
    return (noise + np.array([0, 60, 120])).astype(np.uint8)


def pipeline(*transforms: Any, seed: int | None = 0) -> A.Compose:
    """Return a pipeline with boxes; a flip first, since boxes need one spatial transform."""
    boxes = A.BboxParams(format="yolo", label_fields=["labels"])
    return A.Compose([A.HorizontalFlip(p=1), *transforms], bbox_params=boxes, seed=seed)


def test_it_composes_with_boxes() -> None:
    """Boxes follow the flip and are not touched by the damage; the picture is both."""
    result = pipeline(Corrupt("contrast", 3, p=1))(image=image(), bboxes=BOXES, labels=[0, 1])
    np.testing.assert_array_equal(result["image"], corrupt(image()[:, ::-1], "contrast", 3))
    np.testing.assert_allclose(result["bboxes"], BOXES * np.array([-1, 1, 1, 1]) + np.array([1, 0, 0, 0]), atol=1e-6)


def test_a_pipelines_seed_decides() -> None:
    """Two pipelines of one seed go through the same sequence; a third of another seed does not."""
    runs = []
    for seed in (4, 4, 5):
        composed = pipeline(Corrupt("all", (1, 5), p=0.7), seed=seed)
        runs.append([composed(image=image(), bboxes=[], labels=[])["image"] for _ in range(8)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert len({frame.tobytes() for frame in runs[0]}) > 4


def test_it_survives_a_round_trip_through_json(texture_folder: Path) -> None:
    """With every setting, NumPy's integers among them, also nested in a pipeline."""
    severity = (np.int64(2), np.int64(4))
    transform = Corrupt(["noise", "frost"], severity, parameters="cifar-c", textures=texture_folder, bgr=True, p=0.3)
    text = json.dumps(A.to_dict(pipeline(A.OneOf([transform], p=1), seed=None)))
    again = A.from_dict(json.loads(text)).transforms[1].transforms[0]
    assert repr(again) == repr(transform)
    assert again.names == ["gaussian_noise", "shot_noise", "impulse_noise", "frost"]
    assert again.severity == (2, 4) and again.textures == str(texture_folder)


def test_parameters_and_textures_are_those_that_were_named(tmp_path: Path) -> None:
    """The transform damages as `corrupt` does with both, by the seed that it drew."""
    cv2.imwrite(str(tmp_path / "ice.png"), np.full((90, 120, 3), (10, 200, 90), np.uint8))
    settings = {"parameters": "cifar-c", "textures": tmp_path}
    transform = Corrupt("frost", 3, **settings, p=1)
    for seed in range(3):
        expected = corrupt(image(), "frost", 3, np.random.Generator(np.random.SFC64(seed)), **settings)
        np.testing.assert_array_equal(transform.apply(image(), "frost", 3, seed), expected)


def test_a_replay_repeats_the_damage() -> None:
    """What was drawn is plain data."""
    result = A.ReplayCompose([Corrupt("noise", p=1)])(image=image())
    saved = json.loads(json.dumps(result["replay"]))
    np.testing.assert_array_equal(A.ReplayCompose.replay(saved, image=image())["image"], result["image"])


def test_corruption_and_severity_are_drawn_from_what_is_named() -> None:
    """All of them, and no others."""
    transform = Corrupt(["digital", "saturate"], (2, 4), p=1)
    transform.set_random_seed(0)
    drawn = [transform.get_params() for _ in range(300)]
    assert {params["name"] for params in drawn} == {
        name for name, entry in CORRUPTIONS.items() if entry.group == "digital" or name == "saturate"
    }
    assert {params["severity"] for params in drawn} == {2, 3, 4}
    assert len({params["seed"] for params in drawn}) == 300


def test_bgr_pictures_are_damaged_as_rgb() -> None:
    """Spatter has a colour, so the order shows."""
    settings = {"names": "spatter", "severity": 5, "p": 1}
    rgb = A.Compose([Corrupt(**settings)], seed=1)(image=image())["image"]
    bgr = A.Compose([Corrupt(**settings, bgr=True)], seed=1)(image=image()[..., ::-1].copy())["image"]
    np.testing.assert_array_equal(bgr[..., ::-1], rgb)
    assert bgr.flags.c_contiguous


def test_frames_and_grey_pictures_keep_their_shape() -> None:
    """A batch of frames gets the same corruption throughout."""
    frames = np.stack([image(), image()])
    result = A.Compose([Corrupt("shot_noise", p=1)], seed=0)(images=frames)["images"]
    assert result.shape == frames.shape
    assert A.Compose([Corrupt("fog", p=1)], seed=0)(image=image()[..., :1])["image"].shape == (48, 64, 1)


def test_a_grey_picture_without_channels_is_not_reversed() -> None:
    """There are no colours whose order could be wrong."""
    grey = image()[..., 0]
    expected = corrupt(grey, "speckle_noise", 3, np.random.Generator(np.random.SFC64(5)))
    np.testing.assert_array_equal(Corrupt(bgr=True).apply(grey, "speckle_noise", 3, 5), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": "fgo"}, "'fgo' is no corruption; choose from"),
        ({"severity": 0}, "severity=0 is neither one of 1, 2, 3, 4, 5 nor a range of them such as (1, 3)"),
        ({"severity": (4, 2)}, "severity=(4, 2) is neither"),
        ({"severity": (1, 2, 3)}, "severity=(1, 2, 3) is neither"),
        ({"severity": True}, "severity=True is neither"),
        ({"severity": 2.0}, "severity=2.0 is neither"),
        ({"severity": None}, "severity=None is neither"),
        ({"severity": "13"}, "severity='13' is neither"),
        ({"textures": "/no/such/folder"}, "frost textures: /no/such/folder is not a folder; name one that holds"),
        ({"names": "fog", "textures": "/"}, "textures=/ are for frost, which is not among the corruptions; add it"),
        ({"parameters": "imagenet"}, "parameters='imagenet' is not known; choose one of imagenet-c, "),
    ],
)
def test_settings_are_checked_when_made(arguments: dict[str, Any], message: str) -> None:
    """Not when the first picture comes."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Corrupt(**arguments)


def test_importing_the_module_makes_it_known() -> None:
    """A pipeline written by one process is read by another that has imported the module."""
    written = json.dumps(A.to_dict(Corrupt("fog", 2, p=1)))
    code = (
        "import json, sys, albumentations as A, corruptions.transforms\n"
        "print(A.from_dict(json.loads(sys.stdin.read())).names)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=written, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['fog']"


class DamagedPictures(Dataset[bytes]):
    """Eight times the same picture, with noise drawn anew each time."""

    def __init__(self, seed: int | None, p: float) -> None:
        self.pipeline = A.Compose([Corrupt("noise", p=p)], seed=seed)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> bytes:
        return bytes(self.pipeline(image=image())["image"])


def two_epochs(workers: int, seed: int | None = 0, loader_seed: int = 0, p: float = 1) -> list[bytes]:
    """Return the pictures of two epochs of a loader, whose workers are new ones in each."""
    generator = torch.Generator().manual_seed(loader_seed)
    loader = DataLoader(DamagedPictures(seed, p), None, num_workers=workers, generator=generator)
    return [picture for _ in range(2) for picture in loader]


forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@forks
@pytest.mark.parametrize("seed", [0, None])
def test_workers_of_a_loader_differ(seed: int | None) -> None:
    """Two workers make eight pictures an epoch in turn; none of the sixteen is another's like."""
    assert len(set(two_epochs(2, seed))) == 16


@forks
def test_workers_decide_by_themselves_whether_to_do_anything() -> None:
    """The pictures that one leaves alone are not those that the other does."""
    left_alone = [picture == image().tobytes() for picture in two_epochs(2, p=0.5)]
    assert left_alone[::2] != left_alone[1::2]


@forks
def test_seeds_of_pipeline_and_loader_decide() -> None:
    """Together: the same two give the same pictures; another of either gives others."""
    first = two_epochs(2)
    assert two_epochs(2) == first
    assert two_epochs(2, seed=1) != first
    assert two_epochs(2, loader_seed=1) != first


def test_without_workers_the_pipelines_seed_alone_decides() -> None:
    """As in a plain loop."""
    dataset = DamagedPictures(0, 1)
    assert two_epochs(0, loader_seed=3) == [dataset[index] for _ in range(2) for index in range(8)]


def test_a_seed_set_in_a_worker_is_mixed_with_the_workers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ultralytics sets one, at any time; outside of workers it is the seed."""
    transform = Corrupt("all", p=1)
    drawn = []
    for worker_seed in (None, 5, 6, 5):
        monkeypatch.setattr(transforms, "_loader_worker_seed", lambda worker_seed=worker_seed: worker_seed)
        for _ in range(2):
            transform.set_random_seed(1)
            transform.params = {}
            transform(image=image())
            drawn.append(transform.params["seed"])
    assert drawn[::2] == drawn[1::2]
    assert drawn[2] == drawn[6] and len({drawn[0], drawn[2], drawn[4]}) == 3
