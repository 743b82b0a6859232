"""The page in a real browser, where one is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from report_samples import VOC

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
WIDTHS = {"desktop": 1280, "phone": 360, "broken": 360}
PROBE = """<script>
const errors = [];
const note = text => errors.push(String(text));
addEventListener("error", event => note(event.message || "cannot load " + event.target.src), true);
addEventListener("securitypolicyviolation", event => note("policy: " + event.violatedDirective));
for (const kind of ["error", "warn"]) console[kind] = (...words) => note(words.join(" "));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(details => details.open = true);
  parent.postMessage({
    name: window.name,
    errors,
    inner: innerWidth,
    scroll: document.documentElement.scrollWidth,
    pictures: [...document.images].filter(image => image.naturalWidth > 0).length,
    overlaps: [...document.querySelectorAll("#maps svg text")].filter(
      text => text.getBBox().width > text.ownerSVGElement.viewBox.baseVal.width / 5).length,
    letters: Math.min(...[...document.querySelectorAll("svg text")].map(text => text.getBoundingClientRect().height)),
    clipped: [...document.querySelectorAll(".cell, .cell *, h1, h2, figcaption")].filter(
      node => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== "inline").length,
    text: document.body.innerText.length,
  }, "*");
});
</script>"""
COLLECT = """<script>
const found = [];
addEventListener("message", event => {
  found.push(event.data);
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>"""


@pytest.fixture(scope="module")
def seen(report: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the page measures of itself at each width, and a page that is broken on purpose."""
    if BROWSER is None:
        pytest.skip("no chromium is installed")
    folder = tmp_path_factory.mktemp("browser")
    page = (report / "report.html").read_text(encoding="utf-8")
    probed = page.replace("img-src data:", "script-src 'unsafe-inline'; img-src data:").replace(
        "<style>", f"{PROBE}<style>", 1
    )
    assert probed.count(PROBE) == 1
    broken = probed.replace("</body>", '<div style="width:2000px">.</div><img src="missing.png"></body>')
    frames = []
    for name, width in WIDTHS.items():
        (folder / f"{name}.html").write_text(broken if name == "broken" else probed, encoding="utf-8")
        frames.append(
            f'<iframe name="{name}" src="{name}.html" style="width:{width}px;height:800px;border:0"></iframe>'
        )
    outer = folder / "outer.html"
    outer.write_text(f'<!doctype html>{COLLECT}<pre id="found">[]</pre>{"".join(frames)}', encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,900"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=8000", "--dump-dom", outer.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    found = {entry["name"]: entry for entry in json.loads(unescape(text))}
    assert set(found) == set(WIDTHS), done.stderr[-2000:]
    return found


@pytest.mark.parametrize("name", ["desktop", "phone"])
def test_the_page_fits_and_loads(seen: dict[str, dict[str, Any]], name: str) -> None:
    """Nothing is reported on the console, nothing wider than the window, no cell cut off, every picture decoded."""
    found = seen[name]
    assert found["errors"] == []
    assert found["inner"] == WIDTHS[name] and found["scroll"] <= found["inner"]
    assert found["clipped"] == 0
    assert found["pictures"] == 20 and found["overlaps"] == 0 and found["letters"] > 7
    assert found["text"] > 100 * len(VOC)


def test_a_broken_page_would_be_found(seen: dict[str, dict[str, Any]]) -> None:
    """The probe sees what is too wide, and what the page's policy refuses to load."""
    found = seen["broken"]
    assert found["scroll"] >= 2000
    assert any("img-src" in error for error in found["errors"])
