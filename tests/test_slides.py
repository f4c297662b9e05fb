"""The decks: complete, offline, and every slide fits the screen. The notebooks carry what slides need."""

import os
import re
import subprocess

from tools import npm
from tools.course import ROOT, course_notebooks, sections
from tools.slides.code import shown

import nbformat
import pytest
from browser import offline_page, serious_findings, thin_out
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

NOTEBOOKS = course_notebooks(ROOT / "notebooks")
SCREEN = {"width": 1280, "height": 720}
SMALLEST_CODE = 18  # pixels, on that screen
FULL = 0.3  # share of its height that a slide fills, at least
# Go through all slides: what sticks out (of a formula, only its box counts), the size of code, how full each
# is, and how many outputs wait for the key after "Predict before you run", or do not.
WALK = """() => Reveal.getSlides().map((slide) => {
  const at = Reveal.getIndices(slide), out = [];
  Reveal.slide(at.h, at.v, 99);
  let bottom = 0;
  for (const block of slide.querySelectorAll("*")) {
    if (block.closest("aside") || block.parentElement.closest("mjx-container")) continue;
    const box = block.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    bottom = Math.max(bottom, box.bottom);
    if (box.left < -1 || box.top < -1 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1)
      out.push(`${block.tagName} "${block.textContent.slice(0, 40)}" ends at ${box.right} x ${box.bottom}`);
  }
  const sizes = [...slide.querySelectorAll("pre, code")].filter((code) => !code.closest("aside")).map(
    (code) => parseFloat(getComputedStyle(code).fontSize) * Reveal.getScale());
  const shown = [...slide.children].filter((block) => !block.matches("aside, .again"));
  const text = shown.map((one) => one.textContent).join(" ");
  const asks = (one) => !one.matches("[class*=InputArea]") && one.textContent.includes("Predict before");
  const place = shown.findIndex(asks);
  const outputs = place < 0 ? [] : shown.slice(place + 1).filter((one) => one.matches(".jp-OutputArea-output"));
  return { out, text, code: Math.min(...sizes, 99), full: bottom / innerHeight, title: slide.matches(".title"),
    pictures: slide.querySelectorAll("img").length,
    waiting: outputs.filter((one) => one.matches(".fragment")).length,
    early: outputs.filter((one) => !one.matches(".fragment")).length };
})"""

GO = "place => { const at = Reveal.getIndices(Reveal.getSlides()[place]); Reveal.slide(at.h, at.v, 99); }"


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """A folder with a deck of each notebook, and the page that lists them."""
    main = pytest.importorskip("tools.slides.__main__", reason="nbconvert is not installed: make tools")
    try:
        npm.unpacked("reveal.js"), npm.unpacked("mathjax")
    except npm.PackageError as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("slides")
    main.write(folder)
    return folder


def open_deck(browser, path, requests, query="", **options):
    page = offline_page(browser, requests, viewport=SCREEN, **options)
    page.goto(path.as_uri() + query)
    page.wait_for_selector("html[data-deck=ready]")
    return page


class Opened:
    """A deck in the browser: its notebook, its page, and what a walk through its slides found."""

    def __init__(self, browser, decks, notebook):
        self.notebook, self.outside = notebook, []
        self.page = open_deck(browser, decks / f"{notebook.stem}.html", self.outside)
        self.slides = self.page.evaluate(WALK)


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def opened(request, decks, browser):
    """Each deck, opened once for all tests on it: formulas and the plan of the slides take seconds."""
    deck = Opened(browser, decks, request.param)
    yield deck
    deck.page.context.close()


@pytest.mark.slow
def test_every_slide_fits_the_screen(opened):
    problems = []
    for place, slide in enumerate(opened.slides, start=1):
        problems += [f"slide {place}: {text}" for text in slide["out"]]
        if slide["code"] < SMALLEST_CODE:
            problems.append(f"slide {place}: code of {slide['code']:.1f} px")
    assert problems == []
    assert len(opened.slides) >= 8
    assert opened.page.locator("mjx-merror").count() == 0, "MathJax could not read a formula."
    assert opened.outside == [], "A deck should load nothing."


@pytest.mark.slow
def test_no_slide_is_nearly_empty_or_comes_twice(opened):
    title, *slides = opened.slides
    assert title["title"] and title["pictures"] == 1, "The first slide should show the title and a picture."
    texts = [slide["text"] for slide in slides if not slide["pictures"]]
    assert len(set(texts)) == len(texts), "Two slides show the same."
    empty = [f"slide {place} ({slide['full']:.0%}): {slide['text'][:60]!r}"
             for place, slide in enumerate(slides, start=2) if slide["full"] < FULL]  # fmt: skip
    assert empty == []
    half = sum(slide["full"] < 0.5 for slide in slides)
    assert half <= 0.2 * len(slides), f"{half} of {len(slides)} slides are less than half full."


@pytest.mark.slow
def test_no_text_of_the_notebook_is_lost_but_imports_and_drawing(opened):
    main = pytest.importorskip("tools.slides.__main__")
    shown = re.sub(r"\s", "", opened.page.evaluate("document.querySelector('.slides').textContent"))
    assert "Model:" not in shown
    notebook = nbformat.read(opened.notebook, as_version=4)
    for cell in notebook.cells:
        for heading in re.findall(r"^#+ ([^$`\n]+)$", cell.source, re.MULTILINE) * (
            cell.cell_type == "markdown"
        ):
            assert re.sub(r"\s", "", heading) in shown, heading
    main.adapt(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert re.sub(r"\s", "", cell.source) in shown, cell.source
    code = opened.page.locator(".slides .jp-InputArea-editor").evaluate_all(
        "all => all.map(e => e.textContent)"
    )
    assert not [text for text in code if re.match(r"\s*((import|from) |fig, ax|plt\.)", text)]


@pytest.mark.slow
def test_the_result_waits_where_a_prediction_is_asked(opened):
    """A slide that asks "Predict before you run" shows what comes out only at the next key."""
    assert [slide["text"][:200] for slide in opened.slides if slide["early"]] == []
    if opened.notebook.stem.startswith("04"):
        assert sum(slide["waiting"] for slide in opened.slides) >= 3


@pytest.mark.slow
def test_deck_is_accessible(opened):
    page = opened.page
    page.emulate_media(color_scheme="dark")
    page.evaluate("Reveal.slide(0, 0)")
    short = [text for text in page.locator("img").evaluate_all("all => all.map(i => i.alt)") if len(text) < 15]
    assert not short, "A picture does not say what it shows."
    # Three slides are enough to look at, and axe is slow on hidden ones.
    thin_out(page)
    page.evaluate("""() => {
      for (const [place, slide] of Reveal.getSlides().entries()) if (![0, 2, 4].includes(place)) slide.remove();
      document.querySelectorAll(".slides > .stack:not(:has(section))").forEach((stack) => stack.remove());
      Reveal.sync();
    }""")
    for place in range(3):
        page.evaluate(GO, place)
        assert serious_findings(page) == []


@pytest.mark.slow
def test_the_space_bar_goes_through_the_deck_to_its_end(decks, browser):
    page = open_deck(browser, decks / "02_one_hot.html", [])
    total, seen = page.evaluate("Reveal.getTotalSlides()"), 1
    for _ in range(4 * total):
        page.keyboard.press("Space")
        seen = max(seen, page.evaluate("Reveal.getSlidePastCount() + 1"))
    assert seen == total
    page.context.close()


@pytest.mark.slow
def test_a_bad_slide_is_found(decks, browser):
    page = open_deck(browser, decks / "01_ratings.html", [])
    page.evaluate("Reveal.getSlides()[1].lastElementChild.style.height = '800px'")
    page.evaluate("Reveal.getSlides()[2].innerHTML = '<p>x</p>'")
    slides = page.evaluate(WALK)
    assert slides[1]["out"] and not slides[3]["out"] and slides[2]["full"] < FULL < slides[3]["full"]
    page.context.close()


@pytest.mark.slow
def test_speaker_notes_open_in_a_window_of_their_own_and_fit_its_column(decks, browser):
    path = next(path for path in NOTEBOOKS if path.stem.startswith("04"))
    cells = nbformat.read(path, as_version=4).cells
    # The first section with notes is the third slide.
    written = next(cell.metadata.speaker_notes for cell in cells if "speaker_notes" in cell.metadata)
    page = open_deck(browser, decks / f"{path.stem}.html", [])
    for _ in range(2):
        page.keyboard.press("Space")
    with page.context.expect_page() as window:
        page.keyboard.press("s")
    window.value.set_viewport_size(SCREEN)
    notes = window.value.locator(".speaker-controls-notes")
    notes.get_by_text(f"{written.minutes} minutes").wait_for()
    assert written.ask[:20] in notes.inner_text()
    assert "Ask:" in notes.inner_text() and "Often wrong:" in notes.inner_text()
    page.evaluate("() => { while (!Reveal.getCurrentSlide().querySelector('aside pre')) Reveal.next(); }")
    notes.get_by_text("Check passed").first.wait_for()
    wide, room = notes.evaluate("notes => [notes.scrollWidth, notes.clientWidth]")
    assert wide <= room, f"The notes are {wide} px wide, their column {room}."
    page.context.close()


@pytest.mark.slow
def test_a_pdf_has_one_page_for_each_slide(decks, browser):
    page = open_deck(browser, decks / "04_matrix_factorization.html", [], query="?print-pdf")
    page.wait_for_selector(".pdf-page >> nth=-1", state="attached")
    pages = len(re.findall(rb"/Type ?/Page\b", page.pdf(prefer_css_page_size=True, print_background=True)))
    assert pages == page.evaluate("Reveal.getTotalSlides()")
    page.context.close()


@pytest.mark.slow
def test_the_index_lists_every_deck(decks, browser):
    page = offline_page(browser, [], viewport=SCREEN)
    page.goto((decks / "index.html").as_uri())
    links = page.locator("ol a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links == [f"{path.stem}.html" for path in NOTEBOOKS]
    assert all((decks / link).is_file() for link in links)
    assert "45 minutes" in page.locator("li", has_text="04 · Matrix").inner_text()
    assert serious_findings(page) == []
    page.context.close()


def test_a_deck_of_one_notebook_leaves_the_list_true(tmp_path):
    """The index names the decks that are there."""
    main = pytest.importorskip("tools.slides.__main__", reason="nbconvert is not installed: make tools")
    for path in NOTEBOOKS[:2]:
        (tmp_path / f"{path.stem}.html").write_text("")
    page = main.index(NOTEBOOKS[:2], home="../index.html")
    assert page.count("<li>") == 2 and NOTEBOOKS[1].stem in page and NOTEBOOKS[2].stem not in page
    assert 'href="../index.html"' in page and "{{" not in page


@pytest.mark.parametrize(
    ("source", "figure", "later", "expected"),
    [
        ("import numpy as np\n\nset_seed(0)\nprint('ready')", False, set(), ""),
        ("import numpy as np\nx = 1\nx", False, set(), "x = 1\nx"),
        ("x = 1\nplt.plot(x)", False, set(), "x = 1\nplt.plot(x)"),
        ("fig, ax = plt.subplots()\nax.plot(x)\nplt.show()", True, set(), ""),
        ("fig, axes = plt.subplots(1, 2)\nrung('a', axes[0])\nplt.show()", True, set(), "rung('a', axes[0])"),
        ("# the colors\ncolors = ['b']\nfor c in colors:\n    ax.plot(c)\nprint(1)", True, set(), "print(1)"),
        ("colors = ['b']\nax.plot(colors)\nprint(1)", True, {"colors"}, "colors = ['b']\nprint(1)"),
        ("def picture(x):\n    ax.plot(x)\n\n\npicture(1)", True, set(), "picture(1)"),
        ("total = a + b\nax.plot(total)", True, {"total"}, ""),
        ("print(1\n", True, set(), "print(1\n"),
    ],
)  # fmt: skip
def test_imports_and_drawing_code_are_left_out(source, figure, later, expected):
    assert shown(source, figure, later) == expected


def test_what_slides_need_otherwise_than_pages():
    main = pytest.importorskip("tools.slides.__main__", reason="nbconvert is not installed: make tools")
    answer = "**1. Why?**\n\n<details><summary>Answer</summary>\n\nSo.\n\n</details>"
    summary = {"text/html": "<pre>x</pre>", "text/plain": '\x1b[1mModel: "a"\x1b[0m\n\x1b[1mlayers\x1b[0m'}
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


# --- The Korean decks -----------------------------------------------------------------------------

KOREAN = course_notebooks(ROOT / "ko" / "notebooks")
SOME = KOREAN if os.environ.get("COURSE_BROWSER") == "all" else KOREAN[4:5]  # all of them once a week


@pytest.mark.slow
@pytest.mark.parametrize("path", SOME, ids=lambda path: path.stem)
def test_a_korean_deck_fits_the_screen_and_waits_with_answers(browser, tmp_path, path):
    main = pytest.importorskip("tools.slides.__main__", reason="nbconvert is not installed: make tools")
    (deck,) = main.write(tmp_path, [path], course=path.parent)
    page = open_deck(browser, deck, [])
    slides = page.evaluate(WALK.replace("Predict before", "예측해 보세요"))
    assert [slide["out"] for slide in slides if slide["out"]] == []
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert slides[0]["title"] and re.search(r"[가-힣]", slides[0]["text"])
    text = path.read_text(encoding="utf-8")
    if "실행하기 전에 예측해 보세요" in text:
        assert sum(slide["waiting"] for slide in slides) > 0, "outputs wait for the key"
    if "<summary>정답</summary>" in text:
        assert any("정답:" in slide["text"] for slide in slides)
