"""The page: one HTML file that opens from disk, needs no network, runs no script and prints."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from yolo_qreg.evaluation import results as data_files
from yolo_qreg.evaluation.results import FEW_PICTURES, Results
from yolo_qreg.files import write_text
from yolo_qreg.findings import paper
from yolo_qreg.findings.losses import History, histories_of
from yolo_qreg.findings.names import kind_of
from yolo_qreg.report import charts, classes, comparison, curves, gallery, headline, heatmap, numbers
from yolo_qreg.report import setup as setup_section
from yolo_qreg.report.figures import write_figures
from yolo_qreg.report.gallery import Picture
from yolo_qreg.report.markup import Content, Html, el, join
from yolo_qreg.report.palette import Name, check, css
from yolo_qreg.report.text import MINUS, compared

PAGE = "report.html"
LOSSES = (
    "A validation loss that rises while the training loss falls is overfitting. Fig. 1 of the paper shows objectness "
    "loss, which the anchor-free YOLOv5n of Ultralytics does not have; these are the losses that it has."
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
BENCHMARK_SIZE = 19


def write_report(folder: Path, results: Results | None = None, palette: str = "paper") -> Path:
    """Write FOLDER/report.html and FOLDER/figures, each file whole or as it was.

    Args:
        folder: Where the results lie, and perhaps a folder `gallery` of pictures.
        results: Those of the folder by default.
        palette: `paper` (green and red) or `accessible` (blue and orange).

    Returns:
        The page.

    Raises:
        InputError: The folder holds no results, or there is no such palette.
    """
    name = check(palette)
    found = data_files.load(folder) if results is None else results
    losses = histories_of(found, folder)
    write_figures(folder, found, losses, name)
    page = document(found, losses, gallery.read_gallery(folder, found.corruptions), name)
    write_text(folder / PAGE, page)
    return folder / PAGE


def document(results: Results, losses: Mapping[str, History], pictures: tuple[Picture, ...], colours: Name) -> str:
    """Return the page as text."""
    title = "Robustness of quantized detectors"
    parts = (
        _headline(results),
        _maps(results),
        _curves(results),
        _classes(results),
        _gallery(results, pictures),
        _losses(results, losses),
        _paper(results),
        _numbers(results),
        _setup(results),
    )
    header = el("header", el("h1", title), el("p", subject(results), class_="subject"))
    return whole(f"{title}: {', '.join(model.name for model in results.models)}", (header, *parts), colours)


def whole(title: str, content: Content, colours: Name, style: str = "") -> str:
    """Return a page that holds everything it needs.

    Args:
        title: For the browser.
        content: Its header and sections.
        colours: Palette.
        style: CSS beyond that of all pages.
    """
    rules = css(colours) + resources.files("yolo_qreg.report").joinpath("report.css").read_text("utf-8") + style
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        el("style", Html(rules)),
    )
    return f"<!doctype html>\n{el('html', head, el('body', el('main', content)), lang='en')}\n"


def section(name: str, title: str, *content: Content) -> Html:
    """Return a section with its title."""
    return el("section", el("h2", title), *content, id=name)


def subject(results: Results) -> str:
    """Return which pictures, corruptions and severities an evaluation is about."""
    images = max((score.images for score in results.scores), default=0)
    count = "all 19" if len(results.corruptions) == BENCHMARK_SIZE else f"{len(results.corruptions)} of the 19"
    levels = sorted(results.severities)
    whole = len(levels) > 2 and levels == list(range(levels[0], levels[-1] + 1))
    several = f"{', '.join(map(str, levels[:-1]))} and {levels[-1]}"
    listed = f"{levels[0]} to {levels[-1]}" if whole else several if len(levels) > 1 else str(levels[0])
    severities = f"{'severity' if len(levels) == 1 else 'severities'} {listed}"
    data = results.setup.get("data")
    return (
        f"{images:,} pictures{f' of {data}' if data else ''}, clean and under {count} corruptions of Hendrycks & "
        f"Dietterich at {severities}. Baseline: {results.baseline}."
    )


def averaged(results: Results) -> str:
    """Return what a number of one corruption is: a mean over severities, or at the one that there is."""
    return "means over severities" if len(results.severities) > 1 else f"at severity {results.severities[0]}"


def _headline(results: Results) -> Html:
    images = results.score(results.baseline).images
    notes = [
        f"Only {images} pictures: do not rely on these intervals. " if images < FEW_PICTURES else "",
        "mAP is COCO's mAP@[.50:.95] in points. ",
        "Differences are model minus baseline, with the 95% interval of a paired bootstrap over pictures; a number in "
        "parentheses is undecided: its interval includes 0. Intervals say how other pictures might have changed a "
        "number, not another seed of the training: that takes several trainings. "
        if compared(results)
        else "",
        "Corrupted: mean over every corruption and severity. Eq. 5: the paper's relative improvement of the error, ",
        el("span", "100 log", el("sub", "10"), f"((100 {MINUS} baseline) / (100 {MINUS} model))", class_="nb"),
        ". mPC: the same over the benchmark's 15 corruptions, as far as evaluated. rPC: mPC / clean mAP. "
        "MB: weights, packed where they are quantized.",
    ]
    said = el("ul", (el("li", text) for text in headline.sentences(results)), class_="said")
    return el("section", said, headline.table(results), el("p", notes, class_="note"), id="headline")


def _maps(results: Results) -> Html | None:
    models = compared(results)
    if not models:
        return None
    limit = heatmap.report_limit(results)
    found = {model.name: heatmap.cells_of(results, model.name) for model in models}
    figures = [
        el(
            "figure",
            el("figcaption", el("b", model.name), f" {kind_of(model.method, model.bits)}"),
            heatmap.grid(found[model.name], limit),
            class_="map",
        )
        for model in models
    ]
    blank = any(cell.side == "blank" for cells in found.values() for cell in cells)
    return section(
        "maps",
        "Gain or loss by corruption",
        el("p", f"Points of mAP against {results.baseline}, {averaged(results)}; all maps share one scale."),
        el("div", figures, class_="maps"),
        heatmap.legend(limit, "not evaluated" if blank else None),
    )


def _curves(results: Results) -> Html | None:
    if len(results.severities) < 2:
        return None
    mean = curves.severity_chart(results, results.corruptions, "Mean mAP over the corruptions")
    figures = [chart_figure(mean, charts.LARGE, "mAP in points")]
    gain = curves.gain_chart(results, f"Gain over {results.baseline}")
    if gain.lines:
        figures.append(chart_figure(gain, charts.LARGE, "points, with 95% intervals"))
    small = (chart_figure(chart, charts.SMALL) for chart in curves.corruption_charts(results))
    return section(
        "severity",
        "Severity",
        charts.key(curves.slots(results).items()),
        el("div", figures, class_="charts"),
        el("h3", "Each corruption"),
        el("div", small, class_="small-charts"),
        el("details", el("summary", "Numbers by severity"), numbers.by_severity(results)),
    )


def chart_figure(chart: charts.Chart, frame: charts.Frame, unit: str = "") -> Html:
    """Return a chart below its title; `unit` says what its y axis counts."""
    caption = el("figcaption", el("b", chart.title) if unit else chart.title, f" {unit}" if unit else None)
    return el("figure", caption, charts.svg(chart, frame))


def _classes(results: Results) -> Html | None:
    found = classes.by_model(results)
    if not found:
        return None
    span, slots = classes.span_of(found), curves.slots(results)
    held = {row.name for rows in found.values() for row in rows}
    absent = [name for name in dict.fromkeys(score.name for score in results.class_scores) if name not in held]
    figures = (
        el(
            "figure",
            el("figcaption", el("b", model)),
            classes.dot_plot(rows, span, slots[model], f"Gain of {model} by class, in points"),
        )
        for model, rows in found.items()
    )
    kinds = el(
        "p",
        el("span", el("i", class_="mark full"), "corrupted pictures"),
        el("span", el("i", class_="mark hollow"), "clean pictures"),
        class_="legend",
    )
    return section(
        "classes",
        "Gain or loss by class",
        el("p", f"Points of mAP against {results.baseline}. These have no intervals: small differences may be chance."),
        el("p", f"Without boxes in these pictures: {', '.join(absent)}.", class_="note") if absent else None,
        kinds,
        el("div", figures, class_="charts"),
        el("details", el("summary", "Numbers by class"), classes.number_table(found)),
    )


def _gallery(results: Results, pictures: tuple[Picture, ...]) -> Html | None:
    if not pictures:
        return None
    known = results.setup.get("gallery")
    made = known if isinstance(known, dict) else {}
    severity = f" at severity {made['severity']}" if "severity" in made else ""
    score = f" of score {made['least score']} or more" if "least score" in made else ""
    return section(
        "gallery",
        "What the models find",
        el("p", f"One picture, clean and under each corruption{severity}, with each model's boxes{score}."),
        el("details", el("summary", f"{len(pictures)} pictures"), gallery.pictures(pictures), open="open"),
    )


def _losses(results: Results, losses: Mapping[str, History]) -> Html | None:
    found = curves.loss_charts(results, losses)
    if not found:
        return None
    slots = curves.slots(results)
    return section(
        "losses",
        "Losses of the trainings",
        el("p", LOSSES),
        charts.key((name, slots[name]) for name in losses),
        el("div", (chart_figure(chart, charts.MEDIUM) for chart in found), class_="charts"),
    )


def _paper(results: Results) -> Html | None:
    if not comparison.matches(results):
        return None
    table = comparison.table(results) if comparison.has_table(results) else None
    return section(
        "paper",
        "Beside the paper",
        el(
            "p",
            el("span", "paper", class_="tag"),
            f" marks numbers printed in {paper.CITATION}, for YOLOv5n on Pascal VOC. They have no intervals. The paper "
            "does not say at which severities it measured; its training and pictures are not ours.",
        ),
        table,
        comparison.map_pairs(results),
    )


def _numbers(results: Results) -> Html:
    return section(
        "numbers",
        "All means",
        el("details", el("summary", f"mAP by corruption, {averaged(results)}"), numbers.by_corruption(results)),
        el(
            "p",
            "Beside this page: ",
            join(el("code", "scores.csv"), ", ", el("code", "class_scores.csv"), ", ", el("code", "deltas.csv")),
            " hold every number, ",
            el("code", "figures"),
            " the figures as PNG and PDF.",
            class_="note",
        ),
    )


def _setup(results: Results) -> Html:
    note = setup_section.note(results)
    return section(
        "setup",
        "What was run",
        setup_section.models_table(results),
        el("p", note) if note else None,
        setup_section.facts(results),
    )
