"""Opens the page in a real browser: it fits a phone, its buttons work, and nothing is said on the console."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "analysis" / "fakes"))

from made_runs import three_contenders

from paceline.analysis.standings import compare_runs
from paceline.report.compare_page import render_compare_html
from paceline.report.html import render_html
from paceline.report.view import ReportInput

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (  # noqa: SIM905 - one flag a line would hide the two that matter
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --enable-logging=stderr --v=0 "
    "--window-size=1400,1000 --virtual-time-budget=4000 --dump-dom"
).split()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on PATH to open the page with"),
]

# Browsers do not make windows as narrow as a phone, so the page is laid out in a frame of that width.
HOST = """<!doctype html><meta charset="utf-8"><pre id="out"></pre>
<iframe id="phone" style="width:PHONEpx;height:844px;border:0"></iframe>
<iframe id="desk" style="width:1280px;height:900px;border:0"></iframe>
<script>
const page = PAGE;
const measured = {};
const frames = ["phone", "desk"].map((name) => document.getElementById(name));
function look(frame) {
  const view = frame.contentWindow, root = view.document.documentElement, body = view.document.body;
  const outside = [...body.querySelectorAll("*")].filter((element) => {
    if (element.closest(".scroll, pre, .skip, svg")) return false;
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.right > view.innerWidth + 1 || box.left < -1);
  }).map((element) => `${element.tagName}.${element.className}`);
  const found = { width: view.innerWidth, scroll: root.scrollWidth, outside };
  const button = (text) => [...body.querySelectorAll(".sortable th button")].find((b) => b.textContent === text);
  const first = () => body.querySelector(".sortable tbody th .plan")?.textContent ?? null;
  found.before = first();
  button("steps/s")?.click();
  found.slowest_first = first();
  button("envs")?.click();
  found.most_envs_first = first();
  found.sorted = [...body.querySelectorAll("[aria-sort]")].map((head) => head.textContent + " " + head.ariaSort);
  body.querySelector("button.copy")?.click();
  found.tiny = [...body.querySelectorAll("p, li, td, th, dd, figcaption")]
    .filter((e) => e.textContent.trim() && parseFloat(view.getComputedStyle(e).fontSize) < 11).length;
  return found;
}
for (const frame of frames) {
  frame.addEventListener("load", () => {
    measured[frame.id] = look(frame);
    document.getElementById("out").textContent = JSON.stringify(measured);
  });
  frame.srcdoc = page;
}
</script>"""


def opened(page: str, folder: Path, *, phone_px: int = 390) -> tuple[dict[str, Any], list[str]]:
    """Return what the browser measured in both frames, and its console's lines."""
    host = folder / "host.html"
    page = json.dumps(page).replace("</", "<\\/").replace("<!--", "<\\!--")
    host.write_text(HOST.replace("PHONE", str(phone_px)).replace("PAGE", page), encoding="utf-8")
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", host.as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.S)
    assert found is not None and found.group(1), done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found.group(1))), console


def page_of(name: str, request: pytest.FixtureRequest) -> str:
    if name == "comparison":
        return render_compare_html(compare_runs(three_contenders(), names=["ppo", "a_long_name_" * 5, "<b>impala</b>"]))
    return render_html(request.getfixturevalue(name))


@pytest.mark.parametrize("name", ["sweep", "train", "wide", "comparison"])
def test_nothing_hangs_over_the_edge_and_the_console_is_silent(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    measured, console = opened(page_of(name, request), tmp_path)
    assert console == []
    assert set(measured) == {"phone", "desk"}
    for frame, width in (("phone", 390), ("desk", 1280)):
        assert measured[frame]["width"] == width
        assert measured[frame]["scroll"] <= width, frame
        assert measured[frame]["outside"] == [], frame
        assert measured[frame]["tiny"] == 0, frame


def test_the_table_sorts_by_a_click(sweep: ReportInput, tmp_path: Path) -> None:
    found = opened(render_html(sweep), tmp_path)[0]["phone"]
    assert found["before"] == "8x16"
    assert found["slowest_first"] == "1x1"  # failed plans stay below
    assert found["most_envs_first"] == "8x16"
    assert found["sorted"] == ["envs descending"]
