"""Quantization-aware training as a trainer of the host: `YOLO("yolov5n.yaml").train(trainer=QATTrainer, ...)`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import distributed as dist
from torch import nn, optim
from ultralytics.utils import DEFAULT_CFG, LOCAL_RANK, LOGGER, RANK
from ultralytics.utils.torch_utils import unwrap_model

from yolo_qreg import activations
from yolo_qreg.config import QuantConfig
from yolo_qreg.data.identity import RECORD
from yolo_qreg.errors import InputError
from yolo_qreg.files import absolute, sweep
from yolo_qreg.host import checkpoint, compat, distilling, history, hooks, tuning
from yolo_qreg.host.batchnorm import float_images
from yolo_qreg.host.datasets import check_classes, refuse_code
from yolo_qreg.host.labels import scanning
from yolo_qreg.host.machine import check_compiled, check_precision
from yolo_qreg.host.model import plan, quantize_detector
from yolo_qreg.host.origin import Origin, identify_data, identify_model
from yolo_qreg.host.place import LOCK, RunLock, take_folder, take_run
from yolo_qreg.host.resuming import check_continued
from yolo_qreg.host.saving import SavingTrainer
from yolo_qreg.host.sharing import (
    SharedLoader,
    connection_to_feeder,
    draw_anew,
    know_augmentations,
    nothing_loaded,
    restart_if_due,
)
from yolo_qreg.inputs import SETTINGS
from yolo_qreg.patch import quantized_layers

_REFUSED = {"quantize": "the host's own quantization; drop it, `quant` replaces it"}


class QATTrainer(SavingTrainer):
    """The host's detection trainer with quantized weights.

    It takes one setting more, `quant`: a `QuantConfig` or its dictionary. The setting travels as plain data in
    `args.yaml`, in checkpoints and to the workers of multi-GPU training. What is validated and saved each epoch is
    the moving average of the weights, baked: quantized in float32 into plain convolutions.

    Example:
        >>> from ultralytics import YOLO
        >>> from yolo_qreg import QATTrainer, QuantConfig
        >>> YOLO("yolov5n.yaml").train(trainer=QATTrainer, quant=QuantConfig(bits=8), data="VOC.yaml")  # doctest: +SKIP
    """

    def __init__(
        self,
        cfg: Any = DEFAULT_CFG,
        overrides: dict[str, Any] | None = None,
        _callbacks: dict[str, Any] | None = None,
    ) -> None:
        compat.check_host(training=True)
        overrides = dict(overrides or {})
        compat.check_settings(overrides)
        given = overrides.pop("quant", None)
        self.quant = given if isinstance(given, QuantConfig) else QuantConfig.from_dict(given or {})
        for key, reason in _REFUSED.items():
            if overrides.get(key):
                raise InputError(f"{key}={overrides[key]!r} is {reason}")
        self._given = None if given is None else self.quant
        self.origin: Origin | None = None
        self._distill_model: str | None = None
        self._teacher: Any = None
        self._taught_by: str | None = None
        self._lock: RunLock | None = None
        self._began_before = False
        try:
            super().__init__(cfg, overrides, _callbacks)
            check_precision(self.args.amp, self.device)
            if self.args.distill_model is not None and self.args.compile:
                raise InputError(
                    f"compile={self.args.compile} does not go with distill_model, as in Ultralytics; drop one"
                )
            if self.quant.bn_tune and self.args.time:
                raise InputError(f"bn_tune={self.quant.bn_tune} needs to know the last epochs; drop time, set epochs")
            if not self.resume and self.quant.bn_tune >= self.epochs:
                raise InputError(f"bn_tune={self.quant.bn_tune} leaves none of {self.epochs} epochs; use fewer")
        except BaseException:
            self.discard_empty_run()
            raise
        if self.resume:
            self.quant = QuantConfig.from_dict(vars(self.args)["quant"])
        know_augmentations(self.args)
        self._asked = None if self.resume else self._settings()
        if RANK in {-1, 0}:
            self._note_settings()
            sweep(self.save_dir, age=0)
            if not self.resume:
                self.health_csv.unlink(missing_ok=True)
                self.activations_csv.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------------ set-up

    def discard_empty_run(self) -> None:
        """Remove the run folder of a training that failed at once, unless it is older or holds more than settings."""
        if self._lock is None:
            return
        folder = Path(self.args.save_dir)
        settings = {SETTINGS, "weights", LOCK, RECORD}
        found = {path.name for path in folder.iterdir()}
        if not self._began_before and found <= settings and not any(folder.glob("weights/*")):
            shutil.rmtree(folder, ignore_errors=True)
        self._lock.release()

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Find the checkpoint to resume, which has to be one of ours, and take the run folder."""
        super().check_resume(overrides)
        if not self.resume:
            self.args.quant = self.quant.to_dict()
        if LOCAL_RANK != -1:  # a worker: all this was seen to in the process that started it
            if LOCAL_RANK == 0:  # the host has removed the folder of a new run since, and the lock with it
                self._lock = RunLock.take(Path(self.args.save_dir))
            return
        if self.resume:
            check_continued(self.args, overrides, self._given)
            self._lock = take_run(Path(self.args.save_dir))
        else:
            for key in ("model", "pretrained", "distill_model"):  # known by absolute paths: a run outlives its shell
                given = getattr(self.args, key)
                if isinstance(given, (str, Path)) and Path(given).is_file():
                    setattr(self.args, key, str(absolute(given)))
            folder, self._lock = take_folder(self.args)
            self._began_before = (folder / SETTINGS).is_file()
            self.args.save_dir = str(folder)

    def get_dataset(self) -> dict[str, Any]:
        """Read the data set's YAML file, which from here on has an absolute path."""
        refuse_code(self.args.data, self.args.split)
        data: dict[str, Any] = super().get_dataset()
        if self.args.classes is not None and not self.args.single_cls:
            check_classes(self.args.classes, data["names"])
        self.args.data = str(absolute(self.args.data))
        return data

    def setup_model(self) -> dict[str, Any] | None:
        """Let the host build or load the model, then quantize it; this runs in every worker of a multi-GPU run."""
        ckpt: dict[str, Any] | None = super().setup_model()
        if self.resume and ckpt is not None:  # the optimizer's groups depend on the first steps: restore them here
            state = checkpoint.state_of(ckpt, self.args.model)
            found = replace(plan(self.model, self.quant), places=tuple(r.place for r in state.activations))
            checkpoint.requantize(self.model, state)
            self._taught_by = state.resume.get("teacher")
            origin = Origin.from_dict(state.origin)
            self.origin = origin and origin.at(str(self.args.data))
        else:
            earlier = self._earlier_training()
            latents = earlier is not None and checkpoint.latents_into(self.model, earlier, self.quant)
            found = quantize_detector(self.model, self.quant)
            if earlier is not None and latents:
                checkpoint.steps_into(self.model, earlier)
            if earlier is not None:
                checkpoint.ranges_into(self.model, earlier, self.quant)
        self._find_teacher()
        if self.args.compile and self.quant.grad_l1:
            raise InputError(
                f"compile={self.args.compile} has no gradients of gradients, which grad_l1={self.quant.grad_l1:g} "
                "needs; drop compile"
            )
        if self.args.compile:
            check_compiled(self.model, self.args.compile, self.device)
        if RANK in {-1, 0}:
            LOGGER.info(f"yolo-qreg: {found.summary(self.quant)}")
        return ckpt

    def _setup_train(self) -> None:
        """Set up as the host does, then note what the training began from: the host may mend pictures as it scans."""
        self._distill_model, self.args.distill_model = self.args.distill_model, None  # its own way is not for the host
        try:
            super()._setup_train()
        finally:
            self.args.distill_model = self._distill_model
        live = unwrap_model(self.model)
        hooks.add_penalties(live)
        if self._teacher is not None:
            teacher = self._teacher.to(self.device)
            live.criterion = distilling.Distillation(hooks.loss_of(live), teacher, self.args.dis)
        if self.quant.grad_l1:  # last: of all that is trained on
            live.criterion = hooks.GradientL1(
                hooks.loss_of(live),
                quantized_layers(live).values(),
                self.quant.grad_l1,
                lambda one: self.scaler.scale(one),
            )
        if RANK in {-1, 0}:
            if self.origin is None and not self.resume:
                model = identify_model(self.args.model, self.args.pretrained, live.yaml)
                self.origin = Origin(data=identify_data(self.args.data), model=model)
            history.note_run(self.save_dir, self.origin, self._asked)
            self._note_settings()  # the host has rounded the image size, fitted the batch and chosen the optimizer

    def _find_teacher(self) -> None:
        """Load the model that teaches, if one is to; a resumed run has to find the one that it began with."""
        given = self._distill_model
        if self.resume and self._taught_by is None and given is not None:
            raise InputError(f"distill_model={given}: nobody taught this run so far; drop it, or start anew")
        if given is None:
            if self._taught_by is not None:
                raise InputError("distill_model=None: this run has a teacher; drop the setting, or name its file")
            return
        path = absolute(given)
        self._teacher = distilling.load_teacher(path, self.model, self.data["names"])
        found = distilling.identity(path)
        if self._taught_by not in (None, found):
            raise InputError(f"distill_model={path} is not what taught this run so far; name where that file is now")
        self._distill_model, self._taught_by = str(path), found

    def train(self) -> Any:
        """Train as the host does; then others may train in the run folder."""
        try:
            return super().train()
        finally:
            if self._lock is not None:
                self._lock.release()

    def _earlier_training(self) -> checkpoint.QuantState | None:
        """Return the quantization state of the weight file that this training starts from, if it has one."""
        given = self.args.pretrained
        source = given if isinstance(given, (str, Path)) else self.args.model if given is not False else ""
        if not str(source).endswith(".pt") or not Path(source).is_file():
            return None
        _, ckpt = checkpoint.load(source)
        return checkpoint.state_of(ckpt, source) if checkpoint.KEY in ckpt else None

    def build_dataset(self, img_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the host's data set while no other training scans the same labels."""
        with scanning(img_path):
            return super().build_dataset(img_path, *args, **kwargs)

    def get_dataloader(self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """Build the host's loader, or one that reads the batches that are made for all trainings of a study's seed."""
        feeder = connection_to_feeder() if mode == "train" and RANK == -1 else None
        if feeder is None:
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        with nothing_loaded(self.args):
            return SharedLoader(super().get_dataloader(dataset_path, batch_size, rank, mode), self, feeder)

    def _close_dataloader_mosaic(self) -> None:
        if not compat.closes_mosaic(self.epochs, self.args.close_mosaic):
            return
        super()._close_dataloader_mosaic()
        if isinstance(self.train_loader, SharedLoader):
            self.train_loader.closed = True

    def build_optimizer(self, model: nn.Module, *args: Any, **kwargs: Any) -> optim.Optimizer:
        """Build the host's optimizer, then give steps and weights the rates that their method asks for.

        Groups depend on the first ranges of activations, which are therefore calibrated before.
        """
        self._calibrate(unwrap_model(model))
        optimizer: optim.Optimizer = super().build_optimizer(model, *args, **kwargs)
        layers = quantized_layers(unwrap_model(model)).values()
        for layer in layers:  # before 8.4.158 each worker begins with weights, and so with first steps, of its own
            _take_from_first(layer.quantizer)
        hooks.set_rates(optimizer, layers)
        hooks.call_after_steps(optimizer, layers)
        return optimizer

    def _calibrate(self, model: nn.Module) -> None:
        """Set the ranges of activations that have none from training pictures; all workers take those of the first."""
        if self.quant.activations is None:
            return
        activations.calibrate(model, float_images(self._pictures(), self.device))
        for quantizer in activations.quantizers(model).values():
            _take_from_first(quantizer)

    def get_validator(self) -> Any:
        """Make the host's validator, which rejects settings that it does not know."""
        quant = self.args.__dict__.pop("quant")
        try:
            return super().get_validator()
        finally:
            self.args.quant = quant

    # ------------------------------------------------------------------------------------------------ epochs

    def _model_train(self) -> None:
        """Enter training mode at the start of an epoch, with random draws that depend on seed and epoch alone.

        Together with the state in the checkpoint this makes a resumed run repeat the uninterrupted one bit for bit,
        where data are loaded in-process and gradients are not accumulated over batches. Worker processes are seeded
        from these draws when the loader starts them, and draw on across epochs, as the order does; a resumed run
        starts them anew, from seed and epoch. Gradients pending at an epoch's end are not in the checkpoint, nor are
        the pictures that mosaic draws from in the other processes of a multi-GPU run.
        """
        super()._model_train()
        if self._tunes():  # before the draws of the epoch: what this one takes depends on what was loaded already
            self._begin_tuning()
        drawn = draw_anew(self.args.seed, self.epoch, RANK, self.nan_recovery_attempts)
        restart_if_due(self.train_loader, drawn, first=self.epoch == self.start_epoch)
        hooks.begin_epoch(unwrap_model(self.model), self.epoch / self.epochs)
        hooks.tell_loss_scale(unwrap_model(self.model), self.scaler)

    def _begin_tuning(self) -> None:
        live = unwrap_model(self.model)
        if self.epoch == self.epochs - self.quant.bn_tune:
            self._snapshot = None
            with self._baked_ema(estimate=True):
                baked = self.ema.ema
            tuning.settle(live, self.ema.ema, baked)
            self.optimizer.zero_grad()  # pending gradients would move weights that are at rest
            self._snapshot = None
            _take_from_first(live)  # which has estimated statistics
        self.ema.enabled = False
        tuning.begin_epoch(live, self.optimizer)

    def optimizer_step(self) -> None:
        """Step as the host does; while BatchNorm is tuned, the averaged model follows at once."""
        super().optimizer_step()
        hooks.tell_loss_scale(unwrap_model(self.model), self.scaler)
        if self._tunes():
            tuning.follow(self.ema.ema, unwrap_model(self.model))


def _take_from_first(module: nn.Module) -> None:
    """Take over the state of a module from the first worker of a multi-GPU run."""
    if dist.is_available() and dist.is_initialized():
        for value in module.state_dict().values():
            dist.broadcast(value, src=0)
