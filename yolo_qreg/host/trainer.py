"""Quantization-aware training as a trainer of the host: `YOLO("yolov5n.yaml").train(trainer=QATTrainer, ...)`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn, optim
from torch import distributed as dist
from torch.utils.data import DataLoader
from ultralytics.engine import trainer as host_trainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import DEFAULT_CFG, LOCAL_RANK, LOGGER, RANK
from ultralytics.utils.torch_utils import ModelEMA, unwrap_model

from yolo_qreg import activations, health, health_log
from yolo_qreg.config import QuantConfig
from yolo_qreg.data.identity import RECORD
from yolo_qreg.errors import InputError
from yolo_qreg.files import absolute, scratch_folder, sweep, write_atomic
from yolo_qreg.host import checkpoint, compat, distilling, history, hooks, tuning
from yolo_qreg.host.batchnorm import float_images, reestimate, training_images
from yolo_qreg.host.datasets import check_classes, refuse_code
from yolo_qreg.host.labels import scanning
from yolo_qreg.host.machine import check_compiled, check_precision
from yolo_qreg.host.model import plan, quantize_detector
from yolo_qreg.host.origin import Origin, identify_data, identify_model
from yolo_qreg.host.place import LOCK, RunLock, take_folder, take_run
from yolo_qreg.host.resuming import check_continued
from yolo_qreg.host.sharing import (
    SharedLoader,
    connection_to_feeder,
    draw_anew,
    know_augmentations,
    nothing_loaded,
    restart_if_due,
)
from yolo_qreg.inputs import SETTINGS
from yolo_qreg.patch import bake, quantized_layers
from yolo_qreg.processes import undisturbed

_STAGING = ".saving-"
RANGE_IMAGES = 64
"""Training pictures that ranges of activations are calibrated on."""
_REFUSED = {"quantize": "the host's own quantization; drop it, `quant` replaces it"}


class QATTrainer(DetectionTrainer):
    """The host's detection trainer with quantized weights.

    It takes one setting more, `quant`: a `QuantConfig` or its dictionary. The setting travels as plain data in
    `args.yaml`, in checkpoints and to the workers of multi-GPU training. What is validated and saved each epoch is
    the moving average of the weights, baked: quantized in float32 into plain convolutions.

    Example:
        >>> from ultralytics import YOLO
        >>> from yolo_qreg import QATTrainer, QuantConfig
        >>> YOLO("yolov5n.yaml").train(trainer=QATTrainer, quant=QuantConfig(bits=8), data="VOC.yaml")  # doctest: +SKIP
    """

    wdir: Path
    last: Path
    best: Path
    validator: Any

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
        self.health_csv = self.save_dir / "quantization.csv"
        self.activations_csv = self.save_dir / "activations.csv"
        self._asked = None if self.resume else self._settings()
        if RANK in {-1, 0}:
            self._note_settings()
            sweep(self.save_dir, age=0)
            if not self.resume:
                self.health_csv.unlink(missing_ok=True)
                self.activations_csv.unlink(missing_ok=True)
        self._snapshot: tuple[int, nn.Module] | None = None
        self._codes: dict[str, Tensor] = {}
        self._bn_loader: DataLoader[Any] | None = None
        self._range_loader: DataLoader[Any] | None = None
        self._recovering = False

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
        if self._distill_model is not None:
            self._find_teacher(absolute(self._distill_model))
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

    def _find_teacher(self, path: Path) -> None:
        """Load the model that teaches; a resumed run has to find the one that it began with."""
        self._teacher = distilling.load_teacher(path, self.model, self.data["names"])
        found = distilling.identity(path)
        if self._taught_by not in (None, found):
            raise InputError(f"distill_model={path} is not what taught this run so far; name where that file is now")
        self._distill_model, self._taught_by = str(path), found

    def _settings(self) -> dict[str, Any]:
        """Return the settings in force as plain data."""
        plain = (bool, int, float, str, list, tuple, dict, type(None))
        return {key: value if isinstance(value, plain) else str(value) for key, value in vars(self.args).items()}

    def _note_settings(self) -> None:
        """Write the settings in force into the run folder, where trainings are compared by them."""
        text = yaml.safe_dump(self._settings(), sort_keys=False, allow_unicode=True)
        write_atomic(self.save_dir / SETTINGS, lambda file: file.write(text.encode("utf-8", "surrogatepass")))

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
        hooks.set_rates(optimizer, layers)
        hooks.call_after_steps(optimizer, layers)
        return optimizer

    def _calibrate(self, model: nn.Module) -> None:
        """Set the ranges of activations that have none from training pictures; all workers take those of the first."""
        if self.quant.activations is None:
            return
        activations.calibrate(model, float_images(self._pictures(), self.device))
        if dist.is_available() and dist.is_initialized():
            for quantizer in activations.quantizers(model).values():
                for value in quantizer.state_dict().values():
                    dist.broadcast(value, src=0)

    def _pictures(self) -> DataLoader[Any]:
        """Return a loader of the pictures that ranges of activations are calibrated and measured on."""
        self._range_loader = self._range_loader or training_images(self.args, self.data, RANGE_IMAGES, self.stride)
        return self._range_loader

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
        starts them anew, from seed and epoch. Gradients pending at an epoch's end are not in the checkpoint.
        """
        super()._model_train()
        if self._tunes():  # before the draws of the epoch: what this one takes depends on what was loaded already
            self._begin_tuning()
        drawn = draw_anew(self.args.seed, self.epoch, RANK, self.nan_recovery_attempts)
        restart_if_due(self.train_loader, drawn, first=self.epoch == self.start_epoch)
        hooks.begin_epoch(unwrap_model(self.model), self.epoch / self.epochs)
        hooks.tell_loss_scale(unwrap_model(self.model), self.scaler)

    def _tunes(self) -> bool:
        """Tell whether this is one of the last epochs, in which BatchNorm alone is trained."""
        return bool(self.quant.bn_tune) and self.epoch >= self.epochs - self.quant.bn_tune

    def _begin_tuning(self) -> None:
        live = unwrap_model(self.model)
        if self.epoch == self.epochs - self.quant.bn_tune:
            self._snapshot = None
            with self._baked_ema(estimate=True):
                baked = self.ema.ema
            tuning.settle(live, self.ema.ema, baked)
            self.optimizer.zero_grad()  # pending gradients would move weights that are at rest
            self._snapshot = None
            if dist.is_available() and dist.is_initialized():  # statistics were estimated by the first worker
                for value in live.state_dict().values():
                    dist.broadcast(value, src=0)
        self.ema.enabled = False
        tuning.begin_epoch(live, self.optimizer)

    def optimizer_step(self) -> None:
        """Step as the host does; while BatchNorm is tuned, the averaged model follows at once."""
        super().optimizer_step()
        hooks.tell_loss_scale(unwrap_model(self.model), self.scaler)
        if self._tunes():
            tuning.follow(self.ema.ema, unwrap_model(self.model))

    def validate(self) -> Any:
        """Validate the baked moving average instead of the latent one."""
        with self._baked_ema():
            return super().validate()

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the host's metrics and this epoch's quantization health."""
        super().save_metrics(metrics)
        rows, self._codes = health.measure(unwrap_model(self.model), self._codes)
        if rows:
            health_log.append(self.health_csv, self.epoch + 1, rows)
            if self.args.plots:
                health_log.draw(self.health_csv, self.health_csv.with_suffix(".png"))
        LOGGER.info(f"yolo-qreg: {self.quant.label}: {health.summary(rows)}")
        if self.quant.activations is not None:
            with self._baked_ema():
                found = activations.measure(self.ema.ema, next(float_images(self._pictures(), self.device)))
            health_log.append_activations(self.activations_csv, self.epoch + 1, found)
            LOGGER.info(f"yolo-qreg: {self.quant.label}: {activations.summary(found)}")

    def save_model(self) -> bool:
        """Let the host compose its checkpoint of the baked model, add our key and write the files atomically."""
        latent, live = self.ema.ema, unwrap_model(self.model)
        places = self.wdir, self.last, self.best
        with self._baked_ema(plain=True), undisturbed(), scratch_folder(_STAGING, self.save_dir) as staged:
            self.wdir, self.last, self.best = staged, staged / "last.pt", staged / "best.pt"
            try:
                super().save_model()
            finally:
                self.wdir, self.last, self.best = places
            names = [f.name for f in staged.iterdir()]
            ckpt = torch.load(staged / "last.pt", map_location="cpu", weights_only=False)
        rows, _ = health.measure(latent, {})
        resume = {
            "model": {k: v.detach().cpu() for k, v in live.state_dict().items()},
            "ema": {k: v.detach().cpu() for k, v in latent.state_dict().items()},
            "mosaic": list(getattr(self.train_loader.dataset, "buffer", ())),
        }
        if self._taught_by is not None:
            resume["teacher"] = self._taught_by
        widths = {name: layer.quantizer.bits for name, layer in quantized_layers(latent).items()}
        state = checkpoint.QuantState(
            config=self.quant,
            bits=widths,
            tensors=checkpoint.tensors_of(latent),
            resume=resume,
            health=tuple(rows),
            origin=self.origin.to_dict() if self.origin else {},
            activations=activations.ranges_of(latent),
        )
        ckpt[checkpoint.KEY] = state.to_dict()
        ckpt["optimizer"] = self.optimizer.state_dict()  # the host rounds momenta to half precision
        ckpt["stopper"] = compat.stopper_state(self.stopper)
        for name in sorted(names):  # last.pt last: killed before it, a run repeats the epoch and writes all again
            checkpoint.save(self.wdir / name, ckpt)
        return True

    def final_eval(self) -> None:
        """Finish the files, then validate as the host does."""
        if RANK in {-1, 0} and self.last.exists():
            checkpoint.finish_run(self.last)
            self._note_settings()
            history.mark_finished(self.save_dir)
        validator: Any = self.validator
        try:
            if self.quant.activations is not None:
                self.validator = _OnQuantizedActivations(validator)
            with _files_left_alone():
                super().final_eval()
        finally:
            self.validator = validator

    @contextmanager
    def _baked_ema(self, *, plain: bool = False, estimate: bool | None = None) -> Iterator[None]:
        """Show the host a baked copy of the moving average, made once an epoch, in place of the latent one.

        Args:
            plain: Whether the copy is one that plain Ultralytics knows, whose activations are in float.
            estimate: Whether BatchNorm statistics are estimated anew, if the settings say so; by default unless it is
                being tuned to them.
        """
        ema = self.ema
        latent = ema.ema
        if self._snapshot is None or self._snapshot[0] != self.epoch:
            self._mend_ema(latent)
            baked = bake(deepcopy(latent), activations=True)
            estimate = not self._tunes() if estimate is None else estimate
            if self.quant.bn_images and estimate and RANK in {-1, 0}:
                self._bn_loader = self._bn_loader or training_images(
                    self.args, self.data, self.quant.bn_images, self.stride
                )
                reestimate(baked, float_images(self._bn_loader, self.device))
            self._snapshot = self.epoch, baked
        shown = self._snapshot[1]
        ema.ema = bake(deepcopy(shown)) if plain and self.quant.activations is not None else shown
        try:
            yield
        finally:
            ema.ema = latent

    def _mend_ema(self, latent: nn.Module) -> None:
        """Replace non-finite tensors of the moving average by live ones, as the host does, but before baking."""
        live = unwrap_model(self.model).state_dict()
        for key, value in latent.state_dict().items():
            if not torch.isfinite(value).all() and torch.isfinite(live[key]).all():
                value.copy_(live[key])

    # ------------------------------------------------------------------------------------------------ resume

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        """Continue from a checkpoint of ours; rows that an interrupted epoch left in the CSV files are dropped."""
        super().resume_training(ckpt)
        if self.resume and RANK in {-1, 0}:
            health_log.keep_epochs(self.csv, self.start_epoch)
            health_log.keep_epochs(self.health_csv, self.start_epoch)
            health_log.keep_epochs(self.activations_csv, self.start_epoch)
            _, self._codes = health.measure(unwrap_model(self.model), {})

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Recover as the host does; `_load_checkpoint_state` then starts from the moving average."""
        self._recovering = True
        try:
            recovered: bool = super()._handle_nan_recovery(epoch)
        finally:
            self._recovering = False
        if recovered:
            self._snapshot = None
        return recovered

    def _load_checkpoint_state(self, ckpt: dict[str, Any]) -> None:
        """Restore optimizer and stopper through the host, then weights and steps, live and averaged, from our key.

        A resumed run continues from the live weights. A run that diverged restarts from the averaged ones, as in the
        host, because the live ones lead back to where it diverged.
        """
        state = checkpoint.state_of(ckpt, self.args.model)
        held: Mapping[str, Any] = state.resume
        super()._load_checkpoint_state({**ckpt, "ema": None})
        compat.restore_stopper(self.stopper, ckpt)
        model = unwrap_model(self.model)
        model.load_state_dict(held["ema" if self._recovering else "model"])
        self.ema = ModelEMA(self.model)
        self.ema.ema.criterion = None  # that of the live model adds its layers' penalties
        self.ema.ema.load_state_dict(held["ema"])
        self.ema.updates = ckpt["updates"]
        dataset = self.train_loader.dataset
        for index in held["mosaic"] if getattr(dataset, "buffer", None) == [] else ():
            dataset.load_image(index)


class _OnQuantizedActivations:
    """A validator of the host that is given a file and validates what is trained: with quantized activations."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._validator, name)

    def __call__(self, model: Path) -> Any:
        return self._validator(model=checkpoint.with_activations(Path(model)))


@contextmanager
def _files_left_alone() -> Iterator[None]:
    """Keep the host from stripping checkpoints in place, where a kill would leave half a file."""
    strip = host_trainer.strip_optimizer
    host_trainer.strip_optimizer = lambda *_, **__: {}
    try:
        yield
    finally:
        host_trainer.strip_optimizer = strip
