"""The albumentations transform: composes, serializes, obeys seeds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import pytest

from corruptions import CORRUPTIONS, corrupt
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


def test_it_survives_a_round_trip_through_json() -> None:
    """With every setting, also nested in a pipeline."""
    transform = Corrupt(["noise", "fog"], (2, 4), parameters="cifar-c", textures="frost", bgr=True, p=0.3)
    text = json.dumps(A.to_dict(pipeline(A.OneOf([transform], p=1), seed=None)))
    again = A.from_dict(json.loads(text)).transforms[1].transforms[0]
    assert repr(again) == repr(transform)
    assert again.names == ["gaussian_noise", "shot_noise", "impulse_noise", "fog"]


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": "fgo"}, "'fgo' is no corruption; choose from"),
        ({"severity": 0}, "severity=0 is neither one of 1, 2, 3, 4, 5 nor a range of them such as (1, 3)"),
        ({"severity": (4, 2)}, "severity=(4, 2) is neither"),
        ({"severity": (1, 2, 3)}, "severity=(1, 2, 3) is neither"),
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
