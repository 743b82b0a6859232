"""What quantization does inside of models, and widths by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from yolo_qreg.errors import InputError
from yolo_qreg.progress import Tell, teller, watched

if TYPE_CHECKING:
    from yolo_qreg.analysis.allocation import Allocation, Budget, By
    from yolo_qreg.analysis.config import AnalysisConfig
    from yolo_qreg.analysis.records import Analysis
    from yolo_qreg.analysis.sensitivity_config import SensitivityConfig
    from yolo_qreg.analysis.sensitivity_record import Sensitivity

from yolo_qreg.api.interrupted import keeping


def analyze(config: AnalysisConfig, *, quiet: bool = False) -> Analysis:
    """Measure what quantization does to trained models: noise, the terms of the paper's theorem, and sharpness.

    `config.out` gets tables as CSV files, figures and the page report.html. What was finished before is kept.

    Args:
        config: Models and how closely to look. A study's folder stands for its finished trainings, whose losses of
            mAP on corrupted pictures are held against all measures.
        quiet: Whether to say nothing on the way.

    Returns:
        What was found, as records.

    Raises:
        InputError: Weights or data cannot be used or do not fit each other, or a folder cannot be written.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.

    Example:
        `analyze(AnalysisConfig(sources=[Path("runs/detect/lsq-4bit")], images=64))`
    """
    from yolo_qreg.analysis import run
    from yolo_qreg.report.analysis import write_analysis_report

    tell = teller(quiet)
    sources, gaps = _analyzed(config.sources, tell)
    with keeping(config.out), watched(quiet) as watch:
        found = run.analyze(replace(config, sources=sources), watch, tell)
    run.save(replace(found, corrupted_gaps=gaps), config.out)
    found = run.load(config.out)  # in the order of the file, so that a report made again is the same
    write_analysis_report(found, config.out, config.palette)
    return found


def _analyzed(sources: Sequence[Path], tell: Tell) -> tuple[list[Path], dict[str, float]]:
    """Return the weights that sources stand for, and what models of studies among them lose on corrupted pictures."""
    from yolo_qreg.findings.analysis import corrupted_gaps
    from yolo_qreg.study.plan import PLAN, load_study
    from yolo_qreg.study.runs import places

    weights: list[Path] = []
    gaps: dict[str, float] = {}
    for source in sources:
        if not (source / PLAN).is_file():
            weights.append(source)
            continue
        study = load_study(str(source / PLAN))
        all_of_it = places(study, source)
        begun = [place for place in all_of_it if place.progress().state != "finished"]
        done = [place for place in all_of_it if place not in begun]
        coarse = [place for place in done if place.run.quant.activations]
        several = [place for place in done if place.run.quant.networks]
        weights += [place.weights for place in done if place not in (*coarse, *several)]
        gaps |= corrupted_gaps(study, source)
        reasons = {"not finished": begun, "with quantized activations": coarse, "of several networks": several}
        for reason, left in reasons.items():
            if left:
                tell(f"{source}: {reason}, and left out: {', '.join(place.run.name for place in left)}")
    if not weights:
        raise InputError(f"{sources[0]} holds no finished training that can be analyzed; finish the study first")
    return weights, gaps


def sensitivity(config: SensitivityConfig, *, quiet: bool = False) -> Sensitivity:
    """Measure what it costs to quantize one layer at a time, without training, on training pictures.

    `config.out` gets a table, a picture, and what `allocate` reads. What was finished before is kept.

    Args:
        config: Weights, widths and pictures.
        quiet: Whether to say nothing on the way.

    Returns:
        What each layer costs at each width, measured and estimated.

    Raises:
        InputError: Weights or data cannot be used, or a folder cannot be written.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.
    """
    from yolo_qreg.analysis.sensitivity import measure_sensitivity
    from yolo_qreg.report.sensitivity import write_sensitivity

    with keeping(config.out):
        with watched(quiet) as watch:
            found = measure_sensitivity(config, watch, teller(quiet))
        write_sensitivity(found, config.out)
    return found


def allocate(
    found: Sensitivity | str | Path, budget: Budget, by: By = "loss", out: str | Path | None = None
) -> Allocation:
    """Choose a width for each layer, so that the sum of what single layers cost is least within a budget.

    Args:
        found: What `sensitivity` returned, or its folder.
        budget: What all layers together may take.
        by: What counts as cost: "loss" or "map", as measured, or "estimate".
        out: File to write the plan to, for `train --bits-plan`; none by default.

    Returns:
        Widths by layer, for `QuantConfig(widths=...)`, and what they come to.

    Raises:
        InputError: Nothing fits the budget, or a file cannot be read or written.

    Example:
        `allocate("runs/sensitivity", Budget(kind="size", most=1e6), out="plan.yaml")`
    """
    from yolo_qreg.analysis import allocation
    from yolo_qreg.analysis.sensitivity_record import load_sensitivity
    from yolo_qreg.bits_plan import write_plan

    known = load_sensitivity(Path(found)) if isinstance(found, (str, Path)) else found
    plan = allocation.allocate(known, budget, by)
    if out is not None:
        about = {"for": known.setup["name"], "method": known.setup["method"], f"most {budget.kind}": budget.most}
        write_plan(Path(out), plan.widths, {**about, **plan.to_dict()})
    return plan
