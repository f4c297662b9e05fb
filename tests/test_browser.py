"""The course as a student meets it: JupyterLab in a browser, started as ``make lab`` starts it, on a copy.

nbval runs every cell of every notebook without a browser. Here the notebooks are opened and run in JupyterLab
itself. COURSE_BROWSER=quick leaves out those that compute for minutes.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request

from course_utils.__main__ import lab_command, lab_environment
from tools.course import ROOT, course_notebooks

import nbformat
import pytest
from browser import browser, offline_page  # noqa: F401 - browser is a fixture

NOTEBOOKS = course_notebooks(ROOT / "notebooks")
# Seconds for Run All, start of the kernel included; several times what two cores need.
SECONDS = {"06": 1800, "07": 1200, "09": 900}
LIMIT = 300
QUICK = os.environ.get("COURSE_BROWSER") == "quick"
# Tall, so that JupyterLab draws many cells at once: it draws only what is in sight.
TALL = {"width": 1400, "height": 6000}
SCREEN = {"width": 1280, "height": 720}
SMALLEST_CODE = 18
# What sticks out of the live slide that is shown, and the size of its code. A cell's own output may scroll.
MEASURE = """() => {
  const slide = [...document.querySelectorAll("section.present")].pop(), out = [];
  for (const block of slide.querySelectorAll(".jp-Cell, .jp-RenderedMarkdown > *, .cm-line")) {
    const box = block.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (box.left < -1 || box.top < -1 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1)
      out.push(`${block.tagName} "${block.textContent.slice(0, 40)}" ends at ${box.right} x ${box.bottom}`);
  }
  const code = [...slide.querySelectorAll(".cm-line, pre")];
  const sizes = code.map((line) => parseFloat(getComputedStyle(line).fontSize));
  return { out, code: Math.min(...sizes, 99), empty: !slide.textContent.trim() };
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the notebooks: (folder, address, token). The user's files stay as they are."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(
        ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints")
    )
    shutil.copytree(ROOT / "data" / "published", folder / "data" / "published")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns(".*"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The command of `make lab`, but for the folder.
    options = ["--no-browser", f"--port={port}", "--IdentityProvider.token=test"]
    folder_option = f"--ServerApp.root_dir={folder}"
    command = [
        folder_option if part.startswith("--ServerApp.root_dir=") else part for part in lab_command(options)
    ]
    assert folder_option in command
    log = (folder / "lab.log").open("w+")
    server = subprocess.Popen(command, env=lab_environment(), stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api?token=test", timeout=5).close()
            break
        except OSError:
            time.sleep(0.5)
    else:
        server.terminate()
        pytest.fail("JupyterLab did not start:\n" + (folder / "lab.log").read_text())
    yield folder, address, "test"
    server.terminate()
    server.wait(30)
    log.close()


def open_notebook(browser, lab, name, **options):  # noqa: F811
    """Return a page with a notebook in JupyterLab, its kernel idle, and the requests that wanted to leave."""
    outside = []
    page = offline_page(browser, outside, **options)
    page.goto(f"{lab[1]}/lab/tree/notebooks/{name}?token={lab[2]}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    wait_until_idle(page, 60)
    return page, outside


def wait_until_idle(page, seconds):
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=1000 * seconds)


def run_all(page):
    page.locator(".lm-MenuBar-item", has_text="Run").click()
    page.locator(".lm-Menu-item", has_text=re.compile("^Run All Cells")).click()


def saved(page, path):
    """Save the notebook in JupyterLab and return it as it is on the disk."""
    before = path.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    for _ in range(100):
        if path.stat().st_mtime_ns != before:
            break
        page.wait_for_timeout(100)
    page.wait_for_timeout(300)
    return nbformat.read(path, as_version=4)


def sync_api_timeout():
    """Return the error that Playwright raises when it has waited too long."""
    return pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: make tools"
    ).TimeoutError


def run_and_save(page, path, seconds):
    """Run all cells and wait until the last one has ended; return the notebook."""
    end = time.monotonic() + seconds
    run_all(page)
    # A quick notebook may have ended before anybody looked. That every cell has run is for the caller to check.
    with contextlib.suppress(sync_api_timeout()):
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=busy]", timeout=10_000)
    while time.monotonic() < end:
        wait_until_idle(page, max(1, end - time.monotonic()))
        page.wait_for_timeout(500)  # between two cells the kernel is idle for a moment
        if page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").count():
            return saved(page, path)
    raise TimeoutError(f"{path.name} did not end within {seconds} s")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_in_jupyterlab(lab, browser, path):  # noqa: F811
    number = path.name[:2]
    if number in SECONDS and QUICK:
        pytest.skip(f"{path.name} computes for minutes, and COURSE_BROWSER is quick")
    copy = lab[0] / "notebooks" / path.name
    stored = nbformat.read(copy, as_version=4)
    for cell in stored.cells:  # so that no output of before can be taken for a new one
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(stored, copy)
    page, outside = open_notebook(browser, lab, path.name, viewport=SCREEN)
    notebook = run_and_save(page, copy, SECONDS.get(number, LIMIT))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "Not every cell has run."
    for cell in code:
        failed = [output.ename for output in cell.outputs if output.output_type == "error"]
        assert bool(failed) == ("raises-exception" in cell.metadata.get("tags", [])), (cell.source, failed)
    assert outside == [], "JupyterLab should load nothing from elsewhere."
    page.context.close()


def test_the_progress_bar_shows(lab, browser):  # noqa: F811
    page, _ = open_notebook(browser, lab, "02_one_hot.ipynb", viewport=TALL)
    run_all(page)
    bar = page.locator(".jp-OutputArea .jupyter-widgets .progress-bar, .jp-OutputArea .widget-hprogress")
    bar.first.wait_for(timeout=60_000)
    assert page.get_by_text(re.compile(r"\d+(\.\d+)?epoch/s|\d/8|\d+%")).count() > 0, "The bar should count."
    wait_until_idle(page, LIMIT)
    page.context.close()


def test_the_explorer_of_notebook_08_moves(lab, browser):  # noqa: F811
    page, _ = open_notebook(browser, lab, "08_recommendations.ipynb", viewport={**TALL, "height": 20_000})
    run_and_save(page, lab[0] / "notebooks" / "08_recommendations.ipynb", LIMIT)

    def change(control, move):
        """Move a control and return the table of its cell, before and after."""
        cell = page.locator(".jp-CodeCell", has=control).first
        table = cell.locator("table.dataframe").last
        before = table.inner_text()
        move()
        for _ in range(100):
            if table.inner_text() != before:
                break
            page.wait_for_timeout(100)
        return before, table.inner_text()

    user = page.locator(".widget-slider", has_text="user").locator(".noUi-handle")
    before, after = change(user, lambda: user.press("ArrowRight"))
    assert before != after, "Another user should get another list."
    model = page.locator(".widget-dropdown", has_text="model").locator("select")
    before, after = change(model, lambda: model.select_option("rating model"))
    assert before != after, "Another model should make another list."
    stars = page.locator(".widget-slider", has_text="Star Wars").locator(".noUi-handle")
    before, after = change(stars, lambda: [stars.press("ArrowLeft") for _ in range(4)])
    assert before != after, "Other stars should give another list."
    page.context.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_live_slide_fits_the_screen(lab, browser, path):  # noqa: F811
    pytest.importorskip("jupyterlab_rise", reason="jupyterlab-rise is not installed: make tools")
    shutil.copy(path, lab[0] / "notebooks" / path.name)
    outside, seen, problems = [], set(), []
    page = offline_page(browser, outside, viewport=SCREEN)
    page.goto(f"{lab[1]}/rise/notebooks/{path.name}?token={lab[2]}")
    page.wait_for_selector("section.present .jp-RenderedMarkdown h1", timeout=60_000)
    page.wait_for_timeout(2000)  # formulas and styles
    while page.url not in seen:
        seen.add(page.url)
        found = page.evaluate(MEASURE)
        problems += [f"slide {len(seen)}: {text}" for text in found["out"]]
        if found["code"] < SMALLEST_CODE or found["empty"]:
            problems.append(f"slide {len(seen)}: code of {found['code']} px, empty: {found['empty']}")
        page.keyboard.press("Space")
        page.wait_for_timeout(120)
    slides = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in nbformat.read(path, 4).cells]
    assert len(seen) == sum(kind in ("slide", "subslide") for kind in slides)
    assert problems == []
    assert outside == []
    page.context.close()


def test_a_cell_runs_on_a_live_slide(lab, browser):  # noqa: F811
    pytest.importorskip("jupyterlab_rise", reason="jupyterlab-rise is not installed: make tools")
    page = offline_page(browser, [], viewport=SCREEN)
    page.goto(f"{lab[1]}/rise/notebooks/00_welcome.ipynb?token={lab[2]}")
    page.wait_for_selector("section.present .jp-RenderedMarkdown h1", timeout=60_000)
    page.wait_for_timeout(2000)
    page.keyboard.press("Space")
    cell = page.locator("section.present section.present .jp-CodeCell")
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("print(6 * 7)")
    page.keyboard.press("Control+Enter")  # runs it and stays on the slide
    cell.locator(".jp-OutputArea-output", has_text="42").wait_for(timeout=60_000)
    page.context.close()
