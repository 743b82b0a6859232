"""Float ONNX models by the host's own exporter, and the head's raw outputs to compare exports with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics import YOLO
from ultralytics.data.augment import LetterBox
from ultralytics.nn.modules.head import Detect
from ultralytics.utils.checks import check_imgsz

from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.datasets import spread, validation_pictures
from yolo_qreg.host.quiet import quiet
from yolo_qreg.pictures import decode

NEEDED = ("onnx", "onnxruntime", "onnxslim")


def check_installed() -> None:
    """Check that what an ONNX export needs is there; the host would try to install it.

    Raises:
        InputError: Something is missing.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"ONNX export needs {', '.join(missing)}; install them with: pip install 'yolo-qreg[onnx]'")


def float_onnx(weights: Path, *, imgsz: int, opset: int, dynamic: bool) -> Path:
    """Let the host write the ONNX model of a .pt file beside it, BatchNorm folded and constants too.

    Args:
        weights: A plain file, float32.
        imgsz: Sides of the pictures, in pixels.
        opset: Of the operators.
        dynamic: Whether batch and sides may vary.

    Returns:
        The file.

    Raises:
        InputError: The host cannot export this model.
    """
    try:
        with _quiet():
            written = YOLO(str(weights)).export(
                format="onnx", imgsz=imgsz, opset=opset, dynamic=dynamic, simplify=True, device="cpu", verbose=False
            )
    except Exception as error:  # torch's exporter raises types of its own
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"Ultralytics cannot export this model to ONNX ({type(error).__name__}: {reason})") from error
    return Path(written)


def sides(imgsz: int, weights: Path) -> int:
    """Return the size that the host takes for `imgsz`: a multiple of the model's largest stride."""
    model: Any = checkpoint.load(weights)[0]
    stride = int(model.stride.max())
    rounded = check_imgsz(imgsz, stride=stride)
    return int(rounded if isinstance(rounded, int) else rounded[0])


def training_pictures(data: Path, count: int, size: int, channels: int) -> list[NDArray[np.float32]]:
    """Return pictures of a data set's training split, evenly spread, as an export sees them.

    Args:
        data: YAML file of the data set.
        count: Number of pictures.
        size: Sides in pixels; shorter pictures are padded.
        channels: Of the model.

    Returns:
        Each [1, C, H, W] in 0..1, RGB or grey.

    Raises:
        InputError: The data set has no training picture that can be used, or other channels.
    """
    found = validation_pictures(data, split="train", channels=(channels,)).pictures
    return [as_seen(picture.path, size, channels) for picture in spread(found, count)]


def as_seen(path: Path, size: int, channels: int) -> NDArray[np.float32]:
    """Return a picture file in a square, as a model sees it: [1, C, H, W] in 0..1, RGB or grey.

    Raises:
        InputError: It is no whole picture.
    """
    pixels = decode(path.read_bytes(), path, channels)
    if pixels is None:
        raise InputError(f"{path} is no longer a whole picture; replace it or remove it")
    placed = LetterBox((size, size), scaleup=True)(image=pixels)
    placed = placed[..., None] if placed.ndim == 2 else placed
    return np.ascontiguousarray(placed[..., ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)


def raw_outputs(weights: Path, pictures: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return what the head of a .pt gives for pictures, as its export does.

    Args:
        weights: A plain file; it runs in float32, BatchNorm not folded.
        pictures: Each [1, C, H, W] in 0..1.

    Returns:
        For each [1, 4 + classes, boxes], or [1, boxes, 6] of a head without non-maximum suppression.
    """
    model: Any = checkpoint.load(weights)[0].float().eval()
    head = model.model[-1]
    if isinstance(head, Detect):
        head.export, head.format = True, "onnx"
        head.max_det = min(head.max_det, _most_boxes(head, pictures[0].shape))
    found = []
    with torch.inference_mode():
        for picture in pictures:
            answer = model(torch.from_numpy(picture))
            first = answer[0] if isinstance(answer, (tuple, list)) else answer
            found.append(first.numpy())
    return found


def _most_boxes(head: Any, shape: Sequence[int]) -> int:
    """Return how many boxes there are in a picture; before 8.4.120 an exporting head asks for more, and fails."""
    return int(sum((shape[-2] // stride) * (shape[-1] // stride) for stride in head.stride.tolist()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the host's advice on how to use the file to itself: ours is another one; and torch's on its exporters."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
