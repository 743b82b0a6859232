"""Wrong command lines: status 2, one line with the remedy, nothing left behind, and no wait for torch."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest

from yolo_qreg.cli import cli, main
from yolo_qreg.errors import InputError, printable
from yolo_qreg.settings import RULES, check_settings, host_settings

HOME = Path(__file__).parents[2]
NONSENSE = {
    "epochs": ("0", "-1", "1e9", "2.5", "nan", "many", "none", "[1]"),
    "time": ("-1", "0", "nan", "long"),
    "patience": ("-1", "x"),
    "batch": ("-7", "0", "2.5", "-0.5", "nan", "many", "1e9"),
    "imgsz": ("0", "-64", "31", "1e6", "[640,480]", "640x480"),
    "save_period": ("-2", "x"),
    "cache": ("disc", "/x", "3"),
    "workers": ("-3", "x", "100000"),
    "nbs": ("0", "-64"),
    "close_mosaic": ("-5", "x"),
    "max_det": ("0", "-1"),
    "freeze": ("abc", "-1", "[-1]", "['x']", "1.5"),
    "classes": ("abc", "-1", "[0,-1]", "[]", "['a']"),
    "fraction": ("0", "-1", "1.5", "x"),
    "compile": ("banana", "3"),
    "amp": ("fp8", "3"),
    "augmentations": ("5", "x"),
    "pretrained": ("5", "[1]"),
    "cfg": ("5", "true", "nowhere.yaml", "."),
    "scale": ("2", "-1", "[1]", "x"),
    "plots": ("no", "1"),
    "save": ("yes", "0"),
    "val": ("x", "2"),
    "degrees": ("nan", "x"),
    "warmup_epochs": ("-1", "nan", "x"),
    "box": ("-1", "inf"),
    **dict.fromkeys(("lr0", "momentum", "mosaic", "hsv_h", "fliplr", "iou"), ("nan", "-1", "2", "x")),
}
OTHER = (
    *("train epoch=5", "train epochs", "train =5", "train epochs=", "train epochs=1 epochs=2", "train seed=3"),
    *("train data=x", "train model=x", "train task=segment", "train lr0=" + "-" * 50_000 + "1"),
    *("train --bits 9", "train --bits x", "train --method pact", "train --seed -1", "train --seed 99999999999"),
    *(
        "train --data nope.yaml",
        "train --data **.yaml",
        "train --data {empty}",
        "train --model {empty}",
        "train --nope",
    ),
    *("train --model no/x.pt", "train --resume /no", "train --resume .", "train --resume {empty}"),
    *("study --data /no", "study --data {empty}", "study --model no/x.pt", "study --out {empty}", "study a b"),
    *("study nothere", "study batch=-7", "study lr0=nan", "study epoch=5", "study epochs=1 epochs=2", "study --jobs 0"),
    *("eval-corrupted nope.pt", "eval-corrupted {empty}", "eval-corrupted .", "eval-corrupted {file}"),
    *(f"eval-corrupted {word}" for word in ("--data /no", "--data {empty}", "--out {empty}", "--baseline nope.pt")),
    *(
        f"eval-corrupted --{word}"
        for word in ("imgsz 33", "imgsz 0", "batch 0", "batch x", "workers -1", "workers 1000")
    ),
    *(
        f"eval-corrupted --{word}"
        for word in ("limit 0", "seed -1", "resamples 3", "resamples 99999999999", "cache {empty}")
    ),
    *(
        f"eval-corrupted --{word}"
        for word in ("severity 6", "severity x", "corruptions rain", "palette x", "textures /no")
    ),
    *("info", "info /no", "info {empty}", "info .", "unpack", "unpack /no", "unpack {empty}", "unpack ."),
    *("export /no --to pt", "export", "export {file}", "export {file} --to x", "export {empty} --to pt"),
    *("report", "report {empty}", "report {file}", "report . --palette x", "data voc", "data nothing"),
    *("data voc --devkit {empty} --out x", "data voc --devkit /no --out {empty}", "data shapes --out {empty}"),
    *("corrupt", "corrupt /no.jpg", "corrupt {empty}", "corrupt --data /no", "corrupt --data {empty}"),
    *(
        "corrupt {file} --seed -1",
        "corrupt {file} --severity 9",
        "corrupt {file} --corruptions x",
        "corrupt --workers x",
    ),
    *("demo --out {empty}", "demo x", "env x", "nothing", "--nothing", "train --trust=1"),
)
LINES = (
    *(f"{command} {key}={value}" for command in ("train", "study") for key in NONSENSE for value in NONSENSE[key]),
    *OTHER,
)
"""Some 300 command lines; {empty} is an empty word, {file} a file of text."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "file.txt").write_text("text")
    return folder


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:60])
def test_a_wrong_command_is_one_line(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is wrong on one line of bounded length, with status 2; the folder is as it was."""
    monkeypatch.chdir(place)
    words = ["" if word == "{empty}" else word.replace("{file}", "file.txt") for word in line.split()]
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") or shown.splitlines()[-1].startswith("error: ")
    assert len([row for row in shown.splitlines() if row.startswith("error: ")]) == 1
    assert "Traceback" not in shown and len(shown) < 3000
    assert [path.name for path in place.iterdir()] == ["file.txt"]


def test_refusals_do_not_wait_for_torch(place: Path) -> None:
    """Neither torch nor the host is imported for what can be told without them."""
    lines = [f"train {key}={value}" for key in NONSENSE for value in NONSENSE[key]]
    lines += ["train --data nope.yaml", "train epoch=5", "train --resume /no", "info /no", "unpack /no"]
    lines += ["export /no --to pt", "study --data /no", "study lr0=nan", "eval-corrupted nope.pt", "corrupt --data /no"]
    code = (
        "import sys\nfrom yolo_qreg.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    assert main(line.split()) == 2, line\n"
        "    assert not {'torch', 'ultralytics'} & set(sys.modules), line"
    )
    done = subprocess.run([sys.executable, "-c", code, *lines], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_every_setting_of_the_table_is_the_hosts_and_its_default_is_good() -> None:
    """A rule for a setting that does not exist, or that forbids the default, would be wrong."""
    known = host_settings()
    for key, rule in RULES.items():
        assert key in known or key == "augmentations"
        assert rule.holds(known.get(key)) or known.get(key) is None


def test_keys_of_a_recipe_may_be_numbers() -> None:
    """YAML has such, and no setting is called so."""
    with pytest.raises(InputError, match="'1' is not an Ultralytics training setting"):
        check_settings({1: 2})  # type: ignore[dict-item]


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A name may hold what sets a terminal's title or hides a line; letters of any script stay."""
    assert printable("\x1b]0;x\x07 \u202e \u72ac \xe9") == "\\x1b]0;x\\x07 \\u202e \u72ac \xe9"
    assert main(["info", "\x1b]0;pwned\x07.pt"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free space"), (errno.EMFILE, "ulimit -n"), (errno.ENOMEM, "free memory")]
)
def test_errors_of_the_system_have_their_own_remedies(
    number: int, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """More space helps against a full disk alone."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "no more", "x")

    monkeypatch.setattr(click.Group, "main", fail)
    assert cli.name
    assert main(["env"]) == 2
    assert remedy in capsys.readouterr().err
