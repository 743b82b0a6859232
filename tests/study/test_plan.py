"""What a study consists of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from corruptions import CORRUPTIONS
from yolo_qreg.errors import InputError
from yolo_qreg.study.plan import Evaluation, Study, load_study, presets, study_from


def test_the_grid_has_a_twin_for_each_seed() -> None:
    """FP32 first, then methods by falling width; 32 bits are not trained twice."""
    study = Study(methods=("dorefa", "lsq"), bits=(2, 32, 8), seeds=(1, 0))
    assert [run.name for run in study.runs()] == [
        f"{name}-seed{seed}"
        for seed in (1, 0)
        for name in ("fp32", "dorefa-8bit", "dorefa-2bit", "lsq-8bit", "lsq-2bit")
    ]


def test_a_method_goes_without_widths_that_others_have() -> None:
    """A width that no method has, and a method without a width, are mistakes as before."""
    study = Study(methods=("lsq", "binaryconnect", "dorefa"), bits=(8, 1))
    names = ["fp32", "lsq-8bit", "binaryconnect-1bit", "dorefa-8bit", "dorefa-1bit"]
    assert [run.quant.label for run in study.runs()] == names
    for methods, bits in ((("lsq",), (8, 1)), (("lsq", "binaryconnect"), (8, 4)), (("lsq", "dorefa"), (1,))):
        with pytest.raises(InputError, match=r"is out of range for (lsq|binaryconnect)"):
            Study(methods=methods, bits=bits)


def test_settings_of_a_quantizer_are_its_own() -> None:
    """LSQ's do not reach DoReFa, which has no such thing."""
    runs = Study(methods=("dorefa", "lsq"), bits=(4,), quant={"lsq": {"per_channel": True}}).runs()
    assert [run.quant.per_channel for run in runs] == [False, False, True]


def test_batchnorm_of_all_models_is_treated_alike() -> None:
    """The twin's too, at every width: else new statistics would pass for an effect of quantization."""
    for images in (256, 9, 0):
        runs = Study(bits=(8, 2), bn_images=images).runs()
        assert {run.quant.bn_images for run in runs} == {images} and runs[0].quant.bits == 32
    own = Study(bits=(8,), quant={"lsq": {"bn_images": 7}}).runs()
    assert [run.quant.bn_images for run in own] == [256, 256, 7]


@pytest.mark.parametrize("name", ["demo", "paper", "quick"])
def test_presets_are_studies(name: str) -> None:
    """Those that the issue of a paper asks for; the paper's has its grid, severities and corruptions."""
    assert name in presets()
    study = load_study(name)
    assert study.runs()[0].name == "fp32-seed0"
    if name == "paper":
        assert (study.data, study.model, study.methods, study.bits) == (
            "voc", "yolov5n.yaml", ("dorefa", "lsq"), (8, 4, 2)
        )  # fmt: skip
        assert study.evaluation.corruptions == tuple(CORRUPTIONS)
        assert study.evaluation.severities == (1, 2, 3, 4, 5)


def test_files_and_mappings_are_the_same_study(tmp_path: Path) -> None:
    """What is written is read again as it was."""
    study = Study(data="shapes", bits=(4,), train={"epochs": 3}, evaluation=Evaluation(severities=(1,), limit=9))
    assert study_from(study.to_dict()) == study
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(study.to_dict()))
    assert load_study(str(path)) == study


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bit": [8]}, "study key 'bit' is unknown; did you mean 'bits'?"),
        ({"bits": [9]}, "bits=9 is out of range"),
        ({"bits": []}, "bits is empty"),
        ({"methods": ["pact"]}, "method='pact' is unknown"),
        ({"bn_images": -1}, "bn_images=-1 must be a number of images, 0 (off) or more"),
        ({"seeds": [-1]}, "-1 is not a whole number of 0 or more"),
        ({"train": 5}, "train: 5 is not a mapping"),
        ({"quant": {"per_channel": True}}, "'per_channel' is not one of methods"),
        ({"quant": {"lsq": {"widths": {"a": 2}}}}, "widths is of single trainings; drop it, and use the train command"),
        ({"evaluation": {"severities": [6]}}, "severity 6 is not one of 1, 2, 3, 4, 5"),
        ({"evaluation": {"corruptions": ["rain"]}}, "'rain'"),
        ({"evaluation": {"severities": []}}, "severities is empty"),
        ({"evaluation": {"severities": [True]}}, "severity True is not one of"),
        ({"evaluation": {"limit": 0}}, "limit=0 is not a whole number of 1 or more"),
        ({"evaluation": {"limit": "all"}}, "limit='all' is not a whole number"),
        ({"evaluation": {"batch": 0}}, "batch=0 is not"),
        ({"evaluation": {"resamples": None}}, "resamples=None is not"),
        ({"evaluation": {"imgsz": 100}}, "imgsz=100 is no multiple of 32"),
        ({"train": {"epochs": "x"}}, "epochs='x' is not a whole number"),
        ({"evaluation": {"severity": [1]}}, "did you mean 'severities'?"),
    ],
)
def test_wrong_values_are_named(values: dict[str, object], message: str) -> None:
    """One line each."""
    with pytest.raises(InputError) as caught:
        study_from(values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "is no YAML") for text in ("a: [", "\xff\xfe\0", "[" * 9999, "a: 2026-99-99")),
        ("5", "holds no settings"),
    ],
)
def test_files_that_are_no_study(text: str, message: str, tmp_path: Path) -> None:
    """They are named, as is what does not exist."""
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=message):
        load_study(str(path))
    with pytest.raises(InputError, match="neither a file nor a preset; there are demo, paper, quick"):
        load_study("nowhere")
