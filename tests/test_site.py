"""The website is built without a warning, its links work, and it reads well in a browser without a network."""

import base64
import functools
import json
import os
import re
import subprocess
import sys
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from course_utils.ranking import fold_in
from tools.course import ROOT
from tools.site import home

import nbformat
import numpy as np
import pytest
from browser import offline_page, serious_findings, thin_out

REPOSITORY = "https://github.com/somebody/a-copy"
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# Pages with everything that the theme colors: text, formulas, code, outputs, tables, pictures, signatures.
BOTH_THEMES = (
    "index",
    "notebooks/04_matrix_factorization",
    "notebooks/08_recommendations",
    "tools/site/api",
    "search",
)
PHONE = {"width": 390, "height": 844}


def build(folder: Path, *options: str) -> Path:
    """Build the website into a folder as `make site` does, and return where its pages are."""
    pytest.importorskip("myst_nb", reason="Sphinx and MyST-NB are not installed: make tools")
    from tools.npm import PackageError, unpacked

    try:
        unpacked("mathjax"), unpacked("reveal.js")
    except PackageError as problem:
        pytest.skip(str(problem))
    command = [
        sys.executable,
        "-m",
        "tools.site",
        "--out",
        str(folder / "html"),
        "--doctrees",
        str(folder / "doctrees"),
    ]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, "COURSE_REPOSITORY_URL": REPOSITORY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (folder / "said.txt").write_text(done.stdout, encoding="utf-8")
    return folder / "html"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The website as `make site` builds it. The repository's address is set, as the workflow does."""
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def for_students(tmp_path_factory):
    """The website without solutions and without what was learned from the ratings."""
    return build(tmp_path_factory.mktemp("students"), "--no-solutions", "--public")


class Page(HTMLParser):
    """What a page links to, loads and shows."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.loads, self.images = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.loads.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "preload"):
            self.loads.append(values["href"])
        if tag == "img":
            self.images.append((values.get("src", ""), values.get("alt") or ""))


@functools.cache
def parsed(path: Path) -> Page:
    """Return a page, parsed once for all tests. Decks are big, and have a test file of their own."""
    return Page(path)


def broken_links(folder: Path) -> list[str]:
    """Return the links between pages of a folder whose page, or whose place on the page, does not exist."""
    pages = {path: parsed(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name)).resolve() if name else path
            if not target.is_file():
                found.append(f"{path.relative_to(folder)}: {link}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].ids:
                found.append(f"{path.relative_to(folder)}: {link} (no such place on that page)")
    return found


@pytest.mark.slow
def test_every_page_is_there(site):
    pages = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    sources = [*(f"notebooks/{name}" for name in NOTEBOOKS), "index", "README", "tools/site/api", "search"]
    sources += [f"exercises/{path.stem}" for path in (ROOT / "exercises").glob("*.ipynb")]
    sources += ["INSTRUCTORS", "notebooks/glossary", "data/README", "benchmarks/README"]
    assert pages >= set(sources), set(sources) - pages


@pytest.mark.slow
def test_links_between_pages_work(site, for_students):
    assert broken_links(site) == []
    assert broken_links(for_students) == []


@pytest.mark.slow
def test_a_site_for_students_has_no_solutions_and_no_model(site, for_students):
    assert (site / "solutions" / "01_ratings.html").is_file()
    assert "It contains the solutions" in (site.parent / "said.txt").read_text(encoding="utf-8")
    assert "solutions" not in (for_students.parent / "said.txt").read_text(encoding="utf-8")
    files = [path for path in for_students.rglob("*") if path.is_file()]
    assert not [path for path in files if "solutions" in path.parts or "predict-model" in path.name]
    links = [link for path in for_students.rglob("*.html") for link in parsed(path).links]
    assert not [link for link in links if "solutions" in link]
    assert not [path for path in files if b"BEGIN SOLUTION" in path.read_bytes()]
    # Nor does an exercise show a line of its solution.
    lines = re.findall(
        r"BEGIN SOLUTION(.*?)END SOLUTION", _code(ROOT / "solutions" / "01_ratings.ipynb"), re.DOTALL
    )
    lines = [line.strip() for part in lines for line in part.splitlines() if len(line.strip()) > 30]
    page = re.sub(r"<[^>]+>", "", (for_students / "exercises" / "01_ratings.html").read_text(encoding="utf-8"))
    assert len(lines) > 5 and not [line for line in lines if line in unescape(page)]


def _code(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def test_only_a_website_of_the_course_is_removed(tmp_path):
    main = pytest.importorskip("tools.site.__main__")
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="no website of this course"):
        main.empty(tmp_path)
    assert main.main(["--out", str(tmp_path)]) == 1
    assert (tmp_path / "thesis.tex").is_file()
    (tmp_path / ".buildinfo").write_text("")
    main.empty(tmp_path)
    assert not tmp_path.exists()


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "b.html").write_text('<p id="here">')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="c.html"></a><a href="b.html#gone"></a>'
    )
    assert broken_links(tmp_path) == ["a.html: c.html", "a.html: b.html#gone (no such place on that page)"]


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.rglob("*.html"):
        outside = [address for address in parsed(path).loads if re.match(r"(https?:)?//", address)]
        assert not outside, f"{path.relative_to(site)}: {outside}"


@pytest.mark.slow
def test_every_picture_says_what_it_shows(site):
    pictures = [
        (path.name, source, text)
        for path in site.rglob("*.html")
        if path.parent.name != "slides"  # their alternative texts have a test of their own
        for source, text in parsed(path).images
    ]
    # The theme's own small icons lie in _static and stand beside words.
    own = [picture for picture in pictures if "_static" not in picture[1]]
    assert len(own) > 25
    short = [
        picture for picture in own if len(picture[2]) < 15 or picture[2].startswith(("../_images", "_images"))
    ]
    assert not short, "Set mystnb.image.alt in the metadata of the cell that draws it: " + str(short)


@pytest.mark.slow
def test_notebooks_have_a_button_for_binder(site):
    links = parsed(site / "notebooks" / "04_matrix_factorization.html").links
    assert any(link.startswith("https://mybinder.org/v2/gh/somebody/a-copy/main?") for link in links)
    assert not any("colab" in link for link in links)


@pytest.mark.slow
def test_the_api_page_has_every_module_and_function(site):
    ids = parsed(site / "tools" / "site" / "api.html").ids
    modules = sorted((ROOT / "course_utils").rglob("[a-z]*.py"))
    assert ROOT / "course_utils" / "large" / "streaming.py" in modules
    for path in modules:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        public = re.findall(r"^(?:def|class) ([A-Za-z]\w*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        missing = [name for name in public if f"{module}.{name}" not in ids]
        assert not missing, f"{module}: {missing}"


@pytest.mark.slow
def test_search_finds_a_page_once(site, browser):
    outside = []
    page = offline_page(browser, outside)
    page.goto(f"{(site / 'search.html').as_uri()}?q=embeddings")
    page.locator("#search-results p", has_text="matching the search query").wait_for()
    found = page.locator("#search-results li a").evaluate_all("all => all.map(a => [a.textContent, a.href])")
    assert any("03 · Embeddings" in text for text, _ in found), found
    exercises = [text for text, _ in found if text.startswith("Exercises 03")]
    assert len(exercises) == 1, found
    assert len(set(found_page for _, found_page in found)) == len(found), found
    assert len({text for text, _ in found}) == len(found), f"Two results have the same title: {found}"
    assert outside == []
    page.context.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["index", *(f"notebooks/{stem}" for stem in NOTEBOOKS), "tools/site/api", "search"]
)
def test_page_is_accessible_and_complete_without_a_network(site, browser, name):
    path, outside = site / f"{name}.html", []
    html = path.read_text(encoding="utf-8")
    formulas = html.count('<span class="math') + html.count('<div class="math')
    page = offline_page(browser, outside, color_scheme="light")
    page.goto(path.as_uri())
    if formulas:
        page.wait_for_function("n => document.querySelectorAll('mjx-container svg').length >= n", arg=formulas)
        assert page.locator("mjx-merror").count() == 0, "MathJax could not read a formula."
    screen = page.viewport_size
    page.set_viewport_size(PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], f"On a phone, the page is {width} pixels wide and scrolls sideways."
    page.set_viewport_size(screen)
    thin_out(page)
    for scheme in ("light", "dark") if name in BOTH_THEMES else ("light",):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_selector(f"html[data-theme={scheme}]")
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", color)[:3])) / 3
        assert (brightness > 200) == (scheme == "light") and (brightness < 60) == (scheme == "dark"), color
        assert serious_findings(page) == [], f"{name}, {scheme}"
    page.context.close()
    assert outside == []


def test_drawings_bring_their_own_ground():
    """In the dark theme a drawing has no other ground than its own: each begins with a light panel."""
    for path in (ROOT / "notebooks" / "figures").glob("*.svg"):
        first = re.search(
            r"<(rect|path|text|line|circle)\b[^>]*>", path.read_text(encoding="utf-8").split("</defs>")[-1]
        )
        assert first[1] == "rect" and 'fill="#fbfaf7"' in first[0], path.name


# --- The home page ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_home_invites_and_leads_to_each_part(site, for_students, browser):
    for folder in (site, for_students):
        page = offline_page(browser, [], viewport={"width": 1280, "height": 800})
        page.goto((folder / "index.html").as_uri())
        buttons = {one.inner_text(): one.get_attribute("href") for one in page.locator(".buttons a").all()}
        assert list(buttons) == ["Start reading", "Slides", "Exercises"]
        assert all((folder / link).is_file() for link in buttons.values())
        picture = page.locator(".hero img")
        assert picture.evaluate("image => image.naturalWidth") > 0
        assert picture.bounding_box()["y"] < 600, "The picture should be on the first screen."
        assert page.locator(".cards li").count() == len(NOTEBOOKS)
        install = page.get_by_text("make lab", exact=True).bounding_box()["y"]
        assert install > page.locator(".try").bounding_box()["y"] > picture.bounding_box()["y"]
        page.context.close()
    assert page_links_home(site)


def page_links_home(folder: Path) -> bool:
    return "../index.html" in parsed(folder / "notebooks" / "03_embeddings.html").links


@pytest.mark.slow
def test_a_public_home_shows_what_the_notebook_shows_instead(for_students):
    html = (for_students / "index.html").read_text(encoding="utf-8")
    cells = nbformat.read(home.EXAMPLE, as_version=4).cells
    shown = home.example(nbformat.read(home.EXAMPLE, as_version=4))
    stored = next(cell for cell in cells if cell.source.startswith("my_stars")).outputs[0]["data"]["text/html"]
    assert len(shown["rated"]) == 5 and len(shown["list"]) == home.LONG
    for film in shown["list"]:
        assert (
            f">{escape(film)}</li>" in html
            and escape(film.removeprefix("A ").removeprefix("The "), quote=False) in stored
        )
    assert "predict.js" not in html and 'id="predict"' not in html


def test_a_changed_notebook_is_told_to_the_home_page():
    with pytest.raises(home.HomeError, match="no cell that begins with my_stars"):
        home.example(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")]))
    cell = nbformat.v4.new_code_cell("my_stars = {50: 5, 1: 2}  # Star Wars, Toy Story")
    with pytest.raises(home.HomeError, match="stores 0"):
        home.example(nbformat.v4.new_notebook(cells=[cell]))
    with pytest.raises(home.HomeError, match="no longer shows"):
        home.results_alt("# A course")


def test_the_course_map_of_the_home_page_has_every_notebook():
    rows = home.course_map((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [row["page"] for row in rows] == [f"notebooks/{name}" for name in NOTEBOOKS]


@pytest.fixture(scope="module")
def model(site):
    """What the page computes with, read as the page's file has it."""
    script = next(site.glob("_static/predict-model-*.js"), None)
    if script is None:
        pytest.skip("the ratings are not on this computer: make data")
    text = script.read_text(encoding="utf-8")
    found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    b_i = np.frombuffer(base64.b64decode(found["b_i"]), "<f4").astype("float64")
    return found | {"b_i": b_i, "Q": np.frombuffer(base64.b64decode(found["Q"]), "<f4").reshape(len(b_i), -1)}


@pytest.mark.slow
def test_the_model_of_the_home_page_is_that_of_notebook_04(model):
    assert model["Q"].shape == (1683, 64)
    assert abs(model["rmse"] - 0.897) < 0.003  # the band of notebook 04
    assert model["titles"][50] == "Star Wars (1977)" and model["titles"][71] == "The Lion King (1994)"
    assert model["counts"][0] == 0 and sum(model["counts"]) == 80_000


PROFILES = [{50: 5, 313: 1, 288: 1, 100: 5, 71: 2}, {1: 3}, {movie: 1 + movie % 5 for movie in range(1, 90)}]


@pytest.mark.slow
def test_the_page_computes_what_fold_in_computes(site, browser, model):
    page = offline_page(browser, [])
    page.goto((site / "index.html").as_uri())
    settings = {"mu": model["mu"], "l2": model["l2"], "bias_l2": model["biasL2"]}
    for profile in PROFILES:
        p, b = fold_in(profile, model["Q"], model["b_i"], **settings)
        expected = model["mu"] + b + model["b_i"] + model["Q"].astype("float64") @ p
        pairs = [list(pair) for pair in profile.items()]
        found = page.evaluate("""profile => {
          const model = Predictor.load(COURSE_MODEL), movie = 64;
          const parts = Predictor.explain(model, profile, movie).reduce((sum, one) => sum + one.part, 0);
          return { fold: Predictor.foldIn(model, profile), all: Predictor.predictAll(model, profile),
                   told: model.mu + model.b_i[movie] + parts };
        }""", pairs)  # fmt: skip
        np.testing.assert_allclose(found["fold"]["p"], p, atol=1e-10)
        np.testing.assert_allclose(found["fold"]["b"], b, atol=1e-10)
        np.testing.assert_allclose(found["all"], expected, atol=1e-10)
        assert abs(found["told"] - expected[64]) < 1e-10, "The parts should add up to the prediction."
    page.context.close()


@pytest.mark.slow
def test_five_films_can_be_rated_on_the_home_page(site, browser, model):
    outside, errors = [], []
    page = offline_page(browser, outside)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((site / "index.html").as_uri())
    everybody = page.locator(".predict-list .film").all_inner_texts()
    stars = {50: 5, 313: 1, 288: 1, 100: 5, 71: 2}
    for row, value in zip(page.locator(".predict-film").all(), stars.values(), strict=True):
        row.get_by_label("1 star" if value == 1 else f"{value} stars", exact=True).check(force=True)
    p, b = fold_in(stars, model["Q"], model["b_i"], model["mu"], model["l2"], model["biasL2"])
    scores = model["mu"] + b + model["b_i"] + model["Q"].astype("float64") @ p
    scores[[*stars, *np.flatnonzero(np.array(model["counts"]) < 50)]] = -np.inf
    best = np.argsort(-scores)[:6]
    shown = page.locator(".predict-list .film").all_inner_texts()
    assert [text.strip("▸▾ ") for text in shown] == [model["titles"][movie] for movie in best]
    assert shown != everybody
    values = page.locator(".predict-list .value").all_inner_texts()
    assert values == [f"{min(scores[movie], 5):.2f} ★" for movie in best]
    page.locator(".predict-list summary").first.click()
    why = page.locator(".predict-list details[open] td")
    assert "your 1 ★ for Titanic (1997)" in why.all_inner_texts()
    # Another film for the first row, one that is no film, and one that is in the list already.
    first = page.get_by_label("Film 1", exact=True)
    for text, answer in (
        ("Toy Story (1995)", "4 ratings"),
        ("Toy Stroy", "No film is called"),
        ("Fargo (1996)", "already"),
    ):
        first.fill(text)
        first.press("Tab")
        page.locator(".predict-status", has_text=answer).wait_for()
    page.get_by_label("Any other film").fill("Casablanca (1942)")
    page.get_by_label("Any other film").press("Tab")
    assert "You would give it" in page.locator(".predict-answer").inner_text()
    page.get_by_role("button", name="Clear my stars").click()
    assert page.locator(".predict-list .film").all_inner_texts() == everybody
    assert outside == [] and errors == []
    page.context.close()


# --- The PDF ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_course_is_printed(tmp_path):
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make tools")
    pytest.importorskip("myst_nb", reason="Sphinx and MyST-NB are not installed: make tools")
    target = tmp_path / "two.pdf"
    files = ["notebooks/00_welcome.ipynb", "notebooks/project.ipynb"]
    command = [sys.executable, "-m", "tools.site.pdf", "--out", str(target), *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "No Chromium was found" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr[-2000:]
    content = target.read_bytes()
    assert len(re.findall(rb"/Type ?/Page\b", content)) >= 6
    # The outline has each notebook's title, in UTF-16 where it is not plain.
    for title in ("00 · Welcome", "Project · Your own data"):
        assert (
            title.encode("utf-16-be") in content or title.encode("utf-16-be").hex().upper().encode() in content
        )
    assert not list(tmp_path.glob("*.part"))


def test_without_a_browser_printing_says_what_to_do(tmp_path, monkeypatch):
    pdf = pytest.importorskip("tools.site.pdf", reason="Playwright is not installed: make tools")
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(pdf.PrintError, match="Install it, or run"):
        pdf.browser_path(str(tmp_path / "none"))


def test_binder_installs_the_pinned_packages_and_the_course():
    binder = ROOT / ".binder"
    included = re.findall(r"^-r (.+)$", (binder / "requirements.txt").read_text(), re.MULTILINE)
    assert [(binder / name).resolve() for name in included] == [ROOT / "requirements.txt"]
    assert re.fullmatch(r"python-3\.1[123]\n", (binder / "runtime.txt").read_text())
    assert os.access(binder / "postBuild", os.X_OK) or os.name == "nt"
    assert "--editable ." in (binder / "postBuild").read_text()


# --- The other language ---------------------------------------------------------------------------


def switch(path):
    """Return the address and the language that the switch of a page leads to."""
    found = re.findall(
        r'<a class="course-language" href="([^"]+)" lang="(\w+)"', path.read_text(encoding="utf-8")
    )
    assert len(found) == 1, path
    return found[0]


@pytest.mark.slow
def test_each_page_leads_to_itself_in_the_other_language(site):
    pages = [
        path for path in site.rglob("*.html") if "_static" not in path.parts and "slides" not in path.parts
    ]
    korean = [path for path in pages if path.relative_to(site).parts[0] == "ko"]
    assert len(korean) > 30 and len(pages) > len(korean) + 30
    for path in pages:
        address, language = switch(path)
        there = (path.parent / address).resolve()
        assert there.is_file(), f"{path.relative_to(site)}: {address}"
        assert language == ("en" if path in korean else "ko")
        html = path.read_text(encoding="utf-8")
        assert f'<html lang="{"ko" if path in korean else "en"}"' in html
    welcome = site / "notebooks" / "00_welcome.html"
    address, _ = switch(welcome)
    assert (welcome.parent / address).resolve() == (site / "ko" / "notebooks" / "00_welcome.html").resolve()


@pytest.mark.slow
def test_korean_pages_are_korean(site):
    for name in ("index", "README", "notebooks/04_matrix_factorization", "notebooks/glossary", "slides/index"):
        text = re.sub(r"<[^>]+>|\s+", " ", (site / "ko" / f"{name}.html").read_text(encoding="utf-8"))
        letters = len(re.findall(r"[가-힣]", text))
        assert letters > 80, name
    drawing = (site / "ko" / "_static" / "what_you_build.svg").read_text(encoding="utf-8")
    assert re.search(r"[가-힣]", drawing), "the drawings of the home page, too"


@pytest.mark.slow
def test_korean_pages_for_students_have_no_solutions(for_students):
    assert not (for_students / "ko" / "solutions").exists()
    for path in (for_students / "ko").rglob("*.html"):
        assert not re.search(r'href="[^"]*solutions/', path.read_text(encoding="utf-8")), path
