"""The course as a student meets it: JupyterLab in a browser, started as ``make lab`` starts it, on a copy.

nbval runs every cell of every notebook without a browser. Here notebooks are opened and run in JupyterLab
itself: the quick ones, or with COURSE_BROWSER=all every one, as CI does once a week.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request

from course_utils.__main__ import lab_command, lab_environment
from tools.course import ROOT, course_notebooks
from tools.patience import patience

import nbformat
import pytest
from browser import offline_page

pytestmark = pytest.mark.slow
NOTEBOOKS = course_notebooks(ROOT / "notebooks")
# Seconds that a quiet machine with two cores needs for Run All, start of the kernel included.
SECONDS = {"06": 300, "07": 600, "08": 180, "09": 240, "10": 180, "11": 180}
LIMIT = 60
ALL = os.environ.get("COURSE_BROWSER") == "all"
QUICK = ("00", "01", "03")  # 02 and 08 run in tests of their own
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
    end = time.monotonic() + patience(10)
    while not answers(f"{address}/api?token=test"):
        if time.monotonic() > end or server.poll() is not None:
            server.terminate()
            pytest.fail("JupyterLab did not start:\n" + (folder / "lab.log").read_text())
        time.sleep(0.5)
    yield folder, address, "test"
    server.terminate()
    server.wait(patience(5))
    log.close()


def answers(address):
    """Whether a server answers at this address."""
    try:
        urllib.request.urlopen(address, timeout=patience(1)).close()
    except OSError:
        return False
    return True


def open_notebook(browser, lab, name, **options):
    """Return a page with a notebook in JupyterLab, its kernel idle, and the requests that wanted to leave."""
    outside = []
    page = offline_page(browser, outside, **options)
    page.goto(f"{lab[1]}/lab/tree/notebooks/{name}?token={lab[2]}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    # JupyterLab says "idle" before it has a kernel, and Run All would ask which one to take.
    assert wait_until(page, lambda: has_kernel(lab, name)), "The notebook got no kernel."
    wait_until_idle(page, patience(10))
    return page, outside


def has_kernel(lab, name):
    """Whether a notebook has a kernel that is idle and connected to its page."""
    with urllib.request.urlopen(f"{lab[1]}/api/sessions?token={lab[2]}", timeout=patience(1)) as answer:
        found = [one["kernel"] for one in json.load(answer) if one["path"] == f"notebooks/{name}"]
    return any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in found)


def wait_until_idle(page, seconds):
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=1000 * seconds)


def run_all(page):
    page.locator(".lm-MenuBar-item", has_text="Run").click()
    page.locator(".lm-Menu-item", has_text=re.compile("^Run All Cells")).click()


def saved(page, path):
    """Save the notebook in JupyterLab and return it as it is on the disk."""
    before = path.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    wait_until(page, lambda: path.stat().st_mtime_ns != before)
    page.wait_for_timeout(300)
    return nbformat.read(path, as_version=4)


def wait_until(page, happened):
    """Wait until a function returns something true; return whether it did."""
    end = time.monotonic() + patience(3)
    while not (done := happened()) and time.monotonic() < end:
        page.wait_for_timeout(100)
    return bool(done)


def cleared(path):
    """Remove the outputs of a notebook, so that none of before can be taken for a new one; return its path."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)
    return path


def run_and_save(page, path, seconds):
    """Run all cells of a cleared notebook and wait until the last one has ended; return the notebook."""
    end = time.monotonic() + patience(seconds)
    run_all(page)
    page.locator(".jp-InputArea-prompt", has_text=re.compile(r"\[(\*|\d+)\]")).first.wait_for(state="attached")
    waiting = page.locator(".jp-InputArea-prompt", has_text="[*]")
    while time.monotonic() < end:
        wait_until_idle(page, max(1, end - time.monotonic()))
        page.wait_for_timeout(500)  # between two cells the kernel is idle for a moment
        idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").count()
        if idle and not waiting.count():
            return saved(page, path)
    raise TimeoutError(f"{path.name} did not end within {patience(seconds):.0f} s")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_in_jupyterlab(lab, browser, path):
    number = path.name[:2]
    if number not in QUICK and not ALL:
        pytest.skip("nbval runs it; COURSE_BROWSER=all opens it in the browser, too")
    copy = cleared(lab[0] / "notebooks" / path.name)
    page, outside = open_notebook(browser, lab, path.name, viewport=SCREEN)
    notebook = run_and_save(page, copy, SECONDS.get(number, LIMIT))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "Not every cell has run."
    for cell in code:
        failed = [output.ename for output in cell.outputs if output.output_type == "error"]
        assert bool(failed) == ("raises-exception" in cell.metadata.get("tags", [])), (cell.source, failed)
    assert outside == [], "JupyterLab should load nothing from elsewhere."
    page.context.close()


def test_the_progress_bar_shows(lab, browser):
    page, _ = open_notebook(browser, lab, "02_one_hot.ipynb", viewport=TALL)
    run_all(page)
    bar = page.locator(".jp-OutputArea .jupyter-widgets .progress-bar, .jp-OutputArea .widget-hprogress")
    bar.first.wait_for()
    assert page.get_by_text(re.compile(r"\d+(\.\d+)?epoch/s|\d/8|\d+%")).count() > 0, "The bar should count."
    wait_until_idle(page, patience(LIMIT))
    page.context.close()


# Popularity and what was seen together, without training: the explorer itself in a few seconds.
MADE_EXPLORER = """
from course_utils.data import load_movies, load_ratings, sizes
from course_utils.explorer import explorer
from course_utils.ranking import mark

import numpy as np
from IPython.display import display

ratings = load_ratings()
seen = mark(ratings, *sizes(ratings)).astype("float32")
count, together = seen.sum(axis=0), seen.T @ seen
models = {
    "popular": lambda profile: count,
    "seen together": lambda profile: together[list(profile)].sum(axis=0) / (count + 50),
}
movies = load_movies().set_index("movie_id")
display(explorer(models, movies, {50: 5, 1: 4}, allowed=count >= 20))
"""


def test_the_explorer_is_played_without_a_mouse(lab, browser):
    path = lab[0] / "notebooks" / "explorer.ipynb"
    notebook = nbformat.read(
        ROOT / "notebooks" / "00_welcome.ipynb", as_version=4
    )  # for the name of its kernel
    notebook.cells = [nbformat.v4.new_code_cell(MADE_EXPLORER)]
    nbformat.write(notebook, path)
    page, outside = open_notebook(browser, lab, path.name, viewport=TALL)
    run_all(page)
    play(page)
    assert outside == []
    page.context.close()


def test_the_explorer_of_notebook_08_is_played_without_a_mouse(lab, browser):
    copy = lab[0] / "notebooks" / "08_recommendations.ipynb"
    page, _ = open_notebook(browser, lab, cleared(copy).name, viewport={**TALL, "height": 20_000})
    run_and_save(page, copy, SECONDS["08"])
    play(page)
    page.context.close()


def play(page):
    """Add a film to the explorer of an open notebook, rate it, ask why, remove all: by the keyboard."""
    search = page.get_by_placeholder("part of a title")
    search.wait_for(timeout=1000 * patience(20))
    box = page.locator(".jp-OutputArea-output", has=search).last
    table, (_, said, answer) = box.locator("table"), [box.get_by_role("status").nth(i) for i in range(3)]

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)

    def says(sentence, words):
        assert wait_until(page, lambda: words in sentence.inner_text()), (
            f"{words!r} is not in {sentence.inner_text()!r}"
        )

    def in_search():
        return search.evaluate("(field) => field === document.activeElement && !field.value")

    assert table.locator("caption").count() == 1 and table.locator("tbody tr").count() == 8
    names = table.locator("th[scope=col]").all_inner_texts()[1:]
    film = table.locator("td").first.inner_text()
    search.focus()
    page.keyboard.type("star")
    box.get_by_role("button", name="Star Wars (1977)", exact=True).wait_for()
    press("Control+a")
    page.keyboard.type(film)
    assert wait_until(page, lambda: box.locator("[title^='Add ']:visible").count() == 1), (
        f"{film} is not found alone."
    )
    press("Tab", "Enter")
    says(said, f"{film} has ★★★★★ 5 of 5.")
    assert wait_until(page, in_search), "The search should be empty and ready for the next film."
    assert not [text for text in table.locator("td").all_inner_texts() if text.startswith(film)]
    press("Tab", "Tab", "Enter")  # the stars of the newest film: 1, 2
    says(said, f"{film} has ★★☆☆☆ 2 of 5.")
    box.get_by_text("★★☆☆☆ 2 of 5").first.wait_for()
    press("Tab", "Tab", "Tab", "Tab", "Enter")  # 3, 4, 5, Remove
    says(said, f"{film} is removed.")
    assert wait_until(page, in_search)
    before = answer.inner_text()
    box.get_by_role("button", name=names[-1], exact=True).focus()
    press("Enter")
    says(answer, "what that film adds")
    assert answer.inner_text() != before and box.locator("li").count() >= 1
    second = box.locator("button", has_text=re.compile(r"^2\. "))
    second.focus()
    press("Enter")
    says(box.locator("button.mod-active").last, second.inner_text())
    removes = box.get_by_role("button", name="Remove", exact=True)
    while count := removes.count():
        removes.first.focus()
        press("Enter")
        assert wait_until(page, lambda: removes.count() < count), "Enter on Remove should remove the film."
    says(table.locator("caption"), "For nobody in particular")
    says(answer, "nobody in particular")
    assert table.locator("tbody tr").count() == 8


def measured(page):
    """Measure a live slide, again for a moment while it does not fit: what is drawn late may move the rest."""
    end = time.monotonic() + patience(0.1)
    while (found := page.evaluate(MEASURE))["out"] and time.monotonic() < end:
        page.wait_for_timeout(300)
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_live_slide_fits_the_screen(lab, browser, path):
    pytest.importorskip("jupyterlab_rise", reason="jupyterlab-rise is not installed: make tools")
    shutil.copy(path, lab[0] / "notebooks" / path.name)
    outside, seen, problems = [], set(), []
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in nbformat.read(path, 4).cells]
    slides = sum(kind in ("slide", "subslide") for kind in kinds)
    page = offline_page(browser, outside, viewport=SCREEN)
    page.goto(f"{lab[1]}/rise/notebooks/{path.name}?token={lab[2]}")
    page.wait_for_selector("section.present .jp-RenderedMarkdown h1")
    page.wait_for_timeout(2000)  # formulas and styles
    while page.url not in seen:
        seen.add(page.url)
        found = measured(page)
        problems += [f"slide {len(seen)}: {text}" for text in found["out"]]
        if found["code"] < SMALLEST_CODE or found["empty"]:
            problems.append(f"slide {len(seen)}: code of {found['code']} px, empty: {found['empty']}")
        page.keyboard.press("Space")
        if len(seen) < slides:
            assert wait_until(page, lambda: page.url not in seen), f"Slide {len(seen)} is the last."
        page.wait_for_timeout(120)
    assert len(seen) == slides
    assert problems == []
    assert outside == []
    page.context.close()


def test_a_cell_runs_on_a_live_slide(lab, browser):
    pytest.importorskip("jupyterlab_rise", reason="jupyterlab-rise is not installed: make tools")
    page = offline_page(browser, [], viewport=SCREEN)
    page.goto(f"{lab[1]}/rise/notebooks/00_welcome.ipynb?token={lab[2]}")
    page.wait_for_selector("section.present .jp-RenderedMarkdown h1")
    page.wait_for_timeout(2000)
    page.keyboard.press("Space")
    cell = page.locator("section.present section.present .jp-CodeCell")
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("print(6 * 7)")
    page.keyboard.press("Control+Enter")  # runs it and stays on the slide
    cell.locator(".jp-OutputArea-output", has_text="42").wait_for()
    page.context.close()


def test_an_exercise_runs_to_its_end_whatever_its_checks_say(lab, browser):
    """An untouched exercise: checks are folded, each says one sentence, Run All reaches the last cell."""
    copy = lab[0] / "notebooks" / "exercise.ipynb"
    shutil.copy(ROOT / "exercises" / "01_ratings.ipynb", copy)
    page, outside = open_notebook(browser, lab, copy.name, viewport=TALL)
    notebook = run_and_save(page, copy, LIMIT)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "Not every cell has run."
    checks = [cell for cell in code if cell.metadata.nbgrader.grade]
    for cell in checks:
        assert [output.traceback[0][:9] for output in cell.outputs] == ["Not yet: "], cell.outputs
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, 0)")
    first = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").first
    first.wait_for()
    assert first.inner_text().strip().startswith("Not yet: ") and "Traceback" not in first.inner_text()
    assert first.bounding_box()["height"] < 80, "one sentence"
    assert page.locator(".jp-InputPlaceholder").count() >= 2, "The checks should be folded."
    for words in ("Nbgrader", "Create Assignment", "Validate"):
        assert page.get_by_text(words).count() == 0, f"nbgrader's {words!r} is for instructors."
    assert outside == []
    page.context.close()
