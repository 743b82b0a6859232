"""The tables of an analysis."""

from __future__ import annotations

from dataclasses import asdict, fields

from yolo_qreg.analysis.records import Analysis, ModelAnalysis, NoiseRow, RiseRow
from yolo_qreg.findings.analysis import (
    GAPS,
    KINDS,
    MEASURES,
    QUANTITIES,
    Fit,
    NoiseSummary,
    Rank,
    fit,
    gap,
    measured,
    noise_summaries,
    predicted,
    rank_correlations,
    relative_noise,
    whole,
)
from yolo_qreg.findings.names import kind_of
from yolo_qreg.report.table import (
    Cell,
    Column,
    Row,
    Table,
    count_cell,
    kind_cell,
    number_cell,
    table,
    text_cell,
)
from yolo_qreg.report.text import DASH, MINUS, PLUS_MINUS, interval, number

KIND_TITLES = {"gaussian": "Gaussian noise", "quantized": "true errors"}
QUANTITY_TITLES = {"outputs": "outputs", "loss": "loss"}


def significant(value: float | None, error: float | None = None) -> Cell:
    """Return a cell of a number of any size in three digits, with its standard error in two where it has one."""
    if value is None:
        return Cell(DASH, {"": None})
    after = "" if error is None else f"{PLUS_MINUS} {_short(error, 2)}"
    return Cell(_short(value), {"": value}, after=after, value=value)


def _short(value: float, digits: int = 3) -> str:
    rounded = float(f"{value:.{digits}g}")
    text = f"{rounded:,.0f}" if 10**digits <= abs(rounded) < 1e7 else f"{value:.{digits}g}"
    return text.replace("-", MINUS)


def noise(found: Analysis) -> Table:
    """Return the errors of each quantizer over the layers of each model."""
    columns = (
        Column("model", "model", words=True),
        Column("quantizer", "quantizer", words=True),
        Column("own", "trained with it", words=True),
        Column("sqnr", "SQNR, dB"),
        Column("lowest", "worst layer"),
        Column("highest", "best layer"),
        Column("uniform", "by s²/12, dB"),
        Column("against_uniform", "σ² ÷ s²/12"),
        Column("correlation", "correlation with weights"),
        Column("kurtosis", "kurtosis"),
    )

    def row(model: ModelAnalysis, entry: NoiseSummary) -> Row:
        cells = (
            text_cell(model.name),
            kind_cell(entry.method, entry.bits),
            text_cell("yes" if entry.own else "no"),
            number_cell(entry.sqnr_db, 1),
            number_cell(entry.lowest_db, 1),
            number_cell(entry.highest_db, 1),
            number_cell(entry.uniform_db, 1),
            number_cell(entry.against_uniform, 2),
            number_cell(entry.correlation, 2),
            number_cell(entry.kurtosis, 1),
        )
        return Row(cells)

    return table(columns, (row(m, entry) for m in found.models for entry in noise_summaries(m)))


def rises(found: Analysis) -> Table:
    """Return what noise in all layers at once should do and does."""
    names = titles(found)
    columns = [
        Column("model", "model", words=True),
        Column("quantizer", "quantizer", words=True),
        Column("noise", "σ² ÷ w²"),
        *(
            Column(f"{quantity}/{part}", title, group=f"{QUANTITY_TITLES[quantity]}")
            for quantity in QUANTITIES
            for part, title in {"predicted": "predicted", **KIND_TITLES}.items()
        ),
        Column("first_order", "of it first order", group="loss"),
    ]

    def row(model: ModelAnalysis, entry: RiseRow) -> Row:
        noise_of_it = [row for row in model.noise if (row.method, row.bits) == (entry.method, entry.bits)]
        cells = [text_cell(names[model.name]), kind_cell(entry.method, entry.bits)]
        cells.append(significant(relative_noise(noise_of_it)))
        for quantity in QUANTITIES:
            error: float | None = getattr(entry, f"predicted_{quantity}_error")
            cells.append(significant(predicted(entry, quantity), error))
            cells += [significant(measured(entry, quantity, kind)) for kind in KINDS]
        return Row((*cells, significant(entry.first_order)))

    return table(columns, (row(m, entry) for m in found.models for entry in whole(m.rises)))


def fits(found: Analysis) -> Table:
    """Return how measured rises of single layers follow predicted ones."""
    columns = (
        Column("model", "model", words=True),
        Column("quantity", "of", words=True),
        Column("kind", "by", words=True),
        Column("slope", "slope [95% interval]"),
        Column("ratio", "measured ÷ predicted"),
        Column("points", "points"),
        Column("left_out", "not above 0"),
    )

    def row(model: ModelAnalysis, quantity: str, kind: str, entry: Fit) -> Row:
        low, high = entry.slope.interval or (None, None)
        slope = Cell(
            number(entry.slope.value, 2),
            {"": entry.slope.value, "low": low, "high": high},
            after=interval(entry.slope, 2),
            value=entry.slope.value,
        )
        cells = (text_cell(model.name), text_cell(QUANTITY_TITLES[quantity]), text_cell(KIND_TITLES[kind]), slope)
        return Row((*cells, significant(entry.ratio), count_cell(entry.points), count_cell(entry.left_out)))

    return table(
        columns,
        (
            row(model, quantity, kind, entry)
            for model in found.models
            for quantity in QUANTITIES
            for kind in KINDS
            if (entry := fit(model.rises, quantity, kind))
        ),
    )


def sharpness(found: Analysis) -> Table:
    """Return the losses, the sharpness and the gaps of each model."""
    first = found.models[0].sharpness
    known = [name for name in GAPS if any(gap(found, model, name) is not None for model in found.models)]
    columns = [
        Column("model", "model", words=True),
        Column("training_loss", "training loss"),
        Column("validation_loss", "validation loss"),
        Column("gradient", "gradient norm"),
        *(Column(f"sam/{radius}", radius, group="SAM: rise at radius") for radius in first.sam),
        *(Column(f"asam/{radius}", radius, group="ASAM: rise at radius") for radius in first.asam),
        Column("trace", "tr H", group="curvature"),
        Column("relative_trace", "relative tr H", group="curvature"),
        Column("eigenvalue", "relative top eigenvalue", group="curvature"),
        *(Column(name, GAPS[name]) for name in known),
    ]

    def row(model: ModelAnalysis) -> Row:
        sharp = model.sharpness
        error = sharp.eigenvalue_residual * abs(sharp.eigenvalue)
        cells = (
            text_cell(model.name),
            number_cell(sharp.training_loss, 3),
            number_cell(sharp.validation_loss, 3),
            significant(sharp.gradient_norm),
            *(significant(value) for value in (*sharp.sam.values(), *sharp.asam.values())),
            significant(sharp.trace, sharp.trace_error),
            significant(sharp.relative_trace, sharp.relative_trace_error),
            significant(sharp.eigenvalue, error),
            *(number_cell(gap(found, model, name), 2) for name in known),
        )
        return Row(cells)

    return table(columns, map(row, found.models))


def ranks(found: Analysis) -> Table:
    """Return how each measure goes with each gap over models."""
    by_place = {(rank.measure, rank.gap): rank for rank in rank_correlations(found)}
    known = {gap for _, gap in by_place}
    columns = [Column("measure", "measure", words=True)]
    columns += [Column(gap, title) for gap, title in GAPS.items() if gap in known]
    return table(
        columns,
        (
            (text_cell(title), *(_rank_cell(by_place.get((measure, column.key))) for column in columns[1:]))
            for measure, (title, _) in MEASURES.items()
        ),
    )


def _rank_cell(rank: Rank | None) -> Cell:
    found = rank.correlation if rank else None
    low, high = (found.interval if found else None) or (None, None)
    values = {"": found.value if found else None, "low": low, "high": high, "models": len(rank.points) if rank else 0}
    if found is None:
        return Cell(DASH, values)
    text = number(found.value, 2)
    return Cell(text if found.decided else f"({text})", values, after=interval(found, 2), value=found.value)


def noise_rows(found: Analysis) -> Table:
    """Return every row of noise, for CSV."""
    names = [entry.name for entry in fields(NoiseRow)]
    columns = [Column("model"), *map(Column, names)]
    return table(columns, ((text_cell(m.name), *_plain(asdict(row))) for m in found.models for row in m.noise))


def rise_rows(found: Analysis) -> Table:
    """Return every row of rises, for CSV."""
    names = [entry.name for entry in fields(RiseRow)]
    columns = [Column("model"), *map(Column, names)]
    return table(columns, ((text_cell(m.name), *_plain(asdict(row))) for m in found.models for row in m.rises))


def profile_rows(found: Analysis) -> Table:
    """Return the loss along each direction, for CSV."""
    columns = [Column("model"), Column("direction"), Column("distance"), Column("loss")]
    return table(
        columns,
        (
            (text_cell(model.name), count_cell(number_of), significant(distance), significant(loss))
            for model in found.models
            for number_of, losses in enumerate(model.sharpness.profiles)
            for distance, loss in zip(model.sharpness.distances, losses, strict=True)
        ),
    )


def _plain(values: dict[str, str | float | int | bool | None]) -> list[Cell]:
    return [Cell(str(value), {"": value}) for value in values.values()]


def titles(found: Analysis) -> dict[str, str]:
    """Return what each model is called in figures: its kind where that tells it apart, its name elsewhere."""
    kinds = {model.name: kind_of(model.method, model.bits) for model in found.models}
    values = list(kinds.values())
    return {name: name if values.count(kind) > 1 else kind for name, kind in kinds.items()}
