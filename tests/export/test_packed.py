from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quantized_detectors import CONFIGS, NAMES, Trained, detector, thin, write
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.export import packed
from yolo_qreg.export.packed import HEADER, to_packed, unpack
from yolo_qreg.export.plain import to_plain
from yolo_qreg.host import checkpoint
from yolo_qreg.host.compat import is_before
from yolo_qreg.patch import bake, quantized_layers
from yolo_qreg.quant.registry import FLOAT_BITS

EXPECTED_MB = {2: 0.75, 8: 2.62}
"""Packed sizes of YOLOv5n with 20 classes, file header included."""


def state(path: Path) -> dict[str, Tensor]:
    """Return the state dict of the module in a .pt file."""
    tensors: dict[str, Tensor] = torch.load(path, weights_only=False)["model"].state_dict()
    return tensors


def assert_same(ours: Path, theirs: Path) -> None:
    """Check that two .pt files hold the same tensors, bit for bit and in the same order."""
    a, b = state(ours), state(theirs)
    assert list(a) == list(b)
    assert all(a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("fp32", [False, True])
def test_unpacking_gives_the_plain_export(each: Trained, tmp_path: Path, fp32: bool) -> None:
    """Every tensor of unpack(to_packed(x)) equals that of to_plain(x), and so do names, stride, task and settings."""
    plain = to_plain(each.path, tmp_path / "plain.pt", fp32=fp32)
    back = unpack(to_packed(each.path, tmp_path / "packed.safetensors", fp32=fp32), tmp_path / "back.pt")
    assert_same(back, plain)
    ours, theirs = (torch.load(path, weights_only=False) for path in (back, plain))
    for key in ("train_args", "epoch", "version", "date", "train_results"):
        assert ours[key] == theirs[key]
    for attribute in ("yaml", "names", "nc", "task", "args", "save", "inplace"):
        assert getattr(ours["model"], attribute, 3) == getattr(theirs["model"], attribute, 3)
    assert ours["model"].stride.tolist() == theirs["model"].stride.tolist() == [4, 8]
    assert checkpoint.state_of(ours, back).health == checkpoint.state_of(theirs, plain).health


def test_codes_and_scales_are_those_of_training(each: Trained, tmp_path: Path) -> None:
    """A packed file holds every code and scale of the quantized model, whatever its width."""
    held = packed.read(to_packed(each.path, tmp_path / "x.safetensors")).weights
    layers = {n: m for n, m in quantized_layers(each.model).items() if m.quantizer.bits != FLOAT_BITS}
    assert held.coded.keys() == layers.keys()
    for name, layer in layers.items():
        assert torch.equal(held.coded[name].codes, layer.quantizer.codes(layer.weight.detach()))
        assert torch.equal(held.coded[name].scale, layer.quantizer.scale(layer.weight.detach()))


def test_packing_a_plain_export_gives_the_same_bytes(each: Trained, tmp_path: Path) -> None:
    """Neither dropping the latents nor rounding to fp16 loses a code; nor does unpacking."""
    direct = to_packed(each.path, tmp_path / "direct.safetensors")
    by_export = to_packed(to_plain(each.path, tmp_path / "plain.pt"), tmp_path / "export.safetensors")
    again = to_packed(unpack(direct, tmp_path / "back.pt"), tmp_path / "again.safetensors")
    assert direct.read_bytes() == by_export.read_bytes()
    assert again.read_bytes() == direct.read_bytes()


@pytest.mark.parametrize("bits", EXPECTED_MB)
def test_size_of_yolov5n(tmp_path: Path, bits: int) -> None:
    """At the paper's 20 classes the file has the size that its bits say, within 3%."""
    config = QuantConfig(bits=bits)
    source = write(
        tmp_path / "best.pt", detector(config, "yolov5n.yaml", names=[f"class {i}" for i in range(20)]), config
    )
    size = to_packed(source.path).stat().st_size / 1e6
    assert size == pytest.approx(EXPECTED_MB[bits], rel=0.03)


@pytest.mark.parametrize(("yaml", "width"), [("yolov8n.yaml", 0.08), ("yolo26n.yaml", 0.125)])
def test_other_detectors_of_the_host(tmp_path: Path, yaml: str, width: float) -> None:
    """Heads with depthwise convolutions, and heads without NMS, come back as well."""
    config = QuantConfig(method="lsq", bits=5)
    model = detector(config, thin(yaml, width))
    if hasattr(model.model[-1], "one2one_cv2"):
        model.end2end = True
    source = write(tmp_path / "best.pt", model, config)
    back = unpack(to_packed(source.path), tmp_path / "back.pt")
    assert_same(back, to_plain(source.path, tmp_path / "plain.pt"))
    image = torch.rand(1, 3, 64, 64)
    ours, theirs = (checkpoint.load(path)[0] for path in (back, tmp_path / "plain.pt"))
    assert ours.end2end == theirs.end2end == (yaml == "yolo26n.yaml")
    assert torch.equal(ours(image)[0], theirs(image)[0])


@pytest.mark.skipif(is_before("8.4.175"), reason="the host gives the branch the width of the new classes")
def test_a_head_that_kept_the_width_of_its_pretraining(tmp_path: Path) -> None:
    """Fine-tuned from 80 classes, a model of 3 keeps a class branch of 80 channels, which its YAML does not tell."""
    config = QuantConfig(bits=4)
    source = write(tmp_path / "best.pt", detector(config, pretrained_classes=80), config)
    width = torch.load(source.path, weights_only=False)["model"].model[-1].cv3[0][-1].in_channels
    assert width == 80
    assert_same(unpack(to_packed(source.path), tmp_path / "back.pt"), to_plain(source.path, tmp_path / "plain.pt"))


def test_plain_ultralytics_loads_both_and_predicts_alike(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Restricted loading accepts them where this package cannot be imported, and outputs agree within 1e-4."""
    files = []
    for name in ("dorefa-8bit", "lsq-2bit"):
        source = trained(name)
        files.append(to_plain(source.path, tmp_path / f"{name}-plain.pt", fp32=True))
        files.append(
            unpack(to_packed(source.path, tmp_path / f"{name}.safetensors", fp32=True), tmp_path / f"{name}.pt")
        )
    script = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "yolo_qreg":
            raise ImportError("yolo_qreg is blocked")
sys.meta_path.insert(0, Block())
import numpy as np, torch
from ultralytics import YOLO
from ultralytics.utils import SAFE_LOAD
assert SAFE_LOAD
torch.set_num_threads(1)
out, *files = sys.argv[1:]
images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
answers = {}
for index, file in enumerate(files):
    yolo = YOLO(file)
    assert yolo.names == {0: "cat", 1: "dog", 2: "person"} and yolo.task == "detect"
    with torch.no_grad():
        answers[f"plain{index}"] = yolo.model.eval()(images)[0].numpy()
        answers[f"fused{index}"] = yolo.model.fuse(verbose=False)(images)[0].numpy()
np.savez(out, **answers)
"""
    env = {**os.environ, "ULTRALYTICS_SAFE_LOAD": "1", "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(tmp_path)}
    answers = tmp_path / "answers.npz"
    subprocess.run([sys.executable, "-c", script, str(answers), *map(str, files)], env=env, cwd=tmp_path, check=True)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with np.load(answers) as found, torch.no_grad():
        for index, name in enumerate(n for n in ("dorefa-8bit", "lsq-2bit") for _ in range(2)):
            expected = trained(name).model(images)[0].numpy()
            spread = np.ptp(expected)
            for kind in ("plain", "fused"):
                assert np.abs(found[f"{kind}{index}"] - expected).max() <= 1e-4 * spread


def test_names_of_files(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """By default files land beside their source; the source is never written to."""
    path = write(tmp_path / "best.pt", trained("lsq-2bit").model, CONFIGS["lsq-2bit"]).path
    file = to_packed(path)
    assert file == tmp_path / "best-lsq-2bit.safetensors"
    assert to_packed(path, fp32=True) == tmp_path / "best-lsq-2bit-float32.safetensors"
    assert unpack(file) == tmp_path / "best-lsq-2bit.pt"
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        to_packed(path, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"is packed; 'yolo-qreg unpack .*\.safetensors' makes a \.pt file of it"):
        to_packed(file)


def test_models_that_are_not_what_their_yaml_builds(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """A model edited by hand could not be rebuilt: packing says so, plain export works."""
    source = trained("twin")
    ckpt = torch.load(source.path, weights_only=False)
    ckpt["model"].yaml["backbone"][2][3] = [256]
    torch.save(ckpt, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=r"not what its YAML builds \(tensor .* is .*, not .*\); export it --to pt"):
        to_packed(tmp_path / "odd.pt")
    assert to_plain(tmp_path / "odd.pt", tmp_path / "out.pt").is_file()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed file of a thin YOLOv5, not to be changed."""
    folder, config = tmp_path_factory.mktemp("good"), CONFIGS["lsq-2bit"]
    return to_packed(write(folder / "best.pt", detector(config, thin()), config).path, folder / "good.safetensors")


@pytest.fixture
def tampered(good: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a packed file after `change(header, tensors)`."""

    def make(change: Callable[[dict[str, Any], dict[str, Tensor]], object]) -> Path:
        with safe_open(good, framework="pt") as held:
            header = json.loads(held.metadata()[HEADER])
            tensors = {key: held.get_tensor(key) for key in held.keys()}  # noqa: SIM118  # not a dict
        change(header, tensors)
        save_file(tensors, tmp_path / "bad.safetensors", metadata={HEADER: json.dumps(header)})
        return tmp_path / "bad.safetensors"

    return make


CONV = "model.0.conv"
TAMPERED: dict[str, tuple[Callable[[dict[str, Any], dict[str, Tensor]], object], str]] = {
    "newer": (lambda h, t: h.update(format=2), "packed format 2, this release reads 1; update"),
    "no model": (lambda h, t: h.pop("model"), "damaged .KeyError: 'model'"),
    "header is a list": (lambda h, t: h.update(layers=[]), "damaged"),
    "unknown method": (lambda h, t: h["config"].update(method="magic"), "method='magic' is unknown"),
    "bits": (lambda h, t: h["layers"].update({CONV: [9, [8, 3, 6, 6]]}), "has 9 bits"),
    "shape": (lambda h, t: h["layers"][CONV].__setitem__(1, [8, -3, 6, 6]), "has shape"),
    "other shape": (lambda h, t: h["layers"][CONV].__setitem__(1, [8, 6, 3, 6]), "is .8, 6, 3, 6. .*, not"),
    "huge shape": (lambda h, t: h["layers"][CONV].__setitem__(1, [2**40, 2**40, 6, 6]), "take .* bytes, not"),
    "short codes": (lambda h, t: t.update({f"{CONV}.weight.codes": torch.zeros(3, dtype=torch.uint8)}), "not .3."),
    "float codes": (lambda h, t: t.update({f"{CONV}.weight.codes": torch.zeros(3)}), "codes of .* are torch.float32"),
    "scale shape": (lambda h, t: t.update({f"{CONV}.weight.scale": torch.ones(3)}), "scale of .* is torch.float32 .3."),
    "scale nan": (lambda h, t: t[f"{CONV}.weight.scale"].fill_(float("nan")), "negative or not finite"),
    "missing tensor": (lambda h, t: t.pop("model.0.bn.weight"), r"tensor model\.0\.bn\.weight is missing"),
    "extra tensor": (lambda h, t: t.update(extra=torch.zeros(1).half()), "tensor extra is unknown"),
    "dtype": (lambda h, t: t.update({"model.0.bn.weight": torch.zeros(8)}), "float32, the header says torch.float16"),
    "names": (lambda h, t: h["model"].update(names=["cat"]), "1 class names for nc=3"),
    "activation": (
        lambda h, t: h["model"]["yaml"].update(activation="__import__('os').system('touch pwned')"),
        "is not a layer of torch.nn with plain arguments",
    ),
    "function": (lambda h, t: h["model"]["yaml"]["head"][0].__setitem__(2, "yaml_model_load"), "is not a layer of"),
    "download": (lambda h, t: h["model"]["yaml"]["head"][0].__setitem__(2, "TorchVision"), "is not a layer of"),
    "repeats": (lambda h, t: h["model"]["yaml"]["head"][0].__setitem__(1, 10**9), "repeated 1000000000 times"),
    "depth": (lambda h, t: h["model"]["yaml"].update(scales=None, depth_multiple=1e7), "its YAML describes .* modules"),
    "scales": (
        lambda h, t: h["model"]["yaml"].update(scales={"n": [1e6, 0.25, 1024]}),
        "its YAML describes .* modules",
    ),
    "many rows": (
        lambda h, t: h["model"]["yaml"].update(backbone=h["model"]["yaml"]["backbone"] * 2000),
        "its YAML describes .* modules for .* tensors",
    ),
    "large argument": (
        lambda h, t: h["model"]["yaml"]["head"][0].__setitem__(3, [10**9]),
        "an argument of layer .* is larger than",
    ),
    "huge maps": (
        lambda h, t: h["model"]["yaml"]["head"][1].__setitem__(3, [None, 3000, "nearest"]),
        "Upsample makes a feature map of .* values",
    ),
    "format as text": (lambda h, t: h.update(format="1"), "packed format '1', this release reads 1"),
    "no layers": (lambda h, t: h["model"]["yaml"].update(backbone=None, head=None), "has no layers"),
    "not rows": (lambda h, t: h["model"]["yaml"].update(head=[["Conv"]]), "is not .from, repeats"),
    "does not build": (lambda h, t: h["model"]["yaml"]["head"][0].__setitem__(0, 99), "its YAML does not build"),
    "class width": (lambda h, t: h["model"].update(class_width=64), "cv3"),
    "stride": (lambda h, t: h["model"].update(stride=[4, 8, 16]), "gives strides .8.0, 16.0, 32.0., not .4.0"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_packed_file_is_checked_before_it_is_built(tampered: Callable[..., Path], tmp_path: Path, case: str) -> None:
    """Whatever is wrong with header or tensors is one line that names the file, and nothing is written or run."""
    change, message = TAMPERED[case]
    with pytest.raises(InputError, match=message) as caught:
        unpack(tampered(change), tmp_path / "out.pt")
    assert "bad.safetensors" in str(caught.value)
    assert not (tmp_path / "out.pt").exists()


def test_settings_of_a_packed_file_are_plain_values_of_the_host(tampered: Callable[..., Path], tmp_path: Path) -> None:
    """Neither an unknown key nor a web address as data set gets through."""
    bad = tampered(lambda h, t: h.update(args={"data": "https://example.com/x.yaml", "evil": 1, "imgsz": [1]}))
    args = torch.load(unpack(bad, tmp_path / "out.pt"), weights_only=False)["train_args"]
    assert args["data"] == "x.yaml"
    assert "evil" not in args
    assert args["imgsz"] == 640


def test_files_that_are_not_packed_weights(trained: Callable[[str], Trained], good: Path, tmp_path: Path) -> None:
    """Missing, other and truncated files are told apart."""
    cut, foreign = tmp_path / "cut.safetensors", tmp_path / "foreign.safetensors"
    cut.write_bytes(good.read_bytes()[:-100])
    save_file({"a": torch.zeros(1)}, foreign)
    for file, message in {
        tmp_path / "none.safetensors": "is not a file; name a packed one",
        tmp_path: "is not a file; name a packed one",
        trained("lsq-2bit").path: "is not in safetensors format; yolo-qreg export --to packed",
        cut: "cut.safetensors is damaged",
        foreign: "was not packed by yolo-qreg",
    }.items():
        with pytest.raises(InputError, match=message):
            unpack(file, tmp_path / "out.pt")


def test_the_twin_is_packed_as_floating_point(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Nothing is quantized, so no codes are stored, and the latent weights are kept at the precision asked for."""
    source = trained("twin")
    held = packed.read(to_packed(source.path, tmp_path / "x.safetensors", fp32=True))
    assert not held.weights.coded
    assert set(held.weights.bits.values()) == {FLOAT_BITS}
    assert held.spec.names == list(NAMES)
    expected = bake(deepcopy(source.model)).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in held.weights.others.items())
