"""The decks: complete, offline, and every slide fits the screen. The notebooks carry what slides need."""

import re
import subprocess

from tools import npm
from tools.course import ROOT, course_notebooks, sections

import nbformat
import pytest
from browser import offline_page, serious_findings
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

NOTEBOOKS = course_notebooks(ROOT / "notebooks")
SCREEN = {"width": 1280, "height": 720}
SMALLEST_CODE = 18  # pixels, on that screen
# What sticks out of the slide that is shown (of a formula, only its box counts), and the size of its code.
MEASURE = """() => {
  const slide = Reveal.getCurrentSlide(), out = [];
  for (const block of slide.querySelectorAll("*")) {
    if (block.closest("aside") || block.parentElement.closest("mjx-container")) continue;
    const box = block.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (box.left < -1 || box.top < -1 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1)
      out.push(`${block.tagName} "${block.textContent.slice(0, 40)}" ends at ${box.right} x ${box.bottom}`);
  }
  const sizes = [...slide.querySelectorAll("pre, code")].map(
    (code) => parseFloat(getComputedStyle(code).fontSize) * Reveal.getScale());
  return { out, code: Math.min(...sizes, 99), last: Reveal.isLastSlide() && !Reveal.availableFragments().next };
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """A folder with a deck of each notebook."""
    main = pytest.importorskip("tools.slides.__main__", reason="nbconvert is not installed: make tools")
    try:
        npm.unpacked("reveal.js"), npm.unpacked("mathjax")
    except npm.PackageError as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("slides")
    for path in NOTEBOOKS:
        (folder / f"{path.stem}.html").write_text(main.deck(path), encoding="utf-8")
    return folder


def open_deck(browser, path, requests, query="", **options):
    page = offline_page(browser, requests, viewport=SCREEN, **options)
    page.goto(path.as_uri() + query)
    page.wait_for_selector("html[data-deck=ready]")
    return page


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_slide_fits_the_screen(decks, browser, path):
    outside, seen, problems = [], 0, []
    page = open_deck(browser, decks / f"{path.stem}.html", outside)
    total = page.evaluate("Reveal.getTotalSlides()")
    while True:
        found, place = page.evaluate(MEASURE), page.evaluate("Reveal.getSlidePastCount() + 1")
        problems += [f"slide {place}: {text}" for text in found["out"]]
        if found["code"] < SMALLEST_CODE:
            problems.append(f"slide {place}: code of {found['code']:.1f} px")
        seen = max(seen, place)
        if found["last"]:
            break
        page.keyboard.press("Space")
    assert problems == []
    assert seen == total >= 12, "The space bar should page through the whole deck."
    assert page.locator("mjx-merror").count() == 0, "MathJax could not read a formula."
    assert outside == [], "A deck should load nothing."
    page.context.close()


@pytest.mark.slow
def test_a_slide_that_does_not_fit_is_found(decks, browser):
    page = open_deck(browser, decks / "01_ratings.html", [])
    page.evaluate("Reveal.getCurrentSlide().lastElementChild.style.height = '800px'")
    assert page.evaluate(MEASURE)["out"]
    page.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_text_of_the_notebook_is_lost(decks, browser, path):
    page = open_deck(browser, decks / f"{path.stem}.html", [])
    shown = re.sub(r"\s", "", page.evaluate("document.querySelector('.slides').textContent"))
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert re.sub(r"\s", "", cell.source) in shown, cell.source
            continue
        for heading in re.findall(r"^#+ ([^$`\n]+)$", cell.source, re.MULTILINE):
            assert re.sub(r"\s", "", heading) in shown, heading
    page.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_deck_is_accessible(decks, browser, path):
    page = open_deck(browser, decks / f"{path.stem}.html", [], color_scheme="dark")
    assert serious_findings(page) == []
    for _ in range(3):
        page.keyboard.press("Space")
        assert serious_findings(page) == []
    short = [text for text in page.locator("img").evaluate_all("all => all.map(i => i.alt)") if len(text) < 15]
    assert not short, "A picture does not say what it shows."
    page.context.close()


@pytest.mark.slow
def test_speaker_notes_open_in_a_window_of_their_own(decks, browser):
    path = next(path for path in NOTEBOOKS if path.stem.startswith("04"))
    cells = nbformat.read(path, as_version=4).cells
    # The first section with notes is the third slide.
    written = next(cell.metadata.speaker_notes for cell in cells if "speaker_notes" in cell.metadata)
    page = open_deck(browser, decks / f"{path.stem}.html", [])
    for _ in range(2):
        page.keyboard.press("Space")
    with page.context.expect_page() as opened:
        page.keyboard.press("s")
    notes = opened.value.locator(".speaker-controls-notes")
    notes.get_by_text(f"{written.minutes} minutes").wait_for()
    assert written.ask[:20] in notes.inner_text()
    assert "Ask:" in notes.inner_text() and "Often wrong:" in notes.inner_text()
    page.context.close()


@pytest.mark.slow
def test_a_pdf_has_one_page_for_each_slide(decks, browser):
    page = open_deck(browser, decks / "04_matrix_factorization.html", [], query="?print-pdf")
    page.wait_for_selector(".pdf-page >> nth=-1", state="attached")
    pages = len(re.findall(rb"/Type ?/Page\b", page.pdf(prefer_css_page_size=True, print_background=True)))
    assert pages == page.evaluate("Reveal.getTotalSlides()")
    page.context.close()


def test_what_slides_need_otherwise_than_pages():
    main = pytest.importorskip("tools.slides.__main__", reason="nbconvert is not installed: make tools")
    answer = "**1. Why?**\n\n<details><summary>Answer</summary>\n\nSo.\n\n</details>"
    summary = {"text/html": "<pre>x</pre>", "text/plain": "\x1b[1mlayers\x1b[0m"}
    notebook = new_notebook(
        cells=[
            new_markdown_cell(
                "# 01 · A\n\n[← 00](00_a.ipynb) · [02 →](02_b.ipynb)\n\n[03](03_c.ipynb#D), [x](../x.md)"
            ),
            new_markdown_cell(answer),
            new_code_cell(
                "f()", outputs=[new_output("error", ename="E", evalue="e", traceback=["1\n2\n3", *"456789"])]
            ),
            new_code_cell("g()", outputs=[new_output("display_data", data=summary)]),
        ]
    )
    main.adapt(notebook)
    first, second, third, fourth = notebook.cells
    assert first.source == "# 01 · A\n\n\n[03](03_c.html), x"
    assert second.source == "**1. Why?**\n\n**Answer:** So."
    assert third.outputs[0].traceback == ["...", *"456789"]
    assert fourth.outputs[0].data == {"text/plain": "layers"}


# --- What the notebooks carry ---------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_says_where_slides_begin(path):
    notebook = nbformat.read(path, as_version=4)
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type", "-") for cell in notebook.cells]
    assert kinds[0] == "slide" and set(kinds) <= {"slide", "subslide", "fragment", "notes", "skip", "-"}
    for heading, cells in sections(notebook):
        kind = cells[0].metadata.get("slideshow", {}).get("slide_type")
        assert kind == "slide", f"{heading!r} should begin a slide."
    for cell, kind in zip(notebook.cells, kinds, strict=True):
        assert kind == "notes" or "check" not in cell.metadata.get("tags", []), (
            "A Check belongs into the notes."
        )
        late = cell.cell_type == "markdown" and re.search(r"\n## ", cell.source)
        assert not late, f"A section should begin a cell: {cell.source[:60]!r}"


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_every_section_has_speaker_notes(path):
    notebook = nbformat.read(path, as_version=4)
    found = {heading: cells[0].metadata.get("speaker_notes") for heading, cells in sections(notebook)}
    lacking = [heading for heading, notes in found.items() if not notes]
    assert not lacking, f"No speaker_notes in the metadata of {lacking}"
    for heading, notes in found.items():
        assert set(notes) == {"minutes", "ask", "wrong"} and notes["minutes"] >= 1, heading
        assert len(notes["ask"]) > 30 and len(notes["wrong"]) > 30, heading
    minutes = int(re.search(r"\*\*Time:\*\* (\d+) minutes", notebook.cells[0].source)[1])
    assert sum(notes["minutes"] for notes in found.values()) == minutes, (
        "The sections should add up to the time."
    )


# --- The packages from npm ------------------------------------------------------------------------


def test_a_changed_package_is_refused(tmp_path):
    version = npm.PACKAGES["mathjax"][0]
    (tmp_path / f"mathjax-{version}.tgz").write_bytes(b"something else")
    with pytest.raises(npm.PackageError, match="not the pinned file"):
        npm.unpacked("mathjax", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_npm_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    with pytest.raises(npm.PackageError, match="Install Node.js"):
        npm.unpacked("reveal.js", tmp_path)


def test_a_failing_npm_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setattr(npm.shutil, "which", lambda name: "npm")
    failed = subprocess.CompletedProcess([], 1, "", "npm error network unreachable")
    monkeypatch.setattr(npm.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(npm.PackageError, match="network unreachable"):
        npm.unpacked("reveal.js", tmp_path)
