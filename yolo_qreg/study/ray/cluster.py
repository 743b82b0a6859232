"""A study over several machines: trainings and kinds of pictures are tasks of Ray, which decides where they run.

Results come back to the folder of the study, a training's files with each epoch. What is lost with its machine Ray
begins again elsewhere, a training from the last epoch that came back.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from yolo_qreg.errors import InputError
from yolo_qreg.evaluation.cells import Cells
from yolo_qreg.evaluation.evaluate import Evaluation
from yolo_qreg.progress import Watch
from yolo_qreg.study.plan import Study
from yolo_qreg.study.ray import node
from yolo_qreg.study.ray.keeper import Keeper, store
from yolo_qreg.study.runs import Place
from yolo_qreg.study.training import INTERRUPTED, Fill
from yolo_qreg.trust import trusted

LOCAL = "local"
AUTO = "auto"
TOKENS = (2, 60)
"""Release of Ray from which a cluster that is started here asks whoever connects for a token."""
KNOCK = 3
"""Seconds in which a cluster has to take a connection."""
EVERY = 1000
PATIENCE = 5
"""Seconds that a task has to end in when it is interrupted."""
LOSSES = 5
"""How often a task may be lost with its machine."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a task takes of a machine.

    Attributes:
        cpus: Cores.
        gpus: Part of a GPU; 0 for none.
    """

    cpus: int
    gpus: float = 0.0

    @property
    def options(self) -> dict[str, float]:
        """As Ray takes them."""
        return {"num_cpus": self.cpus, **({"num_gpus": self.gpus} if self.gpus else {})}


def share_of(machines: Sequence[Mapping[str, float]], jobs: int, gpus: bool) -> Share:
    """Return what one of `jobs` trainings takes that share a GPU, or a machine where there are none.

    Args:
        machines: Resources of each, as Ray names them.
        jobs: How many share one.
        gpus: Whether GPUs are to be used.

    Raises:
        InputError: There is no machine for it.

    Example:
        >>> share_of([{"CPU": 16, "GPU": 2}, {"CPU": 4}], jobs=4, gpus=True)
        Share(cpus=2, gpus=0.25)
    """
    kind = "GPU" if gpus else "CPU"
    able = [machine for machine in machines if machine.get(kind, 0) >= 1 and machine.get("CPU", 0) >= 1]
    if not able:
        raise InputError(f"the Ray cluster has no machine with a {kind}; add one, or leave --ray out")
    devices = [machine["GPU"] if gpus else 1 for machine in able]
    cpus = min(machine["CPU"] // (count * jobs) for machine, count in zip(able, devices, strict=True))
    return Share(max(1, int(cpus)), 1 / jobs if gpus else 0.0)


@dataclass(slots=True)
class Cluster:
    """A Ray cluster that does the work of a study.

    Attributes:
        ray: The package.
        share: What a training takes.
        keeper: The actor that stores what trainings send.
    """

    ray: Any
    share: Share
    keeper: Any
    _running: set[Any] = field(default_factory=set)
    _stopped: bool = False

    @classmethod
    def connect(cls, address: str, jobs: int, device: str) -> Cluster:
        """Join a cluster, or start one on this machine.

        Args:
            address: `local` to start one, or HOST:PORT or `auto`, on a machine of that cluster.
            jobs: How many trainings share a GPU, or a machine without one.
            device: `cpu`, or "" for GPUs where there are any.

        Raises:
            InputError: Ray is not installed or not there, or the device is one that Ray chooses.
        """
        if device not in ("", "cpu"):
            raise InputError(f"--device {device}: with --ray, Ray chooses the GPU; leave it out, or use --device cpu")
        if "://" in address:
            raise InputError(f"--ray {address}: a Ray client cannot do this; run the study on a machine of the cluster")
        if address != LOCAL:
            _knock(os.environ.get("RAY_ADDRESS", "") if address == AUTO else address)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # of a cluster that is started here
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as releases to come have it
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            raise InputError("--ray needs Ray; install it with pip install 'yolo-qreg[ray]'") from error
        if address == LOCAL and _release(ray) < TOKENS:
            raise InputError(
                f"--ray local needs Ray {'.'.join(map(str, TOKENS))} or later, not {ray.__version__}, which runs code "
                "for whoever reaches this machine; update ray"
            )
        extra = {"include_dashboard": False} if address == LOCAL else {}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **extra)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"--ray {address}: no Ray cluster answers there ({reason})") from error
        machines = [found["Resources"] for found in ray.nodes() if found["Alive"]]
        gpus = device != "cpu" and any(machine.get("GPU", 0) for machine in machines)
        here = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        keeper = ray.remote(num_cpus=0, scheduling_strategy=here)(Keeper).remote()
        return cls(ray, share_of(machines, jobs, gpus), keeper)

    @property
    def at_once(self) -> int:
        """All: Ray lets those wait that it has no room for."""
        return EVERY

    @property
    def device(self) -> str:
        """As the host names it: the first of the GPUs that Ray lets a task see, or the CPU."""
        return "0" if self.share.gpus else "cpu"

    @property
    def kind(self) -> str:
        """Of the machines that do the work, which this one may not be."""
        return "cuda" if self.share.gpus else "cpu"

    def waves(self, todo: Sequence[Place]) -> Generator[Sequence[Place]]:
        """Yield all."""
        yield todo

    def train(self, study: Study, place: Place, log: BinaryIO) -> int:
        """Do or continue a training on some machine; its files are stored as epochs end.

        Raises:
            InputError: It cannot be done.
        """
        remote = self.ray.remote(**self.share.options, max_retries=LOSSES)(node.train_there)
        study, model = _portable(study)
        job = node.TrainingJob(study, place.run, model, node.fingerprint(study), trusted())
        task = remote.remote(job, place.folder, self.keeper)
        self._running.add(task)
        if self._stopped:
            self.stop()
        try:
            return int(self._get(task))
        except self.ray.exceptions.TaskCancelledError:
            return INTERRUPTED
        finally:
            self._running.discard(task)

    def release(self, place: Place) -> None:
        """Nothing: trainings here do not wait for each other."""

    def stop(self) -> None:
        """End all tasks; what came back is kept."""
        self._stopped = True
        self._cancel(tuple(self._running))

    def _cancel(self, tasks: Sequence[Any]) -> None:
        """Interrupt tasks, so that they remove their folders, and kill what has not ended in time."""
        for task in tasks:
            self.ray.cancel(task)
        _, left = self.ray.wait(list(tasks), num_returns=len(tasks), timeout=PATIENCE) if tasks else ([], [])
        for task in left:
            self.ray.cancel(task, force=True)

    def fill(self, data: str) -> Fill:
        """Return what fills the missing cells of an evaluation of a data set, one kind of pictures a task."""

        def fill(evaluation: Evaluation, told: Watch) -> None:
            todo = evaluation.missing()
            if todo:
                self._fill(todo, evaluation, _absolute(data), told)

        return fill

    def _fill(self, todo: Cells, evaluation: Evaluation, data: str, told: Watch) -> None:
        share = self.share if self.share.gpus else Share(1)
        remote = self.ray.remote(**share.options, max_retries=LOSSES)(node.fill)
        subjects = {subject.model.name: subject for subject in evaluation.subjects}
        weights = {name: self.ray.put(subject.path.read_bytes()) for name, subject in subjects.items()}
        settings = replace(
            evaluation.settings, device=self.device, threads=share.cpus, workers=share.cpus - 1 if share.gpus else 0
        )
        left = {}
        for damage, cells in todo.items():
            job = node.CellsJob(
                subjects=tuple(subjects[name] for name in cells),
                settings=settings,
                data=data,
                corruption=damage.corruption,
                severity=damage.severity,
                names={name: cell.name for name, cell in cells.items()},
                trust=trusted(),
            )
            left[remote.remote(job, *(weights[name] for name in cells))] = damage, cells
        try:
            while left:
                (done,), _ = self.ray.wait(list(left))
                damage, cells = left.pop(done)
                store(self._get(done), next(iter(cells.values())).folder.parent)
                told(damage.label, len(evaluation.material.pictures) * len(cells))
        except BaseException:
            self._cancel(tuple(left))
            raise

    def _get(self, ref: Any) -> Any:
        try:
            return self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None  # without the lines of the node
            raise InputError(f"a node failed: {' '.join(str(error.cause).split())[:300]}") from error
        except self.ray.exceptions.TaskCancelledError:
            raise
        except self.ray.exceptions.RayError as error:
            raise InputError(f"lost {LOSSES} times with its machine: {' '.join(str(error).split())[:300]}") from error


def _knock(address: str) -> None:
    """Check that somebody listens at HOST:PORT, which Ray itself tries for minutes; an empty address is left to it.

    Raises:
        InputError: Nobody does, or that is no address.
    """
    if not address:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--ray {address} is no address; write local, auto or HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--ray {address}: nobody answers there ({error}); check address and cluster") from error


def _release(ray: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in ray.__version__.split(".")[:2])


def _portable(study: Study) -> tuple[Study, bytes | None]:
    """Return a study that means the same on another machine, and its weights to start from, where these are a file."""
    model = Path(study.model)
    content = model.read_bytes() if model.suffix == ".pt" and model.is_file() else None
    return replace(study, data=_absolute(study.data)), content


def _absolute(data: str) -> str:
    return str(Path(data).resolve()) if Path(data).is_file() else data
