"""Every shell and Python block of README and docs runs, or is marked and parses; pages and links are there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from documents import PAGES, ROOT, only_parsed, parse, run, shell_lines
from ultralytics.utils import SETTINGS

from corruptions import select
from yolo_qreg import EvalConfig, QuantConfig, TrainConfig, api
from yolo_qreg.cli import COMMANDS, cli
from yolo_qreg.data.shapes import ensure_shapes
from yolo_qreg.evaluation.results import Results

pytest.importorskip("sybil")
from sybil.document import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.example import Example
from sybil.parsers.markdown import CodeBlockParser

MODEL = ROOT / "tests" / "host" / "tiny.yaml"
TINY = {"epochs": 1, "imgsz": 32, "batch": 8, "workers": 0, "device": "cpu", "plots": False, "optimizer": "SGD"}
"""What trainings of the documents are turned into: the data set has 8 pictures."""
README_LINES = 150


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the documents name: data, finished runs, pictures. Trainings and evaluations are tiny."""
    folder = tmp_path_factory.mktemp("workspace")
    data = ensure_shapes(folder / "datasets", train=8, val=6)
    for name in ("my.yaml", "voc.yaml", "my/voc.yaml", "moved/my.yaml", "datasets/VOC/voc.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data, folder / name)
    (folder / "path/to/VOCdevkit").mkdir(parents=True)
    (folder / "plan.yaml").write_text("bits: {model.0.conv: 8}\n")
    picture = PIL.Image.open(next(iter(sorted(data.parent.rglob("*.png")))))
    for name in ("photos", "images"):
        (folder / name).mkdir()
    for name in ("street.jpg", "photos/street.jpg", "images/street.jpg"):
        picture.save(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setattr("ultralytics.cfg.TESTS_RUNNING", False)  # the host has another place for runs of tests
        patch.setitem(SETTINGS, "runs_dir", str(folder / "runs"))
        patch.setattr("yolo_qreg.report.evaluation.write_figures", lambda *_: ())
        patch.setattr(api, "train", _tiny_training(api.train, data))
        patch.setattr(api, "evaluate", _tiny_evaluation(api.evaluate))
        for quant in (QuantConfig(bits=32), QuantConfig(bits=8), QuantConfig(method="lsq", bits=4)):
            api.train(TrainConfig(quant=quant, data="my.yaml"))
        yield folder


def _tiny_training(train: Callable[[TrainConfig], Path], data: Path) -> Callable[[TrainConfig], Path]:
    def tiny(config: TrainConfig) -> Path:
        settings = {**config.settings, **TINY}
        named = data if config.data in ("voc", "shapes") else config.data
        model = str(MODEL) if config.model == TrainConfig(quant=config.quant).model else config.model
        return train(replace(config, data=named, model=model, settings=settings))

    return tiny


def _tiny_evaluation(evaluate: Callable[..., Results]) -> Callable[..., Results]:
    def tiny(config: EvalConfig, **options: Any) -> Results:
        few = [name for name in select(config.corruptions) if name in ("fog", "pixelate")]
        small = replace(config, corruptions=few, severities=config.severities[:1], limit=4, imgsz=64, workers=0)
        return evaluate(replace(small, resamples=200, device="cpu"), **options)

    return tiny


def _shell(example: Example) -> None:
    for words in shell_lines(example.parsed):
        (parse if only_parsed(example.document.text, example.region.start) else run)(words)


def _python(example: Example) -> None:
    if only_parsed(example.document.text, example.region.start):
        compile(example.parsed, example.path, "exec")
    else:
        PythonEvaluator()(example)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _examples(page: Path) -> list[Example]:
    return list(
        Document.parse(str(page), CodeBlockParser("bash", _shell), CodeBlockParser("python", _python)).examples()
    )


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_its_blocks_run(page: Path, workspace: Path) -> None:
    """One after another, in a folder that holds what they name; marked ones parse."""
    text = page.read_text(encoding="utf-8")
    examples = _examples(page)
    fences = re.findall(r"^```(\w+)$", text, re.M)
    assert len(examples) == len([name for name in fences if name in ("bash", "python")])
    assert len(re.findall("^<!-- only parsed", text, re.M)) == sum(only_parsed(text, e.region.start) for e in examples)
    for example in examples:
        example.evaluate()


@pytest.mark.parametrize(
    "page", [*PAGES, *ROOT.glob("docs/*/README.md")], ids=lambda page: f"{page.parent.name}-{page.stem}"
)
def test_its_links_lead_somewhere(page: Path) -> None:
    """Files and headings that a page links to are there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_the_readme_is_short_and_leads_everywhere() -> None:
    """At most 150 lines, every page of docs among its links."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"](docs/{page.name})" in text


def test_messages_that_are_explained_are_those_of_the_program() -> None:
    """What stands as code in the first column of the table of troubles is said by the source, word for word."""
    files = sorted(file for package in ("yolo_qreg", "corruptions") for file in (ROOT / package).rglob("*.py"))
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    source = re.sub(r'"\n\s*f?"', "", source)
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.M)
    told = [part.strip(" ,") for row in rows for text in re.findall("`(.+?)`", row) for part in text.split("...")]
    assert len(told) > 5
    assert [part for part in told if part.removeprefix("--") not in source] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_its_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of each command's help is a page that is there."""
    with pytest.raises(SystemExit):
        cli.main([name, "--help"], prog_name="yolo-qreg")
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    found = re.search(r"docs/[\w-]+\.md", last)
    assert found is not None
    assert (ROOT / found.group()).is_file()
