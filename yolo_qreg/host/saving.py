"""What a training shows and keeps each epoch: the baked average, its files, its rows; and how it goes on from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader
from ultralytics.engine import trainer as host_trainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.torch_utils import ModelEMA, unwrap_model

from yolo_qreg import activations, health, health_log
from yolo_qreg.config import RANGE_IMAGES, QuantConfig
from yolo_qreg.files import scratch_folder, write_atomic
from yolo_qreg.host import checkpoint, compat, history
from yolo_qreg.host.batchnorm import float_images, reestimate, training_images
from yolo_qreg.host.ensemble import draw
from yolo_qreg.host.origin import Origin
from yolo_qreg.inputs import SETTINGS
from yolo_qreg.patch import bake, quantized_layers
from yolo_qreg.processes import undisturbed

_STAGING = ".saving-"


class SavingTrainer(DetectionTrainer):
    """The host's detection trainer, as far as the moving average of quantized weights is validated, saved and restored.

    The live model and its average hold latents. What others see is a baked copy of the average.

    Attributes:
        quant: How the model is quantized.
        origin: What the training began from.
    """

    wdir: Path
    last: Path
    best: Path
    validator: Any
    quant: QuantConfig
    origin: Origin | None
    _taught_by: str | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.health_csv = self.save_dir / "quantization.csv"
        self.activations_csv = self.save_dir / "activations.csv"
        self._snapshot: tuple[int, nn.Module] | None = None
        self._codes: dict[str, Tensor] = {}
        self._bn_loader: DataLoader[Any] | None = None
        self._range_loader: DataLoader[Any] | None = None
        self._recovering = False

    def _settings(self) -> dict[str, Any]:
        """Return the settings in force as plain data."""
        plain = (bool, int, float, str, list, tuple, dict, type(None))
        return {key: value if isinstance(value, plain) else str(value) for key, value in vars(self.args).items()}

    def _note_settings(self) -> None:
        """Write the settings in force into the run folder, where trainings are compared by them."""
        text = yaml.safe_dump(self._settings(), sort_keys=False, allow_unicode=True)
        write_atomic(self.save_dir / SETTINGS, lambda file: file.write(text.encode("utf-8", "surrogatepass")))

    def _pictures(self) -> DataLoader[Any]:
        """Return a loader of the pictures that ranges of activations are calibrated and measured on."""
        self._range_loader = self._range_loader or training_images(self.args, self.data, RANGE_IMAGES, self.stride)
        return self._range_loader

    def _tunes(self) -> bool:
        """Tell whether this is one of the last epochs, in which BatchNorm alone is trained."""
        return bool(self.quant.bn_tune) and self.epoch >= self.epochs - self.quant.bn_tune

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
            names = sorted(f.name for f in staged.iterdir())
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
        first, *others = (self.wdir / name for name in names)
        checkpoint.save(first, ckpt, *others)  # last.pt last: killed before it, a run repeats the epoch and writes all
        return True

    def final_eval(self) -> None:
        """Finish the files, then validate as the host does."""
        if RANK in {-1, 0} and self.last.exists():
            checkpoint.finish_run(self.last)
            self._note_settings()
            history.mark_finished(self.save_dir)
        validator: Any = self.validator
        try:
            if self.quant.activations is not None or self.quant.networks:
                self.validator = _AsMeant(validator)
            with _files_left_alone():
                super().final_eval()
        finally:
            self.validator = validator

    @contextmanager
    def _baked_ema(self, *, plain: bool = False, estimate: bool | None = None) -> Iterator[None]:
        """Show the host a baked copy of the moving average, made once an epoch, in place of the latent one.

        Args:
            plain: Whether the copy is one that plain Ultralytics knows: one network, whose activations are in float.
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
        if plain:
            ema.ema = bake(deepcopy(shown)) if self.quant.activations is not None else shown
        else:
            ema.ema = draw(latent, self.quant.networks) if self.quant.networks else shown
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


class _AsMeant:
    """A validator of the host that is given a file and validates what was trained, of which it may hold a part."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._validator, name)

    def __call__(self, model: Path) -> Any:
        return self._validator(model=checkpoint.as_meant(Path(model)))


@contextmanager
def _files_left_alone() -> Iterator[None]:
    """Keep the host from stripping checkpoints in place, where a kill would leave half a file."""
    strip = host_trainer.strip_optimizer
    host_trainer.strip_optimizer = lambda *_, **__: {}
    try:
        yield
    finally:
        host_trainer.strip_optimizer = strip
