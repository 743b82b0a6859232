"""On a GPU: the same numbers as on the CPU, and trainings, evaluations and files that work as they do there.

Nothing here runs where torch sees no CUDA device. `pytest -rP` shows the times and peaks of memory that were measured.
"""

from __future__ import annotations

import csv
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import TINY, Run, overrides, python, snapshot
from torch import Tensor, nn

from yolo_qreg import EvalConfig, InputError, QATTrainer, QuantConfig, describe, evaluate, export_weights, unpack
from yolo_qreg.cli import main
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.evaluation.detections import Detections
from yolo_qreg.host import checkpoint
from yolo_qreg.patch import quantized_layers
from yolo_qreg.quant.base import WeightQuantizer
from yolo_qreg.quant.registry import METHODS, quantizer_class
from yolo_qreg.shipped import shipped

DEVICE = torch.device("cuda", 0)
NAMED = "0"
"""The same as the host names it."""
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
if torch.cuda.is_available():  # cuBLAS reads it once, before the first training sets it
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

CASES = {
    f"{method}-{bits}{'-channel' if per_channel else ''}{'-' + value if value else ''}": (
        QuantConfig(method=method, bits=bits, per_channel=per_channel, options=dict([(option, value)] if value else []))
    )
    for method, spec in METHODS.items()
    for bits, per_channel in product(spec.bits, (False, True) if spec.per_channel else (False,))
    for option, value in {
        "lsq": [("", ""), ("oscillations", "freeze")],
        "fixed": [("", ""), ("variant", "unet")],
    }.get(method, [("", "")])
}
TRAININGS = {
    "fp32": (QuantConfig(bits=32), "bf16"),
    "dorefa": (QuantConfig(bits=8), False),
    "dorefa-fp16": (QuantConfig(bits=2), True),
    "lsq-bf16": (QuantConfig(method="lsq", bits=4, activations=4), "bf16"),
    "lsq-fp16": (QuantConfig(method="lsq", bits=4, activations=8), True),
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data, few pictures of them."""
    return ensure_shapes(tmp_path_factory.mktemp("shapes"), train=16, val=48)


@pytest.fixture(scope="module")
def trained(train: Callable[..., Run], shapes: Path) -> Callable[[str], Run]:
    """Return two epochs on the GPU by name in `TRAININGS`, trained on first use; nothing of it may be changed."""
    made: dict[str, Run] = {}

    def get(name: str) -> Run:
        if name not in made:
            config, amp = TRAININGS[name]
            made[name] = train(config, data=str(shapes), device=NAMED, amp=amp, batch=8)
        return made[name]

    return get


def say(line: str) -> None:
    """Print a measured number, for `pytest -rP`."""
    print(line)  # noqa: T201  # that is what it is for


# ---------------------------------------------------------------------------------------------------- quantizers


def weights() -> dict[str, Tensor]:
    """Return weights, ordinary and not."""
    draws = torch.Generator().manual_seed(0)
    plain = torch.randn(64, 32, 3, 3, generator=draws)
    odd = 0.1 * torch.randn(4, 3, 2, 2, generator=draws)
    return {
        "ordinary": 0.05 * plain,
        "wide": 3 * plain[:8],
        "tiny": 1e-12 * odd,
        "zero": torch.zeros(4, 3, 2, 2),
        "a channel of zeros": torch.cat([torch.zeros(1, 3, 2, 2), odd[1:]]),
        "constant": torch.full((4, 3, 2, 2), 0.3),
    }


def gradients(quantizer: WeightQuantizer, weight: Tensor, grad: Tensor) -> list[Tensor]:
    """Return the quantized weight, and the gradients of the weight and what is learned, on the CPU."""
    leaf = weight.clone().requires_grad_(True)
    quantizer.zero_grad()
    value = quantizer(leaf)
    value.backward(grad)
    return [part.detach().cpu() for part in (value, leaf.grad, *(step.grad for step in quantizer.steps()))]


def close(ours: Tensor, theirs: Tensor, share: float = 1e-5) -> None:
    """Assert that tensors differ by at most a share of the largest value: their sums were made in another order."""
    largest = float(theirs.abs().max())
    assert torch.isfinite(ours).all()
    assert float((ours - theirs).abs().max()) <= share * largest + 1e-30


@pytest.mark.parametrize("case", CASES)
def test_methods_are_the_same_on_a_gpu(case: str) -> None:
    """Codes, values and gradients are those of the CPU; a code may be the next one where a weight is at a threshold.

    What the codes stand for has the bits of the CPU, so that files hold what was trained; only the scales that are
    means differ in the last ones.
    """
    config = CASES[case]
    draws = torch.Generator().manual_seed(1)
    for name, weight in weights().items():
        kind = quantizer_class(config.method)
        given: dict[str, Any] = {"per_channel": config.per_channel, "init": config.init, **config.options}
        cpu = kind.for_weight(weight, config.bits, **given)
        cpu.train(config.method == "dynamic-fixed")  # whose gradients are rounded then; others may draw
        gpu = deepcopy(cpu).to(DEVICE)
        moved, grad = weight.to(DEVICE), torch.randn(weight.shape, generator=draws)
        made = kind.for_weight(moved, config.bits, **given)
        assert {part.device for part in made.state_dict().values()} <= {DEVICE}
        for ours, theirs in zip(made.steps(), cpu.steps(), strict=True):
            torch.testing.assert_close(ours.cpu(), theirs, rtol=0.01, atol=0)
        (found, *ours), (wanted, *theirs) = gradients(gpu, moved, grad.to(DEVICE)), gradients(cpu, weight, grad)
        for one, other in zip(ours, theirs, strict=True):
            close(one, other, 1e-4)
        if not cpu.has_codes:
            close(found, wanted, 1e-6)
            continue
        codes, scale = gpu.codes(moved).cpu(), gpu.scale(moved).cpu()
        steps_apart = (codes.int() - cpu.codes(weight).int()).abs()
        assert int(steps_apart.max()) <= 1 and float(steps_apart.float().mean()) < 1e-3, name
        assert torch.equal(kind.values(codes, scale, config.bits), found), name
        close(found[steps_apart == 0], wanted[steps_apart == 0], 1e-6 if scale.any() else 0.0)


@pytest.mark.parametrize("case", [case for case, config in CASES.items() if config.has_codes])
def test_layers_together_are_those_one_by_one(case: str) -> None:
    """On the GPU, too, weights quantized at once have the bits of each by itself, and gradients but for rounding."""
    config = CASES[case]
    kind, draws = quantizer_class(config.method), torch.Generator().manual_seed(2)
    given: dict[str, Any] = {"per_channel": config.per_channel, "init": config.init, **config.options}
    leaves = [weight.to(DEVICE) for weight in weights().values()]
    quantizers = [kind.for_weight(weight, config.bits, **given) for weight in leaves]
    if quantizers[0].group() is None or type(quantizers[0]).together is WeightQuantizer.together:
        pytest.skip("quantized one by one")
    grads = [torch.randn(weight.shape, generator=draws).to(DEVICE) for weight in leaves]
    single = [gradients(*each) for each in zip(quantizers, leaves, grads, strict=True)]
    leaves = [leaf.clone().requires_grad_(True) for leaf in leaves]
    for quantizer in quantizers:
        quantizer.zero_grad()
    made = type(quantizers[0]).together(quantizers, leaves)
    torch.autograd.backward(made, grads)
    for quantizer, leaf, value, (alone, *wanted) in zip(quantizers, leaves, made, single, strict=True):
        assert torch.equal(value.cpu(), alone)
        found = [leaf.grad, *(step.grad for step in quantizer.steps())]
        for one, other in zip(found, wanted, strict=True):
            close(one.cpu(), other)


# ---------------------------------------------------------------------------------------------------- trainings


def losses(run: Run) -> list[float]:
    """Return all losses of results.csv."""
    with (run.folder / "results.csv").open() as file:
        return [float(value) for row in csv.DictReader(file) for key, value in row.items() if "loss" in key]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_on_a_gpu(name: str, trained: Callable[[str], Run]) -> None:
    """It ends with finite losses, without a network too, and its files hold at most 2**bits values a layer."""
    run, amp = trained(name), TRAININGS[name][1]
    assert next(run.trainer.model.parameters()).device == DEVICE
    assert run.trainer.amp is bool(amp)
    assert run.trainer.scaler.is_enabled() is (amp is True)
    found = losses(run)
    assert len(found) == 2 * 6 and all(map(math.isfinite, found))
    model, ckpt = checkpoint.load(run.best)
    state = checkpoint.state_of(ckpt, run.best)
    assert all(value.device.type == "cpu" for value in state.tensors.values())
    checkpoint.check_fresh(model, state, run.best)  # the CPU makes of the latents what the GPU's run saved
    for layer, bits in state.bits.items():
        weight = model.get_submodule(layer).weight
        assert torch.isfinite(weight).all() and (bits == 32 or len(weight.unique()) <= 2**bits), layer
    assert (run.folder / "quantization.csv").is_file() == (run.config.bits != 32)
    if run.config.activations:
        assert (run.folder / "activations.csv").is_file()
        assert len(state.activations) == 52


def distance(ours: nn.Module, theirs: nn.Module) -> float:
    """Return how far apart parameters are, relative to their size."""
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    apart = math.fsum(float((a.detach() - b.detach()).double().square().sum()) for a, b in pairs)
    return math.sqrt(apart / math.fsum(float(b.detach().double().square().sum()) for _, b in pairs))


@pytest.mark.parametrize("method", ["lsq", "noise"])
def test_resuming_on_a_gpu(method: str, train: Callable[..., Run], shapes: Path, tmp_path: Path) -> None:
    """A resumed run is the whole one to the bit where a second whole one is; else no farther from it than that is."""
    config = QuantConfig(method=method, bits=4, activations=8 if method == "lsq" else None)
    given = {"data": str(shapes), "device": NAMED, "batch": 8, "model": str(TINY), "val": False, "save_period": 1}
    whole, again = (train(config, **given) for _ in range(2))
    last = tmp_path / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes((whole.folder / "weights" / "epoch0.pt").read_bytes())
    resumed = QATTrainer(overrides={"resume": str(last)})
    resumed.train()
    assert resumed.start_epoch == 1 and resumed.device == DEVICE
    repeat, after = (distance(run.model, whole.trainer.model) for run in (again.trainer, resumed))
    say(f"{method}: relative distance of a repeated run {repeat:.3g}, of a resumed one {after:.3g}")
    assert after == 0 if repeat == 0 else after <= max(10 * repeat, 1e-5)


def test_compiled_gradients_are_right_or_refused(train: Callable[..., Run], shapes: Path, tmp_path: Path) -> None:
    """With `compile` a training of DoReFa moves the weights as it does without, or it is refused in one line."""
    from ultralytics import YOLO

    start = YOLO(str(TINY))
    start.save(tmp_path / "start.pt")
    first: list[dict[str, Tensor]] = []
    given = {"data": str(shapes), "device": NAMED, "batch": 8, "epochs": 1, "val": False, "lr0": 0.01}
    given |= {"model": tmp_path / "start.pt"}
    keep = {"on_train_start": lambda trainer: first.append(snapshot(trainer.model))}
    config = QuantConfig(bits=4)
    try:
        compiled = train(config, compile=True, **given)
    except InputError as refusal:
        if not re.fullmatch(r"compile=True: torch .*; drop compile.*", str(refusal)):
            raise
        say(str(refusal))
        return
    eager = train(config, keep, **given)
    live = getattr(compiled.trainer.model, "_orig_mod", compiled.trainer.model)
    say("compiled" if live is not compiled.trainer.model else "the host has found no compiler")
    for name, layer in quantized_layers(eager.trainer.model).items():
        moved = layer.weight.detach() - first[0][f"{name}.weight"]
        other = live.get_submodule(name).weight.detach() - first[0][f"{name}.weight"]
        assert float(moved.norm()) > 0
        assert float((other - moved).norm()) < 0.1 * float(moved.norm()), name


SEVERAL = 'import os\nos.environ["WORLD_SIZE"] = "2"  # with one process the host has no workers\n'
WORKER = """\\1os.environ["WORLD_SIZE"] = "1"
\\1import pathlib
\\1from torch import distributed
\\1class OnlyOne(int):  # the host begins several processes for more than one GPU
\\1    __gt__ = lambda self, other: True
\\1trainer.world_size, join = OnlyOne(1), trainer._setup_ddp
\\1def noted():
\\1    join()
\\1    pathlib.Path({note!r}).write_text(distributed.get_backend())
\\1trainer._setup_ddp = noted
\\1\\2"""


def test_a_worker_of_several_gpus(shapes: Path, tmp_path: Path) -> None:
    """What the host starts for each GPU, launched as it does, for one: NCCL, bf16, quantized activations."""
    pytest.importorskip("cloudpickle")
    from ultralytics.utils.dist import ddp_cleanup, find_free_network_port, generate_ddp_file

    config, note = QuantConfig(method="lsq", bits=4, activations=8, bn_images=4), tmp_path / "backend"
    settings = {"model": str(TINY), "epochs": 2, "batch": 8, "device": NAMED, "amp": "bf16", "name": "one"}
    trainer = QATTrainer(overrides=overrides(shapes, tmp_path, config, **settings))
    script = Path(generate_ddp_file(trainer))
    try:
        text, count = re.subn(
            r"^( *)(.*trainer\.train\(\))", WORKER.format(note=str(note)), script.read_text(), flags=re.M
        )
        assert count == 1
        script.write_text(SEVERAL + text)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1"]
        command = [*launcher, "--master_port", str(find_free_network_port()), str(script)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    finally:
        ddp_cleanup(trainer, str(script))
    assert note.read_text() == "nccl"
    best = tmp_path / "one" / "weights" / "best.pt"
    model, ckpt = checkpoint.load(best)
    state = checkpoint.state_of(ckpt, best)
    checkpoint.check_fresh(model, state, best)
    steps = {key: value for key, value in state.tensors.items() if key.endswith("input_quantizer.step")}
    assert steps and any(not torch.equal(v, state.tensors[k.replace("step", "first")]) for k, v in steps.items())


@pytest.mark.parametrize("amp", [False, True], ids=["fp32", "bf16"])
def test_memory_of_a_training_step(amp: bool) -> None:
    """Quantizing the weights takes at most 15% more memory at the peak than float: it does not grow with the batch."""
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    from yolo_qreg.host.model import quantize_detector

    draws, peaks, times = torch.Generator().manual_seed(0), {}, {}
    batch = {"img": torch.rand(16, 3, 320, 320, generator=draws), "batch_idx": torch.arange(16.0)}
    batch |= {"cls": torch.zeros(16, 1), "bboxes": torch.full((16, 4), 0.4)}
    batch = {key: value.to(DEVICE) for key, value in batch.items()}
    configs = {"float": None, "dorefa": QuantConfig(bits=8), "lsq": QuantConfig(method="lsq", bits=8)}
    for name, config in configs.items():
        net: Any = DetectionModel("yolov5n.yaml", nc=8, verbose=False)
        net.args = get_cfg()
        if config is not None:
            quantize_detector(net, config)
        net.to(DEVICE).train()
        optimizer = torch.optim.SGD(net.parameters(), 1e-4, momentum=0.9)
        for step in range(13):
            if step == 3:
                torch.cuda.reset_peak_memory_stats(DEVICE)
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=amp):
                loss, _ = net(batch)
            loss.sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        end.record()
        torch.cuda.synchronize(DEVICE)
        peaks[name], times[name] = torch.cuda.max_memory_allocated(DEVICE) / 2**20, begin.elapsed_time(end) / 10
        del net, optimizer, loss
        torch.cuda.empty_cache()
    for name, peak in peaks.items():
        ratios = f"{peak / peaks['float']:.3f} of its memory, {times[name] / times['float']:.3f} of its time"
        say(f"{name}: {peak:.0f} MiB at the peak, {times[name]:.1f} ms a step; against float {ratios}")
    assert max(peaks.values()) <= 1.15 * peaks["float"]


# ---------------------------------------------------------------------------------------------------- files, numbers

LOADED = """
import sys
import torch
from ultralytics import YOLO
assert not torch.cuda.is_available()
for path in sys.argv[1:]:
    model = YOLO(path)
    found = model.predict(torch.full((1, 3, 64, 64), 0.5), imgsz=64, device="cpu", verbose=False)
    assert torch.isfinite(found[0].boxes.data).all()
assert "yolo_qreg" not in sys.modules
"""


@pytest.mark.parametrize("name", ["dorefa", "lsq-bf16"])
def test_files_of_a_gpu_are_used_without_one(name: str, trained: Callable[[str], Run], tmp_path: Path) -> None:
    """Checkpoint and exports of a run load where there is no GPU; unpacked weights are those of the plain export."""
    run = trained(name)
    plain = export_weights(run.best, "pt", tmp_path / "plain.pt")
    packed = export_weights(run.best, "packed", tmp_path / "packed.safetensors")
    again = unpack(packed, tmp_path / "again.pt")
    ours, theirs = (checkpoint.load(path)[0].state_dict() for path in (again, plain))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert [(row.name, row.bits) for row in describe(packed).layers] == [
        (row.name, row.bits) for row in describe(plain).layers
    ]
    files = [run.best, run.folder / "weights" / "last.pt", plain, again]
    if all(find_spec(package) for package in ("onnx", "onnxruntime", "onnxslim")):
        files.append(export_weights(run.best, "onnx", tmp_path / "net.onnx", imgsz=64))
    python(LOADED, *files, cwd=tmp_path, CUDA_VISIBLE_DEVICES="")


def test_an_evaluation_on_a_gpu_agrees_with_the_cpu(shapes: Path, tmp_path: Path) -> None:
    """Every mAP is within half a point, there are as many detections within 2%, and results name the kind of device."""
    done, counts = {}, {}
    for device in (NAMED, "cpu"):
        config = EvalConfig(
            weights=[shipped("shapes-fp32"), shipped("shapes-dorefa8")],
            data=str(shapes),
            out=tmp_path / device,
            corruptions=("gaussian_noise", "fog", "saturate"),
            severities=(3,),
            imgsz=160,
            device=device,
            workers=0,
            resamples=200,
        )
        done[device] = evaluate(config, quiet=True)
        counts[device] = sum(len(Detections.load(path).score) for path in (tmp_path / device).rglob("*.npz"))
    ours, theirs = done.values()
    assert (ours.setup["device"], theirs.setup["device"]) == (DEVICE.type, "cpu")
    assert len(ours.scores) == len(theirs.scores) == 2 * 4
    apart = [100 * abs(a.map50_95 - b.map50_95) for a, b in zip(ours.scores, theirs.scores, strict=True)]
    say(f"mAP differs by at most {max(apart):.3f} points; detections: {counts}")
    assert max(apart) <= 0.5
    assert counts[NAMED] == pytest.approx(counts["cpu"], rel=0.02)


@pytest.mark.parametrize(
    "command",
    [
        "sensitivity --images 2 --imgsz 32 --probes 1 --bits 4",
        "analyze --images 2 --imgsz 32 --layer-images 1 --probes 2 --directions 1 --bits 2 --methods lsq",
    ],
    ids=["sensitivity", "analyze"],
)
def test_analyses_run_on_a_gpu(
    command: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differentiates losses ends there as on the CPU."""
    monkeypatch.setattr("yolo_qreg.report.figures.DPI", 40)
    name, *words = command.split()
    given = [str(shipped("shapes-fp32")), "--data", str(shapes), "--out", str(tmp_path / "out"), "--device", NAMED]
    assert main([name, *given, *words]) == 0, capsys.readouterr().err
    assert any((tmp_path / "out").glob("*.csv"))
