"""The exports that benchmarks/deployment.py compares: made once into a folder, and run by one thread.

Letters: C channels, H, W height and width; O output channels, I input channels, K kernel side.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray

from yolo_qreg.api import export_weights
from yolo_qreg.config import Calibration
from yolo_qreg.export import graph, ir
from yolo_qreg.export.folding import OPSET
from yolo_qreg.export.runtimes import Kernels, ort_kernels, run_openvino
from yolo_qreg.host import checkpoint, exporting
from yolo_qreg.host.datasets import resolve_data
from yolo_qreg.host.quiet import quiet

Picture = NDArray[np.float32]
Integers = NDArray[np.int8]


@dataclass(frozen=True)
class Job:
    """One export to make.

    Attributes:
        source: Weights.
        data: Data set, as `yolo-qreg train --data` takes it.
        images: Training pictures to calibrate on.
        imgsz: Sides of its pictures.
        folder: Takes what is made.
        share: Of its validation pictures on which the host calibrates; it has no other split for that.
        makes: Whether what is not there is made.
    """

    source: Path
    data: str
    images: int
    imgsz: int
    folder: Path
    share: float
    makes: bool = True

    @property
    def calibration(self) -> Calibration:
        """On training pictures."""
        return Calibration(data=self.data, images=self.images)

    def float_onnx(self) -> Path:
        """Return the float model as Ultralytics exports it."""
        return self._made("float.onnx", self._float_onnx)

    def packed(self) -> Path:
        """Return the trained integers at their own width, activations in float."""
        return self._made("packed.onnx", lambda out: export_weights(self.source, "onnx", out, imgsz=self.imgsz))

    def int8_openvino(self) -> Path:
        """Return the trained integers with int8 activations, for OpenVINO."""
        how: dict[str, Any] = {"imgsz": self.imgsz, "calibration": self.calibration}
        return self._made(f"int8{ir.FOLDER}", lambda out: export_weights(self.source, "openvino", out, **how))

    def int8_ort(self) -> Path:
        """Return the trained integers with int8 activations, for ONNX Runtime."""
        how: dict[str, Any] = {"imgsz": self.imgsz, "calibration": self.calibration, "activations": 8, "runtime": "ort"}
        return self._made("int8-ort.onnx", lambda out: export_weights(self.source, "onnx", out, **how))

    def host_onnx(self) -> Path:
        """Return what `yolo export format=onnx quantize=8` makes."""
        return self._made("host.onnx", lambda out: self._host("onnx", out))

    def host_openvino(self) -> Path:
        """Return what `yolo export format=openvino quantize=8` makes, which is NNCF's work."""
        return self._made(f"host{ir.FOLDER}", lambda out: self._host("openvino", out))

    def nncf(self) -> Path:
        """Return what `nncf.quantize` makes of the float model with its defaults, on our training pictures."""
        return self._made(f"nncf{ir.FOLDER}", self._nncf)

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return a file or folder, made on first use.

        Raises:
            FileNotFoundError: It is not there, and nothing is to be made.
        """
        out = self.folder / name
        if not out.exists():
            if not self.makes:
                raise FileNotFoundError(out)
            self.folder.mkdir(parents=True, exist_ok=True)
            make(out)
        return out

    def _float_onnx(self, out: Path) -> None:
        source = Path(shutil.copy(self.source, out.with_suffix(".pt")))
        shutil.move(exporting.float_onnx(source, imgsz=self.imgsz, opset=OPSET, dynamic=False), out)

    def _host(self, kind: str, out: Path) -> None:
        from ultralytics import YOLO

        place = self.folder / f"host-{kind}"
        place.mkdir(exist_ok=True)
        source = Path(shutil.copy(self.source, place / "model.pt"))
        with quiet():
            written = YOLO(str(source)).export(
                format=kind,
                quantize=8,
                data=str(resolve_data(self.data)),
                imgsz=self.imgsz,
                fraction=self.share,
                device="cpu",
                verbose=False,
            )
        shutil.move(str(written), out)

    def _nncf(self, out: Path) -> None:
        import nncf
        import openvino

        model: Any = checkpoint.load(self.source)[0]
        channels = int(model.yaml.get("channels", 3))
        pictures = exporting.training_pictures(resolve_data(self.data), self.images, self.imgsz, channels)
        head = f"/model.{len(model.model) - 1}/"
        float_model = openvino.convert_model(str(self.float_onnx()))
        names = [op.get_friendly_name() for op in float_model.get_ordered_ops()]
        decoding = [n for n in names if n.startswith(head) and "/cv2." not in n and "/cv3." not in n]
        found = nncf.quantize(
            float_model,
            nncf.Dataset(pictures),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(names=decoding, validate=False),
        )
        out.mkdir()
        openvino.save_model(found, str(out / "nncf.xml"), compress_to_fp16=False)
        host = {key: text for key, text in graph.metadata_of(self.float_onnx()).items() if key != graph.NOTE}
        plain = {key: ast.literal_eval(text) if key in ir.LITERALS else text for key, text in host.items()}
        (out / ir.METADATA).write_text(yaml.safe_dump(plain), "utf-8")


def size_of(path: Path) -> float:
    """Return the size of a file or folder in MB, notes left out."""
    files = [p for p in path.rglob("*") if p.is_file() and p.suffix != ".json"] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def runner(path: Path, kind: str, picture: Picture) -> Callable[[], object]:
    """Return what runs a model once in one thread.

    Args:
        path: Of the model.
        kind: "torch", "ort", "f32" (OpenVINO in float32 where it is not int8) or "default" (OpenVINO's own choice).
        picture: [1, C, H, W].
    """
    if kind == "torch":
        return _torch(path, picture)
    if kind == "ort":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"images": picture})
    import openvino

    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if kind == "f32":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    core = openvino.Core()
    request = core.compile_model(core.read_model(str(file_of(path))), "CPU", settings).create_infer_request()
    return lambda: request.infer({0: picture}, share_inputs=True)


def kernels(path: Path, kind: str, picture: Picture) -> Kernels | None:
    """Return how many convolutions run in int8; None in torch."""
    if kind == "torch":
        return None
    return ort_kernels(path) if kind == "ort" else run_openvino(file_of(path), [picture])[1]


def file_of(path: Path) -> Path:
    """Return the file that OpenVINO reads."""
    return ir.graph_of(path) if path.is_dir() else path


def integers_kept(path: Path, trained: Path) -> float | None:
    """Return the share of a model's trained integers that another export of it stores; None where it stores floats.

    Args:
        path: Somebody else's int8 model, an ONNX file or an OpenVINO folder.
        trained: Our int8 ONNX model of the same weights.
    """
    stored = _openvino_integers(path) if path.is_dir() else _onnx_integers(path)
    kept = every = 0
    for layer, codes in graph.read(trained).codes.items():
        if layer not in stored:
            return None
        kept += int(np.sum(stored[layer] == codes))
        every += codes.size
    return kept / every


def _onnx_integers(path: Path) -> dict[str, Integers]:
    """Return the int8 weights by layer, [O, I, K, K], as ONNX Runtime's quantizer names them."""
    ending = ".weight_quantized"
    tensors = {tensor.name: tensor for tensor in onnx.load(str(path)).graph.initializer}
    return {
        name.removesuffix(ending): onnx.numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if name.endswith(ending)
    }


def _openvino_integers(path: Path) -> dict[str, Integers]:
    """Return the int8 weights by layer, [O, I, K, K]: constants that convolutions read as NNCF leaves them."""
    import openvino

    found = {}
    for node in openvino.Core().read_model(str(file_of(path))).get_ordered_ops():
        if node.get_type_name() == "Convolution":
            constant = node.input_value(1).get_node()
            while constant.get_type_name() in ("Multiply", "Convert"):
                constant = constant.input_value(0).get_node()
            if constant.get_element_type() == openvino.Type.i8:
                found[_layer(node.get_friendly_name())] = constant.data.copy()
    return found


def _layer(name: str) -> str:
    """Return the module of a convolution's node, named by torch's tracer or by its ONNX exporter.

    >>> _layer("__module.model.2.m.0.cv1.conv/aten::_convolution/Convolution")
    'model.2.m.0.cv1.conv'
    >>> _layer("/model.2/m/m.0/cv1/conv/Conv/WithoutBiases")
    'model.2.m.0.cv1.conv'
    """
    if not name.startswith("/"):
        return name.partition("/")[0].removeprefix("__module.")
    parts: list[str] = []
    for part in name[1 : name.index("/Conv")].split("/"):
        if parts and part.startswith(f"{parts[-1]}."):  # lists repeat their own name
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def _torch(path: Path, picture: Picture) -> Callable[[], object]:
    import torch

    torch.set_num_threads(1)
    model: Any = checkpoint.load(path)[0].float().eval()
    model.fuse(verbose=False)
    shown = torch.from_numpy(picture)

    def once() -> None:
        with torch.inference_mode():
            model(shown)

    return once
