"""A method of another package, found by its entry point, that uses every hook of a training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from short_runs import TINY, Run, assert_same
from torch import nn

from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.host import checkpoint, hooks
from yolo_qreg.patch import bake, quantize_convs, quantized_layers
from yolo_qreg.quant.registry import METHODS, Methods

SPEC = """
from yolo_qreg import MethodSpec, Option

HALVES = MethodSpec(
    "halves.quantizer:Halves", bits=range(2, 5), title="Halves",
    options={"limit": Option(default=0.5, most=9.0), "noise": Option(default="on", choices=("on", "off"))},
)
"""
QUANTIZER = """
import torch
from yolo_qreg import WeightQuantizer

class Halves(WeightQuantizer):
    weight_decay = False

    def __init__(self, bits, limit, noise):
        super().__init__(bits)
        self.limit, self.noise = limit, noise == "on"
        self.told = []

    @classmethod
    def for_weight(cls, weight, bits, *, per_channel, init, limit, noise):
        return cls(bits, limit, noise)

    def forward(self, weight):
        quantized = self.values(self.codes(weight), self.scale(weight), self.bits)
        if self.training and self.noise:
            quantized = quantized + 0.01 * torch.randn_like(weight)
        return weight + (quantized - weight).detach() if self.training else quantized

    def codes(self, weight):
        return (weight * 50).round().clamp(-1, 1).add(1).to(torch.uint8)

    def scale(self, weight):
        return weight.new_tensor(0.02)

    @staticmethod
    def values(codes, scale, bits):
        return scale * (codes.float() - 1)

    def weight_lr_factor(self, weight):
        return 0.5 if weight.shape[-1] == 1 else 1.0

    def begin_epoch(self, weight, progress):
        self.told.append((progress, weight.requires_grad))

    def after_step(self, weight):
        weight.clamp_(-self.limit, self.limit)

    def penalty(self, weight):
        return 100 * weight.square().sum()
"""
CONFIG = {"method": "halves", "bits": 3, "bn_images": 0, "options": {"limit": 0.02}}


def install(folder: Path, entry: str = "halves = halves:HALVES") -> None:
    """Put a package with an entry point where it can be imported from."""
    (folder / "halves").mkdir(parents=True)
    (folder / "halves" / "__init__.py").write_text(SPEC)
    (folder / "halves" / "quantizer.py").write_text(QUANTIZER)
    facts = folder / "halves-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: halves\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[yolo_qreg.methods]\n{entry}\n")


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install the package, and look for methods anew."""
    folder = tmp_path_factory.mktemp("packages")
    install(folder)
    known = dict(METHODS)  # looks for methods, so before there is another
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(METHODS, "_known", known)
        patch.setattr(METHODS, "_looked", False)
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "halves"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def run(halves: None, train: Callable[..., Run]) -> Run:
    """Two epochs of it, the first one kept."""
    return train(QuantConfig(**CONFIG), model=str(TINY), save_period=1, weight_decay=0.1)


def test_a_method_of_another_package_is_an_option_of_the_command(tmp_path: Path) -> None:
    """In a fresh process, without a call: its options are checked, and wrong ones are one line."""
    install(tmp_path)
    code = "from yolo_qreg.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    words = ["train", "--method", "halves", "--bits", "3", "--option", "limit=10", "--data", "shapes"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith("options: limit='10' is not a number of 0 to 9; correct it")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("halves = pathlib:MISSING", r"method 'halves' \(pathlib:MISSING\) does not load: AttributeError"),
        ("halves = pathlib:Path", r"pathlib:Path is no MethodSpec; correct the entry point"),
        ("lsq = pathlib:Path", r"method 'lsq' of pathlib:Path exists already; remove that package"),
    ],
)
def test_a_damaged_entry_point_is_one_line(
    entry: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods of this package are found without it; looking for any other says which entry point is wrong."""
    install(tmp_path, entry)
    monkeypatch.syspath_prepend(tmp_path)
    methods = Methods({"lsq": METHODS["lsq"]})
    assert methods["lsq"].title == "LSQ"
    with pytest.raises(InputError, match=said):
        methods.get("halves")


def test_options_are_checked_and_named(halves: None) -> None:
    """They are filled in, stand in the label where they differ from the default, and survive a round trip."""
    config = QuantConfig(**CONFIG)
    assert config.options == {"limit": 0.02, "noise": "on"}
    assert config.label == "halves-3bit-limit0.02"
    assert QuantConfig(method="halves", bits=3, options={"noise": "off"}).label == "halves-3bit-off"
    assert QuantConfig.from_dict(config.to_dict()) == config
    with pytest.raises(InputError, match=r"options: 'limits' is not one that halves has \(limit, noise\)"):
        QuantConfig(method="halves", bits=3, options={"limits": 1})
    with pytest.raises(InputError, match=r"options: noise='maybe' is unknown; choose one of on, off"):
        QuantConfig(method="halves", bits=3, options={"noise": "maybe"})
    with pytest.raises(InputError, match=r"options: 'mode' is not one that dorefa has \(none\)"):
        QuantConfig(method="dorefa", bits=3, options={"mode": 1})


def test_weights_have_the_rate_and_decay_of_their_method(run: Run) -> None:
    """Weights of 1x1 kernels train at half the rate; none of the method's weights decays, and each is in one group."""
    groups = run.trainer.optimizer.param_groups
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in run.trainer.model.parameters())
    found = {id(p): group for group in groups for p in group["params"]}
    other = next(group["initial_lr"] for group in groups if group["param_group"] == "bn")
    for layer in quantized_layers(run.trainer.model).values():
        group = found[id(layer.weight)]
        assert group["weight_decay"] == 0
        assert group["initial_lr"] == other * (0.5 if layer.kernel_size == (1, 1) else 1)
    assert any(group["weight_decay"] for group in groups)  # that of the head's own convolutions


def test_what_follows_a_step_comes_before_the_moving_average(run: Run) -> None:
    """All weights are clipped, and so is their average but for what is left of the first, unclipped ones."""
    average = quantized_layers(run.trainer.ema.ema)
    for name, layer in quantized_layers(run.trainer.model).items():
        assert float(layer.weight.detach().abs().max()) <= 0.02
        assert float(average[name].weight.detach().abs().max()) <= 0.021


def test_epochs_are_told(run: Run) -> None:
    """At the beginning of each, with the share of the training behind, and without gradients."""
    for layer in quantized_layers(run.trainer.model).values():
        assert layer.quantizer.told == [(0.0, False), (0.5, False)]


def test_a_penalty_is_part_of_the_loss_in_training_alone(run: Run) -> None:
    """Its gradient is that of the penalty for each picture; without gradients the loss is the host's."""
    model = run.trainer.model
    assert isinstance(model.criterion, hooks._Penalized)
    assert not hasattr(run.trainer.ema.ema, "criterion")
    model.eval()
    batch = run.trainer.preprocess_batch(next(iter(run.trainer.train_loader)))
    layers = quantized_layers(model).values()
    wanted = 100 * len(batch["img"]) * sum(float(layer.weight.detach().square().sum()) for layer in layers)
    penalized = model.loss(batch)[0].sum()
    with torch.no_grad():
        plain = model.loss(batch)[0].sum()
    assert float(penalized.detach() - plain) == pytest.approx(wanted, rel=1e-4)
    assert callable(model.criterion.preprocess)  # what the host's loss has, this one has


def test_what_is_saved_has_no_noise(run: Run) -> None:
    """Baked weights, of the file and of a model in training mode, are the deterministic ones."""
    saved, _ = checkpoint.load(run.best)
    names = quantized_layers(run.trainer.model)
    values = {round(float(v), 4) for name in names for v in saved.get_submodule(name).weight.detach().unique()}
    assert values == {-0.02, 0.0, 0.02}
    model = nn.Sequential(nn.Conv2d(2, 2, 1))
    quantize_convs(model.train(), {"0": 3}, run.config)
    assert len(bake(model)[0].weight.unique()) <= 3


def test_noise_is_repeated_on_resuming(run: Run, data: Path, tmp_path: Path) -> None:
    """Resumed after the first epoch, the run ends with the bits of the uninterrupted one."""
    last = tmp_path / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes((run.folder / "weights" / "epoch0.pt").read_bytes())
    resumed = QATTrainer(overrides={"resume": str(last)})
    resumed.train()
    assert_same(resumed.model.state_dict(), run.trainer.model.state_dict())
    assert_same(resumed.ema.ema.state_dict(), run.trainer.ema.ema.state_dict())
