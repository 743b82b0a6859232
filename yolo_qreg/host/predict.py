"""Detections of any weights that the host runs, from the same pixels and by the same rules as its `val`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision  # noqa: F401  until it is imported, the host's NMS is another one, which orders equal scores differently
from numpy.typing import NDArray
from ultralytics.data.augment import LetterBox
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils import nms, ops
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import select_device

from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint
from yolo_qreg.host.compat import check_host
from yolo_qreg.host.loading import refusal, safe_loading
from yolo_qreg.host.model import family_of
from yolo_qreg.pictures import COLOUR

LEAST_SCORE = 0.001
NMS_IOU = 0.7
MOST_BOXES = 300
BORDER = 0.5
"""Strides of grey that `val` adds to a batch, half on either side."""

Picture = NDArray[np.uint8]
Boxes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]
"""Of one picture: xyxy in pixels [N, 4], scores [N], class numbers [N]."""


class Detector:
    """One model, loaded once.

    Args:
        weights: .pt of ours or of Ultralytics, .onnx, or a folder that the host exported, such as OpenVINO's.
        imgsz: Longer side of the pictures as the model sees them, in pixels.
        batch: Pictures at a time; exports of a fixed batch keep theirs.
        device: As the host names it, such as "cpu" or "0"; "" lets it choose.
        square: Pad pictures to squares, as the host does for exports, instead of to what a batch needs.

    Attributes:
        names: Class names in class order.
        channels: Of the pictures that it takes.
        batch: The most pictures that `detect` takes.
        device: What it runs on.

    Raises:
        InputError: The host cannot load the weights, or they are an export for another size.
    """

    def __init__(self, weights: Path, *, imgsz: int, batch: int = 16, device: str = "", square: bool = False) -> None:
        check_host()
        try:
            with safe_loading():
                model = checkpoint.as_meant(weights)
                given = str(weights) if isinstance(model, Path) else model
                self._host: Any = AutoBackend(given, device=select_device(device, verbose=False), verbose=False)
            self._host.eval()
        except (OSError, RuntimeError, ImportError, TypeError, ValueError, KeyError, AssertionError) as error:
            if weights.suffix == ".pt":
                raise refusal(weights, error) from error
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{weights} cannot be loaded ({reason}); name weights that Ultralytics runs") from error
        backend = self._host
        task = getattr(backend, "task", None) or getattr(getattr(backend, "model", None), "task", None) or "detect"
        if _family(backend) == "RT-DETR":
            raise InputError(f"{weights} is of RT-DETR, whose outputs are not a YOLO's; name a YOLO detection model")
        if task != "detect":
            raise InputError(f"{weights} is for {task}; name a detection model")
        if (getattr(backend, "metadata", None) or {}).get("args", {}).get("nms"):
            raise InputError(
                f"{weights} was exported with nms=True: it drops boxes by limits of its own; export it without nms"
            )
        self.names: tuple[str, ...] = tuple(str(backend.names[i]) for i in range(len(backend.names)))
        self.channels = int(getattr(backend, "channels", 0) or getattr(backend, "ch", 0) or COLOUR)
        self.device = str(backend.device)
        self.batch = batch
        self._stride = int(backend.stride)
        self._shape: tuple[int, int] = tuple(check_imgsz(imgsz, stride=self._stride, min_dim=2))
        fixed = backend.format != "pt" and not getattr(backend, "dynamic", False)
        self._square = square or fixed
        if fixed:
            own = tuple(getattr(backend, "imgsz", None) or self._shape)
            if own != self._shape:
                size = max(own)
                raise InputError(f"{weights} was exported for imgsz={size}; pass --imgsz {size}, or export it anew")
            self.batch = batch if backend.format == "torchscript" else int(backend.metadata.get("batch", 1))

    def detect(self, pictures: Sequence[Picture]) -> list[Boxes]:
        """Return the detections of pictures, uint8 BGR [H, W, 3] or grey [H, W, 1], at most `batch` of them.

        The padding depends on the shapes in the batch, as in the host's `val`.
        """
        letterbox = LetterBox(self._batch_shape(pictures), scaleup=False)
        placed = [_place(picture, max(self._shape), letterbox) for picture in pictures]
        rgb = np.stack([canvas for canvas, *_ in placed])[..., ::-1].transpose(0, 3, 1, 2)
        batch = torch.from_numpy(rgb.copy()).to(self._host.device)
        with torch.inference_mode():
            answer = self._host((batch.half() if self._host.fp16 else batch.float()) / 255)
            boxes = answer[0] if isinstance(answer, (list, tuple)) else answer
            found = nms.non_max_suppression(
                boxes.float().cpu(),  # where a GPU would be asked dozens of small things about each picture
                LEAST_SCORE,
                NMS_IOU,
                multi_label=True,  # a box may score for several classes
                max_det=MOST_BOXES,
                max_time_img=float("inf"),  # the host's limit would make results depend on the machine's load
                end2end=getattr(self._host, "end2end", False),
            )
            return [
                _boxes(rows, batch.shape[2:], picture.shape[:2], ratio_pad)
                for rows, picture, (_, ratio_pad) in zip(found, pictures, placed, strict=True)
            ]

    def _batch_shape(self, pictures: Sequence[Picture]) -> tuple[int, int]:
        """Return the height and width that the host's rectangular batches have."""
        if self._square:
            return self._shape
        aspects = [picture.shape[0] / picture.shape[1] for picture in pictures]
        tall, wide = min(1.0, max(aspects)), min(1.0, 1 / min(aspects))
        height, width = (math.ceil(s * max(self._shape) / self._stride + BORDER) * self._stride for s in (tall, wide))
        return height, width


def _family(backend: Any) -> str | None:
    """Return the family of a loaded model, as exports of newer hosts say it too."""
    model = getattr(backend, "model", None)
    if isinstance(model, torch.nn.Module) and backend.format == "pt":
        return family_of(model)
    head = (getattr(backend, "metadata", None) or {}).get("head")
    return family_of({"head": [[head, []]]}) if head else None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let every model run on one core meanwhile.

    Threads of one model wait for each other many times a picture, and any other work on their cores slows all of them;
    models side by side do not wait.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_type(device: str) -> str:
    """Return the kind of device that the host takes for a name: "cpu", "cuda" or "mps".

    Raises:
        InputError: There is no such device.
    """
    return str(device_of(device).type)


def device_of(device: str) -> torch.device:
    """Return the device that the host takes for a name; as `device_type`."""
    try:
        found: torch.device = select_device(device, verbose=False)
        return found
    except (ValueError, RuntimeError) as error:
        raise InputError(f"device={device}: {' '.join(str(error).split())[:200]}") from error


RatioPad = tuple[tuple[float, float], tuple[int, int]]
"""Enlargement down and across, and the offset across and down, as the host's `scale_boxes` takes them."""


def _place(picture: Picture, longest: int, letterbox: LetterBox) -> tuple[Picture, RatioPad]:
    height, width = picture.shape[:2]
    ratio = longest / max(height, width)
    size = [min(math.ceil(side * ratio), longest) for side in (width, height)]
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)  # which drops a single channel
    labels: dict[str, Any] = {"img": resized.reshape(*resized.shape[:2], -1)}
    where = letterbox.get_params(labels)
    across, down = where["new_unpad"]
    canvas: Picture = letterbox.apply_image(labels, where)["img"]
    return canvas, ((down / height, across / width), (where["left"], where["top"]))


def _boxes(rows: torch.Tensor, seen: torch.Size, shape: tuple[int, ...], ratio_pad: RatioPad) -> Boxes:
    boxes = ops.scale_boxes(seen, rows[:, :4], shape, ratio_pad=ratio_pad).numpy()
    return boxes, rows[:, 4].numpy(), rows[:, 5].numpy().astype(np.int16)
