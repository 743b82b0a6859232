"""A plain .pt: quantized values in ordinary convolutions, loaded by Ultralytics alone."""

from __future__ import annotations

from pathlib import Path

from yolo_qreg.errors import InputError
from yolo_qreg.export.weights import FACTS, dtype_of, read_checkpoint
from yolo_qreg.files import check_writable
from yolo_qreg.host import build, checkpoint
from yolo_qreg.inputs import checkpoint_of


def to_plain(source: Path, out: Path | None = None, *, fp32: bool = False) -> Path:
    """Write the baked model of a run without anything that only training needs.

    The file keeps configuration, bit widths, scales and health rows under the key `qreg`, so that it still says what
    it is and its codes can be recovered exactly. Latent weights, optimizer and paths of the training machine are
    left out.

    Args:
        source: A run folder (its weights/best.pt is taken) or a checkpoint of ours, finished or not.
        out: File to write, ending in .pt; by default beside the checkpoint, named after method and bits.
        fp32: Store float32, with quantized weights exactly as trained. Otherwise fp16, as Ultralytics does. Other
            tensors are stored as fp16 in checkpoints, so they gain nothing from it.

    Returns:
        The file written.

    Raises:
        InputError: If the source is not a checkpoint of ours or was changed, or `out` cannot be written to.
    """
    path = checkpoint_of(Path(source))
    weights, model, ckpt = read_checkpoint(path)
    out = output_path(path, out, weights.config.label, ".pt", fp32=fp32)
    dtype = dtype_of(fp32=fp32)
    tensors = weights.state_dict(dtype)
    model.to(dtype).load_state_dict(tensors, strict=True)
    build.settle(model, ckpt.get("train_args") or {})
    facts = {key: ckpt[key] for key in FACTS if key in ckpt}
    facts[checkpoint.KEY] = weights.plain_state().to_dict()
    checkpoint.save(out, build.host_checkpoint(model, facts))
    return out


def output_path(source: Path, out: Path | None, label: str, suffix: str, *, fp32: bool = False) -> Path:
    """Return the file to write for `source`: `out` if given, else best-lsq-4bit.pt or such, beside it.

    Raises:
        InputError: If it is the source, a folder, in a folder that does not exist, or has another suffix.
    """
    if out is None:
        stem = source.stem if source.stem.endswith(label) else f"{source.stem}-{label}"
        out = source.with_name(f"{stem}{'-float32' if fp32 else ''}{suffix}")
    out = Path(out)
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file in it, such as {out / f'weights{suffix}'}")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist; create it first")
    if out.suffix != suffix:
        raise InputError(f"--out {out} must end in {suffix}")
    check_writable(out.parent, f"name a file elsewhere with --out, such as --out {out.name}")
    if out.exists() and out.samefile(source):
        raise InputError(f"{out} is the source itself; choose another name with --out")
    return out
