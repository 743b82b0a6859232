"""What methods do in a training beside quantizing: rates of their own, what follows a step, terms of the loss."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn, optim

from yolo_qreg.activations import quantizers as activation_quantizers
from yolo_qreg.patch import QuantConv2d, quantized_layers
from yolo_qreg.quant.activations import ActivationQuantizer
from yolo_qreg.quant.base import WeightQuantizer

LossScale = Callable[[Tensor], Tensor]
_ADAM_LIKE = (optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam, optim.RAdam)


def set_rates(optimizer: optim.Optimizer, layers: Collection[QuantConv2d]) -> None:
    """Move learned steps to groups of their own, and weights with a rate or decay of their own too.

    Steps have no decay, but for those of activations whose method wants it.
    """
    adam_like = isinstance(optimizer, _ADAM_LIKE)
    steps: dict[tuple[float, bool], list[Tensor]] = {}
    for layer in layers:
        parts: list[tuple[WeightQuantizer | ActivationQuantizer, bool]] = [(layer.quantizer, False)]
        if layer.reads is not None and layer.owns_input:
            parts.append((layer.reads, layer.reads.decays))
        for part, decays in parts:
            if part.steps():
                factor = part.step_lr_factor() if adam_like else 1.0
                steps.setdefault((factor, decays), []).extend(part.steps())
    # biases have no decay and are never orthogonalised; the host may give parts of the head a higher rate
    biases = [g for g in optimizer.param_groups if g.get("param_group") == "bias"]
    base = {k: v for k, v in min(biases, key=lambda g: g["lr"]).items() if k != "params"} if steps else {}
    _take([p for found in steps.values() for p in found], optimizer)
    decay = max(group.get("weight_decay", 0.0) for group in optimizer.param_groups)
    for (factor, decays), found in steps.items():
        own = {"params": found, "lr": base["lr"] * factor, "weight_decay": decay if decays else 0.0}
        optimizer.add_param_group(base | own | {"param_group": "step"})
    weights: dict[tuple[int, float, bool], list[Tensor]] = {}
    homes = {id(p): index for index, group in enumerate(optimizer.param_groups) for p in group["params"]}
    for layer in layers:
        factor, decays = layer.quantizer.weight_lr_factor(layer.weight), layer.quantizer.weight_decay
        if factor != 1 or not decays:
            weights.setdefault((homes[id(layer.weight)], factor, decays), []).append(layer.weight)
    _take([p for found in weights.values() for p in found], optimizer)
    for (index, factor, decays), found in weights.items():
        home = {k: v for k, v in optimizer.param_groups[index].items() if k != "params"}
        own = {"params": found, "lr": home["lr"] * factor}
        if not decays:  # the host sets the decay of groups called weight
            own |= {"weight_decay": 0.0, "param_group": "step"}
        optimizer.add_param_group(home | own)


def _take(parameters: Collection[Tensor], optimizer: optim.Optimizer) -> None:
    """Remove parameters from the groups of an optimizer."""
    moved = {id(p) for p in parameters}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in moved]


def call_after_steps(optimizer: optim.Optimizer, layers: Collection[QuantConv2d]) -> None:
    """Have the optimizer call `after_step` of the layers' quantizers; the host averages weights only after that."""
    chosen = _overriding("after_step", layers)

    @torch.no_grad()
    def after(*_: Any) -> None:
        for layer in chosen:
            if layer.weight.requires_grad:  # frozen ones do not move
                layer.quantizer.after_step(layer.weight)

    if chosen:
        optimizer.register_step_post_hook(after)


@torch.no_grad()
def begin_epoch(model: nn.Module, progress: float) -> None:
    """Tell the quantizers of a model that an epoch begins; `progress` is the share of the training behind, 0..1."""
    for layer in _overriding("begin_epoch", quantized_layers(model).values()):
        layer.quantizer.begin_epoch(layer.weight.detach().float(), progress)


def tell_loss_scale(model: nn.Module, scaler: torch.amp.GradScaler) -> None:
    """Tell the quantizers of a model by what the loss is multiplied, which changes with steps."""
    chosen: list[WeightQuantizer | ActivationQuantizer] = [
        layer.quantizer for layer in _overriding("loss_scaled", quantized_layers(model).values())
    ]
    nothing = ActivationQuantizer.loss_scaled
    chosen += [own for own in activation_quantizers(model).values() if type(own).loss_scaled is not nothing]
    if chosen:
        factor = scaler.get_scale()
        for quantizer in chosen:
            quantizer.loss_scaled(factor)


def add_penalties(model: Any) -> None:
    """Add what the quantizers of a detector ask for to its loss, in place."""
    chosen = _overriding("penalty", quantized_layers(model).values())
    if chosen:
        model.criterion = _Penalized(loss_of(model), chosen)


def loss_of(model: Any) -> Any:
    """Return the loss of a detector; that of a resumed model without NMS knows how far the training is."""
    return getattr(model, "criterion", None) or model.init_criterion()


class ExtendedLoss:
    """A loss of the host with further terms, in training alone.

    The host multiplies the loss of a picture by the size of the batch, and so are they.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def terms(self, loss: Tensor, preds: Any, batch: Any) -> list[Tensor]:
        """Return the further terms of the loss of one picture, each [] and differentiable; `loss` is the batch's."""
        raise NotImplementedError

    def __call__(self, preds: Any, batch: Any) -> tuple[Tensor, Any]:
        loss, items = self.inner(preds, batch)
        if not torch.is_grad_enabled():
            return loss, items
        terms = [term.reshape(1) * len(batch["img"]) for term in self.terms(loss, preds, batch)]
        return torch.cat([loss.reshape(-1), *terms]), items

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # of a copy that has nothing yet
            raise AttributeError(name)
        return getattr(self.inner, name)


class _Penalized(ExtendedLoss):
    """A loss with the penalties of quantizers added."""

    def __init__(self, inner: Any, layers: Collection[QuantConv2d]) -> None:
        super().__init__(inner)
        self.layers = layers

    def terms(self, loss: Tensor, preds: Any, batch: Any) -> list[Tensor]:
        """Return the penalties of those that have one now."""
        with torch.autocast(batch["img"].device.type, enabled=False):
            found = [layer.quantizer.penalty(layer.weight.float()) for layer in self.layers]
        return [term for term in found if term is not None]


class GradientL1(ExtendedLoss):
    """A loss with the l1 norm of its gradient by the weights added (Alizadeh et al. 2020, arXiv:2002.07520).

    Rounding is a perturbation of bounded size, whose first-order effect on the loss is at most that bound times this
    norm.

    Args:
        inner: The loss.
        layers: Whose weights are meant; those that are frozen are left out.
        weight: Of the norm.
        loss_scale: Returns, for a 1 on the loss's device, by what automatic mixed precision multiplies the loss.
    """

    def __init__(self, inner: Any, layers: Collection[QuantConv2d], weight: float, loss_scale: LossScale) -> None:
        super().__init__(inner)
        self.layers, self.weight, self.loss_scale = layers, weight, loss_scale

    def terms(self, loss: Tensor, preds: Any, batch: Any) -> list[Tensor]:
        """Return one term; none where all weights are at rest."""
        weights = [layer.weight for layer in self.layers if layer.weight.requires_grad]
        if not weights:
            return []
        with torch.autocast(loss.device.type, enabled=False):
            scale = self.loss_scale(torch.ones((), device=loss.device))  # half-precision gradients vanish without it
            found = torch.autograd.grad(loss.sum() * scale, weights, create_graph=True, allow_unused=True)
            norm = torch.cat([part.flatten() for part in found if part is not None]).abs().sum()
            norm = norm / (scale * len(batch["img"]))
        return [self.weight * norm.where(norm.isfinite(), 0)]  # of an overflow, whose step the scaler skips


def _overriding(hook: str, layers: Collection[QuantConv2d]) -> list[QuantConv2d]:
    """Return the layers whose quantizer does something there."""
    nothing = getattr(WeightQuantizer, hook)
    return [layer for layer in layers if getattr(type(layer.quantizer), hook) is not nothing]
