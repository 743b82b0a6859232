"""What models and corruptions are called, and the order of the paper's heat maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yolo_qreg.evaluation.results import CLEAN, Model
from yolo_qreg.quant.registry import FLOAT_BITS, METHODS


def method_title(method: str) -> str:
    """Return a quantizer's name for readers, as it begins a line.

    Example:
        >>> method_title("lsq"), method_title("fixed")
        ('LSQ', 'Fixed point')
    """
    name = _name(method)
    return name[:1].upper() + name[1:]


def _name(method: str) -> str:
    """Return it as it stands within a sentence; that of one that is not installed here is as it is."""
    return (METHODS[method].title if method in METHODS else "") or method


def kind_of(method: str | None, bits: int | None) -> str:
    """Return what a model is, such as "8-bit DoReFa"; "unknown" where its file does not say.

    Example:
        >>> kind_of("dorefa", 8), kind_of(None, 32), kind_of("fixed", None)
        ('8-bit DoReFa', 'FP32', 'mixed-width fixed point')
    """
    if bits == FLOAT_BITS:
        return "FP32"
    if method is None:
        return f"{bits}-bit" if bits else "unknown"
    return f"{bits}-bit {_name(method)}" if bits else f"mixed-width {_name(method)}"


def short_names(models: Sequence[Model]) -> dict[str, str]:
    """Return what each model is called in a sentence: its kind where that tells it apart, its name elsewhere."""
    kinds = {model.name: kind_of(model.method, model.bits) for model in models}
    values = list(kinds.values())
    return {name: name if kind == "unknown" or values.count(kind) > 1 else kind for name, kind in kinds.items()}


def title_of(corruption: str) -> str:
    """Return a corruption's name for readers."""
    return corruption.replace("_", " ").replace("jpeg", "JPEG")


def paper_order(corruptions: Iterable[str]) -> tuple[str, ...]:
    """Return the order of the paper's heat maps: clean, then the corruptions by alphabet."""
    return (CLEAN, *sorted(corruptions))
