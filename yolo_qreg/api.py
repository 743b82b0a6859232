"""What the commands do, as functions: each command calls one of these and prints what it returns.

They share one manner. Settings are frozen dataclasses that are checked when made; bad input raises `InputError`, whose
one line says value, rule and remedy. Numbers of the API are fractions where they are scores (mAP 0..1) and points
(x 100) where they are differences. Progress and notes go to standard error unless `quiet`. Work that was interrupted
is continued by the same call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from yolo_qreg.config import Calibration, QuantConfig, Runtime, TrainConfig
from yolo_qreg.errors import InputError
from yolo_qreg.progress import Tell, teller, watched

if TYPE_CHECKING:
    from yolo_qreg.analysis.allocation import Allocation, Budget, By
    from yolo_qreg.analysis.config import AnalysisConfig
    from yolo_qreg.analysis.records import Analysis
    from yolo_qreg.analysis.sensitivity_config import SensitivityConfig
    from yolo_qreg.analysis.sensitivity_record import Sensitivity
    from yolo_qreg.evaluation.config import EvalConfig
    from yolo_qreg.evaluation.results import Results
    from yolo_qreg.export.describe import Description
    from yolo_qreg.study.plan import Study
    from yolo_qreg.study.run import Outcome

Kind = Literal["pt", "packed", "onnx", "openvino"]
"""Of an export."""

# Heavy parts are imported where they are used: what can be refused without torch is refused at once.


def train(config: TrainConfig) -> Path:
    """Train with quantized weights, or the FP32 twin.

    Args:
        config: Model, data, quantization, seed, and Ultralytics' own training settings.

    Returns:
        The run folder; weights/best.pt and weights/last.pt in it load in plain Ultralytics.

    Raises:
        InputError: A setting, the data set or the model file is wrong; nothing was trained.

    Example:
        `train(TrainConfig(quant=QuantConfig(method="lsq", bits=4), data="shapes", settings={"epochs": 20}))`
    """
    from yolo_qreg.host import run

    return run.train(config)


def train_in_turn(config: TrainConfig, quants: Sequence[QuantConfig]) -> list[Path]:
    """Train several times, each from the best weights of the time before: at 8, then 4, then 2 bits.

    A run takes over the float latents of the one before if both have the same method.

    Args:
        config: As for `train`; its `quant` is not used, a `name` among its settings begins those of the runs, and
            `pretrained` is for the first.
        quants: How weights are quantized, in turn.

    Returns:
        The run folders. If one is interrupted, resume it, and go on with the rest from its best.pt.

    Raises:
        InputError: As `train` does, for the first; what was trained is kept.
    """
    folders: list[Path] = []
    name = config.settings.get("name")
    for quant in quants:
        settings = {**config.settings, **({"name": f"{name}-{quant.label}"} if name else {})}
        model = config.model
        if folders:
            model = folders[-1] / "weights" / "best.pt"
            settings.pop("pretrained", None)  # the host would take that instead
        folders.append(train(replace(config, quant=quant, model=model, settings=settings)))
    return folders


def resume(folder: str | Path, settings: Mapping[str, Any] | None = None, data: str | Path | None = None) -> Path:
    """Continue an interrupted training from its last epoch, or finish one that was killed while it ended.

    One that was interrupted before it had saved anything is begun again in its folder.

    Args:
        folder: A run folder, or its weights/last.pt.
        settings: What may change on the way, such as {"device": 0, "workers": 4}.
        data: Where the run's data set is now, if it was moved; it has to have the same content.

    Returns:
        The run folder.

    Raises:
        InputError: There is nothing to continue, the data set is gone or has other content, a setting may not change,
            or another process trains in the folder.
    """
    from yolo_qreg.host import run

    return run.resume(Path(folder), settings, data)


def quantize(
    source: str | Path,
    configs: QuantConfig | Sequence[QuantConfig],
    out: str | Path | None = None,
    data: str | Path | None = None,
    *,
    adaround: bool = False,
    quiet: bool = True,
) -> list[Path]:
    """Quantize float weights without training, by the quantizers of a training: the baseline that it has to beat.

    Steps of LSQ take the values of least squared error; `init` of a configuration does not apply.

    Args:
        source: A run folder of an FP32 twin (its weights/best.pt is taken), or any .pt of a float detector.
        configs: How to quantize; one file is written for each. `bn_images` says on how many training pictures BatchNorm
            is estimated anew.
        out: Folder of the files; beside the weights by default.
        data: Data set whose training pictures are looked at; that of the training by default.
        adaround: Whether AdaRound learns, layer by layer, if a weight takes the integer above or below it, so that the
            layer's answers are kept; otherwise it takes the nearest. For "lsq"; some minutes for each width.
        quiet: Whether to say nothing on the way.

    Returns:
        The files, as a training writes them: `evaluate` and `export_weights` take them.

    Raises:
        InputError: The weights are quantized already, pictures are not there, or a file cannot be written.

    Example:
        `quantize("runs/detect/fp32", [QuantConfig(method="lsq", bits=b, bn_images=256) for b in (8, 4)])`
    """
    from yolo_qreg.host import posttraining

    chosen = [configs] if isinstance(configs, QuantConfig) else list(configs)
    chosen = [posttraining.without_training(config) for config in chosen]
    with watched(quiet or not adaround) as begin:
        target = None if out is None else Path(out)
        return posttraining.quantize(Path(source), chosen, target, data, adaround=adaround, begin=begin)


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

    try:
        with watched(quiet) as watch:
            found = measure_sensitivity(config, watch, teller(quiet))
        write_sensitivity(found, config.out)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"interrupted; what was finished is kept in {config.out}: repeat the command to continue"
        ) from stop
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


def evaluate(config: EvalConfig, *, quiet: bool = False) -> Results:
    """Measure models on clean and corrupted pictures, and what each gains or loses against its FP32 twin.

    `config.out` gets scores, differences, pictures and the page report.html. What was finished before is kept.

    Args:
        config: Models, pictures and damage.
        quiet: Whether to say nothing on the way.

    Returns:
        Scores (fractions) and differences (points, with 95% intervals); `results.delta(model, "all").points` is the
        mean gain over all corruptions.

    Raises:
        InputError: Weights or data cannot be used or do not fit each other, or a folder cannot be written.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.

    Example:
        `evaluate(EvalConfig(weights=["runs/detect/lsq-4bit"], corruptions=["fog"], severities=[3]))`
    """
    from yolo_qreg.evaluation import evaluate as work
    from yolo_qreg.evaluation.choice import choose, settle
    from yolo_qreg.evaluation.result_files import save
    from yolo_qreg.report.evaluation import write_report as write_page

    tell = teller(quiet)
    baseline = None if config.baseline is None else Path(config.baseline)
    chosen, base = choose([Path(path) for path in config.weights], baseline, tell)
    settings = settle(config, chosen, tell)
    try:
        with watched(quiet) as watch:
            results = work.evaluate(chosen, base, settings, watch)
        results = replace(results, setup={**results.setup, "command": config.command()})
        save(results, settings.out)
        write_page(settings.out, results, palette=config.palette)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"interrupted; what was finished is kept in {settings.out}: repeat the command to continue"
        ) from stop
    return results


def run_study(
    study: Study,
    out: str | Path,
    *,
    jobs: int = 1,
    device: str = "",
    ray: str | None = None,
    part: Literal["all", "train", "evaluate"] = "all",
    share_batches: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Train the FP32 twin and every method x bits x seed of a study, evaluate all of them, and report.

    Everything is resumable: the same call does what is missing, and the grid may have grown.

    Args:
        study: The grid and its schedule.
        out: Folder of the study.
        jobs: Trainings at a time; with `ray`, on each GPU.
        device: As the host names it; "" lets the study's settings or the host choose.
        ray: Address of a Ray cluster ("local", "auto" or "HOST:PORT"); None works on this machine without Ray.
        part: "train" evaluates nothing, "evaluate" evaluates what is finished and trains nothing.
        share_batches: Whether trainings of a seed that work at once read the same augmented batches, made once; with
            `jobs` of 2 or more, on this machine. Results are those of trainings that load their own.
        quiet: Whether to say nothing on the way.

    Returns:
        How each training ended, the results by seed, and the page. A training that failed stops no other.

    Raises:
        InputError: The study, its data or its model cannot be used, or `out` holds another study.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.
    """
    from yolo_qreg.study.run import continuable
    from yolo_qreg.study.run import run_study as work

    with continuable():
        done = work(
            study, Path(out), jobs=jobs, device=device, ray=ray, part=part, share_batches=share_batches, quiet=quiet
        )
        if part == "train" or not done.finished:
            return done
        from yolo_qreg.report.evaluation import write_report as write_page
        from yolo_qreg.report.study import write_study_report

        for seed, results in done.results.items():
            write_page(done.folder / f"seed-{seed}", results)
        return replace(done, page=write_study_report(done.study, done.folder, by_seed=done.results))


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
    try:
        with watched(quiet) as watch:
            found = run.analyze(replace(config, sources=sources), watch, tell)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"interrupted; what was finished is kept in {config.out}: repeat the command to continue"
        ) from stop
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
        coarse = [place for place in all_of_it if place.run.quant.activations and place not in begun]
        weights += [place.weights for place in all_of_it if place not in (*begun, *coarse)]
        gaps |= corrupted_gaps(study, source)
        for reason, left in {"not finished": begun, "with quantized activations": coarse}.items():
            if left:
                tell(f"{source}: {reason}, and left out: {', '.join(place.run.name for place in left)}")
    if not weights:
        raise InputError(f"{sources[0]} holds no finished training with float activations; finish the study first")
    return weights, gaps


def export_weights(
    source: str | Path,
    to: Kind,
    out: str | Path | None = None,
    *,
    fp32: bool = False,
    imgsz: int | None = None,
    dynamic: bool = False,
    activations: Literal[8] | None = None,
    runtime: Runtime | None = None,
    calibration: Calibration | None = None,
    check_map: bool = False,
    quiet: bool = True,
) -> Path:
    """Write a run's weights for others to use.

    Args:
        source: A run folder (its weights/best.pt is taken) or a checkpoint of ours.
        to: "pt", a plain file that loads without this package; "packed", integer codes at their own width; "onnx", a
            model of the same integers for any ONNX runtime; or "openvino", a folder that computes in int8.
        out: File to write, .pt, .safetensors or .onnx, or a folder that ends in _openvino_model; by default beside the
            weights.
        fp32: Store float32 instead of fp16 where there are no codes (pt, packed).
        imgsz: Sides of the pictures in pixels (onnx, openvino); those of the training by default.
        dynamic: Whether batch and sides may vary (onnx with float activations).
        activations: Bits of the activations (onnx, openvino): None leaves them in float, 8 makes a model that
            computes in int8, which "openvino" always is.
        runtime: For which an int8 ONNX model is laid out: "openvino" (None), "ort" (ONNX Runtime) or "tensorrt".
        calibration: How ranges of int8 activations are found. By default they are those that a training with quantized
            activations has learned, else they are found on its data.
        check_map: Whether to measure the exported model, the weights and their FP32 twin on the `val` split of the
            training's data, or of the calibration's (onnx, openvino); what was found goes into the note.
        quiet: Whether to say nothing on the way.

    Returns:
        What was written. Beside an ONNX model, NAME.export.json says how it was checked; in a folder, export.json.

    Raises:
        InputError: The source is no checkpoint of ours, an option is of another kind of export, a check of what was
            exported fails, a package is missing, or `out` cannot be written.
    """
    target = None if out is None else Path(out)
    if to not in get_args(Kind):
        raise InputError(f"to={to!r} is no kind of export; choose one of {', '.join(get_args(Kind))}")
    int8 = to == "openvino" or activations is not None
    _check_export(to, fp32=fp32, imgsz=imgsz, dynamic=dynamic, activations=activations, int8=int8)
    if not int8 and calibration is not None:
        raise InputError("--calibrate, --images and --ranges are for int8 activations; add --activations 8")
    _check_runtime(to, runtime, int8=int8)
    if check_map and to not in ("onnx", "openvino"):
        raise InputError(f"--check-map is for --to onnx and openvino; {to} holds the weights themselves: drop it")
    if check_map:
        from yolo_qreg.evaluation.exported import data_to_check

        data = data_to_check(Path(source), calibration.data if calibration else None)
        written = export_weights(
            source,
            to,
            out,
            imgsz=imgsz,
            dynamic=dynamic,
            activations=activations,
            runtime=runtime,
            calibration=calibration,
        )
        _measure(Path(source), written, data, quiet=quiet)
        return written
    if int8:
        from yolo_qreg.export.int8 import to_int8

        layout = runtime or "openvino"
        return to_int8(
            Path(source), target, openvino=to == "openvino", calibration=calibration, runtime=layout, imgsz=imgsz
        )
    if to == "onnx":
        from yolo_qreg.export.onnx import to_onnx

        return to_onnx(Path(source), target, imgsz=imgsz, dynamic=dynamic)
    from yolo_qreg.export.packed import to_packed
    from yolo_qreg.export.plain import to_plain

    return (to_plain if to == "pt" else to_packed)(Path(source), target, fp32=fp32)


def _measure(source: Path, written: Path, data: Path, *, quiet: bool) -> None:
    """Measure what was exported and add that to its note."""
    from yolo_qreg.evaluation.exported import check_map
    from yolo_qreg.export import notes

    with watched(quiet) as watch:
        found = check_map(source, written, data, imgsz=notes.read(written)["imgsz"], watch=watch)
    notes.extend(written, {"mAP": found})


def _check_export(
    to: Kind,
    *,
    fp32: bool,
    imgsz: int | None,
    dynamic: bool,
    activations: int | None,
    int8: bool,
) -> None:
    """Refuse options that an export does not honour."""
    graphs = to in ("onnx", "openvino")
    if fp32 and graphs:
        raise InputError(f"--fp32 is for pt and packed; --to {to} has float32 beside its integers: drop it")
    if (imgsz is not None or dynamic or activations is not None) and not graphs:
        raise InputError("--imgsz, --dynamic and --activations are for --to onnx and openvino; drop them")
    if activations not in (None, 8):
        raise InputError(f"--activations {activations} is not a width that runtimes compute in; use 8, or leave it out")
    if dynamic and int8:
        raise InputError("--dynamic is for float activations; an int8 model has fixed sides: drop it")


def _check_runtime(to: Kind, runtime: str | None, *, int8: bool) -> None:
    """Refuse a runtime that an export is not for."""
    if runtime is not None and runtime not in get_args(Runtime):
        raise InputError(f"runtime={runtime!r} is unknown; choose one of {', '.join(get_args(Runtime))}")
    if runtime is not None and not int8:
        raise InputError("--runtime is for int8 activations; add --activations 8, or drop it")
    if to == "openvino" and runtime not in (None, "openvino"):
        raise InputError(f"--runtime {runtime} reads ONNX; write --to onnx --activations 8 --runtime {runtime}")


def unpack(packed: str | Path, out: str | Path | None = None) -> Path:
    """Turn packed weights back into a .pt that plain Ultralytics loads, equal in every bit to `export_weights`.

    Args:
        packed: A .safetensors file that `export_weights` wrote.
        out: File to write; by default beside the packed one.

    Raises:
        InputError: The file is not packed weights or is damaged.
    """
    from yolo_qreg.export import packed as container

    return container.unpack(Path(packed), None if out is None else Path(out))


def describe(file: str | Path) -> Description:
    """Return what a weight file is: method, bits, levels used, SQNR (dB) and bytes of every layer, and its training.

    Args:
        file: A run folder, a .pt of ours or of plain Ultralytics, a packed file, or an ONNX model or
            OpenVINO folder that we exported.

    Raises:
        InputError: It is none of these, or damaged.
    """
    from yolo_qreg.export import describe as work

    return work.describe(Path(file))


def load_results(folder: str | Path) -> Results:
    """Read the results of an evaluation from its folder.

    Raises:
        InputError: It holds none, or damaged ones.
    """
    from yolo_qreg.evaluation import result_files

    return result_files.load(Path(folder))


def write_report(folder: str | Path, palette: str = "paper") -> Path:
    """Write the page and the figures of an evaluation or a study again, from its scores.

    Args:
        folder: What `evaluate`, `run_study` or `analyze` wrote.
        palette: "paper" (green and red) or "accessible" (blue and orange).

    Returns:
        The page.

    Raises:
        InputError: The folder holds no results, or there is no such palette.
    """
    from yolo_qreg.study.plan import PLAN, load_study

    folder = Path(folder)
    if (folder / PLAN).is_file():
        from yolo_qreg.report.study import write_study_report

        return write_study_report(load_study(str(folder / PLAN)), folder, palette)
    from yolo_qreg.analysis import run

    if (folder / run.FILE).is_file():
        from yolo_qreg.report.analysis import write_analysis_report

        return write_analysis_report(run.load(folder), folder, palette)
    from yolo_qreg.report.evaluation import write_report as write_page

    return write_page(folder, palette=palette)
