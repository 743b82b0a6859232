"""Training in several processes, as on several GPUs: what the host hands its workers, trained by two on the CPU."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from short_runs import TINY, assert_same, overrides, python

from yolo_qreg import QATTrainer, QuantConfig
from yolo_qreg.activations import ranges_of
from yolo_qreg.host import checkpoint

CONFIG = QuantConfig(method="lsq", bits=4, activations=4, bn_images=4)
WORKERS = """
import os, sys
import torch
from torch import distributed, nn
from ultralytics.engine import trainer as host, validator
from yolo_qreg import QATTrainer
from yolo_qreg.quant.activations import ObservedActivation

meeting, kept, script = sys.argv[1:]
rank = int(not os.fork())  # after the imports, which take longer than all that follows
os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}  # as torch.distributed.run sets them
for name, module in list(sys.modules.items()):  # what the host has read from there as it was imported
    for constant in {"RANK", "LOCAL_RANK"} & vars(module).keys():
        if name.startswith(("ultralytics", "yolo_qreg")):
            setattr(module, constant, rank)

class OnCPU(nn.parallel.DistributedDataParallel):
    def __init__(self, module, device_ids, **settings):
        super().__init__(module, **settings)

def join(trainer):
    if not distributed.is_initialized():
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)

backend, torch.cuda.current_device = validator.AutoBackend, lambda: 0
validator.AutoBackend = lambda **given: backend(**{**given, "device": torch.device("cpu")})
nn.parallel.DistributedDataParallel, host.BaseTrainer._setup_ddp = OnCPU, join
host.check_amp = lambda model: True  # on the CPU autocast has bfloat16

def state_of(trainer):
    live = trainer.model.module
    return {"model": live.state_dict(), "ema": trainer.ema.ema.state_dict(), "quant": trainer.args.quant}

exec(compile(open(script).read(), script, "exec"))
assert trainer.amp
found = {"whole": state_of(trainer)}
if rank == 0:
    (trainer.wdir / "epoch0.pt").replace(trainer.last)
distributed.barrier()
resumed = type(trainer)(overrides={"resume": str(trainer.last)})
resumed.world_size = 2
resumed.train()
found["resumed"] = state_of(resumed)
observer = ObservedActivation.make(8, "symmetric").train()
observer(torch.full((1, 1, 1, 1), 2.0))
observer.calibrate()
observer(torch.full((1, 1, 1, 1), 2.0 + 100 * rank))
torch.save({**found, "ends": observer.ends}, f"{kept}/{rank}.pt")
distributed.destroy_process_group()
if rank == 0:
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")
@pytest.mark.skipif(torch.__version__.startswith("2.4."), reason="its gloo refuses tensors of inference mode")
def test_two_processes_train_one_model(data: Path, tmp_path: Path) -> None:
    """The host's own script, under mixed precision, with quantized activations: both end with the same parameters.

    Statistics of BatchNorm are each process's own. Resumed after the first epoch, the run is repeated bit for bit,
    without mosaic: which pictures it draws from is kept of the first process alone.
    """
    pytest.importorskip("cloudpickle")
    from ultralytics.utils.dist import ddp_cleanup, generate_ddp_file

    given = overrides(data, tmp_path, CONFIG, model=str(TINY), epochs=2, save_period=1, amp=True, mosaic=0.0, val=False)
    trainer = QATTrainer(overrides=given | {"name": "two"})
    script = Path(generate_ddp_file(trainer))
    text = script.read_text()
    told, count = re.subn(r"^( *)(.*trainer\.train\(\))", r"\1trainer.world_size = 2\n\1\2", text, flags=re.MULTILINE)
    assert count == 1
    try:
        script.write_text(told)
        python(WORKERS, tmp_path / "meeting", tmp_path, script, cwd=tmp_path)
    finally:
        ddp_cleanup(trainer, str(script))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for part in ("model", "ema"):
        assert_same(first["whole"][part], first["resumed"][part])
        ours, theirs = (
            {key: value for key, value in found["whole"][part].items() if ".running_" not in key}
            for found in (first, second)
        )
        assert_same(ours, theirs)
    steps = {k: v for k, v in first["whole"]["model"].items() if k.endswith("input_quantizer.step")}
    assert len(steps) == 10
    assert any(not torch.equal(v, first["whole"]["model"][k.replace("step", "first")]) for k, v in steps.items())
    assert first["whole"]["quant"] == second["whole"]["quant"] == CONFIG.to_dict()
    assert first["ends"].tolist() == second["ends"].tolist() == pytest.approx([0, 3]), "the largest value of both"
    best = checkpoint.as_meant(tmp_path / "two" / "weights" / "best.pt")
    assert isinstance(best, torch.nn.Module)
    assert len(ranges_of(best)) == 11
